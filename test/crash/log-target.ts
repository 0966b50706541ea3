/**
 * `npm run crash -- --target log [--log eventstore]`: only the log. A process appends rounds; it is killed at random instants, its server is killed,
 * stopped at once or stopped in order, and it is held still while a successor takes over and then let go. What was acknowledged
 * is taken down in a ledger; at the end the log must be the ledger, event by event and in order.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { openPool } from '../../src/database/database.js';
import { migrate } from '../../src/database/migrate.js';
import { clinicalStream, EVENT_TYPES, PARTITIONS } from '../../src/log/envelope.js';
import type { RecordedEvent } from '../../src/log/event-log.js';
import { openLogReader, openLogWriter, type LogPlace } from '../../src/log/open-log.js';
import { LogWriter } from '../../src/log/writer.js';
import { Random } from '../../src/simulator/random.js';
import { startEmbeddedPostgres, type RunningPostgres } from '../../src/supervisor/embedded-postgres.js';
import { freePort } from '../support/free-port.js';
import { ROOT } from '../support/hub-process.js';
import { startEventStoreDouble, type RunningDouble } from '../support/eventstore-double/double.js';
import type { LogProcessMessage, RoundMessage } from './log-process.js';
import { Differences } from './comparison.js';
import type { CrashOptions, CrashResult } from './run.js';

const MOST_EVENTS = 200;
const MOST_BYTES = 3_000;
/** Longest time between two kills, in milliseconds. */
const LONGEST_LIFE_MS = 250;
/** Attempts that fail for one thing waited for, or the time without even one: then the course has failed, and says where it stands. However busy the machine is, what it does not do is not counted. */
const MOST_TRIES = 5_000;
const STANDSTILL_MS = 600_000;
const SETTLE_MS = 10_000;

type Kill = 'writer' | 'writer held still' | ServerKill;
type ServerKill = 'server' | 'server at once' | 'server in order' | 'server held still';

/** A round that is not acknowledged yet: its events stay the same, whoever appends them. */
interface Round {
  readonly number: number;
  readonly batches: { readonly stream: string; readonly events: { readonly id: string; readonly data: Buffer }[] }[];
}

interface LedgerEntry {
  readonly id: string;
  readonly stream: string;
  readonly hash: string;
  readonly position: bigint;
}

/** @returns what was lost, doubled or is not as the ledger says: wrong place, wrong bytes, wrong order, or in nobody's ledger */
export async function runLogCrash(options: CrashOptions & { log?: 'postgres' | 'eventstore' }): Promise<CrashResult> {
  const random = new Random(options.seed);
  const folder = await mkdtemp(path.join(os.tmpdir(), 'anamnesis-crash-'));
  const postgres = await PostgresServer.start(path.join(folder, 'postgres'));
  const server = options.log === 'eventstore' ? await EventStoreServer.start(postgres) : postgres;
  const course = new Course(server, random, new Differences(options.print ?? (() => undefined)));
  const run = async (): Promise<CrashResult> => {
    await course.begin();
    const kinds = [[5, 'writer'], [2, 'writer held still'], ...server.kills] as const;
    for (let kill = 1; kill <= options.kills && !course.over; kill += 1) {
      // Mostly in the middle of appends; now and then while it is still taking the log over.
      if (random.chance(0.85)) await course.writing();
      await pause(random.fraction() * LONGEST_LIFE_MS);
      // Every kind once, so that also a short run has all of them; then as they come.
      const inTurn = kill > kinds.length ? undefined : kinds[(kill + options.seed) % kinds.length]?.[1];
      const what = inTurn ?? random.weighted<Kill>(kinds);
      await course.kill(what);
      options.print?.(`kill ${kill}/${options.kills}: ${what}; acknowledged so far ${course.ledger.length}`);
    }
    await course.finish();
    return { kills: options.kills, acknowledged: course.ledger.length, ...(await course.compare()) };
  };
  const running = run();
  try {
    return await Promise.race([running, course.failure]);
  } finally {
    // What failed while a server was on its way back up leaves none running.
    course.over = true;
    await Promise.race([running.catch(() => undefined), pause(SETTLE_MS)]);
    await course.end();
    await rm(folder, { recursive: true, force: true });
  }
}

/** Where the log stands, and the ways in which it dies. */
interface LogServer {
  readonly place: LogPlace;
  readonly kills: readonly (readonly [weight: number, how: ServerKill])[];
  /** Why it did not come back at the last attempt. */
  readonly trouble: string;
  /** Resolves when it answers again. */
  kill(how: ServerKill): Promise<void>;
  stop(): Promise<void>;
}

