import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Where each event id stands in the log, so that one that stands there twice is applied once. All of it can be made again from the log. */
export class EventPlaces1763700052000 implements MigrationInterface {
  name = 'EventPlaces1763700052000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`create table hub.event_place (id uuid primary key, position bigint not null)`);
    await runner.query(`create table hub.event_place_progress (
      one boolean primary key default true check (one),
      position bigint not null)`);
    await runner.query(
      `comment on table hub.event_place_progress is 'up to this position of the log every event stands in hub.event_place'`,
    );
    await runner.query(`insert into hub.event_place_progress (position) values (0)`);
    await runner.query(`create table hub.doubled_event (
      position bigint primary key,
      id uuid not null,
      first_position bigint not null)`);
    await runner.query(
      `comment on table hub.doubled_event is 'events that no projection applies: their id stands in the log before'`,
    );
    // One statement, one round trip: whoever is not where he believes takes nothing in.
    await runner.query(`create function hub.take_in_events(expected bigint, target bigint, ids uuid[], positions bigint[])
      returns boolean language plpgsql as $$
      declare
        added bigint;
      begin
        update hub.event_place_progress set position = target where position = expected;
        if not found then return false; end if;
        insert into hub.event_place (id, position) select * from unnest(ids, positions) on conflict do nothing;
        get diagnostics added = row_count;
        if added < cardinality(ids) then
          insert into hub.doubled_event (position, id, first_position)
            select e.position, e.id, p.position from unnest(ids, positions) as e (id, position) join hub.event_place p using (id)
            where p.position < e.position
            on conflict (position) do update set id = excluded.id, first_position = excluded.first_position;
        end if;
        return true;
      end $$`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('drop function hub.take_in_events');
    await runner.query('drop table hub.doubled_event, hub.event_place_progress, hub.event_place');
  }
}
