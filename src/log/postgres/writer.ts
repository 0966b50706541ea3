/**
 * Writing side of the log on PostgreSQL. Every round is one transaction that first updates the single row of log.writer:
 * that row's lock lets one append at a time through, so that positions become visible in order and no reader can miss one;
 * it allocates them, dense; and its epoch makes the append of a writer that was replaced fail.
 */
import pg from 'pg';
import type { CopyType } from '../../database/binary-copy.js';
import { runScript, type ScriptedCopy } from '../../database/copy-script.js';
import { openClient, SHORT_STATEMENTS_SILENCE_MS } from '../../database/database.js';
import {
  AppendNotReachedError,
  LogFullError,
  LogUnavailableError,
  WriterFencedError,
  WrongExpectedRevisionError,
  type AppendResult,
  type EventLogWriter,
  type NewEvent,
  type Position,
  type StreamAppend,
} from '../event-log.js';
import { LruMap } from '../../sealing/lru.js';
import { checkRound } from '../check-round.js';
import { asLogFailure, isPassing } from './failures.js';
import { makePartitions, PARTITION_EVENTS } from './partitions.js';
import { LOG_CHANNEL, PostgresLogReader, type PostgresLogReaderOptions } from './reader.js';

export interface PostgresLogWriterOptions extends PostgresLogReaderOptions {
  /** Replace a writer that is still connected (it is fenced), instead of being refused. */
  readonly takeOver?: boolean;
  /** How long to wait for the session of a writer that has just died. */
  readonly waitMs?: number;
  /** Events per partition; for tests. */
  readonly partitionEvents?: bigint;
}

/** Thrown at opening while another writer is connected to this log. `code` is stable: WRITER_ACTIVE. */
export class WriterActiveError extends Error {
  readonly code = 'WRITER_ACTIVE';
  constructor() {
    super('another hub writes to this log');
  }
}

const WAIT_FOR_PREDECESSOR_MS = 5_000;
const WAIT_STEP_MS = 50;
/** Arbitrary, fixed: the advisory lock that a connected writer holds. */
const WRITER_LOCK = 7_261_002;
const KNOWN_STREAMS = 20_000;
const APPLICATION = 'anamnesis log writer';
/**
 * Set here whatever the server or the role says: an append that is answered is on disk. A writer that hangs between two statements of
 * an append loses its session, and so does one whose machine is gone without a word: with it goes the lock that its successor waits for.
 */
const SESSION = `set synchronous_commit = on; set idle_in_transaction_session_timeout = '10s'; set lock_timeout = 0; set statement_timeout = 0;
  set tcp_keepalives_idle = 10; set tcp_keepalives_interval = 5; set tcp_keepalives_count = 3`;
/** An append that is under way at a takeover has so long to end by itself. */
const PREDECESSOR_APPEND_MS = 1_000;
const END_LOST_MS = 5_000;

/**
 * Ends the sessions in whose open transactions the writer's row is. One that waits for the rest of a COPY's rows ends by no timeout of
 * PostgreSQL's, neither that of the statement nor that of the transaction: a writer that is held still there would hold its successor for ever.
 * Whoever only waits for the row is another successor.
 */
const END_PREDECESSORS = `
  select pg_terminate_backend(pid) from pg_locks join pg_stat_activity using (pid)
  where relation = 'log.writer'::regclass and database = datid and datname = current_database()
    and mode in ('RowShareLock', 'RowExclusiveLock') and pid <> pg_backend_pid() and wait_event_type is distinct from 'Lock'`;

/**
 * Ends a session that its client has lost, and waits until it is gone: the server may not know that yet, and hold the writer's row for it, or still
 * have before it what was sent ahead.
 */
const END_LOST = `
  select pg_terminate_backend(pid, ${END_LOST_MS}) as ended from pg_stat_activity
  where pid = $1 and datname = current_database() and application_name = '${APPLICATION}'`;

/** What log.advance fails with (migration 013): the writer was replaced; or head or a revision is another one. */
const FENCED = 'AN001';
const NOT_AS_BELIEVED = 'AN002';
/** SQLSTATE lock_not_available. */
const LOCK_NOT_AVAILABLE = '55P03';

const EVENT_COLUMNS = ['position', 'batch', 'stream_id', 'revision', 'id', 'type', 'metadata', 'data'];
const EVENT_TYPES: readonly CopyType[] = ['int8', 'int8', 'int4', 'int8', 'uuid', 'text', 'bytea', 'bytea'];

/** The writer's row as it was taken over, and the server's process that did it. */
interface Taken {
  readonly epoch: bigint;
  readonly head: bigint;
  readonly pid: number;
}

