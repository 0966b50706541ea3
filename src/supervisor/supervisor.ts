/**
 * The supervisor behind `anamnesis serve`: holds the data directory's lock, starts PostgreSQL, runs migrations and one process
 * per role, starts what dies again, and stops everything in order (docs/architecture.md, "Processes").
 */
import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Logger } from 'pino';
import { ROLES, type HubConfig, type Role } from '../config/config.js';
import { openClient, openPool } from '../database/database.js';
import { migrate } from '../database/migrate.js';
import { openLogReader } from '../log/open-log.js';
import { completeList, replayErasures } from '../sealing/erasure.js';
import { ErasureList, ErasureListError } from '../sealing/erasure-list.js';
import { fileKeyProvider } from '../sealing/key-provider.js';
import { mergeMetrics } from '../operations/metrics.js';
import { ensureAnalystRole, ensureAuditorRole } from './reader-roles.js';
import { startEmbeddedPostgres, type RunningPostgres } from './embedded-postgres.js';
import { checkFormat } from './format.js';
import { HubError } from './hub-error.js';
import { stopLeftoverPostgres } from './leftover-postgres.js';
import { lockDataDir, type DataDirLock } from './lock.js';
import { postgresLog, SERVE_SETTINGS } from './postgres-settings.js';
import type { SentContext } from './protocol.js';
import type { Address, RoleState, RunningRole } from './role.js';
import { RoleProcess, type RoleFailure } from './role-process.js';
import { giveUpReserve, keepReserve } from './reserve-file.js';
import { removeRunFile, writeRunFile, type RunFile } from './run-file.js';

export interface HubOptions {
  readonly config: HubConfig;
  /** All of them unless told otherwise. */
  readonly roles?: readonly Role[];
  readonly logger: Logger;
  /** Where the roles' processes write: a file descriptor, or this process's own output. */
  readonly output?: number | 'inherit';
  /** Stops a start that is under way; a running hub is stopped by `stop`. */
  readonly signal?: AbortSignal;
  /** Another module for the roles' processes; for tests. */
  readonly childModule?: string;
}

export interface RunningHub {
  /** What `run.json` says. */
  readonly run: RunFile;
  roles(): readonly RoleState[];
  /** Accepts nothing new, answers what is in flight, stores checkpoints, stops PostgreSQL, releases the directory. */
  stop(): Promise<void>;
  /** Ends everything at once, without order: what was acknowledged is safe, the next start cleans up. */
  kill(): void;
  /** Rejects with a HubError when the hub cannot go on by itself, after it has stopped what was left; resolves after `stop`. */
  readonly ended: Promise<void>;
}

/** A stop takes at most 10 s: these are the shares of its steps. */
const INGEST_STOP_MS = 4_500;
const OTHERS_STOP_MS = 2_000;
const POSTGRES_STOP_MS = 2_500;
/** A role that cannot start this often in a row, before the hub was ever ready, will not. */
const FAILED_STARTS = 5;
const READY_TIMEOUT_MS = 120_000;
const POSTGRES_ATTEMPTS = 5;
const POSTGRES_PAUSE_MS = 500;

const DEFAULT_CHILD = fileURLToPath(new URL('./child.js', import.meta.url));

/**
 * Starts a hub and resolves once all its roles are ready and `run.json` is written.
 * @throws HubError, ConfigError; everything that was started is stopped again
 */
export async function startHub(options: HubOptions): Promise<RunningHub> {
  const supervisor = new Supervisor(options);
  try {
    return await supervisor.start();
  } catch (error) {
    await supervisor.stop();
    throw error;
  }
}

class Supervisor implements RunningHub {
  run: RunFile = { pid: process.pid, postgres: '' };
  readonly ended: Promise<void>;
  private readonly config: HubConfig;
  private readonly wantedRoles: readonly Role[];
  private readonly logger: Logger;
  private readonly processes = new Map<Role, RoleProcess>();
  private lock: DataDirLock | undefined;
  private postgres: RunningPostgres | undefined;
  /** A start of PostgreSQL after it died; a stop waits for it, or it would leave a server behind. */
  private restarting: Promise<void> | undefined;
  /** As the roles reach the database; users are told the address in {@link run}. */
  private databaseUrl = '';
  private analystDatabaseUrl = '';
  private readonly proxySecret = randomBytes(32).toString('base64url');
  /** Ports once chosen, so that a role that is started again keeps them. */
  private readonly chosen = new Map<Role, RunningRole['addresses']>();
  private stopped: Promise<void> | undefined;
  private finish: { resolve: () => void; reject: (error: Error) => void };
  private startFailed: ((error: Error) => void) | undefined;
  private ready = false;

