/** The hub's own state as the graph shows it: log, projections, dead letters, sources. Reads of `hub.*` stand here. */
import type pg from 'pg';
import type { EventLogReader, Position } from '../log/event-log.js';
import { listProjections } from '../projecting/status.js';
import { logPartitions, logStatistics, type LogStatisticsView, type PartitionView } from './log-statistics.js';
import type { Instant } from '../time/valid-time.js';
import { masterTables } from '../../projections/master/tables.js';
import type { ProjectionState } from './graph/types.js';

export interface LogView {
  readonly head: Position;
  readonly clockMark: Instant;
  readonly events: string;
  readonly adapter: string;
  readonly id: string;
}

export interface RebuildView {
  readonly version: number;
  readonly progress: number;
  readonly rate: number;
  readonly etaSeconds: number | null;
  readonly verified: boolean | null;
  readonly report: unknown;
}

export interface ProjectionView {
  readonly name: string;
  readonly version: number;
  readonly definitionVersion: number;
  readonly position: Position;
  readonly lagSeconds: number;
  readonly lagEvents: string;
  readonly rate: number;
  readonly parked: number;
  readonly state: ProjectionState;
  readonly rebuild: RebuildView | null;
  readonly lastError: string | null;
}

export interface BuildView {
  readonly version: number;
  readonly definitionVersion: number;
  readonly state: string;
  readonly serving: boolean;
  readonly position: Position;
  readonly startedAt: Instant;
  readonly finishedAt: Instant | null;
  readonly rate: number | null;
}

export interface VerificationView {
  readonly id: string;
  readonly version: number;
  readonly definitionVersion: number;
  readonly state: string;
  readonly progress: number;
  readonly requestedBy: string;
  readonly wantedAt: Instant;
  readonly finishedAt: Instant | null;
  readonly position: Position | null;
  readonly equal: boolean | null;
  readonly defects: number | null;
  readonly error: string | null;
  readonly report: unknown;
}

export interface DeadLetterRow {
  readonly messageId: string;
  readonly position: Position;
  readonly records: readonly string[];
  readonly code: string;
  readonly path: string | null;
  readonly byteOffset: number | null;
  readonly status: string;
  readonly attempt: number;
  readonly version: number;
  readonly waiting: number;
}

export interface DeadLetterQuery {
  readonly status?: string;
  readonly code?: string;
  readonly source?: string;
  readonly records?: readonly string[];
  readonly ids?: readonly string[];
  /** As of this position: letters of messages up to it that were not settled there. */
  readonly openAt?: Position;
  readonly after: Position;
  readonly limit: number;
}

export class OperationsView {
  constructor(
    private readonly pool: pg.Pool,
    private readonly reader: EventLogReader,
  ) {}

  async log(): Promise<LogView> {
    const [head, events, { rows }] = await Promise.all([
      this.reader.head(),
      this.reader.count(),
      this.pool.query<{ at: Instant }>('select at from hub.clock_mark'),
    ]);
    return {
      head,
      clockMark: rows[0]?.at ?? '0001-01-01T00:00:00.000000Z',
      events: events.toString(),
      adapter: this.reader.adapter,
      id: this.reader.id,
    };
  }

  logStatistics(): Promise<LogStatisticsView> {
    return logStatistics(this.pool, this.reader);
  }

  logPartitions(): Promise<PartitionView[]> {
    return logPartitions(this.reader);
  }

  /** Where a message stands in the log, by its id; undefined for one that nobody sent. */
  async positionOf(messageId: string): Promise<Position | undefined> {
    const { rows } = await this.pool.query<{ position: Position }>(
      "select position from inbound.message where event_id = $1 and status <> 'part'",
      [messageId],
    );
    return rows[0]?.position;
  }

  async projections(only?: string): Promise<ProjectionView[]> {
    const statuses = await listProjections(this.pool, this.reader);
    return statuses
      .filter(({ name }) => only === undefined || name === only)
      .map(({ lagEvents, rebuild, ...status }) => ({
        ...status,
        lagEvents: lagEvents.toString(),
        rebuild,
        lastError: status.lastError ?? rebuild?.lastError ?? null,
      }));
  }