/** A batch that is to be stored: after revision `from` of its stream (-1n: a new stream). */
interface Fresh {
  readonly append: StreamAppend;
  readonly streamId: number;
  readonly from: bigint;
}

/** What became of an append: `refused` is certain, `unknown` is not. */
type Outcome = 'stored' | 'refused' | 'unknown';

/** An append that has been called and is not answered yet. */
class UnderWay {
  /** The session that its script went to. */
  sentOn: pg.Client | undefined;
  /** Told to the append that was called behind it. */
  end!: (outcome: Outcome) => void;
  readonly outcome = new Promise<Outcome>((resolve) => (this.end = resolve));
}

export class PostgresLogWriter extends PostgresLogReader implements EventLogWriter {
  readonly ahead = 1;
  private client: pg.Client | undefined;
  /** Server's process of the present session, or of the last one. */
  private backend: number;
  private closed = false;
  private readonly underWay: UnderWay[] = [];
  /** An append is in a transaction of several statements: nothing may come between them. */
  private checking = false;
  private readonly epoch: bigint;
  private lastPosition: bigint;
  /** Where the head will be once everything that was sent is stored. */
  private headBehindSent: bigint;
  private partitionsUpTo = 0n;
  private preparing: Promise<void> | undefined;
  private readonly streamIds = new LruMap<string, number>(KNOWN_STREAMS);

  private constructor(
    id: string,
    url: string,
    pool: pg.Pool,
    { epoch, head, pid }: Taken,
    private readonly partitionEvents: bigint,
    private readonly answerMs: number,
  ) {
    super(id, url, pool);
    this.epoch = epoch;
    this.lastPosition = head;
    this.headBehindSent = head;
    this.backend = pid;
  }

  /**
   * Takes the log over: from here on every append of an earlier writer fails.
   * @throws WriterActiveError, LogUnavailableError
   */
  static async openWriter(url: string, options: PostgresLogWriterOptions = {}): Promise<PostgresLogWriter> {
    const { id, pool } = await PostgresLogReader.connect(url, options);
    let client: pg.Client | undefined;
    try {
      client = await openWriterSession(url, options.answerMs);
      await claim(client, options);
      const taken = await nextEpoch(client);
      const writer = new PostgresLogWriter(
        id,
        url,
        pool,
        taken,
        options.partitionEvents ?? PARTITION_EVENTS,
        options.answerMs ?? SHORT_STATEMENTS_SILENCE_MS,
      );
      writer.adopt(client);
      await writer.prepare();
      return writer;
    } catch (error) {
      await client?.end().catch(() => undefined);
      await pool.end();
      throw asLogFailure(error, 'opening the log for writing');
    }
  }

  async append(round: readonly StreamAppend[]): Promise<AppendResult[]> {
    checkRound(round);
    if (this.closed) throw new LogUnavailableError('the log is closed');
    if (this.underWay.length > this.ahead) throw new Error('too many appends at once');
    const before = this.underWay.at(-1);
    const own = new UnderWay();
    this.underWay.push(own);
    try {
      const results = await (before === undefined ? this.appendNow(own, round) : this.appendBehind(before, own, round));
      own.end('stored');
      return results;
    } catch (error) {
      const failure = asLogFailure(error, 'appending');
      own.end(failure instanceof LogUnavailableError && !(failure instanceof LogFullError) ? 'unknown' : 'refused');
      throw failure;
    } finally {
      this.underWay.splice(this.underWay.indexOf(own), 1);
    }
  }

  /** Nothing else is under way. */
  private async appendNow(own: UnderWay, round: readonly StreamAppend[]): Promise<AppendResult[]> {
    const client = this.client ?? (await this.session());
    this.headBehindSent = this.lastPosition;
    const stored = await this.appendKnown(client, own, round);
    return stored ?? this.inTime(client, () => this.appendChecked(client, round));
  }

  /**
   * Sent at once where it can be: it names the head that the appends before it lead to, so where one of them fails it finds another head and stores
   * nothing. What cannot be sent so, behind it on the same session, waits.
   */
  private async appendBehind(before: UnderWay, own: UnderWay, round: readonly StreamAppend[]): Promise<AppendResult[]> {
    const { client } = this;
    const follows = client !== undefined && before.sentOn === client && !this.checking;
    const sent = follows ? this.appendKnown(client, own, round) : undefined;
    // What it fails with is looked at when the outcome before it is known.
    sent?.catch(() => undefined);
    const outcome = await before.outcome;
    const stored = await sent;
    if (stored !== undefined) return stored;
    if (outcome === 'unknown') throw new LogUnavailableError('the append before this one has no answer');
    if (outcome === 'refused') throw new AppendNotReachedError();
    return this.appendNow(own, round);
  }

