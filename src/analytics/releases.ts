/**
 * Query auditing over time: what counts have been shown of other bases, so that no two of them differ by fewer than {@link FEWEST} people. An
 * answer that was given once is given again, whatever was asked since.
 *
 * Bases are held against each other where they rest on the same knowledge, or both on knowledge as it was released (a month, or
 * `anonymized.releaseEvery`). What is true at the moment of asking comes first: it is never hidden for the sake of another basis.
 */
import type pg from 'pg';
import { RELEASES } from '../../projections/anonymized/tables.js';
import { inTransaction } from '../database/database.js';
import { isAcyclic } from './families.js';
import { FEWEST } from './snapshots.js';
import type { Earlier, ShownTable } from './suppression.js';

export interface AnsweredTable {
  readonly basis: string;
  /** Names of the dimensions, joined. */
  readonly dimensions: string;
  readonly answer: ShownTable;
}

const BETWEEN = '&';
/** In front of the dimensions of a question that was answered. Kept once for all bases, as of this one, which none is. */
const ASKED = 'asked ';
const EVERY_BASIS = '';

export function tableName(dimensions: readonly string[]): string {
  return [...dimensions].sort().join(BETWEEN);
}

const ERASURES = '|erasures ';

/** Name of a basis as it stands after so many erasures: each takes people out of what was shown of it before. */
export function basisName(point: string, erasures: string): string {
  return erasures === '0' ? point : point + ERASURES + erasures;
}

function pointOf(basis: string): string {
  return basis.split(ERASURES, 1)[0] as string;
}

/** Any number, fixed: answers about different bases are decided one after another. */
const RELEASE_LOCK = 7_261_024;

export class Releases {
  /** @param pool connections of the hub: the analyst's role has no right on what was shown */
  constructor(private readonly pool: pg.Pool) {}

  /**
   * Decides an answer beside all that have been given, and keeps it.
   * @returns undefined where the question would close a circle with others that were answered (families.ts), whatever their bases: what has not changed
   * between two bases is known of one from the other
   */
  decide<T>(
    { basis, question, audit }: DecisionTerms,
    work: (earlier?: Earlier) => Decided<T>,
  ): Promise<T | undefined> {
    return inTransaction(this.pool, async (client) => {
      await client.query('select pg_advisory_xact_lock($1)', [RELEASE_LOCK]);
      const { rows: asked } = await client.query<{ dimensions: string }>(
        `select dimensions from ${RELEASES} where basis = $1 and starts_with(dimensions, $2)`,
        [EVERY_BASIS, ASKED],
      );
      const name = ASKED + tableName(question);
      const answeredBefore = asked.some(({ dimensions }) => dimensions === name);
      const answeredTables = asked.map(({ dimensions }) => dimensions.slice(ASKED.length).split(BETWEEN));
      if (!answeredBefore && !isAcyclic([...answeredTables, question])) return undefined;
      const { value, answered, listed } = work(
        audit === undefined ? undefined : await this.earlier(client, basis, audit),
      );
      const keep = (knowledge: string, of: string, dimensions: string, answer: unknown): Promise<unknown> =>
        client.query(
          `insert into ${RELEASES} (knowledge, basis, dimensions, answer) values ($1, $2, $3, $4) on conflict do nothing`,
          [knowledge, of, dimensions, JSON.stringify(answer)],
        );
      if (audit !== undefined)
        for (const { dimensions, answer } of answered) await keep(audit.knowledge, basis, dimensions, answer);
      // A table that is not listed shows nothing that others within it would be safe beside.
      if (listed && question.length > 0 && !answeredBefore) await keep('', EVERY_BASIS, name, {});
      return value;
    });
  }

  private async earlier(client: pg.PoolClient, basis: string, { knowledge, names, present }: Audit): Promise<Earlier> {
    const { rows } = await client.query<AnsweredTable>(
      `select basis, dimensions, answer from ${RELEASES} where knowledge = $1 and dimensions = any($2::text[])`,
      [knowledge, names],
    );
    return earlierOf(basis, [...rows, ...present]);
  }
}

export interface DecisionTerms {
  readonly basis: string;
  /** Dimensions asked by. */
  readonly question: readonly string[];
  /** Absent for what is true at the moment of asking: it is not held against other bases. */
  readonly audit?: Audit;
}

export interface Audit {
  /** Bases of the same are held against each other. */
  readonly knowledge: string;
  /** Of every table that the answer shows or protects. */
  readonly names: readonly string[];
  /** What is shown at the moment of asking on the same knowledge, which counts as given. */
  readonly present: readonly AnsweredTable[];
}

export interface Decided<T> {
  readonly value: T;
  readonly answered: readonly Omit<AnsweredTable, 'basis'>[];
  /** Whether the cells are listed. */
  readonly listed: boolean;
}

function earlierOf(basis: string, answers: readonly AnsweredTable[]): Earlier {
  const own = new Map<string, ShownTable>();
  const before = new Map<string, ShownTable[]>();
  const others = new Map<string, ShownTable[]>();
  const add = (map: Map<string, ShownTable[]>, { dimensions, answer }: AnsweredTable): void => {
    map.set(dimensions, [...(map.get(dimensions) ?? []), answer]);
  };
  for (const answered of answers) {
    if (answered.basis === basis) own.set(answered.dimensions, answered.answer);
    else add(others, answered);
    if (answered.basis !== basis && pointOf(answered.basis) === pointOf(basis)) add(before, answered);
  }
  return {
    recall: (dimensions) => own.get(tableName(dimensions)),
    hidden: (dimensions) => {
      const answers = before.get(tableName(dimensions)) ?? [];
      return { withheld: answers.some(({ withheld }) => withheld), ids: answers.flatMap(({ hidden }) => hidden) };
    },
    narrows: (dimensions, id, count) =>
      (others.get(tableName(dimensions)) ?? []).some(({ shown }) => {
        const apart = Math.abs(count - (shown[id] ?? count));
        return apart > 0 && apart < FEWEST;
      }),
  };
}
