/**
 * The mailbox through which other roles hand decisions to the writer (table hub.writer_request): a row and a notice; the
 * ingest role claims it, appends, and answers in the row. A request that was given up before it was claimed is withdrawn
 * and never carried out; one that was claimed is waited for.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { openPool, SHORT_STATEMENTS_SILENCE_MS } from '../database/database.js';
import type { Json } from '../mapping/fact.js';
import { Listener } from './postgres/listener.js';
import type { Waiter } from './waiters.js';

const REQUEST_CHANNEL = 'anamnesis_writer_request';
const ANSWER_CHANNEL = 'anamnesis_writer_answer';
const DEFAULT_TIMEOUT_MS = 5_000;
/** How long a claimed request is waited for beyond its time: the writer may be repeating an append. */
const CLAIMED_TIMEOUT_MS = 30_000;
/** Both sides look again after this time even if no notice came. */
const LOOK_AGAIN_MS = 1_000;
const RETRY_MS = 200;
const MOST_AT_ONCE = 32;

/**
 * Thrown where no writer took the request in time. `code` is stable: WRITER_UNAVAILABLE.
 * `outcome` is `not-done` where that is certain, `unknown` where the writer, or the database, went away in the middle.
 */
export class WriterUnavailableError extends Error {
  readonly code = 'WRITER_UNAVAILABLE';
  constructor(
    readonly outcome: 'not-done' | 'unknown',
    options?: ErrorOptions,
  ) {
    super(outcome === 'not-done' ? 'the writer is away' : 'the writer went away before it answered', options);
  }
}

/** Thrown where the writer refused the request; `code` is that of its error. */
export class WriterRequestError extends Error {
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

interface Problem {
  readonly code: string;
  readonly message: string;
}

interface AnswerRow {
  claimed_at: string | null;
  answered_at: string | null;
  answer: Json;
  problem: Problem | null;
}

/** Problem of a request that was claimed by a writer that has died since. */
const LOST = 'REQUEST_LOST';

const MAKE_REQUEST = `
  with made as (
    insert into hub.writer_request (id, kind, payload, expires_at)
    values ($1, $2, $3, clock_timestamp() + $4 * interval '1 millisecond')
  ) select pg_notify('${REQUEST_CHANNEL}', '')`;

/** Client side. */
export class WriterMailbox {
  private readonly pool: pg.Pool;
  private readonly listener: Listener;

  constructor(url: string) {
    this.pool = openPool(url, { max: 2, applicationName: 'anamnesis mailbox', silenceMs: SHORT_STATEMENTS_SILENCE_MS });
    this.listener = new Listener(url, [ANSWER_CHANNEL]);
  }

  /**
   * Asks the writer and waits for its answer.
   * @param options.timeoutMs how long a writer may take to claim the request; 5 s by default
   * @throws WriterUnavailableError, WriterRequestError
   */
  async request(kind: string, payload: Json, options: { timeoutMs?: number } = {}): Promise<Json> {
    const id = randomUUID();
    const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    const done = new AbortController();
    const waiter = this.listener.wait(done.signal);
    try {
      await this.make(id, kind, payload, timeoutMs);
      const row = await this.answerOf(id, waiter, timeoutMs);
      // The answer is there whether or not the row can be dropped; the writer drops what is left over.
      await this.pool.query('delete from hub.writer_request where id = $1', [id]).catch(() => undefined);
      if (row.problem === null) return row.answer;
      if (row.problem.code === LOST) throw new WriterUnavailableError('unknown');
      throw new WriterRequestError(row.problem.code, row.problem.message);
    } finally {
      waiter.done();
    }
  }

  async close(): Promise<void> {
    await Promise.all([this.listener.close(), this.pool.end()]);
  }

  private async make(id: string, kind: string, payload: Json, timeoutMs: number): Promise<void> {
    try {
      await this.pool.query(MAKE_REQUEST, [id, kind, JSON.stringify(payload), timeoutMs]);
    } catch (error) {
      // It may stand there all the same; it expires.
      throw new WriterUnavailableError('unknown', { cause: error });
    }
  }

