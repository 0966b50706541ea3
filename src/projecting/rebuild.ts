/** One rebuild: a new build runs from the start of the log beside the one that serves, is verified, and takes over in one update. */
import type pg from 'pg';
import { inTransaction } from '../database/database.js';
import type { EventLogReader, Position } from '../log/event-log.js';
import { buildsOf, finishLoad, ONLY_LANE, serve, type BuildRow } from './builds.js';
import { RuntimeClosedError, errorText, errorWord, failureKind } from './errors.js';
import type { DecodedPage, EventFeed, FeedReader } from './feed.js';
import type { Parkings } from './parkings.js';
import type { ProjectionDefinition } from './projection.js';
import type { LiveRunner, RuntimeLog } from './runner.js';
import type { VerificationRuns } from './verification/runs.js';
import type { Throttle } from './throttle.js';
import { ProjectionWorker, backOff, pause, type CommittedBatch } from './worker.js';

export interface RebuildOptions {
  readonly databaseUrl: string;
  readonly pool: pg.Pool;
  readonly reader: EventLogReader;
  readonly parkings: Parkings;
  readonly runner: LiveRunner;
  /** What live work leaves to rebuilds. */
  readonly throttle: Throttle;
  /** Shared by the rebuilds that run side by side. */
  readonly feed: EventFeed;
  readonly verifications: VerificationRuns;
  readonly onBatch?: (batch: CommittedBatch) => void;
  readonly log: RuntimeLog;
}

/** The new build differs from what it should be; the report says where. */
export class VerificationFailedError extends Error {
  readonly code = 'VERIFICATION_FAILED';
  constructor(
    readonly projection: string,
    readonly build: number,
  ) {
    super(`build ${build} of ${projection} differs from the log or from the build that serves: see its report`);
  }
}

/** The new build's worker stopped by itself before it could take over. */
export class BuildNotRunningError extends Error {
  readonly code = 'BUILD_NOT_RUNNING';
  constructor(
    readonly projection: string,
    readonly build: number,
  ) {
    super(`build ${build} of ${projection} stopped before it could take over: see its last error`);
  }
}

export class Rebuild {
  private readonly abort = new AbortController();
  readonly done: Promise<void>;

  /**
   * @param row in state `building` or `built`: one that a stop interrupted goes on from its checkpoint
   * @param serving the build that serves, undefined where none does
   */
  constructor(
    private readonly options: RebuildOptions,
    private readonly definition: ProjectionDefinition,
    readonly row: BuildRow,
    private readonly serving: BuildRow | undefined,
  ) {
    this.done = this.run();
  }

  /** Stops after the batch in hand; the next start goes on from there. */
  async stop(): Promise<void> {
    this.abort.abort();
    await this.done;
  }

  private async run(): Promise<void> {
    const { definition, row } = this;
    const { log } = this.options;
    const { version } = row;
    try {
      await this.note('running');
      if (row.state === 'building') {
        // A build that was kept current for a rollback is there already.
        if (!this.options.runner.isRunning(definition.name, version)) await this.catchUp();
        if (this.abort.signal.aborted) return;
        await finishLoad(this.options.pool, definition, version, this.abort.signal);
        await this.setBuilt();
      }
      if (!this.options.runner.isRunning(definition.name, version)) {
        this.options.runner.start({ definition, build: version, lane: 0, mode: 'live' });
      }
      if (row.verify_wanted && row.verified === null) await this.verify();
      if (this.abort.signal.aborted) return;
      if (row.switch_wanted) await this.switch();
      log.info({ projection: definition.name, version }, 'projection rebuilt');
    } catch (error) {
      await this.options.runner.stop(definition.name, version);
      if (error instanceof RuntimeClosedError || this.abort.signal.aborted) return;
      const elsewhere = await this.options.runner.conflictWithin(definition.name, error);
      if (elsewhere !== undefined || failureKind(error) === 'transient') {
        // Its row says where it stands; it is taken up again.
        log.warn({ projection: definition.name, version, code: errorWord(error) }, 'rebuild interrupted');
        await pause(RESUME_MS, this.abort.signal);
        return;
      }
      log.error(
        { projection: definition.name, version, code: errorWord(error) },
        error instanceof VerificationFailedError ? error.message : `rebuild failed: ${errorText(error)}`,
      );
      await this.fail(error);
    } finally {
      await this.note('stopped');
    }
  }

  /** From the checkpoint to where the serving build is, reading and decoding one page ahead of writing. */
  private async catchUp(): Promise<void> {
    const { definition, row } = this;
    const { databaseUrl, feed, parkings, onBatch } = this.options;
    const lane = { definition, build: row.version, lane: 0, mode: 'rebuild' as const, loading: row.loading };
    const worker = new ProjectionWorker({
      databaseUrl,
      lane,
      parkings,
      ...(onBatch === undefined ? {} : { onBatch }),
    });
    this.abort.signal.addEventListener('abort', () => worker.giveUpRetrying(), { once: true });
    const place = feed.join(await worker.position());
    const started = performance.now();
    try {
      let next = this.read(place, place.position);
      for (;;) {
        const page = await next;
        if (page === undefined || this.abort.signal.aborted) return;
        next = this.read(place, page.last);
        // Where writing fails, nobody waits for the page behind.
        next.catch(() => undefined);
        const begun = performance.now();
        await worker.process(page);
        const worked = performance.now() - begun;
        const committed = await worker.position();
        if (committed !== page.last) next = this.read(place, committed);
        place.moveTo(committed);
        await this.noteTarget(committed);
        const rest = this.options.throttle.rest(worked);
        if (rest > 0) await pause(rest, this.abort.signal);
      }
    } finally {
      place.leave();
      await this.noteSeconds((performance.now() - started) / 1_000);
      await worker.close();
    }
  }