class PostgresServer implements LogServer {
  readonly kills = [
    [2, 'server'],
    [2, 'server at once'],
    [1, 'server in order'],
  ] as const;
  trouble = '';

  private constructor(
    private readonly folder: string,
    private running: RunningPostgres,
  ) {}

  static async start(folder: string): Promise<PostgresServer> {
    const running = await startEmbeddedPostgres({ folder, port: await freePort() });
    await migrate(running.url);
    return new PostgresServer(folder, running);
  }

  get place(): LogPlace {
    return { eventLog: 'postgres', databaseUrl: this.running.url };
  }

  async kill(how: ServerKill): Promise<void> {
    process.kill(this.running.pid, how === 'server' ? 'SIGKILL' : how === 'server at once' ? 'SIGQUIT' : 'SIGINT');
    await this.running.exited;
    const { port } = this.running;
    for (;;) {
      try {
        this.running = await startEmbeddedPostgres({ folder: this.folder, port });
        return;
      } catch (error) {
        // Sessions of a killed postmaster hold its memory until they notice.
        const { message } = error as Error;
        if (!/did not start/.test(message)) throw error;
        this.trouble = message;
        await pause(50);
      }
    }
  }

  stop(): Promise<void> {
    return this.running.stop();
  }
}

/** EventStoreDB's double; the hub's PostgreSQL, which holds the writer's lock and the clock mark, lives on. */
class EventStoreServer implements LogServer {
  readonly kills = [
    [4, 'server'],
    [1, 'server held still'],
  ] as const;
  readonly trouble = '';

  private constructor(
    private readonly postgres: PostgresServer,
    private readonly double: RunningDouble,
  ) {}

  static async start(postgres: PostgresServer): Promise<EventStoreServer> {
    return new EventStoreServer(postgres, await startEventStoreDouble());
  }

  get place(): LogPlace {
    return { ...this.postgres.place, eventLog: this.double.url };
  }

  async kill(how: ServerKill): Promise<void> {
    if (how === 'server held still') {
      this.double.freeze();
      await pause(300);
      this.double.thaw();
      return;
    }
    await this.double.kill();
    await this.double.restart();
  }

  async stop(): Promise<void> {
    await this.double.destroy();
    await this.postgres.stop();
  }
}

class Course {
  readonly ledger: LedgerEntry[] = [];
  /** No more kills: it has ended or failed. */
  over = false;
  private writer!: WriterProcess;
  private zombie: WriterProcess | undefined;
  private open: Round | undefined;
  private rounds = 0;
  private readonly revisions = new Map<string, string>();
  private finishing = false;
  private idle: (() => void) | undefined;
  /** What it waits for now, and since when. */
  private doing = { step: 'beginning', tries: 0, sinceMs: Date.now() };
  private readonly watch: NodeJS.Timeout;
  private fail!: (reason: Error) => void;
  /** Rejects where the course cannot go on: it stands still, or a process ended that nobody killed. */
  readonly failure = new Promise<never>((_, reject) => (this.fail = reject));

  constructor(
    private readonly server: LogServer,
    private readonly random: Random,
    private readonly differences: Differences,
  ) {
    this.failure.catch(() => undefined);
    this.watch = setInterval(() => {
      if (Date.now() - this.doing.sinceMs < STANDSTILL_MS && this.doing.tries < MOST_TRIES) return;
      clearInterval(this.watch);
      void this.describe().then((state) => this.fail(new Error(`the course stands still: ${state}`)));
    }, 1_000);
  }

  private step(step: string): void {
    this.doing = { step, tries: 0, sinceMs: Date.now() };
  }

  /** Where everything stands: the writing processes say it on standard error, the rest is returned. */
  private async describe(): Promise<string> {
    const { doing, open, rounds, ledger } = this;
    for (const process of [this.writer, this.zombie]) {
      process?.signal('SIGCONT');
      process?.signal('SIGUSR2');
    }
    await pause(1_000);
    const pool = openPool(this.server.place.databaseUrl, { max: 1, connectMs: 2_000 });
    const sessions = await pool
      .query(
        `select pid, application_name, state, wait_event_type, wait_event, left(query, 80) as query, pg_blocking_pids(pid) as blocked_by
         from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`,
      )
      .then(({ rows }) => rows as unknown[])
      .catch((error: Error) => error.message);
    await pool.end();
    const { trouble } = this.server;
    return JSON.stringify({ ...doing, open: open?.number, rounds, ledger: ledger.length, trouble, sessions });
  }

  async begin(): Promise<void> {
    // Every stream exists before the first kill.
    const pool = openPool(this.server.place.databaseUrl);
    const log = await openLogWriter(this.server.place);
    const writer = await LogWriter.open({ log, pool });
    await writer.close();
    await Promise.all([log.close(), pool.end()]);
    for (let partition = 0; partition < PARTITIONS; partition += 1) this.revisions.set(clinicalStream(partition), '0');
    this.startWriter(false);
  }

