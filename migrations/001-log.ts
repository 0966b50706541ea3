import type { MigrationInterface, QueryRunner } from 'typeorm';

/** The event log on PostgreSQL, and what the writer publishes beside it. */
export class Log1763700001000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`create schema log`);
    await runner.query(`create schema if not exists hub`);
    await runner.query(
      `create table log.identity (one boolean primary key default true check (one), id uuid not null)`,
    );
    await runner.query(`insert into log.identity (id) values (gen_random_uuid())`);

    // One row. Its lock serialises appends, so that no position becomes visible below one that was read; its epoch fences.
    await runner.query(`
      create table log.writer (
        one boolean primary key default true check (one),
        epoch bigint not null,
        head bigint not null,
        events bigint not null
      )`);
    await runner.query(`insert into log.writer (epoch, head, events) values (0, 0, 0)`);

    // A row stands here exactly for the streams that have events; room is left so that a new revision stays on its page.
    await runner.query(`
      create table log.stream (
        id integer primary key generated always as identity,
        name text not null unique,
        revision bigint not null
      ) with (fillfactor = 50)`);

    // batch: first position of the append round; page ends in subscriptions are found by it.
    await runner.query(`
      create table log.event (
        position bigint not null,
        batch bigint not null,
        stream_id integer not null,
        revision bigint not null,
        id uuid not null,
        type text not null,
        metadata bytea not null,
        data bytea not null,
        primary key (position)
      ) partition by range (position)`);
    // Sealed bodies do not compress; only what does not fit a page at all goes out of line.
    await runner.query(`alter table log.event alter column data set storage external`);
    // Reads of one stream in its order, and the tail of a stream when an append is repeated.
    await runner.query(`create index event_stream on log.event (stream_id, position)`);
    // Takes what no partition was made for in time: an append never stops at a boundary.
    await runner.query(
      `create table log.event_default partition of log.event default with (toast_tuple_target = 8160)`,
    );

    // writer: who may publish; a new one claims the row, so a mark of the one it replaced can never come after its own.
    await runner.query(`
      create table hub.clock_mark (
        one boolean primary key default true check (one),
        writer uuid not null,
        at timestamptz not null,
        head bigint not null
      )`);

    // A request is claimed at most once and never after it expired: one that was given up is not carried out later.
    await runner.query(`
      create table hub.writer_request (
        id uuid primary key,
        kind text not null,
        payload jsonb not null,
        made_at timestamptz not null default clock_timestamp(),
        expires_at timestamptz not null,
        claimed_at timestamptz,
        claimed_by uuid,
        answered_at timestamptz,
        answer jsonb,
        problem jsonb
      )`);
    await runner.query(`create index writer_request_open on hub.writer_request (made_at) where claimed_at is null`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop table hub.writer_request, hub.clock_mark`);
    await runner.query(`drop schema log cascade`);
  }
}
