import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Large bodies, versions of the key-encryption key, erasures, restores, and what the writer tells about itself. */
export class Vault1763700007000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    // A row stands here before its blob is written. fence: last log.fence of the writer that reserved it; position: the event that names it.
    await runner.query(`
      create table hub.blob (
        hash bytea primary key,
        length bigint not null,
        fence bigint not null,
        reserved_at timestamptz not null default clock_timestamp(),
        position bigint
      )`);
    await runner.query(`create index blob_unnamed on hub.blob (fence) where position is null`);

    // Versions of the key-encryption key by the names that providers give them. What wraps must be active at the moment of the insert.
    await runner.query(`
      create table sealing.kek (
        kek_id text primary key,
        state text not null check (state in ('active', 'retiring', 'retired')),
        since timestamptz not null default clock_timestamp()
      )`);
    await runner.query(`create unique index kek_active on sealing.kek (state) where state = 'active'`);
    await runner.query(`
      insert into sealing.kek (kek_id, state)
      select kek_id, 'active' from sealing.secret where name = 'pepper'`);
    await runner.query(`
      insert into sealing.kek (kek_id, state)
      select distinct kek_id, 'retiring' from sealing.data_key on conflict do nothing`);
    // done_to: data keys up to this id are rewrapped; a rotation that was cut short goes on behind it.
    await runner.query(`
      create table sealing.rotation (
        id uuid primary key,
        kek_id text not null,
        started_at timestamptz not null default clock_timestamp(),
        finished_at timestamptz,
        done_to uuid,
        rewrapped bigint not null default 0,
        total bigint not null,
        problem text
      )`);
    await runner.query(`create unique index rotation_under_way on sealing.rotation ((true)) where finished_at is null`);

    // The same list stands in a file at a second place, written first. epoch: how many erasures there were with this one.
    await runner.query(`
      create table sealing.erasure (
        epoch bigint primary key,
        at timestamptz not null,
        owners uuid[] not null
      )`);

    // Restores of this log from a backup: positions in (head, base] were given out by the hub that was lost, and never again.
    await runner.query(`
      create table log.restored (
        base bigint primary key,
        head bigint not null,
        mark timestamptz not null,
        at timestamptz not null
      )`);

    // One row, told by the writer every second while it runs; of no use after a crash, so it is not logged.
    await runner.query(`
      create unlogged table hub.log_statistics (
        one boolean primary key default true check (one),
        at timestamptz not null,
        figures jsonb not null
      )`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop table hub.blob, hub.log_statistics, log.restored`);
    await runner.query(`drop table sealing.kek, sealing.rotation, sealing.erasure`);
  }
}
