import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * Identity: who a message is about. Every key is the first 128 bits of a keyed hash, kept as `uuid` because that is the smallest column
 * for 16 bytes. The primary keys on hashes are what makes a person exist once: claims are inserted `on conflict do nothing`.
 */
export class Identity1763700003000 implements MigrationInterface {
  name = 'Identity1763700003000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query('create schema if not exists identity');
    // `announced`: an event that carries the record's link to this patient is known to be in the log.
    await runner.query(`create table identity.source_record (
      key uuid primary key,
      id uuid not null unique,
      patient_id uuid not null,
      reason int2 not null,
      announced boolean not null
    )`);
    // A merge moves all records of a patient.
    await runner.query('create index source_record_patient on identity.source_record (patient_id)');
    // Other trusted identifiers of a person; the patient is that of the record that stated one first.
    await runner.query(`create table identity.identifier_key (key uuid primary key, record_id uuid not null)`);
    // Name + birth date, alone or with what tells apart. A contested key has a held record beside its first owner.
    await runner.query(
      `create table identity.person_key (key uuid primary key, record_id uuid not null, contested boolean not null)`,
    );
    // What contradicts is asked per patient, authority and type; the key answers that alone, however many records the patient has.
    await runner.query(`create table identity.evidence (
      patient_id uuid not null,
      scope uuid not null,
      kind int2 not null,
      value uuid not null,
      record_id uuid not null,
      primary key (patient_id, scope, kind, value, record_id)
    )`);
    // Moves only (first links stand in source_record): what a merge brought along is what its unmerge takes back.
    await runner.query(`create table identity.record_link (
      number bigint generated always as identity primary key,
      message_id uuid not null,
      record_id uuid not null,
      from_patient_id uuid,
      patient_id uuid not null,
      reason int2 not null
    )`);
    await runner.query('create index record_link_record on identity.record_link (record_id)');
    await runner.query(`create table identity.review (
      id uuid primary key,
      reason text not null,
      patient_ids uuid[] not null,
      record_id uuid not null,
      message_id uuid not null,
      announced boolean not null
    )`);
    // The few that a crash left out of the log; looked up with every batch.
    await runner.query('create index review_unannounced on identity.review (record_id) where not announced');
    // Who changed these tables last: a resolver's memory holds as long as that is itself.
    await runner.query(
      'create table identity.resolver (single boolean primary key default true check (single), last_id uuid not null, restoring boolean not null default false)',
    );
    await runner.query(`insert into identity.resolver (last_id) values ('00000000-0000-0000-0000-000000000000')`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('drop schema identity cascade');
  }
}
