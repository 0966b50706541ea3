/**
 * Few rows as one INSERT with an ON CONFLICT clause, in place of a COPY into a temporary table and an INSERT from it: that costs the server
 * some 600 µs a batch whatever its size (the truncation at every commit most of all), this about 160.
 */
import type { CopyType } from './binary-copy.js';
import type { PipelineStep } from './pipeline.js';

/** From about so many rows on the temporary table is the cheaper way. */
export const FEW_ROWS = 64;

export interface FewRows {
  readonly table: string;
  readonly columns: readonly string[];
  readonly types: readonly CopyType[];
  readonly rows: readonly (readonly unknown[])[];
}

/** @returns undefined for more than {@link FEW_ROWS}, and for a type of which PostgreSQL unfolds no lists */
export function fewRowsStep(made: FewRows, clause: string): PipelineStep | undefined {
  const { table, rows, types } = made;
  if (rows.length > FEW_ROWS || types.includes('text[]')) return undefined;
  const columns = made.columns.join(', ');
  const lists = types.map((type, index) => `$${index + 1}::${type}[]`).join(', ');
  return {
    text: `insert into ${table} (${columns}) select * from unnest(${lists}) ${clause}`,
    values: types.map((type, index) => listText(type, rows, index)),
    prepared: true,
  };
}

/** One column as PostgreSQL reads an array (manual, "Array Input and Output Syntax"). */
function listText(type: CopyType, rows: readonly (readonly unknown[])[], index: number): string {
  let text = '{';
  for (const [at, row] of rows.entries()) {
    if (at > 0) text += ',';
    const value = row[index];
    text += value === null || value === undefined ? 'NULL' : `"${elementText(type, value).replace(/["\\]/g, '\\$&')}"`;
  }
  return `${text}}`;
}

function elementText(type: CopyType, value: unknown): string {
  switch (type) {
    case 'jsonb':
      return typeof value === 'string' ? value : JSON.stringify(value);
    case 'bytea':
      return `\\x${Buffer.from(value as Uint8Array).toString('hex')}`;
    case 'tsvector':
      // Manual, "tsvector": quotes and backslashes within a quoted lexeme are doubled.
      return (value as readonly string[]).map((lexeme) => `'${lexeme.replace(/['\\]/g, '$&$&')}'`).join(' ');
    default:
      return String(value);
  }
}
