/**
 * Lets the lines of source records move on: once nothing parked stands at the front, what waited is replayed, in order, until the line is empty or
 * comes to the next parked message. It decides on what the projections hold back, so it can be stopped, killed and started at any point: whatever
 * still waits is found again.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import type { PendingEvent, RecordedResult } from '../../log/writer.js';
import type { KeyedHashes } from '../../sealing/hashes.js';
import { frontsOf, openLines, type LineRow } from './held.js';
import { replayEvent } from './replay-event.js';
import { LettersBehindError, type TakenIn } from './taken-in.js';

export interface ReleaserParts {
  readonly pool: pg.Pool;
  readonly hashes: Pick<KeyedHashes, 'uuid'>;
  readonly tenant: string;
  readonly writer: { submit(events: readonly PendingEvent[]): Promise<RecordedResult[]> };
  readonly takenIn: TakenIn;
  /** Runs work while no message is appended. */
  readonly betweenAppends: <T>(work: () => Promise<T>) => Promise<T>;
  /** Told of what it goes on after; it holds no content. */
  readonly onTrouble: (error: unknown) => void;
  readonly limits?: Partial<ReleaserLimits>;
}

export interface ReleaserLimits {
  /** Lines looked at together. */
  readonly lines: number;
  /** Messages of one line replayed together. */
  readonly perLine: number;
  /** Every line is looked at this often, whatever happened; milliseconds. */
  readonly lookEveryMs: number;
}

const LIMITS: ReleaserLimits = { lines: 64, perLine: 64, lookEveryMs: 30_000 };
/** From this round on messages that keep coming wait for a moment, so that the line gets empty. */
const INSIST_FROM_ROUND = 3;
const TAKE_IN_TIMEOUT_MS = 10_000;
/** Senders wait no longer than this for a line to get empty. */
const INSIST_TIMEOUT_MS = 1_000;
const RETRY_MS = 500;

export class LineReleaser {
  private readonly limits: ReleaserLimits;
  private readonly abort = new AbortController();
  /** Record → rounds so far. */
  private readonly lines = new Map<string, number>();
  private wake = (): void => undefined;
  private running: Promise<void> | undefined;
  private lookedAt = Number.NEGATIVE_INFINITY;
  private idle: (() => void)[] = [];

  constructor(private readonly parts: ReleaserParts) {
    this.limits = { ...LIMITS, ...parts.limits };
  }

  start(): void {
    this.running = this.run();
  }

  /** Something happened to these records' lines. */
  notice(records: readonly string[]): void {
    for (const record of records) this.lines.set(record, 0);
    this.wake();
  }

  /** Resolves when it has nothing to do; for tests. */
  async settled(): Promise<void> {
    if (this.lines.size === 0 && this.lookedAt > 0) return;
    await new Promise<void>((resolve) => this.idle.push(resolve));
  }

  async stop(): Promise<void> {
    this.abort.abort();
    this.wake();
    await this.running;
  }

  private async run(): Promise<void> {
    while (!this.abort.signal.aborted) {
      try {
        if (performance.now() - this.lookedAt > this.limits.lookEveryMs) await this.lookAtAll();
        while (this.lines.size > 0 && !this.abort.signal.aborted)
          await this.release([...this.lines.keys()].slice(0, this.limits.lines));
        for (const done of this.idle.splice(0)) done();
        await this.wait(this.limits.lookEveryMs);
      } catch (error) {
        if (this.abort.signal.aborted) return;
        // What it was about still stands in its line.
        if (!(error instanceof LettersBehindError)) this.parts.onTrouble(error);
        await this.wait(RETRY_MS);
      }
    }
  }

  private async lookAtAll(): Promise<void> {
    await this.parts.takenIn.wait('lines', TAKE_IN_TIMEOUT_MS, this.abort.signal);
    for (const record of await openLines(this.parts.pool, this.parts.takenIn.position)) {
      if (!this.lines.has(record)) this.lines.set(record, 0);
    }
    this.lookedAt = performance.now();
  }

  private async release(records: readonly string[]): Promise<void> {
    const rounds = records.map((record) => this.lines.get(record) ?? 0);
    await this.parts.takenIn.wait('lines', TAKE_IN_TIMEOUT_MS, this.abort.signal);
    if (rounds.some((round) => round >= INSIST_FROM_ROUND)) {
      await this.parts.betweenAppends(() => this.insist(records));
      return;
    }
    const left = await this.replayFronts(records);
    records.forEach((record, index) => {
      if (left.has(record)) this.lines.set(record, (rounds[index] ?? 0) + 1);
      else this.lines.delete(record);
    });
  }

  /**
   * Nothing is appended meanwhile: once everything in the log is projected, what stands in the lines is all there is. Projections that are too far
   * behind for that are not waited for.
   */
  private async insist(records: readonly string[]): Promise<void> {
    for (const record of records) this.lines.set(record, 0);
    try {
      await this.parts.takenIn.waitForHead(INSIST_TIMEOUT_MS, this.abort.signal);
    } catch (error) {
      if (!(error instanceof LettersBehindError)) throw error;
      return;
    }
    await this.replayFronts(records);
  }

  /** @returns the records that something was replayed for: there may be more behind it */
  private async replayFronts(records: readonly string[]): Promise<ReadonlySet<string>> {
    const { pool, takenIn, writer } = this.parts;
    const rows = await frontsOf(pool, records, this.limits.perLine, takenIn.position);
    const attempts = new Map<string, number>();
    const left = new Set<string>();
    const events: PendingEvent[] = [];
    for (const row of turnsOf(rows)) {
      const attempt = Math.max(attempts.get(row.messageId) ?? 0, row.attempt) + 1;
      attempts.set(row.messageId, attempt);
      left.add(row.sourceRecordId);
      events.push(this.replayOf(row, attempt));
    }
    if (events.length > 0) {
      const results = await writer.submit(events);
      for (const { position } of results) takenIn.noted(position, 'line');
    }
    return left;
  }

  private replayOf(row: LineRow, attempt: number): PendingEvent {
    const { messageId, sourceRecordId, position, correctionId, correctedAt } = row;
    return replayEvent(
      this.parts.hashes,
      {
        messageId,
        position: position.toString(),
        attempt,
        only: [sourceRecordId],
        ...(correctionId === null || correctedAt === null
          ? {}
          : { content: { eventId: correctionId, position: correctedAt.toString() } }),
      },
      { tenant: this.parts.tenant, source: 'hub', sourceVersion: 1, sourceRecordId },
    );
  }

  private async wait(milliseconds: number): Promise<void> {
    if (this.abort.signal.aborted) return;
    const woken = new AbortController();
    this.wake = () => woken.abort();
    if (this.lines.size > 0 && milliseconds === this.limits.lookEveryMs) return;
    await delay(milliseconds, undefined, { signal: woken.signal }).catch(() => undefined);
  }
}

/** Of each line, in each projection, what stands before the first parked message; each message of a record once, in order of its place. */
export function turnsOf(rows: readonly LineRow[]): LineRow[] {
  const stopped = new Set<string>();
  const turns = new Map<string, LineRow>();
  for (const row of rows) {
    const line = `${row.projection}/${row.sourceRecordId}`;
    if (row.parked) stopped.add(line);
    if (!stopped.has(line)) turns.set(`${row.sourceRecordId}/${row.messageId}`, row);
  }
  return [...turns.values()];
}
