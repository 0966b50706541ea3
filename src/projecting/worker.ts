/** One worker: carries one build of one projection along its lane, from checkpoint to checkpoint. */
import type pg from 'pg';
import { openClient } from '../database/database.js';
import type { Position } from '../log/event-log.js';
import { traceMessages } from '../operations/tracing.js';
import { microsOfInstant, now } from '../time/clock.js';
import { BatchWriter, type Lane } from './batch-writer.js';
import { CheckpointConflictError, RuntimeClosedError, errorWord, failureKind } from './errors.js';
import type { DecodedPage } from './feed.js';
import { isInbound } from './message-events.js';
import type { Parking, Parkings } from './parkings.js';
import type { ProjectionMode } from './projection.js';

const FIRST_RETRY_MS = 20;
const LAST_RETRY_MS = 5_000;

export interface WorkerCounters {
  events: number;
  batches: number;
  rows: number;
  retries: number;
  parked: number;
  /** Of the last batch. */
  batchMs: number;
}

export interface CommittedBatch {
  readonly projection: string;
  readonly mode: ProjectionMode;
  readonly events: number;
  readonly rows: number;
  readonly milliseconds: number;
  /** Milliseconds between the stamp of its last event and its commit. */
  readonly delayMs: number;
}

export interface WorkerOptions {
  readonly databaseUrl: string;
  readonly lane: Lane;
  readonly parkings: Parkings;
  /** Parkings stored by a batch, to be told to the log. */
  readonly onParked?: (parked: readonly Parking[]) => void;
  readonly onBatch?: (batch: CommittedBatch) => void;
  /** A failure that will be tried again; a word without content. */
  readonly onRetry?: (word: string, attempt: number) => void;
  /** Replaces waiting, for tests. */
  readonly delay?: (milliseconds: number, signal: AbortSignal) => Promise<void>;
}

export class ProjectionWorker {
  readonly counters: WorkerCounters = { events: 0, batches: 0, rows: 0, retries: 0, parked: 0, batchMs: 0 };
  private client: pg.Client | undefined;
  private writer: BatchWriter | undefined;
  private checkpoint: Position | undefined;
  private rate = 0;
  private lastBatchAt = 0;
  /** Retries that the checkpoint knows of. */
  private toldRetries = 0;
  private readonly abort = new AbortController();

  constructor(private readonly options: WorkerOptions) {}

  get lane(): Lane {
    return this.options.lane;
  }

  /** Position of the last committed batch. @throws CheckpointConflictError where there is no checkpoint row */
  async position(): Promise<Position> {
    if (this.checkpoint === undefined) this.checkpoint = await this.retrying(() => this.readCheckpoint());
    return this.checkpoint;
  }

  /**
   * Commits a page whose `after` is the worker's position. Transient failures are retried until they pass or the worker is closed; after a
   * lost connection the checkpoint is read again, since the commit may have gone through, or an asynchronous one may have been lost.
   * @returns false where the page has to be read again from `position()`
   * @throws CheckpointConflictError, NewPoisonError, SystematicFailureError: the worker has to stop
   */
  async process(page: DecodedPage): Promise<boolean> {
    const expected = await this.position();
    if (page.after !== expected) return false;
    return this.retrying(async (attempt) => {
      const current = attempt === 1 ? expected : await this.resynchronise(expected, page.last);
      if (current === page.last) {
        // It went through, with the parkings it may have found.
        await this.options.parkings.refresh(this.client as pg.Client);
        return this.committed(page);
      }
      if (current !== expected) {
        this.checkpoint = current;
        return false;
      }
      const writer = await this.connect();
      const started = performance.now();
      const startedAt = Date.now();
      const result = await writer.write(
        {
          events: page.events,
          expected,
          target: page.last,
          rate: this.rate,
          retries: this.counters.retries - this.toldRetries,
        },
        this.options.parkings,
      );
      this.counters.batchMs = performance.now() - started;
      this.toldRetries = this.counters.retries;
      this.counters.rows += result.rows;
      if (result.parked.length > 0) {
        for (const parking of result.parked) this.options.parkings.add(parking);
        this.counters.parked += result.parked.length;
        this.options.onParked?.(result.parked);
      }
      this.traceBatch(page, startedAt, result.rows);
      this.options.onBatch?.({
        projection: this.lane.definition.name,
        mode: this.lane.mode,
        events: page.events.length,
        rows: result.rows,
        milliseconds: this.counters.batchMs,
        delayMs: delayOf(page),
      });
      return this.committed(page);
    });
  }

