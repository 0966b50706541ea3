/** Tables of local codes among the settings of a source: read from a file where one is named, and then part of the version. */
import { readFileSync } from 'node:fs';
import type { LocalCode } from '../../mapping/local-codes.js';
import { parseCsv } from '../../text/csv.js';

export interface SourceCodeTable {
  /** In the engineer's words: `Chemistry to LOINC, 2026-03`. */
  readonly name: string;
  readonly rows: readonly LocalCode[];
}

/** All tables of a source together, in characters of JSON: the settings are one event of the log. */
export const CODE_TABLES_MAX_CHARACTERS = 600_000;

const COLUMNS = ['system', 'code', 'toSystem', 'toCode', 'display'] as const;
const MOST_TEXT = 200;

/** What is wrong with a table, without what stands in it. */
export class CodeTableError extends Error {}

/**
 * Rows of a file: JSON (a list of objects) or CSV with a header line, both with the columns system, code, toSystem, toCode and, where wanted, display.
 * @throws CodeTableError saying which line, never what stands there
 */
export function readCodeTableFile(file: string): LocalCode[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8').replace(/^\uFEFF/, '');
  } catch {
    throw new CodeTableError('expected a file that can be read');
  }
  return /^\s*\[/.test(text) ? codeRows(parsed(text)) : rowsOfCsv(text);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw new CodeTableError('expected JSON: a list of rows');
  }
}

function rowsOfCsv(text: string): LocalCode[] {
  const [header = [], ...lines] = parseCsv(text);
  const columns = header.map((name) => name.trim());
  const missing = COLUMNS.find((name) => name !== 'display' && !columns.includes(name));
  if (missing !== undefined) throw new CodeTableError(`expected a column ${missing} in the first line`);
  const rows = lines
    .filter((fields) => fields.some((field) => field.trim() !== ''))
    .map((fields) => Object.fromEntries(columns.map((name, at) => [name, (fields[at] ?? '').trim()])));
  return codeRows(rows);
}

/** @throws CodeTableError */
export function codeRows(given: unknown): LocalCode[] {
  if (!Array.isArray(given)) throw new CodeTableError('expected a list of rows');
  const seen = new Set<string>();
  return given.map((row: unknown, index) => {
    const where = `row ${index + 1}`;
    if (row === null || typeof row !== 'object') throw new CodeTableError(`${where}: expected ${COLUMNS.join(', ')}`);
    const members = row as Readonly<Record<string, unknown>>;
    const unknown = Object.keys(members).find((name) => !(COLUMNS as readonly string[]).includes(name));
    if (unknown !== undefined) throw new CodeTableError(`${where}: expected only ${COLUMNS.join(', ')}`);
    const [system, code, toSystem, toCode, display] = COLUMNS.map((name) => {
      const value = members[name] ?? '';
      if (typeof value !== 'string' || value.length > MOST_TEXT)
        throw new CodeTableError(`${where}: expected texts of at most ${MOST_TEXT} characters`);
      return value;
    }) as [string, string, string, string, string];
    if (code === '' || toSystem === '' || toCode === '')
      throw new CodeTableError(`${where}: expected code, toSystem and toCode`);
    const key = `${system}|${code}`;
    if (seen.has(key)) throw new CodeTableError(`${where}: the same code stands there before`);
    seen.add(key);
    return { system, code, toSystem, toCode, ...(display === '' ? {} : { display }) };
  });
}