  constructor(private readonly options: HubOptions) {
    this.config = options.config;
    this.logger = options.logger;
    const wanted = options.roles ?? ROLES;
    this.wantedRoles = ROLES.filter((role) => wanted.includes(role));
    const ended = Promise.withResolvers<void>();
    this.ended = ended.promise;
    this.ended.catch(() => undefined);
    this.finish = ended;
  }

  async start(): Promise<RunningHub> {
    const { dataDir } = this.config;
    const { signal } = this.options;
    signal?.addEventListener('abort', () => this.startFailed?.(stoppedEarly()));
    await makeDataDir(dataDir);
    await this.makeRoom();
    this.lock = await lockDataDir(dataDir);
    await removeRunFile(dataDir);
    await checkFormat(dataDir, this.config.databaseUrl === undefined);
    const masterKey = await fileKeyProvider(this.config.masterKeyFile);
    if (masterKey.created && !this.config.masterKeyFileChosen) {
      this.logger.warn(
        'made a master key in the data directory: whoever can read it can read everything; see docs/operations.md',
      );
    }
    const given = this.config.databaseUrl;
    const { url: databaseUrl, localUrl } =
      given === undefined ? await this.startPostgres() : { url: given, localUrl: given };
    this.databaseUrl = localUrl;
    await reach(databaseUrl);
    const ran = await migrate(databaseUrl);
    if (ran.length > 0) this.logger.info({ count: ran.length }, 'database migrated');
    await this.replayErasures(databaseUrl);
    this.analystDatabaseUrl = await ensureAnalystRole(localUrl, dataDir);
    await ensureAuditorRole(databaseUrl, dataDir);
    this.run = { pid: process.pid, postgres: databaseUrl };
    if (signal?.aborted === true) throw stoppedEarly();
    const kept = given === undefined ? keepReserve(dataDir, this.config.limits.diskReserveBytes) : Promise.resolve();
    await Promise.all([this.startRoles(), kept]);
    await this.publish();
    this.ready = true;
    return this;
  }

  /** Before anything is served: a database that was restored from a backup knows nothing of the erasures since. */
  private async replayErasures(databaseUrl: string): Promise<void> {
    const pool = openPool(databaseUrl, { max: 1, applicationName: 'anamnesis supervisor' });
    try {
      const list = new ErasureList(this.config.treeHeads);
      const { eventLog } = this.config;
      const replayed = await replayErasures({ pool, list }, () => openLogReader({ eventLog, databaseUrl }));
      if (replayed > 0)
        this.logger.warn({ count: replayed }, 'erasures that this database did not know were carried out');
      await completeList({ pool, list });
    } catch (error) {
      if (!(error instanceof ErasureListError)) throw error;
      throw new HubError('ERASURE_LIST', error.message, { cause: error });
    } finally {
      await pool.end();
    }
  }

  private get postgresFolder(): string {
    return path.join(this.config.dataDir, 'postgres');
  }

  /** On a full disk: for what is written to start with. Where PostgreSQL stands elsewhere nothing is kept here. */
  private async makeRoom(): Promise<void> {
    if (this.config.databaseUrl !== undefined || !(await giveUpReserve(this.config.dataDir))) return;
    this.logger.error(
      'the disk is full: its reserve is given up for a start; messages are refused until there is room',
    );
  }

  private async startPostgres(port = 0): Promise<RunningPostgres> {
    await this.makeRoom();
    const leftover = await stopLeftoverPostgres(this.postgresFolder);
    if (leftover === 'stopped') this.logger.warn('stopped the PostgreSQL of an earlier hub');
    for (let attempt = 1; ; attempt += 1) {
      try {
        this.postgres = await startEmbeddedPostgres({
          folder: this.postgresFolder,
          port,
          settings: SERVE_SETTINGS,
          onLog: postgresLog(this.logger),
        });
        break;
      } catch (error) {
        // After a crash the old server's backends may need a moment to leave its shared memory.
        if (attempt === POSTGRES_ATTEMPTS || this.stopped !== undefined) {
          const { message } = error as Error;
          throw new HubError('POSTGRES_UNAVAILABLE', `the embedded PostgreSQL does not start: ${message}`, {
            cause: error,
          });
        }
        this.logger.warn({ attempt, err: error }, 'PostgreSQL did not start');
        await pause(POSTGRES_PAUSE_MS * attempt);
      }
    }
    const { postgres } = this;
    void postgres.exited.then(() => this.postgresEnded(postgres));
    this.logger.info({ port: postgres.port }, 'PostgreSQL runs');
    return postgres;
  }

