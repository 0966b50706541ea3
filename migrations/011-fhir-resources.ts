import type { MigrationInterface, QueryRunner } from 'typeorm';

/** FHIR resources by the identifiers they state: what conditional creates and updates are judged by. */
export class FhirResources1763700011000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create table inbound.fhir_resource (
        key uuid not null,
        location text not null,
        event_id uuid not null,
        named boolean not null,
        primary key (key, location)
      )`);
    await runner.query(
      `comment on table inbound.fhir_resource is 'keyed hash of (source, type, identifier) → the resource, in the ids of the hub, and the message it first came by; can be made again from the sealed headers'`,
    );
    await runner.query(
      `comment on column inbound.fhir_resource.named is 'known by an id that its sender gave it, not by its identifier'`,
    );
    await runner.query(`alter table inbound.message add column entries jsonb`);
    await runner.query(
      `comment on column inbound.message.entries is 'FHIR: entries that are not applied: [place, location of what was there already | null, code of the refusal | null, path | null]'`,
    );
    await runner.query(`create index fhir_resource_event on inbound.fhir_resource (event_id)`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop table inbound.fhir_resource`);
    await runner.query(`alter table inbound.message drop column entries`);
  }
}
