/** All projections of one process: checks them at start, runs them, and follows what the tables say about them. */
import type pg from 'pg';
import type { ClientBase } from 'pg';
import { EVENT_TYPES } from '../log/envelope.js';
import type { EventLogReader } from '../log/event-log.js';
import { Announcer, type Mailbox } from './announcer.js';
import {
  buildsOf,
  checkAtStart,
  definitionHash,
  dropBuild,
  installBuild,
  installBuildIn,
  isUnderWay,
  ONLY_LANE,
  waitsForSwitch,
  type BuildRow,
} from './builds.js';
import { CONTROL, Control, type ProjectionChange } from './control.js';
import { deadLetterChange, decisionOf, observe, positionBefore } from './dead-letters.js';
import type { EventDecoder } from './decode.js';
import { DecodingOnce, DoubledEvents } from './doubled-events.js';
import { errorWord } from './errors.js';
import { EventFeed } from './feed.js';
import { Following } from './following.js';
import { Parkings, type Parking } from './parkings.js';
import type { Build, DecodedEvent, ProjectionDefinition } from './projection.js';
import { Rebuild } from './rebuild.js';
import { LiveRunner, type RuntimeLog } from './runner.js';
import { Shares } from './shares.js';
import { LiveWork, Throttle } from './throttle.js';
import { microsOfInstant, now } from '../time/clock.js';
import { VerificationRuns } from './verification/runs.js';
import { UnknownProjectionError } from './watermark.js';
import { backOff, pause, type CommittedBatch, type WorkerCounters } from './worker.js';

export interface ProjectionsOptions {
  readonly databaseUrl: string;
  readonly pool: pg.Pool;
  readonly reader: EventLogReader;
  readonly decoder: Pick<EventDecoder, 'decode'>;
  readonly mailbox: Mailbox;
  readonly definitions: readonly ProjectionDefinition[];
  readonly log: RuntimeLog;
  readonly onBatch?: (batch: CommittedBatch) => void;
  readonly onRetry?: (projection: string, word: string) => void;
  readonly onParked?: (parked: readonly Parking[]) => void;
  /** Most events of a live page. */
  readonly maxEvents?: number;
  /** Milliseconds between the reading of two live pages, at least (`paceMs` of the feed). */
  readonly livePaceMs?: number;
  /** How long a build that was switched away from is kept current for a rollback, before its tables are dropped. */
  readonly keepRetiredSeconds?: number;
  /** How long another process waits for one that stands still, in milliseconds. */
  readonly leaseMs?: number;
  /** How often its leases are renewed and looked at, in milliseconds (`renewEveryMs` of the shares). */
  readonly renewEveryMs?: number;
  /** Whether the rebuild that a raised version brings takes over by itself. Default: yes. */
  readonly autoSwitch?: boolean;
}

const KEEP_RETIRED_SECONDS = 3_600;

/** Smaller than live pages may grow: live work waits for no more than one of them to be decoded. */
const REBUILD_PAGE_EVENTS = 500;
const REBUILD_PAGE_BYTES = 4 * 1024 * 1024;
const REBUILD_KEPT_PAGES = 3;

/** Longer waits of a timer end at once. */
const MOST_TIMER_MS = 2 ** 31 - 1;

/**
 * Whether this release carries a build on. One of an earlier definition version is carried on by the present rules where the tables are the same, so
 * that readers stay up to date until the rebuild takes over, and after a rollback; where the tables differ it stays as it is. One of a later version is
 * the matter of the release that has it.
 */
function isCarried(row: BuildRow, definition: ProjectionDefinition, hash: string): boolean {
  const earlier = row.definition_version < definition.version && row.definition_hash === hash;
  return earlier || row.definition_version === definition.version;
}

/** What carries the serving build on: the definition itself, or one that stands beside it. */
function carrierOf(row: BuildRow, definition: ProjectionDefinition, hash: string): ProjectionDefinition | undefined {
  if (isCarried(row, definition, hash)) return definition;
  return definition.beside?.find(
    (other) => other.version === row.definition_version && definitionHash(other) === row.definition_hash,
  );
}