  /** The roles' connections come back by themselves, since the port stays. */
  private async postgresEnded(server: RunningPostgres): Promise<void> {
    if (this.stopped !== undefined || this.postgres !== server) return;
    this.logger.error('PostgreSQL ended: it is started again');
    this.postgres = undefined;
    this.restarting = this.startPostgres(server.port).then(
      () => undefined,
      (error: Error) => void this.fail(error),
    );
    await this.restarting;
  }

  private async startRoles(): Promise<void> {
    const allReady = Promise.withResolvers<void>();
    this.startFailed = allReady.reject;
    const late = setTimeout(() => {
      const waiting = this.roles().filter(({ state }) => state !== 'ready');
      const names = waiting.map(({ role }) => role).join(', ');
      allReady.reject(new HubError('ROLE_FAILED', `not ready after ${READY_TIMEOUT_MS / 1000} s: ${names}`));
    }, READY_TIMEOUT_MS);
    for (const role of this.wantedRoles) {
      this.processes.set(
        role,
        new RoleProcess({
          role,
          module: this.options.childModule ?? DEFAULT_CHILD,
          context: () => this.contextOf(role),
          logger: this.logger,
          output: this.options.output ?? 'inherit',
          onReady: (addresses) => {
            this.roleReady(role, addresses);
            if (this.roles().every(({ state }) => state === 'ready')) allReady.resolve();
          },
          onDown: (failure) => this.roleDown(failure),
          onAsk: (what) => this.answer(what),
        }),
      );
    }
    for (const process of this.processes.values()) process.start();
    try {
      await allReady.promise;
    } finally {
      clearTimeout(late);
      this.startFailed = undefined;
    }
  }

  private contextOf(role: Role): SentContext {
    const { config } = this;
    const ingest = this.chosen.get('ingest');
    const query = this.chosen.get('query');
    const listen = { ...config.http, ...addressOf(ingest?.http) };
    const mllp = { ...config.mllp, ...hostAndPort(ingest?.mllp) };
    const inside = addressOf(query?.http);
    const behindIngest = role === 'query' && this.wantedRoles.includes('ingest');
    return {
      role,
      config: { ...config, mllp },
      databaseUrl: this.databaseUrl,
      analystDatabaseUrl: this.analystDatabaseUrl,
      dataDir: config.dataDir,
      listen: behindIngest
        ? { host: '127.0.0.1', port: inside?.port ?? 0 }
        : { ...listen, ...(role === 'query' ? inside : {}) },
      ...(inside === undefined ? {} : { queryAddress: inside }),
      ...(behindIngest || role === 'ingest' ? { proxySecret: this.proxySecret } : {}),
    };
  }

  private roleReady(role: Role, addresses: RunningRole['addresses']): void {
    this.chosen.set(role, addresses);
    this.logger.info({ role, http: addresses.http ?? '', mllp: addresses.mllp ?? '' }, 'role ready');
    if (role === 'query') this.tellQueryAddress(addressOf(addresses.http));
    if (role === 'ingest') this.tellQueryAddress(addressOf(this.chosen.get('query')?.http));
  }

  private tellQueryAddress(address: Address | undefined): void {
    for (const process of this.processes.values()) process.tellQueryAddress(address);
  }

  private roleDown(failure: RoleFailure): void {
    // Another program may have taken the inner port meanwhile; the outer ones are configured and stay.
    if (failure.role === 'query' && failure.code === 'EADDRINUSE' && this.wantedRoles.includes('ingest'))
      this.chosen.delete('query');
    if (this.ready || failure.inARow < FAILED_STARTS) return;
    const message = `the role ${failure.role} does not start: ${failure.message}`;
    this.startFailed?.(new HubError('ROLE_FAILED', message));
  }

