/** The hub's own state as the graph shows it: log, projections, dead letters, sources. Reads of `hub.*` stand here. */
import type pg from 'pg';
import type { EventLogReader, Position } from '../log/event-log.js';
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
  readonly position: Position;
  readonly lagSeconds: number;
  readonly lagEvents: string;
  readonly rate: number;
  readonly parked: number;
  readonly state: ProjectionState;
  readonly rebuild: RebuildView | null;
  readonly lastError: string | null;
}

export interface DeadLetterRow {
  readonly messageId: string;
  readonly position: Position;
  readonly sourceRecordId: string | null;
  readonly code: string;
  readonly path: string | null;
  readonly byteOffset: number | null;
  readonly status: string;
  readonly waiting: number;
}

export interface DeadLetterQuery {
  readonly status?: string;
  readonly code?: string;
  readonly source?: string;
  readonly records?: readonly string[];
  readonly after: Position;
  readonly limit: number;
}

/** A rate older than this says nothing about now. Seconds. */
const RATE_FRESH_SECONDS = 10;

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

  async projections(only?: string): Promise<ProjectionView[]> {
    const head = await this.reader.head();
    const { rows } = await this.pool.query<{
      name: string;
      version: number;
      position: bigint;
      paused: boolean;
      worker: string;
      last_error: string | null;
      rate: number;
      lag_seconds: number | null;
      parked: number;
      next_version: number | null;
      next_position: bigint | null;
      next_target: bigint | null;
      next_rate: number | null;
      next_verified: boolean | null;
      next_report: unknown;
    }>(
      `select p.name, p.version, c.position, p.paused, p.worker, p.last_error,
         case when c.updated_at > clock_timestamp() - make_interval(secs => $2) then c.rate else 0 end as rate,
         extract(epoch from (m.at - c.recorded_at))::float8 as lag_seconds,
         (select count(*)::int4 from hub.dead_letter d where d.scope in ('*', p.name) and d.status in ('PARKED', 'CORRECTED')) as parked,
         n.version as next_version, n.position as next_position, n.target as next_target, n.rate as next_rate,
         n.verified as next_verified, n.report as next_report
       from hub.projection p
       join lateral (select position, recorded_at, rate, updated_at from hub.checkpoint
         where projection = p.name and version = p.version order by position limit 1) c on true
       left join hub.clock_mark m on true
       left join lateral (select b.version, b.target, b.verified, b.report, k.position, k.rate from hub.projection b
         join hub.checkpoint k on k.projection = b.name and k.version = b.version
         where b.name = p.name and b.state in ('building', 'built') order by b.version desc limit 1) n on true
       where p.serving and ($1::text is null or p.name = $1) order by p.name`,
      [only ?? null, RATE_FRESH_SECONDS],
    );
    return rows.map((row): ProjectionView => {
      const behind = head > row.position ? head - row.position : 0n;
      return {
        name: row.name,
        version: row.version,
        position: row.position,
        lagSeconds: behind === 0n ? 0 : Math.max(0, row.lag_seconds ?? 0),
        lagEvents: behind.toString(),
        rate: row.rate,
        parked: row.parked,
        state: stateOf(row.paused, row.worker, row.next_version !== null, behind),
        rebuild: row.next_version === null ? null : rebuildOf(row, head),
        lastError: row.last_error,
      };
    });
  }

  async deadLetters(build: number, wanted: DeadLetterQuery): Promise<DeadLetterRow[]> {
    const { message } = masterTables(build);
    const { rows } = await this.pool.query<DeadLetterRow & pg.QueryResultRow>(
      `select d.message_id as "messageId", d.position, d.source_record_id as "sourceRecordId", d.code, d.path,
         d.byte_offset::int4 as "byteOffset", d.status,
         (select count(distinct w.message_id)::int4 from hub.waiting w where w.source_record_id = d.source_record_id
           and w.position > d.position) as waiting
       from hub.dead_letter d left join ${message} m on m.event_id = d.message_id
       where d.position > $1 and ($2::text is null or d.status = $2) and ($3::text is null or d.code = $3)
         and ($4::text is null or m.source = $4) and ($5::uuid[] is null or d.source_record_id = any($5))
       order by d.position, d.scope limit $6`,
      [
        wanted.after,
        wanted.status ?? null,
        wanted.code ?? null,
        wanted.source ?? null,
        wanted.records ?? null,
        wanted.limit,
      ],
    );
    return rows;
  }
}

function stateOf(paused: boolean, worker: string, rebuilding: boolean, behind: bigint): ProjectionState {
  if (paused || worker === 'paused') return 'PAUSED';
  if (worker === 'stopped') return 'STOPPED';
  if (rebuilding) return 'REBUILDING';
  return behind > 0n ? 'CATCHING_UP' : 'LIVE';
}

function rebuildOf(
  row: {
    readonly next_version: number | null;
    readonly next_position: bigint | null;
    readonly next_target: bigint | null;
    readonly next_rate: number | null;
    readonly next_verified: boolean | null;
    readonly next_report: unknown;
  },
  head: Position,
): RebuildView {
  const target = row.next_target ?? head;
  const done = row.next_position ?? 0n;
  const left = target > done ? Number(target - done) : 0;
  const rate = row.next_rate ?? 0;
  return {
    version: row.next_version ?? 0,
    progress: target === 0n ? 1 : Math.min(1, Number(done) / Number(target)),
    rate,
    etaSeconds: left === 0 ? 0 : rate > 0 ? left / rate : null,
    verified: row.next_verified,
    report: row.next_report ?? null,
  };
}
