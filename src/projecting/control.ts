/**
 * Follows the log for what steers the runtime: parkings and releases into `hub.dead_letter`, decisions about projections into
 * `hub.projection`. A consumer like a projection, with a checkpoint of its own; everything it does can be done twice.
 */
import type pg from 'pg';
import type { ClientBase } from 'pg';
import { inTransaction } from '../database/database.js';
import type { ProjectionDecision } from '../log/decisions.js';
import { EVENT_TYPES } from '../log/envelope.js';
import type { EventLogReader, Position } from '../log/event-log.js';
import { ONLY_LANE } from './builds.js';
import {
  LETTER_TYPES,
  deadLetterChange,
  decisionOf,
  decisionOfRecorded,
  observe,
  positionBefore,
  storeChanges,
  type DeadLetterChange,
} from './dead-letters.js';
import {
  CheckpointBeyondLogError,
  CheckpointConflictError,
  RuntimeClosedError,
  errorWord,
  failureKind,
} from './errors.js';
import type { DecodedPage, EventFeed, FeedReader } from './feed.js';
import type { Parkings } from './parkings.js';
import type { DecodedEvent } from './projection.js';
import type { RuntimeLog } from './runner.js';
import { backOff, pause } from './worker.js';
import { untilAborted } from './until-aborted.js';

/** Name of the checkpoint. */
export const CONTROL = 'control';
const CONTROL_VERSION = 1;
const BOOTSTRAP_PAGE_EVENTS = 1_000;
/** Pages that hold nothing to do move the checkpoint this often: what is read again after a restart is small. */
const QUIET_CHECKPOINT_MS = 1_000;

export const PROJECTION_TYPES = [
  EVENT_TYPES.rebuildRequested,
  EVENT_TYPES.rebuildCancelled,
  EVENT_TYPES.projectionSwitched,
  EVENT_TYPES.projectionPaused,
  EVENT_TYPES.projectionResumed,
  EVENT_TYPES.verificationRequested,
] as const;
export type ProjectionDecisionType = (typeof PROJECTION_TYPES)[number];

export interface ProjectionChange {
  readonly eventId: string;
  readonly position: Position;
  readonly type: ProjectionDecisionType;
  readonly decision: ProjectionDecision;
}

export interface ControlOptions {
  readonly pool: pg.Pool;
  readonly reader: EventLogReader;
  readonly feed: Pick<EventFeed, 'pageAfter' | 'join'>;
  readonly parkings: Parkings;
  readonly log: RuntimeLog;
  /** Carries out a decision in the transaction that moves the checkpoint. */
  readonly decide: (client: ClientBase, change: ProjectionChange) => Promise<void>;
  /** After that transaction: workers follow what the tables now say. */
  readonly decided: () => void;
}

export class Control {
  private readonly abort = new AbortController();
  private running: Promise<void> | undefined;
  private stored: Position = 0n;
  private storedAt = 0;
  private position: Position = 0n;

  constructor(private readonly options: ControlOptions) {}

  /**
   * Takes in every parking and release up to the log's end, before any worker starts. On a database without a checkpoint old requests for
   * rebuilds are left alone (what is installed now is newer than they are), pauses hold.
   * @throws CheckpointBeyondLogError
   */
  async prepare(): Promise<void> {
    const { pool, reader } = this.options;
    const checkpoint = await this.readCheckpoint();
    const first = checkpoint === undefined;
    const from = checkpoint ?? 0n;
    const head = await reader.head();
    if (from > head) throw new CheckpointBeyondLogError(CONTROL, CONTROL_VERSION, from, head);
    const types = first
      ? [...LETTER_TYPES, EVENT_TYPES.projectionPaused, EVENT_TYPES.projectionResumed]
      : [...LETTER_TYPES];
    const resolve = positionBefore(reader);
    for (let after = from; ;) {
      const page = await reader.readPage({ after, types, limit: BOOTSTRAP_PAGE_EVENTS });
      const events = page.filter((event) => event.position <= head).map(decisionOfRecorded);
      const changes: DeadLetterChange[] = [];
      for (const event of events) {
        const change = await deadLetterChange(event, resolve);
        if (change !== undefined) changes.push(change);
      }
      await inTransaction(pool, async (client) => {
        await storeChanges(client, changes);
        for (const event of events) {
          const type = projectionType(event.type);
          if (type !== undefined) {
            await this.options.decide(client, {
              eventId: event.id,
              position: event.position,
              type,
              decision: event.json as ProjectionDecision,
            });
          }
        }
      });
      for (const change of changes) observe(this.options.parkings, change);
      if (page.length < BOOTSTRAP_PAGE_EVENTS || events.length < page.length) break;
      after = (page.at(-1) as { position: Position }).position;
    }
    if (first) {
      await pool.query(
        'insert into hub.checkpoint (projection, version, lane, position) values ($1, $2, $3, $4) on conflict do nothing',
        [CONTROL, CONTROL_VERSION, ONLY_LANE, head.toString()],
      );
    }
    this.position = first ? head : from;
    this.stored = this.position;
  }