  /** Resolves when the writer of now is open. */
  async writing(): Promise<void> {
    this.step('waiting for a writer');
    await this.writer.opened;
  }

  async kill(what: Kill): Promise<void> {
    this.step(`kill: ${what}`);
    switch (what) {
      case 'writer':
        await this.writer.kill();
        this.startWriter(false);
        return;
      case 'writer held still':
        await this.holdStill();
        return;
      default:
        await this.server.kill(what);
    }
  }

  /** No new rounds; resolves when the last one is acknowledged. */
  async finish(): Promise<void> {
    this.step('waiting for the last answer');
    this.finishing = true;
    if (this.open !== undefined) await new Promise<void>((resolve) => (this.idle = resolve));
  }

  async compare(): Promise<Pick<CrashResult, 'lost' | 'doubled' | 'mismatches'>> {
    this.step('comparing');
    await this.writer.kill();
    const stored = new Map<string, RecordedEvent[]>();
    const reader = await openLogReader(this.server.place);
    let last = 0n;
    const head = await reader.head();
    const stop = new AbortController();
    for await (const page of reader.subscribe({ after: 0n, pageSize: 1_000, signal: stop.signal })) {
      for (const event of page) {
        if (event.position <= last)
          this.differences.found('not in order', `${event.id} at ${event.position} behind ${last}`);
        last = event.position;
        if (event.type === EVENT_TYPES.fence) continue;
        const same = stored.get(event.id);
        if (same === undefined) stored.set(event.id, [event]);
        else same.push(event);
      }
      if (last >= head) stop.abort();
    }
    await reader.close();
    const { differences } = this;
    let before = 0n;
    for (const entry of this.ledger) {
      const [event, ...more] = stored.get(entry.id) ?? [];
      stored.delete(entry.id);
      for (const { position } of more)
        differences.found('doubled', `${entry.id} of ${entry.position} also at ${position}`);
      if (event === undefined) differences.found('lost', `${entry.id} at ${entry.position}`);
      else if (event.position !== entry.position || event.stream !== entry.stream) {
        differences.found(
          'elsewhere',
          `${entry.id} at ${event.position} of ${event.stream}, acknowledged at ${entry.position} of ${entry.stream}`,
        );
      } else if (hashOf(event.data) !== entry.hash)
        differences.found('other bytes', `${entry.id} at ${entry.position}`);
      else if (event.position <= before)
        differences.found('acknowledged out of order', `${entry.id} at ${entry.position}`);
      before = entry.position;
    }
    // What nobody was told of: rounds are repeated until they are acknowledged, so nothing is left over.
    for (const left of stored.values()) {
      for (const { id, position } of left) differences.found('in nobody’s ledger', `${id} at ${position}`);
    }
    return {
      lost: differences.of('lost'),
      doubled: differences.of('doubled'),
      mismatches: differences.of(
        'not in order',
        'elsewhere',
        'other bytes',
        'acknowledged out of order',
        'in nobody’s ledger',
        'not fenced',
        'fenced by nobody',
      ),
    };
  }

  async end(): Promise<void> {
    clearInterval(this.watch);
    await Promise.all([this.writer.kill(), this.zombie?.kill()]);
    await this.server.stop();
  }

  private startWriter(takeOver: boolean): void {
    const hear = (message: LogProcessMessage): void => {
      if (writer === this.writer) this.hear(message);
    };
    const writer = new WriterProcess(this.server.place, takeOver, hear, (error) => this.fail(error));
    this.writer = writer;
  }

  /**
   * A writer stands still in whatever it was doing, another one takes over and writes, then the first one goes on: it may
   * finish only what the log had taken from it before, and stores nothing more.
   */
  private async holdStill(): Promise<void> {
    const zombie = this.writer;
    this.zombie = zombie;
    await zombie.opened;
    await pause(this.random.fraction() * 20);
    zombie.signal('SIGSTOP');
    this.startWriter(true);
    const written = this.ledger.length;
    this.step('waiting for the successor of a writer held still');
    while (this.ledger.length === written && !this.over) await pause(5);
    this.step('waiting for the answer of a writer let go');
    const late: Round = { number: -1, batches: [{ stream: clinicalStream(0), events: [anEvent(this.random)] }] };
    zombie.signal('SIGCONT');
    for (;;) {
      const heard = zombie.next((message) => 'round' in message && message.round === late.number);
      zombie.send(this.messageOf(late));
      const answer = await heard;
      // The stream has moved on with the successor's fence: at its new revision the zombie must be refused for what it is.
      if (answer.is === 'stale') {
        this.revisions.set(answer.stream, answer.actual);
        continue;
      }
      if (answer.is === 'stored') this.differences.found('not fenced', 'a writer that was replaced has stored a round');
      break;
    }
    await zombie.kill();
    this.zombie = undefined;
  }

