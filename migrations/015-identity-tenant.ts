import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Whose patient a record is, so that the hub's own id of a patient, sent back as a reference, is found within its tenant only. */
export class IdentityTenant1763700015000 implements MigrationInterface {
  name = 'IdentityTenant1763700015000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`alter table identity.source_record add column tenant text not null default ''`);
    // A patient whose records have all moved on is found by where the last one went.
    await runner.query('create index record_link_from on identity.record_link (from_patient_id, number)');
    // The tenant of earlier records stands in the log: the tables are made again from it at the next start.
    await runner.query(
      'update identity.resolver set restoring = true where exists (select from identity.source_record)',
    );
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('drop index identity.record_link_from');
    await runner.query('alter table identity.source_record drop column tenant');
  }
}
