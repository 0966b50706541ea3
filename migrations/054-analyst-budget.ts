import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What analysts have spent of their privacy budgets, in thousandths of epsilon: once for each question of each basis. */
export class AnalystBudget1763700054000 implements MigrationInterface {
  name = 'AnalystBudget1763700054000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`create table hub.analyst_budget (
      analyst text not null,
      basis text not null,
      question text not null,
      cost bigint not null check (cost > 0),
      asked_at timestamptz not null default clock_timestamp(),
      primary key (analyst, basis, question))`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('drop table hub.analyst_budget');
  }
}
