// Writes the tables of docs/mapping.md from the rules of the mapping (after `npm run build`).
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';

const root = path.resolve(import.meta.dirname, '..');
const { withTables } = await import(path.join(root, 'dist', 'src', 'mapping', 'documentation.js'));
const page = path.join(root, 'docs', 'mapping.md');
await writeFile(page, withTables(await readFile(page, 'utf8')));
