import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Fails where a batch of identity did not get all that it claimed, so that its commit may be sent along: it rolls back instead. */
export class IdentityClaims1763700017000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create function identity.all_claimed(got boolean) returns boolean language plpgsql as $$
      begin
        if not got then
          raise exception 'another process claimed a key first' using errcode = 'AN003';
        end if;
        return true;
      end $$`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop function identity.all_claimed(boolean)`);
  }
}