export class Projections {
  readonly runner: LiveRunner;
  private readonly feed: EventFeed;
  private readonly rebuildFeed: EventFeed;
  private readonly parkings = new Parkings();
  private control: Control | undefined;
  private readonly shares: Shares;
  private readonly doubles: DoubledEvents;
  /** What all that is not live work gives way to. */
  readonly live = new LiveWork();
  private readonly throttle = new Throttle(this.live);
  private readonly announcer: Announcer;
  private readonly verifications: VerificationRuns;
  /** Looks again when the first kept build is due to go. */
  private dropTimer: NodeJS.Timeout | undefined;
  private readonly rebuilds = new Map<string, Rebuild>();
  private readonly abort = new AbortController();
  private readonly reconciling: Following;

  constructor(private readonly options: ProjectionsOptions) {
    const { databaseUrl, pool, reader, mailbox, log, maxEvents, livePaceMs } = options;
    this.doubles = new DoubledEvents({ databaseUrl, reader, log });
    const decoder = new DecodingOnce(options.decoder, this.doubles);
    this.announcer = new Announcer({ pool, reader, mailbox, log });
    this.feed = new EventFeed({
      reader,
      decoder,
      ...(maxEvents === undefined ? {} : { maxEvents }),
      ...(livePaceMs === undefined ? {} : { paceMs: livePaceMs }),
      observe: (events) => this.observe(events),
    });
    this.rebuildFeed = new EventFeed({
      reader,
      decoder,
      maxEvents: REBUILD_PAGE_EVENTS,
      maxBytes: REBUILD_PAGE_BYTES,
      keptPages: REBUILD_KEPT_PAGES,
    });
    this.shares = new Shares({
      databaseUrl,
      log,
      units: [CONTROL, ...options.definitions.map(({ name }) => name)],
      ...(options.leaseMs === undefined ? {} : { leaseMs: options.leaseMs }),
      ...(options.renewEveryMs === undefined ? {} : { renewEveryMs: options.renewEveryMs }),
      gained: (unit) => this.gained(unit),
      lost: (unit) => this.lost(unit),
      looked: (others) => {
        if (others) this.reconcile();
      },
    });
    this.runner = new LiveRunner({
      databaseUrl,
      pool,
      shares: this.shares,
      feed: this.feed,
      parkings: this.parkings,
      log,
      onParked: (parked) => {
        options.onParked?.(parked);
        this.announcer.notice();
      },
      onBatch: (batch) => {
        this.live.liveBatch(batch.delayMs);
        options.onBatch?.(batch);
      },
      ...(options.onRetry === undefined ? {} : { onRetry: options.onRetry }),
    });
    this.reconciling = new Following({
      work: () => this.reconcileAll(),
      signal: this.abort.signal,
      log,
      words: {
        stopped: 'projections could not be brought in line with what was decided',
        again: 'projections retry to follow what was decided',
      },
    });
    this.verifications = new VerificationRuns({
      pool,
      parts: { databaseUrl, reader, decoder, parkings: this.parkings, signal: this.abort.signal },
      runner: this.runner,
      shares: this.shares,
      definitions: options.definitions,
      log,
    });
  }

  private newControl(): Control {
    const { pool, reader, log } = this.options;
    return new Control({
      pool,
      reader,
      feed: this.feed,
      parkings: this.parkings,
      log,
      decide: (client, change) => this.decide(client, change),
      decided: () => this.reconcile(),
    });
  }

  private async startControl(): Promise<void> {
    const control = this.newControl();
    this.control = control;
    await control.prepare();
    control.start();
    void control.ended().then(() => this.controlEnded(control));
  }

