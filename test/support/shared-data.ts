/** The data beside the repository, where it is there. Tests that need it are skipped with a notice where it is not. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';

const root = process.env['ANAMNESIS_SHARED_DATA'] ?? path.resolve(import.meta.dirname, '../../../shared/data');

export interface DataFile {
  /** Relative to the data folder. */
  readonly name: string;
  readonly bytes: Buffer;
}

/** The folder, or undefined (with a notice on the console) where it is absent. */
export function sharedData(): string | undefined {
  if (existsSync(root)) return root;
  console.warn('skipped: the shared data folder is absent (set ANAMNESIS_SHARED_DATA to test with it)');
  return undefined;
}

/** Every file under a part of the data folder whose name ends so, in order of name. */
export function sharedFiles(part: string, endings: readonly string[]): DataFile[] {
  const files: DataFile[] = [];
  const visit = (folder: string): void => {
    for (const entry of readdirSync(folder).sort()) {
      const full = path.join(folder, entry);
      if (statSync(full).isDirectory()) visit(full);
      else if (endings.some((ending) => entry.endsWith(ending)))
        files.push({ name: path.relative(root, full), bytes: readFileSync(full) });
    }
  };
  visit(path.join(root, part));
  return files;
}