  private traceBatch(page: DecodedPage, started: number, rows: number): void {
    const { definition, build, mode } = this.lane;
    traceMessages(
      {
        name: `project ${definition.name}`,
        started,
        ended: Date.now(),
        kind: 'consumer',
        attributes: {
          'anamnesis.projection': definition.name,
          'anamnesis.version': build,
          'anamnesis.mode': mode,
          'anamnesis.position': String(page.last),
          'anamnesis.events': page.events.length,
          'anamnesis.rows': rows,
        },
      },
      () => page.events.filter((event) => isInbound(event.type)).map((event) => event.id),
    );
  }

  /** On from wherever the checkpoint stands now. */
  startAgain(): void {
    this.checkpoint = undefined;
  }

  /** From now on a failure ends the worker instead of being tried again; a batch that goes through is finished. */
  giveUpRetrying(): void {
    this.abort.abort();
  }

  async close(): Promise<void> {
    this.abort.abort();
    await this.disconnect();
  }

  private committed(page: DecodedPage): true {
    this.checkpoint = page.last;
    this.counters.batches += 1;
    this.counters.events += page.events.length;
    const at = performance.now();
    if (this.lastBatchAt > 0) {
      const current = (page.events.length * 1000) / Math.max(at - this.lastBatchAt, 1);
      // A mean over about the last ten batches.
      this.rate = this.rate === 0 ? current : this.rate * 0.9 + current * 0.1;
    }
    this.lastBatchAt = at;
    return true;
  }

  /** Where the checkpoint stands after a failure of unknown outcome. Ahead of the batch it can only have been moved by somebody else. */
  private async resynchronise(expected: Position, target: Position): Promise<Position> {
    const actual = await this.readCheckpoint();
    if (actual !== target && actual > expected) {
      const { definition, build, lane } = this.lane;
      throw new CheckpointConflictError(definition.name, build, lane, expected, actual);
    }
    return actual;
  }

  private async readCheckpoint(): Promise<Position> {
    const { definition, build, lane } = this.lane;
    await this.connect();
    const { rows } = await (this.client as pg.Client).query<{ position: bigint }>(
      'select position from hub.checkpoint where projection = $1 and version = $2 and lane = $3',
      [definition.name, build, lane],
    );
    const [row] = rows;
    if (row === undefined) throw new CheckpointConflictError(definition.name, build, lane, 0n, undefined);
    return row.position;
  }

  private async connect(): Promise<BatchWriter> {
    if (this.writer !== undefined) return this.writer;
    const { definition, build } = this.lane;
    const client = await openClient(this.options.databaseUrl, {
      relaxedCommit: true,
      applicationName: `anamnesis project ${definition.name}:${build}`,
    });
    this.client = client;
    this.writer = new BatchWriter(client, this.lane);
    return this.writer;
  }

  private async disconnect(): Promise<void> {
    const client = this.client;
    this.client = undefined;
    this.writer = undefined;
    // Ending a connection that is broken already fails, and there is nothing left to end.
    await client?.end().catch(() => undefined);
  }

  private async retrying<T>(work: (attempt: number) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await work(attempt);
      } catch (error) {
        if (failureKind(error) !== 'transient') throw error;
        if (this.abort.signal.aborted) throw new RuntimeClosedError();
        this.counters.retries += 1;
        this.options.onRetry?.(errorWord(error), attempt);
        await this.disconnect();
        await (this.options.delay ?? pause)(backOff(attempt), this.abort.signal);
        if (this.abort.signal.aborted) throw new RuntimeClosedError();
      }
    }
  }
}

/** Milliseconds since the last event of a page was stamped; 0 for a clock of the writer that is ahead of this one. */
function delayOf(page: DecodedPage): number {
  const last = page.events.at(-1);
  if (last === undefined) return 0;
  return Math.max(0, Number(microsOfInstant(now()) - microsOfInstant(last.envelope.recordedAt)) / 1_000);
}

/** Doubling, with full jitter, so that workers that failed together do not come back together. */
export function backOff(attempt: number, random: () => number = Math.random): number {
  const most = Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(attempt - 1, 16));
  return most / 2 + (most / 2) * random();
}

/** Waits, or returns early when the signal aborts. */
export function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve();
      return;
    }
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    signal.addEventListener('abort', done, { once: true });
  });
}
