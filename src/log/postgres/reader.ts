/** Reading side of the log on PostgreSQL. */
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { openPool, SHORT_STATEMENTS_SILENCE_MS } from '../../database/database.js';
import { LruMap } from '../../sealing/lru.js';
import {
  EventUnreadableError,
  UnfinishedCopyError,
  type EventLogReader,
  type Position,
  type ReadOptions,
  type RecordedEvent,
  type StorageProblem,
} from '../event-log.js';
import { asLogFailure, isPassing } from './failures.js';
import { inspectStorage } from './inspect.js';
import { Listener } from './listener.js';
import type { Waiter } from '../waiters.js';

interface EventRow {
  position: bigint;
  batch: bigint;
  stream_id: number;
  revision: bigint;
  id: string;
  type: string;
  metadata: Buffer;
  data: Buffer;
}

/** A page of a subscription holds at most this many bytes of bodies, whatever its number of events (but for one batch). */
const PAGE_BYTES = 16 * 1024 * 1024;
/** A subscription looks again after this time even if no notice came. */
const LOOK_AGAIN_MS = 1_000;
const RETRY_MIN_MS = 50;
const RETRY_MAX_MS = 2_000;
const KNOWN_STREAMS = 20_000;
export const LOG_CHANNEL = 'anamnesis_log';

const COLUMNS = 'position, batch, stream_id, revision, id, type, metadata, data';

/** Of the writer's row, the position of the last event: right after a restore the writer stands ahead of it, behind the gap that it left. */
export const LAST_POSITION = `(select coalesce((select r.head from log.restored r where r.base = w.head), w.head) from log.writer w)`;

/**
 * The next events in order, cut where their bodies exceed the byte budget (the first one always comes). One statement is
 * one snapshot: `head` says whether the last row is the log's last one as well, so that its batch is known to be whole.
 */
const NEXT_EVENTS = `
  select ${COLUMNS}, ${LAST_POSITION} as head
  from (
    select *, sum(octet_length(data)::bigint) over (order by position rows unbounded preceding) - octet_length(data) as before
    from (select ${COLUMNS} from log.event where position > $1 order by position limit $2) as next
  ) as sized
  where before < $3
  order by position`;

/** A page cut behind the event that brings its bodies to so many bytes; sizes are known without reading the bodies. */
function within(page: string, order: 'asc' | 'desc', bytes: number): string {
  return `select ${COLUMNS} from (
      select *, sum(octet_length(data)::bigint) over (order by position ${order} rows unbounded preceding) - octet_length(data) as before
      from (${page}) as next
    ) as sized where before < ${Math.max(1, Math.floor(bytes))} order by position ${order}`;
}

export interface PostgresLogReaderOptions {
  /** A call that has no answer after so many milliseconds fails with LogUnavailableError. */
  readonly answerMs?: number;
}

export class PostgresLogReader implements EventLogReader {
  readonly adapter = 'postgres';
  private readonly listener: Listener;
  private closing: Promise<void> | undefined;
  private readonly streamNames = new LruMap<number, string>(KNOWN_STREAMS);

  protected constructor(
    readonly id: string,
    protected readonly url: string,
    protected readonly pool: pg.Pool,
  ) {
    this.listener = new Listener(url, [LOG_CHANNEL]);
  }

  /** @throws LogUnavailableError */
  static async open(url: string, options: PostgresLogReaderOptions = {}): Promise<PostgresLogReader> {
    const { id, pool } = await PostgresLogReader.connect(url, options);
    return new PostgresLogReader(id, url, pool);
  }

  protected static async connect(
    url: string,
    options: PostgresLogReaderOptions,
  ): Promise<{ id: string; pool: pg.Pool }> {
    const pool = openPool(url, {
      max: 4,
      applicationName: 'anamnesis log reader',
      silenceMs: options.answerMs ?? SHORT_STATEMENTS_SILENCE_MS,
    });
    try {
      const { rows } = await pool.query<{ id: string; copying: boolean }>('select id, copying from log.identity');
      const [row] = rows;
      if (row === undefined) throw new Error('this database holds no log identity');
      if (row.copying) throw new UnfinishedCopyError();
      return { id: row.id, pool };
    } catch (error) {
      await pool.end();
      throw asLogFailure(error, 'opening the log');
    }
  }

  async readPage(options: ReadOptions): Promise<RecordedEvent[]> {
    const backwards = options.direction === 'backwards';
    const values: unknown[] = [options.limit];
    const conditions: string[] = [];
    if (options.after !== undefined) {
      values.push(options.after);
      conditions.push(`position ${backwards ? '<' : '>'} $${values.length}`);
    }
    if (options.types !== undefined) {
      values.push(options.types);
      conditions.push(`type = any ($${values.length})`);
    }
    return this.attempt('reading', async () => {
      if (options.stream !== undefined) {
        const stream = await this.pool.query<{ id: number }>('select id from log.stream where name = $1', [
          options.stream,
        ]);
        const [row] = stream.rows;
        if (row === undefined) return [];
        values.push(row.id);
        conditions.push(`stream_id = $${values.length}`);
      }
      const where = conditions.length === 0 ? '' : `where ${conditions.join(' and ')}`;
      const order = backwards ? 'desc' : 'asc';
      const page = `select ${COLUMNS} from log.event ${where} order by position ${order} limit $1`;
      const { rows } = await this.pool.query<EventRow>(
        options.maxBytes === undefined ? page : within(page, order, options.maxBytes),
        values,
      );
      return this.recorded(rows);
    });
  }

