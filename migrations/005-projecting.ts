import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * Operational state of the projection runtime. All of it can be made again from the log: parkings and decisions are events,
 * checkpoints start at 0 with empty tables.
 */
export class Projecting1763700005000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query('create schema if not exists hub');

    // One row per build of a projection: a set of tables whose physical names carry the build's number (`version`).
    await runner.query(`create table hub.projection (
      name text not null,
      version int not null,
      definition_version int not null,
      definition_hash text not null,
      log_id uuid not null,
      state text not null check (state in ('building', 'built', 'live', 'retired', 'failed', 'cancelled')),
      serving boolean not null default false,
      paused boolean not null default false,
      worker text not null default 'stopped' check (worker in ('running', 'paused', 'stopped')),
      last_error text,
      verify_wanted boolean not null default true,
      switch_wanted boolean not null default true,
      target bigint,
      started_at timestamptz not null default clock_timestamp(),
      finished_at timestamptz,
      verified boolean,
      report jsonb,
      requested_by uuid,
      primary key (name, version))`);
    // Readers resolve the serving build on every query; two of them must be impossible.
    await runner.query('create unique index projection_serving on hub.projection (name) where serving');
    // A rebuild request seen twice in the log's replay starts one rebuild.
    await runner.query(
      'create unique index projection_request on hub.projection (requested_by) where requested_by is not null',
    );

    await runner.query(`create table hub.checkpoint (
      projection text not null,
      version int not null,
      lane smallint not null,
      position bigint not null,
      recorded_at timestamptz,
      events bigint not null default 0,
      rate double precision not null default 0,
      updated_at timestamptz not null default clock_timestamp(),
      primary key (projection, version, lane)) with (fillfactor = 50)`);

    // scope: '*' where no projection can take the message (parked on the way in, or no mapping takes it), else the projection's name.
    await runner.query(`create table hub.dead_letter (
      message_id uuid not null,
      scope text not null,
      position bigint not null,
      source_record_id uuid,
      code text not null,
      path text,
      byte_offset bigint,
      attempt int not null,
      status text not null check (status in ('PARKED', 'CORRECTED', 'REPLAYED', 'DISCARDED')),
      parked_at bigint,
      released_at bigint,
      announced boolean not null default false,
      primary key (message_id, scope))`);
    await runner.query('create index dead_letter_position on hub.dead_letter (position)');
    await runner.query(
      'create index dead_letter_record on hub.dead_letter (source_record_id) where source_record_id is not null',
    );
    await runner.query('create index dead_letter_unannounced on hub.dead_letter (position) where not announced');

    await runner.query(`create table hub.waiting (
      projection text not null,
      message_id uuid not null,
      source_record_id uuid not null,
      position bigint not null,
      primary key (projection, message_id, source_record_id))`);
    // Decisions about projections that were carried out: a command repeated with its idempotency key finds itself here.
    await runner.query(`create table hub.projection_decision (
      event_id uuid primary key,
      position bigint not null,
      projection text not null,
      type text not null)`);

    await runner.query('create index waiting_record on hub.waiting (source_record_id, position)');
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(
      'drop table hub.projection_decision, hub.waiting, hub.dead_letter, hub.checkpoint, hub.projection',
    );
  }
}