  private async answerOf(id: string, waiter: Waiter, timeoutMs: number): Promise<AnswerRow> {
    let deadline = Date.now() + timeoutMs;
    let claimed = false;
    for (;;) {
      waiter.reset();
      const row = await this.look(id);
      if (row === undefined) throw new WriterUnavailableError('unknown');
      if (row !== 'unreachable' && row.answered_at !== null) return row;
      if (row !== 'unreachable' && row.claimed_at !== null && !claimed) {
        claimed = true;
        deadline += CLAIMED_TIMEOUT_MS;
      }
      const leftMs = deadline - Date.now();
      if (leftMs > 0) {
        await waiter.next(Math.min(leftMs, row === 'unreachable' ? RETRY_MS : LOOK_AGAIN_MS));
      } else {
        if (claimed) throw new WriterUnavailableError('unknown');
        if (await this.withdraw(id)) throw new WriterUnavailableError('not-done');
        // Claimed in the last moment: the next look finds it so.
      }
    }
  }

  /** The request as it stands, or that the database did not say. */
  private async look(id: string): Promise<AnswerRow | 'unreachable' | undefined> {
    try {
      const { rows } = await this.pool.query<AnswerRow>(
        'select claimed_at, answered_at, answer, problem from hub.writer_request where id = $1',
        [id],
      );
      return rows[0];
    } catch {
      return 'unreachable';
    }
  }

  /** Whether the request was taken back before anybody claimed it. */
  private async withdraw(id: string): Promise<boolean> {
    const { rowCount } = await this.pool.query('delete from hub.writer_request where id = $1 and claimed_at is null', [
      id,
    ]);
    return rowCount === 1;
  }
}

/** Carries out one kind of request; what it throws with a `code` of capitals goes back to the client. */
export type RequestHandler = (payload: Json) => Promise<Json>;

interface ClaimedRow {
  id: string;
  kind: string;
  payload: Json;
}

const CLAIM = `
  update hub.writer_request set claimed_at = clock_timestamp(), claimed_by = $2
  where id in (
    select id from hub.writer_request
    where claimed_at is null and expires_at > clock_timestamp()
    order by made_at limit $1 for update skip locked
  )
  returning id, kind, payload, made_at`;

/** After a claim whose answer was lost on the way: what stands there as claimed by this server. */
const CLAIMED = `
  select id, kind, payload, made_at from hub.writer_request where claimed_by = $1 and answered_at is null`;

const ANSWER = `
  with answered as (
    update hub.writer_request set answered_at = clock_timestamp(), answer = $2, problem = $3 where id = $1
  ) select pg_notify('${ANSWER_CHANNEL}', '')`;

/** What a predecessor claimed and did not answer, it will not answer any more; what nobody fetched is dropped in time. */
const CLEAN_UP = `
  with lost as (
    update hub.writer_request
    set answered_at = clock_timestamp(), problem = jsonb_build_object('code', '${LOST}', 'message', 'lost')
    where claimed_at is not null and answered_at is null
  ), dropped as (
    delete from hub.writer_request
    where made_at < clock_timestamp() - interval '1 hour' and (claimed_at is null or answered_at is not null)
  ) select pg_notify('${ANSWER_CHANNEL}', '')`;

/**
 * Writer side: claims requests in the order in which they were made and starts their handlers in that order, several at
 * a time. Lives through outages of the database.
 */
export function serveMailbox(
  url: string,
  handlers: Readonly<Record<string, RequestHandler>>,
  options: { onTrouble?: (error: unknown) => void } = {},
): { close(): Promise<void> } {
  const server = new MailboxServer(url, handlers, options.onTrouble ?? (() => undefined));
  const running = server.run();
  let closed: Promise<void> | undefined;
  return { close: () => (closed ??= server.stop(running)) };
}

class MailboxServer {
  private readonly pool: pg.Pool;
  private readonly listener: Listener;
  private readonly stopping = new AbortController();
  private readonly id = randomUUID();
  private readonly busy = new Map<string, Promise<void>>();
  /** Whether a claim may have succeeded without this server having seen what it claimed. */
  private claimInDoubt = false;

