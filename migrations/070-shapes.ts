import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Builds of the master store that are there get the column that tells the shape of a row; 0 says that it was not told (projections/master/shape.ts). */
export class Shapes1763700070000 implements MigrationInterface {
  name = 'Shapes1763700070000';

  async up(runner: QueryRunner): Promise<void> {
    for (const table of await facts(runner))
      await runner.query(`alter table ${table} add column if not exists shape int8 not null default 0`);
  }

  async down(runner: QueryRunner): Promise<void> {
    for (const table of await facts(runner)) await runner.query(`alter table ${table} drop column if exists shape`);
  }
}

/** Made by the projection, not by a migration: in a new database there is none yet. */
async function facts(runner: QueryRunner): Promise<string[]> {
  const rows = (await runner.query(
    `select format('%I.%I', n.nspname, c.relname) as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where n.nspname = 'master' and c.relname ~ '^fact_v[0-9]+$' and c.relkind = 'p'`,
  )) as { name: string }[];
  return rows.map(({ name }) => name);
}
