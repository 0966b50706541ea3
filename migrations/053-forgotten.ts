import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Up to which erasure the tables of a build are without the erased: what a key no longer opens must not outlast it in what was derived. */
export class Forgotten1763700053000 implements MigrationInterface {
  name = 'Forgotten1763700053000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`create table hub.forgotten (
      projection text not null,
      version int not null,
      epoch bigint not null default 0,
      position bigint not null default 0,
      settled bigint not null default 0,
      primary key (projection, version))`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('drop table hub.forgotten');
  }
}