  /** With the session cut where it gives no answer in time, so that the work fails. */
  private async inTime<T>(client: pg.Client, work: () => Promise<T>): Promise<T> {
    const timer = setTimeout(() => {
      client.connection.stream.destroy(new Error('the connection gave no answer to an append'));
    }, this.answerMs);
    try {
      return await work();
    } finally {
      clearTimeout(timer);
    }
  }

  /** After an append that was answered, or at any idle moment: makes partitions ahead. */
  async prepare(): Promise<void> {
    if (this.lastPosition + this.partitionEvents / 2n < this.partitionsUpTo) return;
    this.preparing ??= this.preparePartitions().finally(() => (this.preparing = undefined));
    await this.preparing;
  }

  private async preparePartitions(): Promise<void> {
    const client = await openClient(this.url, { applicationName: 'anamnesis log partitions' });
    client.on('error', () => undefined);
    try {
      this.partitionsUpTo = await makePartitions(client, this.partitionEvents);
    } catch (error) {
      // The default partition takes over meanwhile; only what will not pass is worth stopping for.
      if (!isPassing(error)) throw error;
    } finally {
      await client.end().catch(() => undefined);
    }
  }

  override async close(): Promise<void> {
    this.closed = true;
    const client = this.client;
    this.client = undefined;
    await Promise.all([client?.end(), super.close()]);
  }

  /**
   * The usual case, in one round trip: known streams at the revisions that the caller says, behind the head that this writer
   * knows. undefined where something is not so, and nothing was stored.
   */
  private async appendKnown(
    client: pg.Client,
    own: UnderWay,
    round: readonly StreamAppend[],
  ): Promise<AppendResult[] | undefined> {
    const fresh: Fresh[] = [];
    for (const append of round) {
      const streamId = this.streamIds.get(append.stream);
      if (streamId === undefined || typeof append.expectedRevision !== 'bigint') return undefined;
      fresh.push({ append, streamId, from: append.expectedRevision });
    }
    const count = eventCount(round);
    const before = this.headBehindSent;
    this.headBehindSent = before + count;
    own.sentOn = client;
    try {
      // One script is one transaction: where it fails nothing of it stays, and no transaction is left open before what was sent behind it.
      await this.inTime(client, () =>
        runScript(client, [
          `call log.advance(${this.epoch}, ${before}, ${count}, ${streamArrays(fresh)})`,
          this.eventCopy(fresh, before + 1n),
          `notify ${LOG_CHANNEL}`,
        ]),
      );
    } catch (error) {
      const { code } = error as { code?: unknown };
      if (code === FENCED) throw new WriterFencedError();
      if (code === NOT_AS_BELIEVED) return undefined;
      // Not an answer of the server: a session that may be lost without having said so is not used again.
      if (isPassing(error) && !(error instanceof pg.DatabaseError)) this.abandon(client);
      throw error;
    }
    return this.stored(fresh, before + count, count);
  }

  /** Looks at every stream under the writer's lock first: new streams, repeated rounds, wrong revisions. */
  private async appendChecked(client: pg.Client, round: readonly StreamAppend[]): Promise<AppendResult[]> {
    this.checking = true;
    try {
      await client.query('begin');
      return await this.appendLocked(client, round);
    } catch (error) {
      // Also for an error of what was asked: the transaction is over before the next append begins.
      await client.query('rollback').catch(() => this.abandon(client));
      throw error;
    } finally {
      this.headBehindSent = this.lastPosition;
      this.checking = false;
    }
  }

