import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Builds of search that were made before keep their index, whose list of rows written last was long enough to make every question slow. */
export class SearchPending1763700059000 implements MigrationInterface {
  name = 'SearchPending1763700059000';

  async up(runner: QueryRunner): Promise<void> {
    await this.eachIndex(runner, 'set (gin_pending_list_limit = 512)');
  }

  async down(runner: QueryRunner): Promise<void> {
    await this.eachIndex(runner, 'reset (gin_pending_list_limit)');
  }

  private async eachIndex(runner: QueryRunner, change: string): Promise<void> {
    const indexes = (await runner.query(
      `select format('%I.%I', schemaname, indexname) as name from pg_indexes where schemaname = 'search' and indexname like 'document\\_v%\\_gin'`,
    )) as { name: string }[];
    for (const { name } of indexes) await runner.query(`alter index ${name} ${change}`);
  }
}
