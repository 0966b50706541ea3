import type { MigrationInterface, QueryRunner } from 'typeorm';

/** The compare-and-set of a checkpoint as one statement that fails, so that a whole batch can be sent without waiting for its answer. */
export class Lanes1763700028000 implements MigrationInterface {
  name = 'Lanes1763700028000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`create function hub.move_checkpoint(
        of_projection text, of_version int, of_lane smallint, expected bigint, target bigint, moved int, stamp timestamptz, per_second float8)
      returns void language plpgsql as $$
      begin
        update hub.checkpoint set position = target, events = events + moved, recorded_at = coalesce(stamp, recorded_at), rate = per_second,
            updated_at = clock_timestamp()
          where projection = of_projection and version = of_version and lane = of_lane and position = expected;
        if not found then
          raise exception using errcode = 'AN001', message = 'the checkpoint is not where it should be';
        end if;
      end $$`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('drop function hub.move_checkpoint');
  }
}
