import type { MigrationInterface, QueryRunner } from 'typeorm';

const RELEASES = 'anonymized_private.release';

/** Which tables of counts were answered is kept once for all bases: tables in a circle give a count away whatever bases they are of. */
export class AskedTables1763700069000 implements MigrationInterface {
  name = 'AskedTables1763700069000';

  async up(runner: QueryRunner): Promise<void> {
    // Made by the projection, not by a migration: in a new database it is not there yet.
    const [there] = (await runner.query(`select to_regclass('${RELEASES}') is not null as there`)) as {
      there: boolean;
    }[];
    if (there?.there !== true) return;
    await runner.query(`insert into ${RELEASES} (knowledge, basis, dimensions, answer)
      select distinct '', '', dimensions, '{}'::jsonb from ${RELEASES} where starts_with(dimensions, 'asked ') on conflict do nothing`);
    await runner.query(`delete from ${RELEASES} where starts_with(dimensions, 'asked ') and basis <> ''`);
  }

  /** Of which basis each was is not known any more; one that no basis has is held against none. */
  async down(): Promise<void> {}
}