  async head(): Promise<Position> {
    return (await this.writerRow()).head;
  }

  async count(): Promise<bigint> {
    return (await this.writerRow()).events;
  }

  async streamRevision(stream: string): Promise<bigint | 'no_stream'> {
    return this.attempt('reading a stream', async () => {
      const { rows } = await this.pool.query<{ revision: bigint }>('select revision from log.stream where name = $1', [
        stream,
      ]);
      return rows[0]?.revision ?? 'no_stream';
    });
  }

  async *subscribe(options: {
    after: Position;
    pageSize: number;
    signal: AbortSignal;
  }): AsyncIterable<RecordedEvent[]> {
    const waiter = this.listener.wait(options.signal);
    try {
      yield* this.pages(options, waiter);
    } finally {
      waiter.done();
    }
  }

  inspect(range?: {
    readonly from?: Position | undefined;
    readonly to?: Position | undefined;
  }): AsyncIterable<StorageProblem> {
    return inspectStorage(this.pool, range);
  }

  close(): Promise<void> {
    this.closing ??= Promise.all([this.listener.close(), this.pool.end()]).then(() => undefined);
    return this.closing;
  }

  protected async attempt<T>(doing: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw asLogFailure(error, doing);
    }
  }

  private async *pages(
    options: { after: Position; pageSize: number; signal: AbortSignal },
    waiter: Waiter,
  ): AsyncIterable<RecordedEvent[]> {
    const { pageSize, signal } = options;
    let position = options.after;
    // Rows read that do not stand in a page yet.
    let open: EventRow[] = [];
    let retryMs = RETRY_MIN_MS;
    while (!signal.aborted) {
      waiter.reset();
      try {
        const from = open.at(-1)?.position ?? position;
        const { rows } = await this.pool.query<EventRow & { head: bigint }>(NEXT_EVENTS, [
          from,
          pageSize + 1,
          PAGE_BYTES,
        ]);
        const whole = wholeBatches(open, rows, pageSize);
        const page = await this.recorded(whole.page);
        open = whole.open;
        retryMs = RETRY_MIN_MS;
        if (page.length > 0) {
          position = (page.at(-1) as RecordedEvent).position;
          yield page;
        } else if (rows.length === 0) {
          await waiter.next(LOOK_AGAIN_MS);
        }
      } catch (error) {
        if (!isPassing(error)) throw error;
        await delay(retryMs, undefined, { signal }).catch(() => undefined);
        retryMs = Math.min(retryMs * 2, RETRY_MAX_MS);
      }
    }
  }

  private async writerRow(): Promise<{ head: bigint; events: bigint }> {
    return this.attempt('reading the head', async () => {
      const { rows } = await this.pool.query<{ head: bigint; events: bigint }>(
        `select ${LAST_POSITION} as head, events from log.writer`,
      );
      const [row] = rows;
      if (row === undefined) throw new Error('this database holds no log');
      return row;
    });
  }

  private async recorded(rows: readonly EventRow[]): Promise<RecordedEvent[]> {
    const unknown = new Set<number>();
    for (const row of rows) if (this.streamNames.get(row.stream_id) === undefined) unknown.add(row.stream_id);
    const found = new Map<number, string>();
    if (unknown.size > 0) {
      const streams = await this.pool.query<{ id: number; name: string }>(
        'select id, name from log.stream where id = any ($1::int[])',
        [[...unknown]],
      );
      for (const { id, name } of streams.rows) {
        found.set(id, name);
        this.streamNames.set(id, name);
      }
    }
    return rows.map((row) => {
      const stream = this.streamNames.get(row.stream_id) ?? found.get(row.stream_id);
      if (stream === undefined)
        throw new EventUnreadableError(
          row.position,
          `the event at position ${row.position} is in a stream that does not exist`,
        );
      const { position, revision, id, type, metadata, data } = row;
      return { position, stream, revision, id, type, metadata, data };
    });
  }
}

/** Splits rows into a page of whole batches (at most `pageSize` events unless a single batch is larger) and the rest. */
function wholeBatches(
  open: readonly EventRow[],
  read: readonly (EventRow & { head: bigint })[],
  pageSize: number,
): { page: EventRow[]; open: EventRow[] } {
  const rows = [...open, ...read];
  const last = read.at(-1);
  // Nothing behind the open rows: they end at the head, as a batch becomes visible whole.
  const atHead = last === undefined || last.position === last.head;
  let cut = 0;
  for (let index = 1; index <= rows.length; index += 1) {
    if (index > pageSize && cut > 0) break;
    const ends = index === rows.length ? atHead : rows[index]?.batch !== rows[index - 1]?.batch;
    if (ends) cut = index;
  }
  return { page: rows.slice(0, cut), open: rows.slice(cut) };
}
