// Compiles src, projections, migrations, bench and the runners in test to dist with swc (types are checked by `npm run typecheck`),
// and copies the schemas beside them.
import { transformFile } from '@swc/core';
import { cp, mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';

const root = path.resolve(import.meta.dirname, '..');
const out = path.join(root, 'dist');

async function* typescriptFiles(folder) {
  for (const entry of await readdir(path.join(root, folder), { withFileTypes: true })) {
    const relative = path.join(folder, entry.name);
    if (entry.isDirectory()) yield* typescriptFiles(relative);
    else if (entry.name.endsWith('.ts') && !entry.name.endsWith('.test.ts') && !entry.name.endsWith('.d.ts'))
      yield relative;
  }
}

await rm(out, { recursive: true, force: true });
let count = 0;
for (const folder of ['src', 'projections', 'migrations', 'bench', 'test']) {
  for await (const file of typescriptFiles(folder)) {
    const { code, map } = await transformFile(path.join(root, file), { swcrc: true, sourceMaps: true });
    const target = path.join(out, file.replace(/\.ts$/, '.js'));
    await mkdir(path.dirname(target), { recursive: true });
    await writeFile(target, `${code}\n//# sourceMappingURL=${path.basename(target)}.map\n`);
    if (map) await writeFile(`${target}.map`, map);
    count += 1;
  }
}
await cp(path.join(root, 'schema'), path.join(out, 'schema'), { recursive: true });
console.log(`built ${count} files`);
