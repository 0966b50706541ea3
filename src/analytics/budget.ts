/** Privacy budgets: what each analyst has spent on counts with noise. Kept in the database, so that a hub that is started anew forgets nothing. */
import type pg from 'pg';
import { inTransaction } from '../database/database.js';
import { THOUSANDTHS } from './noise.js';

/** Counts with noise; both in thousandths. */
export interface Privacy {
  /** Of each table of counts. */
  readonly epsilon: number;
  /** Of each analyst, for good. */
  readonly budget: number;
}

/** A question that costs more than is left. Nothing was spent. */
export class PrivacyBudgetError extends Error {
  readonly code = 'PRIVACY_BUDGET_SPENT';
  constructor(
    /** In epsilon. */
    readonly cost: number,
    readonly left: number,
  ) {
    super('the privacy budget does not reach for this question; what was answered before is answered again');
  }
}

/** Any number, fixed: the first half of the key of an analyst's lock. */
const BUDGET_LOCK = 7_261_025;

export class Budgets {
  constructor(
    private readonly pool: pg.Pool,
    readonly privacy: Privacy,
  ) {}

  /**
   * Spends the cost of a question, once for each basis.
   * @param analyst name of who asks
   * @param cost in thousandths
   * @returns what is left, in epsilon
   * @throws PrivacyBudgetError
   */
  spend(analyst: string, basis: string, question: string, cost: number): Promise<number> {
    return inTransaction(this.pool, async (client) => {
      // What is answered must be spent, also after a crash.
      await client.query('set local synchronous_commit = on');
      await client.query('select pg_advisory_xact_lock($1, hashtext($2))', [BUDGET_LOCK, analyst]);
      const { rows } = await client.query<{ spent: string; paid: boolean }>(
        `select coalesce(sum(cost), 0)::text as spent, coalesce(bool_or(basis = $2 and question = $3), false) as paid
           from hub.analyst_budget where analyst = $1`,
        [analyst, basis, question],
      );
      const [row] = rows as [{ spent: string; paid: boolean }];
      const left = this.privacy.budget - Number(row.spent);
      if (row.paid) return left / THOUSANDTHS;
      if (cost > left) throw new PrivacyBudgetError(cost / THOUSANDTHS, left / THOUSANDTHS);
      await client.query('insert into hub.analyst_budget (analyst, basis, question, cost) values ($1, $2, $3, $4)', [
        analyst,
        basis,
        question,
        cost,
      ]);
      return (left - cost) / THOUSANDTHS;
    });
  }
}
