/** Reads subjects at a basis from the views that the analyst's role may see. */
import type pg from 'pg';
import { foldThing, type FoldRow } from '../../projections/master/fold.js';
import type { SubjectState } from './disclosure.js';

/** Thrown while no build of the anonymized projection serves. */
export class NotProjectedError extends Error {
  readonly code = 'BEYOND_WATERMARK';
  constructor() {
    super('the anonymized projection has not been built yet');
  }
}

/** What was known, and of when, in the terms of the views. */
export interface SnapshotPoint {
  readonly known: { readonly number: string } | { readonly month: string };
  /** `now` counts what had begun when it was recorded, and plans from the first month that has begun since. */
  readonly valid: { readonly month: string; readonly now: boolean };
}

const FIELDS = ['favoriteColor', 'birthYear', 'sex', 'zip3', 'race'] as const;
type Field = (typeof FIELDS)[number];

interface PivotRow {
  subject: string;
  favoriteColor: string | null;
  birthYear: string | null;
  sex: string | null;
  zip3: string | null;
  race: string | null;
}

interface RetractedRow {
  subject: string;
  source: bigint;
  field: Field;
  op: number;
  value: string | null;
  valid_order: bigint;
  place: bigint;
}

const ASSERTS = 1;
const ENDS = 2;
const RETRACTS = 4;

export class SnapshotReader {
  /** @param pool connections under the role `anamnesis_analyst` */
  constructor(private readonly pool: pg.Pool) {}

  /** Number of the last event shown. @throws NotProjectedError */
  async head(): Promise<string> {
    return this.reading(async (client, version) => {
      const { rows } = await client.query<{ number: bigint }>(`select number from anonymized.head_v${version}`);
      return (rows[0]?.number ?? 0n).toString();
    });
  }

  /**
   * Everybody at a point.
   * @param year of the basis: age is it minus the year of birth
   * @throws NotProjectedError
   */
  async subjects(point: SnapshotPoint, year: number): Promise<SubjectState[]> {
    return this.reading(async (client, version) => {
      const values = ['number' in point.known ? point.known.number : point.known.month, point.valid.month];
      const known = 'number' in point.known ? within('number', 'bigint') : within('month', 'date');
      const valid = point.valid.now ? '(not planned or valid_month <= $2::date)' : 'valid_month <= $2::date';
      const visible = `select subject, source, field, op, value, valid_order, place from anonymized.fact_v${version} where ${known} and ${valid}`;
      const pivots = FIELDS.map(
        (field) => `max(value) filter (where field = '${field}' and op & ${ASSERTS} <> 0) as "${field}"`,
      );
      // At the moment of asking, somebody of whom nothing listed is known counts as well.
      const everybody = point.valid.now
        ? `select distinct subject from anonymized.subject_v${version} where ${known} and $2::date is not null`
        : 'select subject from top group by subject';
      const { rows } = await client.query<PivotRow>(
        `with visible as materialized (${visible}),
         retracted as (select distinct subject, field from visible where op & ${RETRACTS} <> 0),
         top as materialized (
           (select distinct on (subject, field) subject, field, op, value from visible v
             where not exists (select from retracted r where r.subject = v.subject and r.field = v.field)
             order by subject, field, place desc)
           union all select subject, field, 0, null from retracted
         ),
         everybody as (${everybody}),
         pivot as (select subject, ${pivots.join(', ')} from top group by subject)
         select e.subject, ${FIELDS.map((field) => `p."${field}"`).join(', ')} from everybody e left join pivot p on p.subject = e.subject`,
        values,
      );
      const { rows: retracted } = await client.query<RetractedRow>(
        `with visible as materialized (${visible})
         select v.* from visible v
          where exists (select from visible r where r.subject = v.subject and r.field = v.field and r.op & ${RETRACTS} <> 0)
          order by subject, field, source, place`,
        values,
      );
      return statesOf(rows, foldRetracted(retracted), year);
    });
  }

