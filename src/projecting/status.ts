/** How the projections stand, from the hub's tables: the same from every process. */
import type { Json } from '../mapping/fact.js';
import type { EventLogReader, Position } from '../log/event-log.js';
import { microsOfInstant, now } from '../time/clock.js';
import { isUnderWay, waitsForSwitch, type BuildRow, type Queryable } from './builds.js';
import { envelopeOf } from './decode.js';
import { EVERY_PROJECTION } from './parkings.js';

export type ProjectionStateName = 'LIVE' | 'CATCHING_UP' | 'REBUILDING' | 'PAUSED' | 'STOPPED';

export interface RebuildStatus {
  /** The new build's number. */
  readonly version: number;
  readonly state: BuildRow['state'];
  /** 0…1. */
  readonly progress: number;
  /** Events per second. */
  readonly rate: number;
  /** Null where it is over or nothing can be said yet. */
  readonly etaSeconds: number | null;
  readonly verified: boolean;
  readonly report: Json;
  readonly lastError: string | null;
}

export interface ProjectionStatus {
  readonly name: string;
  /** Number of the build that serves. */
  readonly version: number;
  readonly definitionVersion: number;
  readonly position: Position;
  /** Age of the oldest event that is not projected yet; 0 at the end of the log. */
  readonly lagSeconds: number;
  /** Positions between the watermark and the head. */
  readonly lagEvents: bigint;
  /** Events per second lately. */
  readonly rate: number;
  /** Events of its last batch. */
  readonly batchEvents: number;
  /** Batches that had to be tried again after a passing failure, since the build was made. */
  readonly retries: number;
  /** Messages in the dead letters that this projection leaves out. */
  readonly parked: number;
  readonly state: ProjectionStateName;
  /** The rebuild under way, else the one the serving build came from, or a later one that failed. */
  readonly rebuild: RebuildStatus | null;
  /** Why it stopped; null while it runs. */
  readonly lastError: string | null;
}

interface Row extends BuildRow {
  position: Position | null;
  rate: number | null;
  idle_seconds: number | null;
  batch_events: number | null;
  retries: bigint | null;
}

/** Further behind than this it is catching up. */
const LIVE_LAG_SECONDS = 2;
/** Rates are means over the last batches; older ones say nothing about now. */
const RATE_HOLDS_SECONDS = 5;

/** All installed projections, by name. */
export async function listProjections(
  database: Queryable,
  reader: Pick<EventLogReader, 'head' | 'readPage'>,
): Promise<ProjectionStatus[]> {
  const { rows } = await database.query<Row>(
    `select p.*, c.position, c.rate, c.batch_events, c.retries, extract(epoch from clock_timestamp() - c.updated_at)::float8 as idle_seconds
     from hub.projection p left join hub.checkpoint c on c.projection = p.name and c.version = p.version and c.lane = 0
     order by p.name, p.version desc`,
  );
  const { rows: parked } = await database.query<{ scopes: string[]; count: bigint }>(
    `select scopes, count(*) as count from hub.dead_letter where status in ('PARKED', 'CORRECTED') group by scopes`,
  );
  const head = await reader.head();
  const statuses: ProjectionStatus[] = [];
  for (const serving of rows.filter((row) => row.serving)) {
    const builds = rows.filter((row) => row.name === serving.name);
    const position = serving.position ?? 0n;
    const lagSeconds = position >= head ? 0 : await ageOfNext(reader, position);
    const count = parked
      .filter(({ scopes }) => scopes.includes(EVERY_PROJECTION) || scopes.includes(serving.name))
      .reduce((sum, row) => sum + Number(row.count), 0);
    statuses.push({
      name: serving.name,
      version: serving.version,
      definitionVersion: serving.definition_version,
      position,
      lagSeconds,
      lagEvents: head > position ? head - position : 0n,
      rate: rateOf(serving),
      batchEvents: serving.batch_events ?? 0,
      retries: Number(serving.retries ?? 0n),
      parked: count,
      state: stateOf(serving, builds, lagSeconds),
      rebuild: rebuildOf(builds, serving),
      lastError: serving.last_error,
    });
  }
  return statuses;
}

async function ageOfNext(reader: Pick<EventLogReader, 'readPage'>, position: Position): Promise<number> {
  const [next] = await reader.readPage({ after: position, limit: 1 });
  if (next === undefined) return 0;
  const age = microsOfInstant(now()) - microsOfInstant(envelopeOf(next).recordedAt);
  return Math.max(0, Number(age) / 1_000_000);
}

function rateOf(row: Row): number {
  return row.rate === null || row.idle_seconds === null || row.idle_seconds > RATE_HOLDS_SECONDS ? 0 : row.rate;
}

function stateOf(serving: Row, builds: readonly Row[], lagSeconds: number): ProjectionStateName {
  if (serving.paused) return 'PAUSED';
  if (builds.some((build) => isUnderWay(build) && !waitsForSwitch(build))) return 'REBUILDING';
  if (serving.worker === 'stopped') return 'STOPPED';
  return lagSeconds <= LIVE_LAG_SECONDS ? 'LIVE' : 'CATCHING_UP';
}

function rebuildOf(builds: readonly Row[], serving: Row): RebuildStatus | null {
  const row =
    builds.find(isUnderWay) ??
    builds.find((candidate) => candidate.state === 'failed' && candidate.version > serving.version) ??
    // The first build was made by no rebuild.
    (serving.version > 1 ? serving : undefined);
  if (row === undefined) return null;
  const position = row.position ?? 0n;
  const target = row.target ?? 0n;
  const over = row.state !== 'building';
  const progress = over ? (row.state === 'failed' ? share(position, target) : 1) : share(position, target);
  const rate = over ? 0 : rateOf(row);
  return {
    version: row.version,
    state: row.state,
    progress,
    rate,
    etaSeconds: over || rate <= 0 ? null : Number(target > position ? target - position : 0n) / rate,
    verified: row.verified === true,
    report: (row.report ?? null) as Json,
    lastError: row.last_error,
  };
}

function share(position: Position, target: Position): number {
  if (target === 0n) return 0;
  return Math.min(1, Number((position * 10_000n) / target) / 10_000);
}
