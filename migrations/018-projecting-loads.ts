import type { MigrationInterface, QueryRunner } from 'typeorm';

/** A build whose tables are being loaded and lack what only readers need. Builds under way were made with all of it. */
export class ProjectingLoads1763700018000 implements MigrationInterface {
  name = 'ProjectingLoads1763700018000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query('alter table hub.projection add column loading boolean not null default false');
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('alter table hub.projection drop column loading');
  }
}
