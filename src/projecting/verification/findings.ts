/** What verification found: every defect counted, the first of them named by position, record and patient. No content of a message is in any. */
import type { ClientBase } from 'pg';
import type { Position } from '../../log/event-log.js';

/**
 * `missing`: the log says it and the table does not; `extra`: the table has it and the log does not say it (a row doubled among them);
 * `changed`: both have it, with other content; `answer`: the rows may be right, what is answered from them is not.
 */
export type DefectKind = 'missing' | 'extra' | 'changed' | 'answer';

export interface Finding {
  readonly defect: DefectKind;
  /** Table without the build's number, or what was asked. */
  readonly table: string;
  /** Decimal. */
  readonly position?: string;
  readonly record?: string;
  readonly patient?: string;
  /** Names of columns or fields, never their values. */
  readonly fields?: readonly string[];
  /** Where two builds were compared: `serving` is the one that the log contradicts. */
  readonly build?: 'serving' | 'new';
}

/** Counts of one table. */
export interface TableCount {
  readonly table: string;
  /** Rows that the independent fold gives. */
  expected: bigint;
  /** Rows compared with them. */
  stored: bigint;
  missing: number;
  extra: number;
  changed: number;
}

/** Findings beyond so many are counted and not named. */
export const NAMED_FINDINGS = 100;

export class Findings {
  readonly named: Finding[] = [];
  private readonly counts = new Map<string, TableCount>();
  total = 0;

  /** The counts of a table, made with its first mention. */
  count(table: string): TableCount {
    let count = this.counts.get(table);
    if (count === undefined) {
      count = { table, expected: 0n, stored: 0n, missing: 0, extra: 0, changed: 0 };
      this.counts.set(table, count);
    }
    return count;
  }

  add(finding: Finding): void {
    this.total += 1;
    if (finding.defect !== 'answer') this.count(finding.table)[finding.defect] += 1;
    if (this.named.length < NAMED_FINDINGS) this.named.push(finding);
  }

  tables(): readonly TableCount[] {
    return [...this.counts.values()];
  }
}

/** One row as verification compares it: by key, then column by column. */
export interface ComparedRow {
  readonly position?: Position;
  readonly record?: string;
  readonly patient?: string;
  readonly columns: Readonly<Record<string, unknown>>;
}

/**
 * Holds the rows of a table against what the fold gives, key by key.
 * @param expected by key; emptied of what was found
 */
export function compareRows(
  findings: Findings,
  table: string,
  expected: Map<string, ComparedRow>,
  stored: Iterable<readonly [key: string, row: ComparedRow]>,
): void {
  const count = findings.count(table);
  count.expected += BigInt(expected.size);
  for (const [key, row] of stored) {
    count.stored += 1n;
    const wanted = expected.get(key);
    if (wanted === undefined) {
      findings.add({ defect: 'extra', table, ...placeOf(row) });
      continue;
    }
    expected.delete(key);
    const fields = Object.keys(wanted.columns).filter((column) => !isSame(wanted.columns[column], row.columns[column]));
    if (fields.length > 0) findings.add({ defect: 'changed', table, ...placeOf(wanted), fields });
  }
  for (const row of expected.values()) findings.add({ defect: 'missing', table, ...placeOf(row) });
}

/** Two queries of the same columns: what a table should hold, and what it holds. */
export interface ComparedSets {
  readonly expected: string;
  readonly stored: string;
  /** Of their columns, those that say where a row stands: SQL that gives a bigint and two uuids. */
  readonly place: { readonly position?: string; readonly record?: string; readonly patient?: string };
}

/** Rows of a difference that are read at most; the counts of the table say how many there are on either side. */
const MOST_DIFFERENT_ROWS = 10_000;

/** Holds what two queries give against each other, as bags: counts both, and names what is missing and what is extra. */
export async function compareSets(
  client: ClientBase,
  findings: Findings,
  table: string,
  { expected, stored, place }: ComparedSets,
): Promise<void> {
  const { position = 'null::int8', record = 'null::uuid', patient = 'null::uuid' } = place;
  const { rows: sizes } = await client.query<{ expected: bigint; stored: bigint }>(
    `select (select count(*) from (${expected}) e) as expected, (select count(*) from (${stored}) s) as stored`,
  );
  const count = findings.count(table);
  count.expected += sizes[0]?.expected ?? 0n;
  count.stored += sizes[0]?.stored ?? 0n;
  for (const [defect, left, right] of [
    ['missing', expected, stored],
    ['extra', stored, expected],
  ] as const) {
    const { rows } = await client.query<Record<'position' | 'record' | 'patient', string | null>>(
      `select (${position})::text as position, ${record} as record, ${patient} as patient
         from ((${left}) except all (${right})) d order by ${position}, 2, 3 limit ${MOST_DIFFERENT_ROWS}`,
    );
    for (const row of rows) {
      findings.add({
        defect,
        table,
        ...(row.position === null ? {} : { position: row.position }),
        ...(row.record === null ? {} : { record: row.record }),
        ...(row.patient === null ? {} : { patient: row.patient }),
      });
    }
  }
}

function placeOf(row: ComparedRow): Pick<Finding, 'position' | 'record' | 'patient'> {
  return {
    ...(row.position === undefined ? {} : { position: row.position.toString() }),
    ...(row.record === undefined ? {} : { record: row.record }),
    ...(row.patient === undefined ? {} : { patient: row.patient }),
  };
}

/** Most values are short texts and numbers that are equal as they stand. */
function isSame(left: unknown, right: unknown): boolean {
  return left === right || canonical(left) === canonical(right);
}

/** JSON with the names of every object in order, so that what jsonb gives back compares with what was written; a bigint is the text of its digits. */
export function canonical(value: unknown): string {
  if (typeof value === 'bigint') return `"${value}"`;
  if (value === null || value === undefined) return 'null';
  if (typeof value !== 'object') return JSON.stringify(value);
  if ('toJSON' in value) return canonical((value as { toJSON(): unknown }).toJSON());
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  const members: string[] = [];
  for (const name of Object.keys(value).sort()) {
    const member: unknown = value[name as keyof typeof value];
    if (member !== undefined) members.push(`${JSON.stringify(name)}:${canonical(member)}`);
  }
  return `{${members.join(',')}}`;
}
