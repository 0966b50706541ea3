/** What the intake remembers of every message, so that one sent again is recognised and answered as the first time. */
import type { MigrationInterface, QueryRunner } from 'typeorm';

export class Inbound1763700004000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`create schema inbound`);
    // Everything here can be made again from the log: rows are written after the append, with synchronous_commit off.
    await runner.query(`
      create table inbound.message (
        event_id uuid primary key,
        duplicate_key uuid not null,
        position int8 not null,
        recorded_at timestamptz not null,
        status text not null check (status in ('accepted', 'conflict', 'parked', 'part')),
        answer text not null check (answer in ('AA', 'AE', 'AR')),
        patient_id uuid,
        duplicate_of uuid,
        problem jsonb,
        people jsonb,
        erased boolean not null default false
      )`);
    // Not unique: the same control id with other bytes is another message, kept beside the first.
    await runner.query(`create index message_duplicate_key on inbound.message (duplicate_key)`);
    await runner.query(`comment on column inbound.message.duplicate_key is
      'keyed hash of (source, MSH-3, MSH-4, control id), or of (source, bytes); of a part of a bundle its event id'`);
    await runner.query(`comment on column inbound.message.people is
      'FHIR: [[source record, patient], …] in the order in which the resource or bundle names them'`);
    await runner.query(`
      create table inbound.progress (
        one boolean primary key default true check (one),
        position int8 not null
      )`);
    await runner.query(
      `comment on table inbound.progress is 'up to this position of the log every message stands in inbound.message'`,
    );
    await runner.query(`insert into inbound.progress (position) values (0)`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop schema inbound cascade`);
  }
}
