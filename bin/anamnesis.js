#!/usr/bin/env node
// The `anamnesis` command. The hub needs Node 24; where the machine's own is older, the Node that came with
// `npm ci` (node_modules/.bin/node) takes over.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import module from 'node:module';
import path from 'node:path';

const root = path.resolve(import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname), '..');
const MINIMUM_NODE_MAJOR = 24;

if (Number(process.versions.node.split('.')[0]) >= MINIMUM_NODE_MAJOR) {
  const entry = path.join(root, 'dist/bundle/main.js');
  if (!existsSync(entry)) {
    console.error('anamnesis is not built yet: run `npm run build` first');
    process.exit(1);
  }
  if (process.channel) {
    // Started by the branch below: when that process is killed, this one is killed too, not left behind.
    process.channel.unref();
    process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'));
  }
  // What was compiled of the code is kept beside it (where that may be written), for the roles' next start too.
  process.env.NODE_COMPILE_CACHE ??= path.join(root, 'dist/compiled');
  module.enableCompileCache();
  const { main } = await import(entry);
  await main(process.argv);
} else {
  const node = path.join(root, 'node_modules/.bin/node');
  if (!existsSync(node)) {
    console.error(
      `anamnesis needs Node ${MINIMUM_NODE_MAJOR} or newer (this is ${process.version}); run \`npm ci\` or install it`,
    );
    process.exit(1);
  }
  const child = spawn(node, [process.argv[1], ...process.argv.slice(2)], {
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(signal, () => {
      // Ctrl-C in a terminal reaches the child as well, and a second one would cut its orderly end short.
      if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal);
    });
  }
  child.on('exit', (code, signal) => process.exit(signal ? 1 : (code ?? 1)));
}