  /** One state of the tables for all statements of an answer; again from the start where a switch of builds has dropped the views. */
  private async reading<T>(work: (client: pg.PoolClient, version: number) => Promise<T>): Promise<T> {
    const client = await this.pool.connect();
    let broken: Error | undefined;
    try {
      await client.query('begin isolation level repeatable read read only');
      const { rows } = await client.query<{ version: number }>('select version from anonymized.serving');
      const [serving] = rows;
      if (serving === undefined) throw new NotProjectedError();
      const result = await work(client, serving.version);
      await client.query('commit');
      return result;
    } catch (error) {
      try {
        await client.query('rollback');
      } catch (failure) {
        broken = failure as Error;
      }
      // Before the projection's first installation there is not even the view.
      if ((error as { code?: string }).code === '42P01' || (error as { code?: string }).code === '3F000')
        throw new NotProjectedError();
      throw error;
    } finally {
      client.release(broken);
    }
  }
}

function within(axis: 'number' | 'month', type: string): string {
  return `known_${axis} <= $1::${type} and (ended_${axis} is null or ended_${axis} > $1::${type})`;
}

/** Fields with retractions, by the one fold there is: per source record, then the latest of them. */
function foldRetracted(rows: readonly RetractedRow[]): Map<string, string> {
  const slots = new Map<string, { readonly row: RetractedRow; readonly fold: FoldRow }[]>();
  for (const row of rows) {
    const key = `${row.subject}|${row.field}|${row.source}`;
    const slot = slots.get(key);
    const fold = { validFrom: row.valid_order.toString().padStart(20, '0'), pos: row.place, body: bodyOf(row) };
    if (slot === undefined) slots.set(key, [{ row, fold }]);
    else slot.push({ row, fold });
  }
  const standing = new Map<string, { place: bigint; value: string | undefined }>();
  for (const slot of slots.values()) {
    const version = foldThing(
      slot.map(({ fold }) => fold),
      { position: LAST_PLACE, validAt: '~' },
    ).get(ONLY);
    const first = slot[0]?.row;
    if (version === undefined || first === undefined) continue;
    const key = `${first.subject}|${first.field}`;
    const known = standing.get(key);
    if (known === undefined || known.place < version.row.pos) {
      standing.set(key, {
        place: version.row.pos,
        value: typeof version.value === 'string' ? version.value : undefined,
      });
    }
  }
  return new Map([...standing].flatMap(([key, { value }]) => (value === undefined ? [] : [[key, value] as const])));
}

const LAST_PLACE = 2n ** 62n;
/** A slot of one field. */
const ONLY = 'v';

function bodyOf({ op, value }: RetractedRow): FoldRow['body'] {
  return {
    ...((op & ASSERTS) !== 0 ? { a: { [ONLY]: value } } : {}),
    ...((op & ENDS) !== 0 ? { e: [ONLY] } : {}),
    ...((op & RETRACTS) !== 0 ? { r: '*' as const } : {}),
  };
}

function statesOf(rows: readonly PivotRow[], retracted: ReadonlyMap<string, string>, year: number): SubjectState[] {
  // Few values and many subjects: each value is kept once.
  const values = new Map<string, string>();
  const kept = (value: string | null | undefined): string | undefined => {
    if (value === null || value === undefined) return undefined;
    const known = values.get(value);
    if (known !== undefined) return known;
    values.set(value, value);
    return value;
  };
  return rows.map((row) => {
    const field = (name: Field): string | undefined => kept(row[name] ?? retracted.get(`${row.subject}|${name}`));
    const born = field('birthYear');
    const age = born === undefined ? undefined : year - Number(born);
    return {
      id: row.subject,
      favoriteColor: field('favoriteColor'),
      age: age === undefined || age < 0 ? undefined : age,
      sex: field('sex'),
      zip3: field('zip3'),
      race: field('race'),
    };
  });
}
