import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * Dead letters that can be corrected, replayed and discarded: one row per message, one per failed attempt, and what each build of a projection
 * holds back, in order. All of it can be made again from the log.
 */
export class Letters1763700009000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query('alter table hub.dead_letter rename to dead_letter_before');
    await runner.query('alter table hub.waiting rename to waiting_before');

    // A failed attempt to apply a message, found by a projection (or by the mapping, for all: scope '*'). A rebuild follows these.
    await runner.query(`create table hub.parking (
      message_id uuid not null,
      scope text not null,
      attempt int not null,
      position bigint not null,
      records uuid[] not null,
      code text not null,
      path text,
      byte_offset bigint,
      parked_at bigint,
      announced boolean not null default false,
      primary key (message_id, scope, attempt))`);
    await runner.query('create index parking_unannounced on hub.parking (position) where not announced');

    await runner.query('drop index hub.dead_letter_position, hub.dead_letter_record, hub.dead_letter_unannounced');
    await runner.query('alter table hub.dead_letter_before drop constraint dead_letter_pkey');
    await runner.query(`create table hub.dead_letter (
      message_id uuid primary key,
      position bigint not null,
      records uuid[] not null,
      scopes text[] not null,
      code text not null,
      path text,
      byte_offset bigint,
      attempt int not null,
      status text not null check (status in ('PARKED', 'CORRECTED', 'REPLAYED', 'DISCARDED')),
      version int not null default 1,
      changed_at bigint not null default 0,
      parked_at bigint,
      corrected_at bigint,
      correction_id uuid,
      offered_id uuid,
      settled_at bigint,
      request uuid)`);
    // Pages of letters, and those that wait for somebody.
    await runner.query('create index dead_letter_position on hub.dead_letter (position)');
    await runner.query(
      `create index dead_letter_open on hub.dead_letter (position) where status in ('PARKED', 'CORRECTED')`,
    );
    await runner.query('create index dead_letter_records on hub.dead_letter using gin (records)');

    // What a build of a projection holds back of each source record, in order: a parked message, and what waits behind it.
    await runner.query(`create table hub.held (
      projection text not null,
      version int not null,
      source_record_id uuid not null,
      position bigint not null,
      message_id uuid not null,
      parked boolean not null,
      attempt int not null,
      primary key (projection, version, source_record_id, position))`);
    await runner.query('create index held_message on hub.held (message_id)');
    await runner.query('create index held_record on hub.held (source_record_id)');

    await runner.query(`insert into hub.parking (message_id, scope, attempt, position, records, code, path, byte_offset, parked_at, announced)
      select message_id, scope, attempt, position, array_remove(array[source_record_id], null), code, path, byte_offset, parked_at, announced
      from hub.dead_letter_before d
      where not exists (select from inbound.message m where m.event_id = d.message_id and m.status = 'parked')`);
    await runner.query(`insert into hub.dead_letter (message_id, position, records, scopes, code, path, byte_offset, attempt, status, changed_at,
        parked_at)
      select distinct on (message_id) message_id, position, array_remove(array[source_record_id], null),
        array_agg(scope) over (partition by message_id), code, path, byte_offset, attempt, status, coalesce(parked_at, 0), parked_at
      from hub.dead_letter_before order by message_id, scope`);
    await runner.query(`insert into hub.held (projection, version, source_record_id, position, message_id, parked, attempt)
      select c.projection, c.version, coalesce(d.source_record_id, d.message_id), d.position, d.message_id, true, d.attempt
      from hub.checkpoint c join hub.projection p on p.name = c.projection and p.version = c.version
        join hub.dead_letter_before d on d.scope in ('*', c.projection) and d.position <= c.position
      where d.status = 'PARKED'
        and not (d.source_record_id is null and exists (select from inbound.message m where m.event_id = d.message_id and m.status = 'parked'))
      on conflict do nothing`);
    await runner.query(`insert into hub.held (projection, version, source_record_id, position, message_id, parked, attempt)
      select c.projection, c.version, w.source_record_id, w.position, w.message_id, false, 1
      from hub.checkpoint c join hub.projection p on p.name = c.projection and p.version = c.version
        join hub.waiting_before w on w.projection = c.projection and w.position <= c.position
      on conflict do nothing`);
    await runner.query('drop table hub.dead_letter_before, hub.waiting_before');
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('drop table hub.held, hub.parking');
  }
}
