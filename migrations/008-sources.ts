/** Sources as they stand, for every process to look up; and the answers of changes that were asked for with an idempotency key. */
import type { MigrationInterface, QueryRunner } from 'typeorm';

export class Sources1763700008000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    // Derived from the log's source.* events: the last one of each source's stream.
    await runner.query(`
      create table hub.source (
        id text primary key,
        version int not null,
        change bigint not null,
        position bigint not null,
        recorded_at timestamptz not null,
        settings jsonb not null
      )`);
    await runner.query(
      `comment on column hub.source.change is 'number of the change over all sources: whoever has seen n reads what is above n'`,
    );
    await runner.query(`create index source_change on hub.source (change)`);
    // One row: its lock numbers the changes in the order in which they become visible.
    await runner.query(`
      create table hub.source_progress (
        one boolean primary key default true check (one),
        change bigint not null,
        position bigint not null
      )`);
    await runner.query(
      `comment on column hub.source_progress.position is 'up to this position of the log every source.* event stands in hub.source'`,
    );
    // A log that PostgreSQL has kept so far holds no such event.
    await runner.query(`insert into hub.source_progress (change, position) select 0, head from log.writer`);

    // What the ingest role measures; numbers since it started, written when they change.
    await runner.query(`
      create table hub.source_activity (
        id text primary key,
        updated_at timestamptz not null,
        activity jsonb not null
      ) with (fillfactor = 50)`);

    // arguments: keyed hash; the same key with other arguments is another change and is refused.
    await runner.query(`
      create table hub.mutation (
        id uuid primary key,
        operation text not null,
        arguments uuid not null,
        requested_by text not null,
        made_at timestamptz not null default clock_timestamp(),
        answer jsonb not null
      )`);
    await runner.query(
      `comment on column hub.mutation.id is 'keyed hash of operation and idempotency key; events that the change made derive their ids from it'`,
    );
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop table hub.mutation, hub.source_activity, hub.source_progress, hub.source`);
  }
}
