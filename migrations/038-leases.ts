import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Which process projects what (src/projecting/shares.ts). */
export class Leases1763700038000 implements MigrationInterface {
  name = 'Leases1763700038000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`create table hub.project_worker (
      id int generated always as identity primary key,
      seen_at timestamptz not null default clock_timestamp())`);
    await runner.query(`create table hub.lease (
      unit text primary key,
      holder int not null,
      expires_at timestamptz not null)`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('drop table hub.lease, hub.project_worker');
  }
}
