/**
 * Rows that a table holds already, of tables that keep the first row of a key (`onConflict: 'ignore'`): persons, visits and codes say the same in message
 * after message, and what is known to be there is neither encoded nor sent again. Only what was committed is known; it is a saving and no more, in
 * bounded memory. Rows of such tables go only with their source record (an erasure), of which nothing is said afterwards.
 */
import type { TableRows } from './projection.js';

type Row = readonly unknown[];

/** Keys that are kept of each table at least, twice as many at most; about 100 bytes each. */
const KEPT_KEYS = 16_384;

class Keys {
  /** What was written or met lately, and what was before that. */
  private young = new Set<string>();
  private old = new Set<string>();

  has(key: string): boolean {
    if (this.young.has(key)) return true;
    if (!this.old.has(key)) return false;
    this.add(key);
    return true;
  }

  add(key: string): void {
    if (this.young.size >= KEPT_KEYS) {
      this.old = this.young;
      this.young = new Set();
    }
    this.young.add(key);
  }
}

/** Belongs to one connection: what it committed without waiting for the disk may be gone when that is lost. */
export class KnownRows {
  private readonly tables = new Map<string, Keys>();
  /** Of the batch in hand. */
  private pending: { readonly keys: Keys; readonly key: string }[] = [];

  /** A batch begins: what the last one brought and was not committed is forgotten. */
  begin(): void {
    this.pending = [];
  }

  /** The rows of a table that are not known to be there. */
  missing({ table, columns, key, rows }: TableRows & { readonly key: readonly string[] }): readonly Row[] {
    let keys = this.tables.get(table);
    if (keys === undefined) this.tables.set(table, (keys = new Keys()));
    const places = key.map((column) => columns.indexOf(column));
    const found: Row[] = [];
    for (const row of rows) {
      const text = keyOf(row, places);
      if (keys.has(text)) continue;
      found.push(row);
      this.pending.push({ keys, key: text });
    }
    return found;
  }

  committed(): void {
    for (const { keys, key } of this.pending) keys.add(key);
    this.pending = [];
  }
}

/** PostgreSQL's text holds no U+0000, so no two keys are the same text. */
function keyOf(row: Row, places: readonly number[]): string {
  let text = '';
  for (const place of places) text += `${String(row[place])}\0`;
  return text;
}
