import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Verifications and their reports, what a build cost and was made by, and the schema that was served last. All of it can be made again. */
export class Verification1763700019000 implements MigrationInterface {
  name = 'Verification1763700019000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`create table hub.verification (
      id uuid primary key,
      projection text not null,
      version int not null,
      definition_version int not null,
      reason text not null check (reason in ('asked', 'rebuild')),
      requested_by text not null,
      state text not null check (state in ('wanted', 'running', 'done', 'failed')),
      progress double precision not null default 0,
      wanted_at timestamptz not null default clock_timestamp(),
      finished_at timestamptz,
      position bigint,
      equal boolean,
      defects int,
      error text,
      report jsonb)`);
    // The last ones of a projection, and those that are still to be done.
    await runner.query('create index verification_projection on hub.verification (projection, wanted_at desc)');
    await runner.query(
      `create index verification_open on hub.verification (wanted_at) where state in ('wanted', 'running')`,
    );
    // Time spent on catching up and events carried: what the next rebuild is estimated by. Hashes of the code that a build was made by.
    await runner.query(`alter table hub.projection
      add column build_seconds double precision not null default 0,
      add column build_events bigint not null default 0,
      add column code_hash text,
      add column mapping_hash text`);
    await runner.query(`create table hub.served_schema (
      name text primary key,
      sdl text not null,
      since timestamptz not null default clock_timestamp())`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('drop table hub.served_schema, hub.verification');
    await runner.query(
      'alter table hub.projection drop column build_seconds, drop column build_events, drop column code_hash, drop column mapping_hash',
    );
  }
}
