// npm run bench -- <name> [arguments]: runs dist/bench/<name>.js, prints its figures as a table and writes
// bench/results/<name>.json in the form that API.md §6 fixes.
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';

const root = path.resolve(import.meta.dirname, '..');
const built = path.join(root, 'dist', 'bench');
const [name, ...args] = process.argv.slice(2);

if (name === undefined || !/^[a-z-]+$/.test(name) || !existsSync(path.join(built, `${name}.js`))) {
  const files = existsSync(built) ? await readdir(built) : [];
  const names = files.filter((file) => file.endsWith('.js') && file !== 'support.js').map((file) => file.slice(0, -3));
  console.error(`usage: npm run bench -- <${names.join(' | ')}>`);
  process.exit(2);
}

const { run } = await import(path.join(built, `${name}.js`));
const measured = await run(args);

const figures = {};
for (const [figure, { values, unit, goal }] of Object.entries(measured)) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  figures[figure] = { min: round(sorted[0]), median: round(median), max: round(sorted.at(-1)), unit, goal };
}
const result = {
  bench: name,
  commit: commit(),
  machine: {
    cpu: os.cpus()[0]?.model ?? 'unknown',
    cores: os.availableParallelism(),
    memoryGb: Math.round(os.totalmem() / 2 ** 30),
    os: `${os.type()} ${os.release()} ${os.arch()}`,
    node: process.version,
  },
  runs: Math.max(...Object.values(measured).map(({ values }) => values.length)),
  figures,
};
await mkdir(path.join(root, 'bench', 'results'), { recursive: true });
await writeFile(path.join(root, 'bench', 'results', `${name}.json`), `${JSON.stringify(result, null, 2)}\n`);
console.table(figures);
process.exit(0);

function round(value) {
  return Number(value.toPrecision(4));
}

/** With `+` where files were changed since. */
function commit() {
  try {
    const git = (...command) => execFileSync('git', command, { cwd: root, encoding: 'utf8' }).trim();
    return (
      git('rev-parse', '--short', 'HEAD') + (git('status', '--porcelain', '--untracked-files=no') === '' ? '' : '+')
    );
  } catch {
    return 'unknown';
  }
}
