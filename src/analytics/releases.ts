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
import { FEWEST } from './snapshots.js';
import type { Earlier, ShownTable } from './suppression.js';

export interface AnsweredTable {
  readonly basis: string;
  /** Names of the dimensions, joined. */
  readonly dimensions: string;
  readonly answer: ShownTable;
}

export function tableName(dimensions: readonly string[]): string {
  return [...dimensions].sort().join('&');
}

/** Any number, fixed: answers about different bases are decided one after another. */
const RELEASE_LOCK = 7_261_024;

export class Releases {
  /** @param pool connections of the hub: the analyst's role has no right on what was shown */
  constructor(private readonly pool: pg.Pool) {}

  /**
   * Decides an answer beside all that have been given, and keeps it.
   * @param knowledge bases of the same are held against each other
   * @param names of every table that the answer shows or protects
   * @param present what is shown at the moment of asking on the same knowledge, which counts as given
   */
  decide<T>(
    { knowledge, basis, names, present }: DecisionTerms,
    work: (earlier: Earlier) => { readonly value: T; readonly answered: readonly Omit<AnsweredTable, 'basis'>[] },
  ): Promise<T> {
    return inTransaction(this.pool, async (client) => {
      await client.query('select pg_advisory_xact_lock($1)', [RELEASE_LOCK]);
      const { rows } = await client.query<AnsweredTable>(
        `select basis, dimensions, answer from ${RELEASES} where knowledge = $1 and dimensions = any($2::text[])`,
        [knowledge, names],
      );
      const { value, answered } = work(earlierOf(basis, [...rows, ...present]));
      for (const { dimensions, answer } of answered) {
        await client.query(
          `insert into ${RELEASES} (knowledge, basis, dimensions, answer) values ($1, $2, $3, $4) on conflict do nothing`,
          [knowledge, basis, dimensions, JSON.stringify(answer)],
        );
      }
      return value;
    });
  }
}

export interface DecisionTerms {
  readonly knowledge: string;
  readonly basis: string;
  readonly names: readonly string[];
  readonly present: readonly AnsweredTable[];
}

function earlierOf(basis: string, answers: readonly AnsweredTable[]): Earlier {
  const own = new Map<string, ShownTable>();
  const others = new Map<string, ShownTable[]>();
  for (const { basis: of, dimensions, answer } of answers) {
    if (of === basis) own.set(dimensions, answer);
    else others.set(dimensions, [...(others.get(dimensions) ?? []), answer]);
  }
  return {
    recall: (dimensions) => own.get(tableName(dimensions)),
    narrows: (dimensions, id, count) =>
      (others.get(tableName(dimensions)) ?? []).some(({ shown }) => {
        const apart = Math.abs(count - (shown[id] ?? count));
        return apart > 0 && apart < FEWEST;
      }),
  };
}
