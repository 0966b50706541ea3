/** What the writer does, measured: for /metrics, and told once a second in hub.log_statistics for whoever asks in another process. */
import type pg from 'pg';
import { counter, histogram } from '../operations/metrics.js';
import type { AppendResult, EventLogWriter, StreamAppend } from './event-log.js';
import type { PendingEvent, RecordedResult } from './round.js';

/** Of the last ten seconds; times in milliseconds. */
export interface LogFigures {
  /** Events appended per second. */
  readonly rate: number;
  readonly bytesPerSecond: number;
  /** Means over the rounds. */
  readonly roundEvents: number;
  readonly roundBytes: number;
  readonly appendMs: number;
  /** How long a message waited from its sealing until it was durable: mean and longest. */
  readonly waitMs: number;
  readonly longestWaitMs: number;
}

const WINDOW_MS = 10_000;
const TELL_EVERY_MS = 1_000;
const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10];
const EVENTS = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2000];

interface Round {
  readonly atMs: number;
  readonly events: number;
  readonly bytes: number;
  readonly tookMs: number;
}
interface Wait {
  readonly atMs: number;
  readonly tookMs: number;
}

export class LogMeter {
  private rounds: Round[] = [];
  private waits: Wait[] = [];
  private timer: NodeJS.Timeout | undefined;
  private telling: Promise<unknown> = Promise.resolve();
  private readonly events = counter('anamnesis_log_events_total', 'Events appended to the log');
  private readonly bytes = counter('anamnesis_log_bytes_total', 'Bytes of events appended to the log');
  private readonly roundEvents = histogram('anamnesis_log_round_events', 'Events that were appended together', EVENTS);
  private readonly appendSeconds = histogram('anamnesis_log_append_seconds', 'Time to append a round', SECONDS);
  private readonly waitSeconds = histogram(
    'anamnesis_log_wait_seconds',
    'Time from the sealing of a message until it is durable',
    SECONDS,
  );

  /** @param clock milliseconds that only grow */
  constructor(private readonly clock: () => number = () => performance.now()) {}

  /** The same log; its rounds are measured. */
  metering(log: EventLogWriter): EventLogWriter {
    const append = async (round: readonly StreamAppend[]): Promise<AppendResult[]> => {
      const begun = this.clock();
      const results = await log.append(round);
      this.appended(round, this.clock() - begun);
      return results;
    };
    return new Proxy(log, {
      get(target, name) {
        if (name === 'append') return append;
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      },
    });
  }

  /** The same writer; the waits of its callers are measured. */
  waiting(writer: { submit(events: readonly PendingEvent[]): Promise<RecordedResult[]> }): {
    submit(events: readonly PendingEvent[]): Promise<RecordedResult[]>;
  } {
    return {
      submit: async (events) => {
        const begun = this.clock();
        const results = await writer.submit(events);
        const tookMs = this.clock() - begun;
        this.waits.push({ atMs: this.clock(), tookMs });
        this.waitSeconds.observe(tookMs / 1000);
        return results;
      },
    };
  }

  figures(): LogFigures {
    const since = this.clock() - WINDOW_MS;
    this.rounds = this.rounds.filter(({ atMs }) => atMs > since);
    this.waits = this.waits.filter(({ atMs }) => atMs > since);
    const { rounds, waits } = this;
    const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
    const mean = (values: readonly number[]): number => (values.length === 0 ? 0 : sum(values) / values.length);
    const events = rounds.map((round) => round.events);
    const bytes = rounds.map((round) => round.bytes);
    return {
      rate: (sum(events) * 1000) / WINDOW_MS,
      bytesPerSecond: (sum(bytes) * 1000) / WINDOW_MS,
      roundEvents: mean(events),
      roundBytes: mean(bytes),
      appendMs: mean(rounds.map(({ tookMs }) => tookMs)),
      waitMs: mean(waits.map(({ tookMs }) => tookMs)),
      longestWaitMs: waits.reduce((most, { tookMs }) => Math.max(most, tookMs), 0),
    };
  }

  /** Tells the figures to the database every second. What is lost of them is told again. @param pool with relaxed commits */
  start(pool: pg.Pool): void {
    this.timer = setInterval(() => {
      this.telling = pool
        .query(
          `insert into hub.log_statistics (at, figures) values (clock_timestamp(), $1)
           on conflict (one) do update set at = excluded.at, figures = excluded.figures`,
          [JSON.stringify(this.figures())],
        )
        .catch(() => undefined);
    }, TELL_EVERY_MS);
    this.timer.unref();
  }

  async close(): Promise<void> {
    clearInterval(this.timer);
    await this.telling;
  }

  private appended(round: readonly StreamAppend[], tookMs: number): void {
    let events = 0;
    let bytes = 0;
    for (const append of round) {
      events += append.events.length;
      for (const { metadata, data } of append.events) bytes += metadata.length + data.length;
    }
    this.rounds.push({ atMs: this.clock(), events, bytes, tookMs });
    this.events.inc(events);
    this.bytes.inc(bytes);
    this.roundEvents.observe(events);
    this.appendSeconds.observe(tookMs / 1000);
  }
}