  /** An earlier holder of the lease moved its checkpoint once more: on from there. */
  private async controlEnded(control: Control): Promise<void> {
    for (let attempt = 1; this.control === control && !this.abort.signal.aborted; attempt += 1) {
      await pause(backOff(attempt), this.abort.signal);
      if (this.control !== control || this.abort.signal.aborted) return;
      try {
        await this.startControl();
        return;
      } catch (error) {
        this.control = control;
        this.options.log.warn({ code: errorWord(error), attempt }, 'control of projections is not started again');
      }
    }
  }

  private async gained(unit: string): Promise<void> {
    if (unit === CONTROL) {
      await this.startControl();
      return;
    }
    // What other processes have parked meanwhile.
    await this.parkings.refresh(this.options.pool);
    this.reconcile();
  }

  private async lost(unit: string): Promise<void> {
    if (unit === CONTROL) {
      const { control } = this;
      this.control = undefined;
      await control?.stop();
      return;
    }
    // One under way may be about to start a worker.
    await this.reconciling.settled();
    await this.endAll(unit);
  }

  private async endAll(name: string): Promise<void> {
    await Promise.all([...this.rebuilds.values()].filter((one) => one.row.name === name).map((one) => one.stop()));
    await this.runner.stopAll(name);
  }

  /**
   * Installs what is new, refuses what does not fit, takes in all parkings, then starts every worker.
   * @throws AnotherLogError, CheckpointBeyondLogError, ProjectionTablesMissingError, DefinitionChangedError
   */
  async start(): Promise<void> {
    const { pool, reader, definitions, log } = this.options;
    for (const definition of definitions) {
      const check = await checkAtStart(pool, definition, reader);
      if (check.state === 'new') {
        await installBuild(pool, definition, reader.id, { state: 'live', serving: true });
      } else if (check.state === 'outdated') {
        // A rebuild of an older definition that was under way leads nowhere any more.
        await pool.query(
          `update hub.projection set state = 'cancelled' where name = $1 and state in ('building', 'built') and definition_version <> $2`,
          [definition.name, definition.version],
        );
        const build = await installBuild(pool, definition, reader.id, {
          state: 'building',
          serving: false,
          switchWhenDone: this.options.autoSwitch ?? true,
        });
        if (build !== undefined) {
          log.info(
            { projection: definition.name, version: build },
            'definition has a new version: building its tables',
          );
        }
      }
    }
    await this.parkings.refresh(pool);
    await this.newControl().prepare();
    this.announcer.start();
    await this.shares.start();
    this.reconcile();
    await this.reconciling.settled();
  }

  /** Finishes the batches in hand; checkpoints are stored with them. */
  async stop(): Promise<void> {
    this.abort.abort();
    clearTimeout(this.dropTimer);
    await this.shares.halt();
    await this.reconciling.settled();
    await Promise.all([
      this.runner.stopAll(),
      ...[...this.rebuilds.values()].map((rebuild) => rebuild.stop()),
      this.control?.stop(),
      this.announcer.stop(),
      this.verifications.settled(),
    ]);
    // A rebuild may have started its live worker while the others were stopped.
    await this.runner.stopAll();
    await Promise.all([this.feed.close(), this.rebuildFeed.close()]);
    await this.doubles.close();
    await this.shares.release();
  }

  /**
   * Starts a rebuild without an event in the log: for commands that run beside a hub of their own (benchmarks, tests).
   * @returns its build, or undefined where one is under way
   */
  async rebuild(name: string, options: { readonly verify: boolean }): Promise<Build | undefined> {
    const definition = this.options.definitions.find((candidate) => candidate.name === name);
    if (definition === undefined) throw new UnknownProjectionError(name);
    const wanted = { state: 'building' as const, serving: false, verify: options.verify };
    const build = await installBuild(this.options.pool, definition, this.options.reader.id, wanted);
    this.reconcile();
    return build;
  }

  counters(): { projection: string; build: number; counters: WorkerCounters; failed: boolean }[] {
    return this.runner.counters();
  }

  /** Makes workers follow `hub.projection`; calls that come while it runs are joined into one more run. */
  private reconcile(): void {
    this.reconciling.ask();
  }

