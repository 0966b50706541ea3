import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What is shown of a projection's work: size of its last batch, how often it had to try again, and when it had reached what. */
export class Projected1763700048000 implements MigrationInterface {
  name = 'Projected1763700048000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(
      `alter table hub.checkpoint add column batch_events int not null default 0, add column retries bigint not null default 0`,
    );
    await runner.query(`create table hub.projected (
      projection text not null,
      version int not null,
      position bigint not null,
      at timestamptz not null,
      primary key (projection, version, position))`);
    await runner.query('drop function hub.move_checkpoint');
    await runner.query(`create function hub.move_checkpoint(
        of_projection text, of_version int, of_lane smallint, expected bigint, target bigint, moved int, stamp timestamptz, per_second float8,
        tried int)
      returns void language plpgsql as $$
      begin
        update hub.checkpoint set position = target, events = events + moved, recorded_at = coalesce(stamp, recorded_at), rate = per_second,
            batch_events = moved, retries = retries + tried, updated_at = clock_timestamp()
          where projection = of_projection and version = of_version and lane = of_lane and position = expected;
        if not found then
          raise exception using errcode = 'AN001', message = 'the checkpoint is not where it should be';
        end if;
      end $$`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('drop function hub.move_checkpoint');
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
    await runner.query('drop table hub.projected');
    await runner.query('alter table hub.checkpoint drop column batch_events, drop column retries');
  }
}
