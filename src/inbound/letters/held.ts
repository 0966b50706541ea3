/** Reads of what the projections hold back and of the dead letters, for the role that decides about them. */
import type pg from 'pg';
import type { Position } from '../../log/event-log.js';

/** A dead letter as the decisions up to now leave it. */
export interface Letter {
  readonly messageId: string;
  readonly position: Position;
  readonly records: readonly string[];
  readonly attempt: number;
  readonly status: 'PARKED' | 'CORRECTED' | 'REPLAYED' | 'DISCARDED';
  readonly version: number;
  readonly correctionId: string | null;
  readonly correctedAt: Position | null;
  /** The correction that was offered to the projections last. */
  readonly offeredId: string | null;
  readonly request: string | null;
  /** Most attempts counted in any line it stands in. */
  readonly held: number;
}

const LETTER = `select d.message_id as "messageId", d.position, d.records, d.attempt, d.status, d.version, d.correction_id as "correctionId",
  d.corrected_at as "correctedAt", d.offered_id as "offeredId", d.request,
  coalesce((select max(h.attempt) from hub.held h where h.message_id = d.message_id), 0)::int4 as held from hub.dead_letter d`;

/** Letters by message id, in order of position. */
export async function lettersById(database: Pick<pg.Pool, 'query'>, ids: readonly string[]): Promise<Letter[]> {
  const { rows } = await database.query<Letter & pg.QueryResultRow>(
    `${LETTER} where d.message_id = any($1::uuid[]) order by d.position`,
    [ids],
  );
  return rows;
}

/** A message in the line of a source record, with what its replay has to name. */
export interface LineRow {
  readonly projection: string;
  readonly sourceRecordId: string;
  readonly place: Position;
  readonly messageId: string;
  readonly parked: boolean;
  /** Of the message, in any line. */
  readonly attempt: number;
  /** Of the message in the log. */
  readonly position: Position;
  readonly correctionId: string | null;
  readonly correctedAt: Position | null;
}

/** The fronts of these records' lines, in the builds that serve and have reached `upTo`. */
export async function frontsOf(
  database: Pick<pg.Pool, 'query'>,
  records: readonly string[],
  most: number,
  upTo: Position,
): Promise<LineRow[]> {
  const { rows } = await database.query<LineRow & pg.QueryResultRow>(
    `select p.name as projection, f.source_record_id as "sourceRecordId", f.position as place, f.message_id as "messageId", f.parked,
       (select max(a.attempt) from hub.held a where a.message_id = f.message_id)::int4 as attempt,
       coalesce(d.position, f.position) as position, d.correction_id as "correctionId", d.corrected_at as "correctedAt"
     from hub.projection p
     join hub.checkpoint c on c.projection = p.name and c.version = p.version and c.position >= $3
     cross join unnest($1::uuid[]) as w(record)
     cross join lateral (select * from hub.held h where h.projection = p.name and h.version = p.version and h.source_record_id = w.record
       order by h.position limit $2) f
     left join hub.dead_letter d on d.message_id = f.message_id
     where p.serving order by f.source_record_id, f.position`,
    [records, most, upTo.toString()],
  );
  return rows;
}

/** Records whose line begins with a message that is not parked: nothing holds them back any more, and somebody has to let them go. */
export async function openLines(database: Pick<pg.Pool, 'query'>, upTo: Position): Promise<string[]> {
  const { rows } = await database.query<{ record: string }>(
    `with recursive serving as (
       select p.name, p.version from hub.projection p join hub.checkpoint c on c.projection = p.name and c.version = p.version
       where p.serving and c.position >= $1
     ), front as (
       select s.name, s.version, f.source_record_id, f.parked from serving s cross join lateral (
         select source_record_id, parked from hub.held where projection = s.name and version = s.version
         order by source_record_id, position limit 1) f
       union all
       select front.name, front.version, f.source_record_id, f.parked from front cross join lateral (
         select source_record_id, parked from hub.held where projection = front.name and version = front.version
           and source_record_id > front.source_record_id order by source_record_id, position limit 1) f
     ) select distinct source_record_id as record from front where not parked`,
    [upTo.toString()],
  );
  return rows.map(({ record }) => record);
}

/** How far the control of projections and every build that serves and runs have got. */
export async function takenIn(database: Pick<pg.Pool, 'query'>): Promise<{ control: Position; projections: Position }> {
  const { rows } = await database.query<{ control: Position | null; projections: Position | null }>(
    `select (select position from hub.checkpoint where projection = 'control') as control,
       (select min(c.position) from hub.projection p join hub.checkpoint c on c.projection = p.name and c.version = p.version
        where p.serving and not p.paused and p.worker = 'running') as projections`,
  );
  return { control: rows[0]?.control ?? 0n, projections: rows[0]?.projections ?? 0n };
}