  private async reconcileAll(): Promise<void> {
    for (const definition of this.options.definitions) {
      if (this.shares.holds(definition.name)) await this.reconcileOne(definition);
    }
    this.verifications.follow();
  }

  private async reconcileOne(definition: ProjectionDefinition): Promise<void> {
    const { pool } = this.options;
    const { runner } = this;
    const rows = await buildsOf(pool, definition.name);
    const serving = rows.find((row) => row.serving);
    const hash = definitionHash(definition);
    for (const row of rows) {
      const { version } = row;
      const carrier = row.state === 'live' && row.serving ? carrierOf(row, definition, hash) : undefined;
      if (carrier !== undefined) {
        if (row.last_error === null) await runner.clearFailed(definition.name, version);
        if (!runner.isRunning(definition.name, version)) {
          runner.start({ definition: carrier, build: version, lane: ONLY_LANE, mode: 'live' }, row.paused);
        }
      }
      if (row.paused) await runner.pause(definition.name, version);
      else await runner.resume(definition.name, version);
      if (row.state === 'retired' && isCarried(row, definition, hash) && this.secondsLeft(row) > 0) {
        if (!runner.isRunning(definition.name, version)) {
          runner.start({ definition, build: version, lane: ONLY_LANE, mode: 'live' }, row.paused);
        }
      } else if (row.state === 'retired' || row.state === 'failed' || row.state === 'cancelled') {
        await this.endRebuild(definition.name, version);
        await runner.stop(definition.name, version);
      }
      if (row.state === 'cancelled') await dropBuild(pool, definition, version);
    }
    for (const row of rows.filter((one) => isCarried(one, definition, hash))) {
      if (waitsForSwitch(row)) this.carryBeside(definition, row);
      else if (isUnderWay(row) && !row.paused) this.startRebuild(definition, row, serving);
      else if (isUnderWay(row)) await this.endRebuild(definition.name, row.version);
    }
    await this.dropSuperseded(definition, rows);
    await definition.outside?.keep(
      (await buildsOf(pool, definition.name)).map(({ version }) => version),
      serving?.version,
    );
  }

  /** A build that is done and waits for somebody's word stays up to date beside the one that serves. */
  private carryBeside(definition: ProjectionDefinition, row: BuildRow): void {
    if (this.runner.isRunning(definition.name, row.version)) return;
    this.runner.start({ definition, build: row.version, lane: ONLY_LANE, mode: 'live' }, row.paused);
  }

  /** The build that served last is kept for a rollback, for a while; a failed one until the next rebuild begins. */
  private async dropSuperseded(definition: ProjectionDefinition, rows: readonly BuildRow[]): Promise<void> {
    const [last, ...earlier] = rows
      .filter((row) => row.state === 'retired')
      .sort((left, right) => ((left.finished_at ?? '') < (right.finished_at ?? '') ? 1 : -1));
    const newest = rows[0];
    const superseded = [...earlier, ...rows.filter((row) => row.state === 'failed' && row !== newest)];
    if (last !== undefined && this.secondsLeft(last) <= 0) superseded.push(last);
    else if (last !== undefined) this.lookAgainIn(this.secondsLeft(last));
    for (const row of superseded) {
      await this.runner.stop(definition.name, row.version);
      await dropBuild(this.options.pool, definition, row.version);
    }
  }

  private secondsLeft({ finished_at }: BuildRow): number {
    const keep = this.options.keepRetiredSeconds ?? KEEP_RETIRED_SECONDS;
    if (finished_at === null) return keep;
    return keep - Number(microsOfInstant(now()) - microsOfInstant(finished_at)) / 1_000_000;
  }

  private lookAgainIn(seconds: number): void {
    clearTimeout(this.dropTimer);
    this.dropTimer = setTimeout(() => this.reconcile(), Math.min(seconds * 1_000 + 1, MOST_TIMER_MS));
    this.dropTimer.unref();
  }

