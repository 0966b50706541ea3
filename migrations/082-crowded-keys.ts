import type { MigrationInterface, QueryRunner } from 'typeorm';

/** The first message of a key, and whether one of it was erased, without reading all of them: some senders give every message one control id. */
export class CrowdedKeys1763700082000 implements MigrationInterface {
  name = 'CrowdedKeys1763700082000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query('create index message_key on inbound.message (duplicate_key, position)');
    await runner.query('create index message_erased on inbound.message (duplicate_key) where erased');
    await runner.query('drop index inbound.message_duplicate_key');
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('create index message_duplicate_key on inbound.message (duplicate_key)');
    await runner.query('drop index inbound.message_key, inbound.message_erased');
  }
}