  private async appendLocked(client: pg.Client, round: readonly StreamAppend[]): Promise<AppendResult[]> {
    const held = await client.query<{ head: bigint }>('select head from log.writer where epoch = $1 for update', [
      this.epoch,
    ]);
    const [writer] = held.rows;
    if (writer === undefined) throw new WriterFencedError();
    const names = round.map((append) => append.stream);
    const { rows } = await client.query<{ id: number; name: string; revision: bigint }>(
      'select id, name, revision from log.stream where name = any ($1)',
      [names],
    );
    const streams = new Map(rows.map((row) => [row.name, row]));
    const results = new Map<string, AppendResult>();
    const fresh: Fresh[] = [];
    const made: StreamAppend[] = [];
    for (const append of round) {
      const stream = streams.get(append.stream);
      const current = stream?.revision ?? -1n;
      const expected = expectedAsNumber(append, current);
      if (current === expected) {
        if (stream === undefined) made.push(append);
        else fresh.push({ append, streamId: stream.id, from: current });
        continue;
      }
      const stored =
        stream === undefined ? undefined : await storedPositions(client, stream.id, expected, append.events);
      if (stored === undefined) {
        throw new WrongExpectedRevisionError(append.stream, append.expectedRevision, stream?.revision ?? 'no_stream');
      }
      const revision = expected + BigInt(append.events.length);
      results.set(append.stream, { stream: append.stream, revision, positions: stored });
    }
    for (const row of rows) this.streamIds.set(row.name, row.id);
    fresh.push(...(await makeStreams(client, made)));
    // In the order of the call, as positions are given in that order.
    const order = new Map(round.map((append, index) => [append, index]));
    fresh.sort((a, b) => (order.get(a.append) as number) - (order.get(b.append) as number));
    if (fresh.length > 0) {
      const count = eventCount(fresh.map(({ append }) => append));
      await client.query(this.advanceWriter(count));
      const existing = fresh.filter(({ from }) => from >= 0n);
      if (existing.length > 0) await client.query(advanceStreams(existing));
      const stored = await this.store(client, fresh, writer.head + count, count);
      for (const result of stored) results.set(result.stream, result);
      for (const { append, streamId } of fresh) this.streamIds.set(append.stream, streamId);
    } else {
      await client.query('commit');
      this.lastPosition = writer.head;
    }
    return round.map((append) => results.get(append.stream) as AppendResult);
  }

  /** Rows and commit, in a transaction that has the writer's row and the streams already. */
  private async store(
    client: pg.Client,
    fresh: readonly Fresh[],
    head: bigint,
    count: bigint,
  ): Promise<AppendResult[]> {
    await runScript(client, [this.eventCopy(fresh, head - count + 1n), `notify ${LOG_CHANNEL}`, 'commit']);
    return this.stored(fresh, head, count);
  }

  private eventCopy(fresh: readonly Fresh[], first: bigint): ScriptedCopy {
    return { table: 'log.event', columns: EVENT_COLUMNS, types: EVENT_TYPES, rows: eventRows(fresh, first) };
  }

  private async stored(fresh: readonly Fresh[], head: bigint, count: bigint): Promise<AppendResult[]> {
    this.lastPosition = head;
    if (head + this.partitionEvents / 2n >= this.partitionsUpTo) await this.prepareQuietly();
    let next = head - count + 1n;
    return fresh.map(({ append, from }) => ({
      stream: append.stream,
      revision: from + BigInt(append.events.length),
      positions: append.events.map(() => next++),
    }));
  }

  /** What was appended stands, whatever becomes of the next partition: the default one takes events until it is there. */
  private async prepareQuietly(): Promise<void> {
    try {
      await this.prepare();
    } catch {
      this.partitionsUpTo = this.lastPosition + this.partitionEvents;
    }
  }

  private advanceWriter(count: bigint): string {
    return `update log.writer set head = head + ${count}, events = events + ${count} where epoch = ${this.epoch}`;
  }

  private async session(): Promise<pg.Client> {
    if (this.client !== undefined) return this.client;
    const client = await openWriterSession(this.url, this.answerMs);
    this.adopt(client);
    try {
      const lost = await client.query<{ ended: boolean }>(END_LOST, [this.backend]);
      if (lost.rows.some(({ ended }) => !ended)) throw new LogUnavailableError('a lost session has not ended yet');
      // Held again where it is free; the epoch is what protects the log.
      const { rows } = await client.query<{ pid: number }>('select pg_try_advisory_lock($1), pg_backend_pid() as pid', [
        WRITER_LOCK,
      ]);
      this.backend = (rows[0] as { pid: number }).pid;
    } catch (error) {
      this.abandon(client);
      throw error;
    }
    return client;
  }

  private adopt(client: pg.Client): void {
    this.client = client;
    client.on('error', () => this.abandon(client));
    client.on('end', () => this.abandon(client));
  }

  private abandon(client: pg.Client): void {
    if (this.client !== client) return;
    this.client = undefined;
    void client.end().catch(() => undefined);
  }
}

export async function openSession(
  url: string,
  answerMs = SHORT_STATEMENTS_SILENCE_MS,
  pipelined = false,
): Promise<pg.Client> {
  const client = await openClient(url, { applicationName: APPLICATION, connectMs: answerMs, pipelined });
  await client.query(SESSION);
  return client;
}

function openWriterSession(url: string, answerMs?: number): Promise<pg.Client> {
  return openSession(url, answerMs, true);
}