  private async read(place: FeedReader, position: Position): Promise<DecodedPage | undefined> {
    for (let attempt = 1; ; attempt += 1) {
      if (this.abort.signal.aborted) throw new RuntimeClosedError();
      try {
        // Not beyond the live build: what that has not seen may hold poison that it will park.
        const live =
          this.serving === undefined
            ? undefined
            : await this.options.runner.position(this.definition.name, this.serving.version);
        if (live !== undefined && live <= position) return undefined;
        return await this.options.feed.readAfter(position, live, place);
      } catch (error) {
        if (failureKind(error) !== 'transient') throw error;
        await pause(backOff(attempt), this.abort.signal);
      }
    }
  }

  private async verify(): Promise<void> {
    const { definition, row, serving } = this;
    const { pool, verifications } = this.options;
    const report = await verifications.ofRebuild({ definition, row, serving }, this.abort.signal);
    if (report === undefined) {
      if (this.abort.signal.aborted) return;
      throw new VerificationFailedError(definition.name, row.version);
    }
    await pool.query('update hub.projection set verified = $3, report = $4 where name = $1 and version = $2', [
      definition.name,
      row.version,
      report.equal,
      JSON.stringify(report),
    ]);
    if (!report.equal) throw new VerificationFailedError(definition.name, row.version);
  }

  /**
   * One update, while both builds stand at one position: a reader that asks before gets the old build, one that asks after the new one, and
   * what it had read is there too. A serving build that does not run (it failed, or belongs to an earlier release) is left behind where it is.
   */
  private async switch(): Promise<void> {
    const { definition, row } = this;
    const { pool, runner } = this.options;
    const { name } = definition;
    const serving = (await buildsOf(pool, name)).find((build) => build.serving);
    const beside = serving !== undefined && runner.isSound(name, serving.version) ? serving.version : row.version;
    const lane = (build: number) => ({ definition, build, lane: ONLY_LANE, mode: 'live' as const });
    const update = (): Promise<void> =>
      inTransaction(pool, async (client) => {
        const { rows } = await client.query<{ state: string }>(
          'select state from hub.projection where name = $1 and version = $2 for update',
          [name, row.version],
        );
        if (rows[0]?.state === 'built') await serve(client, name, row.version);
      });
    const aligned = await runner.aligned(lane(row.version), lane(beside), async () => {
      await update();
      return true;
    });
    if (aligned === true) return;
    if ((await runner.position(name, row.version)) === undefined) throw new BuildNotRunningError(name, row.version);
    await update();
  }

  private async setBuilt(): Promise<void> {
    await this.options.pool.query(
      `update hub.projection set state = 'built', finished_at = clock_timestamp() where name = $1 and version = $2 and state = 'building'`,
      [this.definition.name, this.row.version],
    );
  }

  /** Time that catching up took, over all its runs; a database that is away takes nothing but the estimate with it. */
  private async noteSeconds(seconds: number): Promise<void> {
    const { definition, row } = this;
    const { pool, log } = this.options;
    await pool
      .query(
        `update hub.projection p set build_seconds = build_seconds + $3,
           build_events = (select coalesce(sum(events), 0) from hub.checkpoint c where c.projection = p.name and c.version = p.version)
         where name = $1 and version = $2`,
        [definition.name, row.version, seconds],
      )
      .catch((error: unknown) => {
        log.warn({ projection: definition.name, code: errorWord(error) }, 'duration of a rebuild not noted');
      });
  }

  private async fail(error: unknown): Promise<void> {
    await this.options.pool.query(
      `update hub.projection set state = 'failed', finished_at = clock_timestamp(), last_error = $3
       where name = $1 and version = $2 and state in ('building', 'built')`,
      [
        this.definition.name,
        this.row.version,
        error instanceof VerificationFailedError || error instanceof BuildNotRunningError
          ? error.message
          : errorText(error),
      ],
    );
  }

  /** Progress is the checkpoint's against this. */
  private async noteTarget(position: Position): Promise<void> {
    const now = performance.now();
    if (now - this.notedAt < NOTE_MS) return;
    this.notedAt = now;
    const head = await this.options.reader.head();
    await this.options.pool.query('update hub.projection set target = $3 where name = $1 and version = $2', [
      this.definition.name,
      this.row.version,
      (head > position ? head : position).toString(),
    ]);
  }
  private notedAt = 0;

  /** For displays only. */
  private async note(worker: 'running' | 'stopped'): Promise<void> {
    if (this.options.runner.isRunning(this.definition.name, this.row.version)) return;
    if (!this.options.runner.isOurs(this.definition.name)) return;
    await this.options.pool
      .query('update hub.projection set worker = $3 where name = $1 and version = $2', [
        this.definition.name,
        this.row.version,
        worker,
      ])
      .catch((error: unknown) => {
        this.options.log.warn(
          { projection: this.definition.name, code: errorWord(error) },
          'state of a rebuild not noted',
        );
      });
  }
}

const NOTE_MS = 500;
const RESUME_MS = 1_000;
