import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Wrapped secrets. One data key per owner, for ever: a destroyed one stays as a row without its key. */
export class Sealing1763700002000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`create schema sealing`);
    await runner.query(`
      create table sealing.secret (
        name text primary key,
        wrapped bytea not null,
        kek_id text not null
      )`);
    // The unique key on the owner is what lets two processes make "the same" key at once and end up with one.
    await runner.query(`
      create table sealing.data_key (
        key_id uuid primary key,
        owner_id uuid not null unique,
        wrapped bytea,
        kek_id text not null,
        destroyed_at timestamptz,
        check ((wrapped is null) = (destroyed_at is not null))
      )`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop schema sealing cascade`);
  }
}
