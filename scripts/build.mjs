// Compiles src, projections, migrations, bench and the runners in test to dist with swc (types are checked by `npm run typecheck`),
// and copies the schemas beside them. Files that have not changed since they were compiled are left as they are.
import { transformFile } from '@swc/core';
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
console.log(`built ${compiled} of ${wanted.size / 2} files`);
