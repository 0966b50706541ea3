import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * What a build of a projection held back once, and at which position it let it go: whether a chart was behind at a basis stays the same answer once
 * the line has moved on. Of what was let go before, nothing is known until the build is made again.
 */
export class LetGo1763700076000 implements MigrationInterface {
  name = 'LetGo1763700076000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`create table hub.let_go (
      projection text not null,
      version int not null,
      source_record_id uuid not null,
      position bigint not null,
      until bigint not null,
      primary key (projection, version, source_record_id, position))`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('drop table hub.let_go');
  }
}
