import type { MigrationInterface, QueryRunner } from 'typeorm';

/** A log that is a copy which is not finished yet: nobody may take it for a whole one. */
export class LogCopy1763700014000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`alter table log.identity add column copying boolean not null default false`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`alter table log.identity drop column copying`);
  }
}