  private async answer(what: 'metrics' | 'roles'): Promise<{ metrics?: string; roles?: readonly RoleState[] }> {
    if (what === 'roles') return { roles: this.roles() };
    const collected = await Promise.all([...this.processes.values()].map((process) => process.collect()));
    return { metrics: await mergeMetrics(collected) };
  }

  roles(): readonly RoleState[] {
    return [...this.processes.values()].map((process) => process.standing);
  }

  private async publish(): Promise<void> {
    const ingest = this.chosen.get('ingest');
    const http = ingest?.http ?? this.chosen.get('query')?.http;
    this.run = {
      pid: process.pid,
      ...(http === undefined ? {} : { http }),
      ...(ingest?.mllp === undefined ? {} : { mllp: ingest.mllp }),
      postgres: this.run.postgres,
    };
    await writeRunFile(this.config.dataDir, this.run);
  }

  private async fail(error: Error): Promise<void> {
    this.startFailed?.(error);
    this.finish.reject(error);
    await this.stop();
  }

  stop(): Promise<void> {
    this.stopped ??= this.stopInOrder();
    return this.stopped;
  }

  private async stopInOrder(): Promise<void> {
    const startedAt = performance.now();
    await this.stopRole('ingest', INGEST_STOP_MS);
    // What is still unwritten is flushed meanwhile, so that PostgreSQL's own last checkpoint is short.
    const flushed = this.flush();
    await Promise.all([this.stopRole('project', OTHERS_STOP_MS), this.stopRole('query', OTHERS_STOP_MS)]);
    await this.restarting;
    if (this.postgres !== undefined) {
      await Promise.race([flushed, pause(POSTGRES_STOP_MS / 3)]);
      const server = this.postgres;
      this.postgres = undefined;
      await server.stop(POSTGRES_STOP_MS);
    }
    if (this.lock !== undefined) {
      await removeRunFile(this.config.dataDir);
      await this.lock.release();
      this.lock = undefined;
    }
    this.logger.info({ durationMs: Math.round(performance.now() - startedAt) }, 'stopped');
    this.finish.resolve();
  }

  private async stopRole(role: Role, patienceMs: number): Promise<void> {
    const orderly = await this.processes.get(role)?.stop(patienceMs);
    if (orderly === false) this.logger.warn({ role, timeoutMs: patienceMs }, 'role did not end in time and was killed');
  }

  private async flush(): Promise<void> {
    if (this.postgres === undefined) return;
    try {
      const client = await openClient(this.postgres.url, { applicationName: 'anamnesis supervisor' });
      client.on('error', () => undefined);
      await client.query('checkpoint');
      await client.end();
    } catch (error) {
      // PostgreSQL stopped first: it has made a checkpoint of its own.
      this.logger.debug({ err: error }, 'no checkpoint before the stop');
    }
  }

  kill(): void {
    for (const process of this.processes.values()) process.kill();
    if (this.postgres !== undefined) process.kill(this.postgres.pid, 'SIGQUIT');
  }
}

function stoppedEarly(): HubError {
  return new HubError('STOPPED', 'stopped before it was ready');
}

async function makeDataDir(dataDir: string): Promise<void> {
  try {
    await mkdir(dataDir, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new HubError('DATA_DIRECTORY_UNUSABLE', `cannot make ${dataDir}: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

/** An external database may still be starting beside the hub; an embedded one answers at once. */
async function reach(databaseUrl: string): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const client = await openClient(databaseUrl, { applicationName: 'anamnesis supervisor' });
      await client.end();
      return;
    } catch (error) {
      if (attempt === POSTGRES_ATTEMPTS) {
        const { hostname, port } = new URL(databaseUrl);
        const message = `PostgreSQL at ${hostname}:${port === '' ? '5432' : port} does not answer: ${(error as Error).message}`;
        throw new HubError('POSTGRES_UNAVAILABLE', message, { cause: error });
      }
      await pause(POSTGRES_PAUSE_MS * attempt);
    }
  }
}

function addressOf(url: string | undefined): Address | undefined {
  if (url === undefined) return undefined;
  const { hostname, port, protocol } = new URL(url);
  // A URL does not show the port that its scheme stands for.
  return { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || (protocol === 'https:' ? 443 : 80)) };
}

function hostAndPort(text: string | undefined): Address | undefined {
  return text === undefined ? undefined : addressOf(`tcp://${text}`);
}