  constructor(
    url: string,
    private readonly handlers: Readonly<Record<string, RequestHandler>>,
    private readonly onTrouble: (error: unknown) => void,
  ) {
    this.pool = openPool(url, {
      max: 4,
      applicationName: 'anamnesis mailbox writer',
      silenceMs: SHORT_STATEMENTS_SILENCE_MS,
    });
    this.listener = new Listener(url, [REQUEST_CHANNEL]);
  }

  async run(): Promise<void> {
    const waiter = this.listener.wait(this.stopping.signal);
    await this.insistently(() => this.pool.query(CLEAN_UP));
    while (!this.stopping.signal.aborted) {
      waiter.reset();
      const rows = (await this.insistently(() => this.claim())) ?? [];
      for (const row of rows) this.start(row);
      if (this.busy.size >= MOST_AT_ONCE) await Promise.race(this.busy.values());
      else if (rows.length === 0) await waiter.next(LOOK_AGAIN_MS);
    }
  }

  /** What was claimed is started even now, and finished: nobody else would. */
  async stop(running: Promise<void>): Promise<void> {
    this.stopping.abort();
    await running;
    await Promise.all(this.busy.values());
    await Promise.all([this.listener.close(), this.pool.end()]);
  }

  private async claim(): Promise<ClaimedRow[]> {
    const found: (ClaimedRow & { made_at: string })[] = [];
    if (this.claimInDoubt) {
      const known = new Set(this.busy.keys());
      const { rows } = await this.pool.query<ClaimedRow & { made_at: string }>(CLAIMED, [this.id]);
      found.push(...rows.filter((row) => !known.has(row.id)));
    }
    this.claimInDoubt = true;
    const free = Math.max(MOST_AT_ONCE - this.busy.size - found.length, 0);
    const { rows } = await this.pool.query<ClaimedRow & { made_at: string }>(CLAIM, [free, this.id]);
    this.claimInDoubt = false;
    return [...found, ...rows].sort((a, b) => (a.made_at < b.made_at ? -1 : 1));
  }

  private start(row: ClaimedRow): void {
    this.busy.set(
      row.id,
      this.answer(row).finally(() => this.busy.delete(row.id)),
    );
  }

  private async answer(row: ClaimedRow): Promise<void> {
    let answer: Json = null;
    let problem: Problem | null = null;
    try {
      const handler = Object.hasOwn(this.handlers, row.kind) ? this.handlers[row.kind] : undefined;
      if (handler === undefined) throw new WriterRequestError('UNKNOWN_REQUEST', 'the writer knows no such request');
      answer = await handler(row.payload);
    } catch (error) {
      problem = problemOf(error);
      if (problem.code === 'INTERNAL') this.onTrouble(error);
    }
    await this.insistently(() => this.pool.query(ANSWER, [row.id, JSON.stringify(answer), JSON.stringify(problem)]));
  }

  /** Repeats until it works; gives up only when the server stops while the database is away. */
  private async insistently<T>(work: () => Promise<T>): Promise<T | undefined> {
    for (;;) {
      try {
        return await work();
      } catch (error) {
        this.onTrouble(error);
        if (this.stopping.signal.aborted) return undefined;
        await delay(RETRY_MS, undefined, { signal: this.stopping.signal }).catch(() => undefined);
      }
    }
  }
}

/** The hub's own errors have codes of capitals and messages without content; of any other only the fact is told. */
function problemOf(error: unknown): Problem {
  const code = (error as { code?: unknown } | null)?.code;
  if (error instanceof Error && typeof code === 'string' && /^[A-Z][A-Z_]+_[A-Z_]+$|^ERASED$|^CONFLICT$/.test(code)) {
    return { code, message: error.message };
  }
  return { code: 'INTERNAL', message: 'the writer could not carry this out' };
}
