/** Files that come with the program, found wherever its code runs from: the sources, what is built of them, or the bundle. */
import { existsSync } from 'node:fs';
import path from 'node:path';

/**
 * The nearest path of that name at or above the folder of this code, as an absolute path.
 * @throws Error where none exists: the installation is not whole
 */
export function above(name: string): string {
  for (let folder = import.meta.dirname; ; folder = path.dirname(folder)) {
    const found = path.join(folder, name);
    if (existsSync(found)) return found;
    if (path.dirname(folder) === folder) throw new Error(`${name} is missing: this installation is not whole`);
  }
}
