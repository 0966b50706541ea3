import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Application acknowledgments of HL7 enhanced mode that are still to go out over a source's return connection. */
export class ApplicationAcks1763700010000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    // Written before the message is acknowledged on its own connection, deleted when the acknowledgment has arrived or was given up.
    await runner.query(`
      create table inbound.application_ack (
        event_id uuid primary key,
        source text not null,
        position int8 not null,
        condition text not null check (condition in ('AL', 'ER', 'SU')),
        attempts int not null default 0,
        created_at timestamptz not null default clock_timestamp()
      )`);
    // A source's are sent in the order of the log.
    await runner.query(`create index application_ack_order on inbound.application_ack (source, position)`);
    await runner.query(`comment on column inbound.application_ack.condition is
      'when its sender wants it (HL7 table 0155): always, on errors, on success'`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop table inbound.application_ack`);
  }
}
