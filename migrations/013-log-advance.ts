import type { MigrationInterface, QueryRunner } from 'typeorm';

/**
 * What an append checks and moves before its rows: the writer's epoch and head, and each stream's revision. It fails where
 * anything is not as the writer believes, and with it the whole script that it stands in.
 */
export class LogAdvance1763700013000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create procedure log.advance(
        writer_epoch bigint, head_before bigint, event_count bigint,
        stream_ids integer[], revisions bigint[], next_revisions bigint[]
      ) language plpgsql as $$
      declare
        moved bigint;
      begin
        update log.writer set head = head + event_count, events = events + event_count
          where epoch = writer_epoch and head = head_before;
        if not found then
          if exists (select from log.writer where epoch = writer_epoch) then
            raise exception 'the head has moved' using errcode = 'AN002';
          end if;
          raise exception 'another writer has taken over' using errcode = 'AN001';
        end if;
        update log.stream as s set revision = v.next
          from unnest(stream_ids, revisions, next_revisions) as v (id, expected, next)
          where s.id = v.id and s.revision = v.expected;
        get diagnostics moved = row_count;
        if moved <> cardinality(stream_ids) then
          raise exception 'a stream is at another revision' using errcode = 'AN002';
        end if;
      end $$`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop procedure log.advance`);
  }
}
