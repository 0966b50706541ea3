/**
 * The erasure list: whose keys were destroyed, in a file at the second place (the folder of the tree heads), written before anything is
 * destroyed and replayed before a hub serves. So a database that is restored from a backup of before an erasure revives nobody. It names
 * owners of data keys, which are random ids: it says nothing about anybody.
 */
import { hash } from 'node:crypto';
import { mkdir, open, readFile } from 'node:fs/promises';
import path from 'node:path';
import { syncFolder } from '../files/durable.js';
import type { Instant } from '../time/valid-time.js';

export interface Erasure {
  /** How many erasures there were with this one. */
  readonly epoch: bigint;
  readonly at: Instant;
  /** Owners of data keys: source records, and messages with a key of their own. Lower-case UUIDs. */
  readonly owners: readonly string[];
}

/** Thrown where the list cannot be read or written: nothing is erased, and nothing is served. `code` is stable: ERASURE_LIST. */
export class ErasureListError extends Error {
  readonly code = 'ERASURE_LIST';
}

export const ERASURE_FILE = 'erasures.jsonl';
const CHECK_CHARACTERS = 22;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** One line for each erasure: JSON, and a check that chains it to the line before, so that a line that is lost or changed is noticed. */
export class ErasureList {
  private readonly file: string;

  constructor(private readonly folder: string) {
    this.file = path.join(folder, ERASURE_FILE);
  }

  /**
   * All erasures, earliest first. A last line without its end was being written when the machine stopped: that erasure was never begun.
   * @throws ErasureListError where a line is not what was written
   */
  async read(): Promise<Erasure[]> {
    return (await this.load()).erasures;
  }

  /** Adds an erasure; on disk when this resolves. @throws ErasureListError */
  async append(erasure: Erasure): Promise<void> {
    const { erasures, length, check } = await this.load();
    const last = erasures.at(-1)?.epoch ?? 0n;
    if (erasure.epoch <= last) throw new ErasureListError(`the erasure list is at ${last} already`);
    try {
      await mkdir(this.folder, { recursive: true, mode: 0o700 });
      const handle = await open(this.file, 'a+', 0o600);
      try {
        // Half a line of an earlier attempt would make this one unreadable.
        await handle.truncate(length);
        await handle.appendFile(`${lineOf(erasure, check)}\n`);
        await handle.sync();
      } finally {
        await handle.close();
      }
      await syncFolder(this.folder);
    } catch (error) {
      throw new ErasureListError(`the erasure list in ${this.folder} cannot be written (${codeOf(error)})`, {
        cause: error,
      });
    }
  }

  /** Length is that of the whole lines, in bytes. */
  private async load(): Promise<{ erasures: Erasure[]; length: number; check: string }> {
    let text: string;
    try {
      text = await readFile(this.file, 'utf8');
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return { erasures: [], length: 0, check: '' };
      throw new ErasureListError(`the erasure list in ${this.folder} cannot be read (${codeOf(error)})`, {
        cause: error,
      });
    }
    const whole = text.slice(0, text.lastIndexOf('\n') + 1);
    const erasures: Erasure[] = [];
    let check = '';
    for (const [index, line] of whole.split('\n').slice(0, -1).entries()) {
      const erasure = parseLine(line);
      if (erasure === undefined || line !== lineOf(erasure, check)) {
        throw new ErasureListError(`line ${index + 1} of the erasure list in ${this.folder} is not as it was written`);
      }
      erasures.push(erasure);
      check = line.slice(-CHECK_CHARACTERS);
    }
    return { erasures, length: Buffer.byteLength(whole), check };
  }
}

function lineOf({ epoch, at, owners }: Erasure, before: string): string {
  const json = JSON.stringify({ epoch: epoch.toString(), at, owners });
  return `${json} ${hash('sha256', `${before}\n${json}`, 'base64url').slice(0, CHECK_CHARACTERS)}`;
}

function parseLine(line: string): Erasure | undefined {
  try {
    const value = JSON.parse(line.slice(0, -CHECK_CHARACTERS - 1)) as { epoch: string; at: string; owners: string[] };
    if (!/^\d{1,18}$/.test(value.epoch) || !value.owners.every((owner) => UUID.test(owner))) return undefined;
    return { epoch: BigInt(value.epoch), at: value.at, owners: value.owners };
  } catch {
    // Said by the caller, with the number of the line.
    return undefined;
  }
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? 'unknown';
}