  private hear(message: LogProcessMessage): void {
    if (message.is === 'trying') {
      this.doing.tries += 1;
      this.doing.sinceMs = Date.now();
      return;
    }
    if (message.is === 'open') {
      this.next();
      return;
    }
    const round = this.open;
    if (round?.number !== message.round) return;
    if (message.is === 'stale') {
      this.revisions.set(message.stream, message.actual);
      this.writer.send(this.messageOf(round));
    } else if (message.is === 'stored') {
      this.acknowledge(round, message.positions);
      this.next();
    } else {
      this.differences.found('fenced by nobody', `the writer in use, at round ${round.number}`);
    }
  }

  private acknowledge(round: Round, positions: readonly (readonly string[])[]): void {
    const entries: LedgerEntry[] = [];
    for (const [index, { stream, events }] of round.batches.entries()) {
      for (const [at, { id, data }] of events.entries()) {
        entries.push({ id, stream, hash: hashOf(data), position: BigInt(positions[index]?.[at] ?? '-1') });
      }
      const before = BigInt(this.revisions.get(stream) as string);
      this.revisions.set(stream, String(before + BigInt(events.length)));
    }
    entries.sort((a, b) => (a.position < b.position ? -1 : 1));
    this.ledger.push(...entries);
    this.open = undefined;
  }

  private next(): void {
    if (this.open === undefined) {
      if (this.finishing) {
        this.idle?.();
        return;
      }
      this.open = this.newRound();
    }
    this.writer.send(this.messageOf(this.open));
  }

  private newRound(): Round {
    const streams = new Set<string>();
    for (let count = this.random.between(1, 8); count > 0; count -= 1) {
      streams.add(clinicalStream(this.random.between(0, PARTITIONS - 1)));
    }
    const most = Math.max(1, Math.floor(this.random.between(1, MOST_EVENTS) / streams.size));
    this.rounds += 1;
    return {
      number: this.rounds,
      batches: Array.from(streams, (stream) => ({
        stream,
        events: Array.from({ length: this.random.between(1, most) }, () => anEvent(this.random)),
      })),
    };
  }

  private messageOf(round: Round): RoundMessage {
    return {
      round: round.number,
      batches: round.batches.map(({ stream, events }) => ({
        stream,
        expectedRevision: this.revisions.get(stream) as string,
        events: events.map(({ id, data }) => ({ id, data: data.toString('base64') })),
      })),
    };
  }
}

/** The writing process, seen from its parent. */
class WriterProcess {
  /** Resolves when it has the log open for writing. */
  readonly opened: Promise<void>;
  private readonly exited: Promise<void>;
  private readonly child: ChildProcess;
  private readonly listeners = new Set<(message: LogProcessMessage) => void>();

  /** @param failed told of an end of its own: one that is killed ends by a signal */
  constructor(
    place: LogPlace,
    takeOver: boolean,
    hear: (message: LogProcessMessage) => void,
    failed: (error: Error) => void,
  ) {
    this.child = fork(
      path.join(ROOT, 'dist/test/crash/log-process.js'),
      [place.eventLog, place.databaseUrl, takeOver ? 'take-over' : 'wait'],
      {
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      },
    );
    this.exited = new Promise((resolve) => this.child.once('exit', () => resolve()));
    this.listeners.add(hear);
    this.child.on('message', (message: LogProcessMessage) => {
      for (const listener of this.listeners) listener(message);
    });
    this.child.on('error', () => undefined);
    this.child.once('exit', (code) => {
      if (code !== null) failed(new Error(`the writing process ended with ${code}`));
    });
    this.opened = this.next((message) => message.is === 'open').then(() => undefined);
  }

  send(message: RoundMessage): void {
    if (this.child.connected) this.child.send(message, () => undefined);
  }

  next(wanted: (message: LogProcessMessage) => boolean): Promise<LogProcessMessage> {
    return new Promise((resolve) => {
      const listener = (message: LogProcessMessage): void => {
        if (!wanted(message)) return;
        this.listeners.delete(listener);
        resolve(message);
      };
      this.listeners.add(listener);
    });
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.exited;
  }
}

function anEvent(random: Random): { id: string; data: Buffer } {
  return { id: randomUUID(), data: randomBytes(random.between(0, MOST_BYTES)) };
}

function hashOf(data: Buffer): string {
  return createHash('sha256').update(data).digest('base64url');
}