/** A dead writer's session ends as soon as the server notices; a living one's does not. */
export async function claim(client: pg.Client, options: PostgresLogWriterOptions): Promise<void> {
  const deadline = Date.now() + (options.takeOver === true ? 0 : (options.waitMs ?? WAIT_FOR_PREDECESSOR_MS));
  for (;;) {
    const { rows } = await client.query<{ free: boolean }>('select pg_try_advisory_lock($1) as free', [WRITER_LOCK]);
    if (rows[0]?.free === true || options.takeOver === true) return;
    if (Date.now() >= deadline) throw new WriterActiveError();
    await new Promise((resolve) => setTimeout(resolve, WAIT_STEP_MS));
  }
}

/** From here on every append of an earlier writer fails, also one that was under way and has not ended in time. */
async function nextEpoch(client: pg.Client): Promise<Taken> {
  await client.query(`set lock_timeout = ${PREDECESSOR_APPEND_MS}`);
  for (;;) {
    try {
      const { rows } = await client.query<Taken>(
        'update log.writer set epoch = epoch + 1 returning epoch, head, pg_backend_pid() as pid',
      );
      await client.query('set lock_timeout = 0');
      return rows[0] as Taken;
    } catch (error) {
      if ((error as { code?: unknown }).code !== LOCK_NOT_AVAILABLE) throw error;
      await client.query(END_PREDECESSORS);
    }
  }
}

function eventCount(appends: readonly StreamAppend[]): bigint {
  let count = 0;
  for (const append of appends) count += append.events.length;
  return BigInt(count);
}

/** Ids, revisions before and revisions after, as arrays. Only numbers of our own stand in this text. */
function streamArrays(fresh: readonly Fresh[]): string {
  const array = (type: string, values: readonly (number | bigint)[]): string => `'{${values.join(',')}}'::${type}[]`;
  return [
    array(
      'int4',
      fresh.map(({ streamId }) => streamId),
    ),
    array(
      'int8',
      fresh.map(({ from }) => from),
    ),
    array(
      'int8',
      fresh.map(({ append, from }) => from + BigInt(append.events.length)),
    ),
  ].join(', ');
}

/** Only numbers of our own stand in this text. */
function advanceStreams(fresh: readonly Fresh[]): string {
  const values = fresh.map(
    ({ append, streamId, from }) => `(${streamId}, ${from}::int8, ${from + BigInt(append.events.length)}::int8)`,
  );
  return `update log.stream as s set revision = v.next from (values ${values.join(', ')}) as v (id, expected, next)
    where s.id = v.id and s.revision = v.expected`;
}

async function makeStreams(client: pg.Client, made: readonly StreamAppend[]): Promise<Fresh[]> {
  if (made.length === 0) return [];
  const { rows } = await client.query<{ id: number; name: string }>(
    'insert into log.stream (name, revision) select * from unnest($1::text[], $2::int8[]) returning id, name',
    [made.map((append) => append.stream), made.map((append) => append.events.length - 1)],
  );
  const ids = new Map(rows.map((row) => [row.name, row.id]));
  return made.map((append) => ({ append, streamId: ids.get(append.stream) as number, from: -1n }));
}

/** -1n stands for "no stream". */
function expectedAsNumber(append: StreamAppend, current: bigint): bigint {
  if (append.expectedRevision === 'any') return current;
  return append.expectedRevision === 'no_stream' ? -1n : append.expectedRevision;
}

/** The positions of exactly these events, behind exactly that revision, where they are stored already. */
async function storedPositions(
  client: pg.Client,
  streamId: number,
  expected: bigint,
  events: readonly NewEvent[],
): Promise<Position[] | undefined> {
  // Backwards from the end of the stream: what is repeated is near it.
  const { rows } = await client.query<{ id: string; position: bigint }>(
    `select id, position from log.event where stream_id = $1 and revision > $2 and revision <= $3
     order by position desc limit $4`,
    [streamId, expected, expected + BigInt(events.length), events.length],
  );
  rows.reverse();
  const same = rows.length === events.length && rows.every((row, index) => row.id === events[index]?.id);
  return same ? rows.map((row) => row.position) : undefined;
}

/** The same array for every row: each is written down before the next one is asked for. */
function* eventRows(fresh: readonly Fresh[], first: bigint): Generator<readonly unknown[]> {
  const row: unknown[] = [first, first, 0, 0n, '', '', undefined, undefined];
  let position = first;
  for (const { append, streamId, from } of fresh) {
    let revision = from;
    row[2] = streamId;
    for (const { id, type, metadata, data } of append.events) {
      revision += 1n;
      row[0] = position;
      row[3] = revision;
      row[4] = id;
      row[5] = type;
      row[6] = metadata;
      row[7] = data;
      yield row;
      position += 1n;
    }
  }
}