  /** Every build of a projection, newest first. */
  async builds(name: string): Promise<BuildView[]> {
    const { rows } = await this.pool.query<BuildView & pg.QueryResultRow>(
      `select p.version, p.definition_version as "definitionVersion", upper(p.state) as state, p.serving,
         coalesce((select min(position) from hub.checkpoint c where c.projection = p.name and c.version = p.version), 0) as position,
         p.started_at as "startedAt", p.finished_at as "finishedAt", p.build_events / nullif(p.build_seconds, 0) as rate
       from hub.projection p where p.name = $1 order by p.version desc`,
      [name],
    );
    return rows;
  }

  /** The last verifications of a projection, newest first. */
  async verifications(name: string, first: number): Promise<VerificationView[]> {
    const { rows } = await this.pool.query<VerificationView & pg.QueryResultRow>(
      `select id, version, definition_version as "definitionVersion", upper(state) as state, progress, requested_by as "requestedBy",
         wanted_at as "wantedAt", finished_at as "finishedAt", position, equal, defects, error, report
       from hub.verification where projection = $1 order by wanted_at desc limit $2`,
      [name, first],
    );
    return rows;
  }

  /** Whether a message about one of these records that stands at or below a position was not applied there: for good, whatever was done about it since. */
  async isBehind(records: readonly string[], at: Position): Promise<boolean> {
    const { rows } = await this.pool.query<{ behind: boolean }>(
      `select exists (select from hub.dead_letter where records && $1::uuid[] and position <= $2 and (settled_at is null or settled_at > $2))
         or exists (select from hub.held h join hub.projection p on p.name = h.projection and p.version = h.version and p.serving
           where h.projection = 'master' and h.source_record_id = any($1::uuid[]) and h.position <= $2)
         or exists (select from hub.let_go g join hub.projection p on p.name = g.projection and p.version = g.version and p.serving
           where g.projection = 'master' and g.source_record_id = any($1::uuid[]) and g.position <= $2 and g.until > $2) as behind`,
      [records, at.toString()],
    );
    return rows[0]?.behind === true;
  }

  /** In order of the messages' positions, each message once. */
  async deadLetters(build: number, wanted: DeadLetterQuery): Promise<DeadLetterRow[]> {
    const { message } = masterTables(build);
    const { rows } = await this.pool.query<DeadLetterRow & pg.QueryResultRow>(
      `select d.message_id as "messageId", d.position, d.records, d.code, d.path, d.byte_offset::int4 as "byteOffset", d.attempt, d.version,
         case when d.status = 'REPLAYED' and exists (select from hub.held h join hub.projection p
             on p.name = h.projection and p.version = h.version and p.serving where h.message_id = d.message_id)
           then 'WAITING' else d.status end as status,
         (select count(distinct w.message_id)::int4 from hub.held h
            join hub.projection p on p.name = h.projection and p.version = h.version and p.serving
            join hub.held w on w.projection = h.projection and w.version = h.version and w.source_record_id = h.source_record_id
              and w.position > h.position and not w.parked
          where h.message_id = d.message_id) as waiting
       from hub.dead_letter d
       where d.position > $1 and ($2::text is null or d.status = $2) and ($3::text is null or d.code = $3)
         and ($4::text is null or exists (select from ${message} m where m.event_id = d.message_id and m.source = $4))
         and ($5::uuid[] is null or d.records && $5) and ($6::uuid[] is null or d.message_id = any($6))
         and ($7::int8 is null or (d.position <= $7 and (d.settled_at is null or d.settled_at > $7)))
       order by d.position limit $8`,
      [
        wanted.after,
        wanted.status ?? null,
        wanted.code ?? null,
        wanted.source ?? null,
        wanted.records ?? null,
        wanted.ids ?? null,
        wanted.openAt ?? null,
        wanted.limit,
      ],
    );
    return rows;
  }
}
