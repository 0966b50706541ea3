import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * Misspelt names are looked up in a table of their own. Builds of search that were made before have none: until the next build takes over, they answer
 * from an empty one, names as they are typed and by their beginning.
 */
export class SearchBeginnings1763700074000 implements MigrationInterface {
  name = 'SearchBeginnings1763700074000';

  async up(runner: QueryRunner): Promise<void> {
    for (const table of await this.tables(runner, 'document'))
      await runner.query(
        `create table if not exists search.${table.replace('document', 'beginning')} (beginning text primary key, keys text[])`,
      );
  }

  async down(runner: QueryRunner): Promise<void> {
    for (const table of await this.tables(runner, 'beginning')) await runner.query(`drop table search.${table}`);
  }

  private async tables(runner: QueryRunner, name: string): Promise<string[]> {
    const rows = (await runner.query(
      `select tablename as name from pg_tables where schemaname = 'search' and tablename ~ '^${name}_v[0-9]+$'`,
    )) as { name: string }[];
    return rows.map((row) => row.name);
  }
}
