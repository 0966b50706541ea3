/** Files that are on disk when a call resolves: for what must not be lost with the machine, and stands outside the database. */
import { open } from 'node:fs/promises';

/**
 * Writes a file and has the disk keep it; its name is durable once {@link syncFolder} was called for its folder.
 * @param flag as of `open`: `wx` refuses a file that is there (EEXIST), `w` replaces what it says
 * @throws what the file system says (NodeJS.ErrnoException)
 */
export async function writeDurably(
  file: string,
  content: string | Uint8Array,
  { flag, mode }: { readonly flag: 'w' | 'wx'; readonly mode: number },
): Promise<void> {
  const handle = await open(file, flag, mode);
  try {
    await handle.writeFile(content);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Makes the names in a folder durable; Windows has no such call and needs none. */
export async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