  /** Follows the feed until stopped. */
  start(): void {
    this.running = this.run();
  }

  /** Stores the checkpoint and ends. */
  async stop(): Promise<void> {
    this.abort.abort();
    await this.running;
  }

  /** Resolves if it ends by itself: another process has taken the checkpoint over. */
  async ended(): Promise<void> {
    await this.running;
  }

  private async run(): Promise<void> {
    const reader = this.options.feed.join(this.position);
    try {
      await this.follow(reader);
    } finally {
      reader.leave();
    }
  }

  private async follow(reader: FeedReader): Promise<void> {
    for (let attempt = 1; !this.abort.signal.aborted;) {
      try {
        if (attempt > 1) await this.resynchronise();
        reader.moveTo(this.position);
        const page = await untilAborted(this.options.feed.pageAfter(this.position, reader), this.abort.signal);
        if (page === undefined) break;
        await this.take(page);
        attempt = 1;
      } catch (error) {
        if (error instanceof RuntimeClosedError) break;
        if (failureKind(error) === 'stop') {
          this.options.log.error({ projection: CONTROL, code: errorWord(error) }, 'control of projections stopped');
          return;
        }
        this.options.log.warn(
          { projection: CONTROL, code: errorWord(error), attempt },
          'control of projections retries',
        );
        await pause(backOff(attempt), this.abort.signal);
        attempt += 1;
      }
    }
    if (this.position > this.stored) {
      await this.store(this.position, [], []).catch((error: unknown) => {
        this.options.log.warn({ projection: CONTROL, code: errorWord(error) }, 'last checkpoint not stored');
      });
    }
  }

  /** A commit whose answer was lost may have gone through. */
  private async resynchronise(): Promise<void> {
    const actual = await this.readCheckpoint();
    if (actual !== undefined && actual > this.stored) this.stored = actual;
  }

  private async readCheckpoint(): Promise<Position | undefined> {
    const { rows } = await this.options.pool.query<{ position: bigint }>(
      'select position from hub.checkpoint where projection = $1 and version = $2 and lane = $3',
      [CONTROL, CONTROL_VERSION, ONLY_LANE],
    );
    return rows[0]?.position;
  }

  private async take(page: DecodedPage): Promise<void> {
    const changes: DeadLetterChange[] = [];
    const decisions: ProjectionChange[] = [];
    const resolve = this.resolver(page.events);
    for (const event of page.events) {
      const change = await deadLetterChange(decisionOf(event), resolve);
      if (change !== undefined) changes.push(change);
      const type = projectionType(event.type);
      if (type !== undefined && event.body.state === 'decision') {
        decisions.push({
          eventId: event.id,
          position: event.position,
          type,
          decision: event.body.json as ProjectionDecision,
        });
      }
    }
    const quiet = changes.length === 0 && decisions.length === 0;
    if (!quiet || performance.now() - this.storedAt > QUIET_CHECKPOINT_MS) {
      await this.store(page.last, changes, decisions);
    }
    this.position = page.last;
    if (decisions.length > 0) this.options.decided();
  }

  private resolver(events: readonly DecodedEvent[]): ReturnType<typeof positionBefore> {
    const fallback = positionBefore(this.options.reader);
    return async (messageId, event) =>
      events.find((candidate) => candidate.id === messageId)?.position ?? (await fallback(messageId, event));
  }

  private async store(
    target: Position,
    changes: readonly DeadLetterChange[],
    decisions: readonly ProjectionChange[],
  ): Promise<void> {
    if (target < this.stored) return;
    await inTransaction(this.options.pool, async (client) => {
      const { rowCount } = await client.query(
        `update hub.checkpoint set position = $5, updated_at = clock_timestamp()
         where projection = $1 and version = $2 and lane = $3 and position = $4`,
        [CONTROL, CONTROL_VERSION, ONLY_LANE, this.stored.toString(), target.toString()],
      );
      if (rowCount !== 1) {
        throw new CheckpointConflictError(
          CONTROL,
          CONTROL_VERSION,
          ONLY_LANE,
          this.stored,
          await this.readCheckpoint(),
        );
      }
      await storeChanges(client, changes);
      for (const decision of decisions) await this.options.decide(client, decision);
    });
    this.stored = target;
    this.storedAt = performance.now();
  }
}

function projectionType(type: string): ProjectionDecisionType | undefined {
  return PROJECTION_TYPES.find((candidate) => candidate === type);
}