  private startRebuild(definition: ProjectionDefinition, row: BuildRow, serving: BuildRow | undefined): void {
    const key = `${definition.name}:${row.version}`;
    if (this.rebuilds.has(key) || this.abort.signal.aborted) return;
    const shared = {
      runner: this.runner,
      throttle: this.throttle,
      parkings: this.parkings,
      feed: this.rebuildFeed,
      verifications: this.verifications,
    };
    const rebuild = new Rebuild({ ...this.options, ...shared }, definition, row, serving);
    this.rebuilds.set(key, rebuild);
    void rebuild.done.then(() => {
      if (this.rebuilds.get(key) === rebuild) this.rebuilds.delete(key);
      if (!this.abort.signal.aborted) this.reconcile();
    });
  }

  private async endRebuild(name: string, version: number): Promise<void> {
    await this.rebuilds.get(`${name}:${version}`)?.stop();
  }

  /** What a decision changes in the tables; workers follow afterwards. */
  private async decide(client: ClientBase, change: ProjectionChange): Promise<void> {
    const { decision, eventId } = change;
    const { rowCount } = await client.query(
      `insert into hub.projection_decision (event_id, position, projection, type) values ($1, $2, $3, $4) on conflict do nothing`,
      [eventId, change.position.toString(), decision.projection, change.type],
    );
    if (rowCount === 0) return;
    const definition = this.options.definitions.find(({ name }) => name === decision.projection);
    if (definition === undefined) return;
    const { name } = definition;
    switch (change.type) {
      case EVENT_TYPES.projectionPaused:
        await client.query('update hub.projection set paused = true where name = $1', [name]);
        return;
      case EVENT_TYPES.projectionResumed:
        await client.query('update hub.projection set paused = false, last_error = null where name = $1', [name]);
        return;
      case EVENT_TYPES.rebuildRequested:
        await installBuildIn(client, definition, this.options.reader.id, {
          state: 'building',
          serving: false,
          requestedBy: eventId,
          verify: decision.verify !== false,
          switchWhenDone: decision.switch !== false,
        });
        return;
      case EVENT_TYPES.rebuildCancelled:
        await client.query(
          `update hub.projection set state = 'cancelled' where name = $1 and state in ('building', 'built') and not serving`,
          [name],
        );
        return;
      case EVENT_TYPES.verificationRequested:
        await client.query(
          `insert into hub.verification (id, projection, version, definition_version, reason, requested_by, state)
           select $1, name, version, definition_version, 'asked', $4, 'wanted' from hub.projection
            where name = $2 and version = $3 on conflict do nothing`,
          [eventId, name, decision.version, decision.requestedBy],
        );
        return;
      case EVENT_TYPES.projectionSwitched:
        await this.switchTo(client, definition, decision.version);
    }
  }

  private async switchTo(
    client: ClientBase,
    definition: ProjectionDefinition,
    version: number | undefined,
  ): Promise<void> {
    const row = (await buildsOf(client, definition.name)).find((candidate) => candidate.version === version);
    if (row === undefined || row.serving || !isCarried(row, definition, definitionHash(definition))) return;
    if (row.state === 'built') {
      await client.query('update hub.projection set switch_wanted = true where name = $1 and version = $2', [
        definition.name,
        row.version,
      ]);
      return;
    }
    if (row.state !== 'retired') return;
    // It stands where it was left: it catches up first, and takes over then.
    await client.query(
      `update hub.projection set state = 'building', verify_wanted = false, switch_wanted = true, finished_at = null
       where name = $1 and version = $2`,
      [definition.name, row.version],
    );
  }

  /** Parkings count from the moment a page is decoded, before any worker writes it. */
  private async observe(events: readonly DecodedEvent[]): Promise<void> {
    for (const event of events) {
      if (event.type !== EVENT_TYPES.parked) continue;
      const change = await deadLetterChange(decisionOf(event), async (messageId, decision) => {
        const near = events.find((candidate) => candidate.id === messageId);
        return near?.position ?? (await positionBefore(this.options.reader)(messageId, decision));
      });
      if (change !== undefined) observe(this.parkings, change);
    }
  }
}
