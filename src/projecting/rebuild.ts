/** One rebuild: a new build runs from the start of the log beside the one that serves, is verified, and takes over in one update. */
import type pg from 'pg';
import { inTransaction } from '../database/database.js';
import type { EventLogReader, Position } from '../log/event-log.js';
import { finishLoad, serve, type BuildRow } from './builds.js';
import type { EventDecoder } from './decode.js';
import { RuntimeClosedError, errorText, errorWord, failureKind } from './errors.js';
import type { DecodedPage, EventFeed, FeedReader } from './feed.js';
import type { Parkings } from './parkings.js';
import type { ProjectionDefinition } from './projection.js';
import type { LiveRunner, RuntimeLog } from './runner.js';
import { reportJson, verifyBuild, type VerifyReport } from './verify.js';
import { ProjectionWorker, backOff, pause, type CommittedBatch } from './worker.js';

export interface RebuildOptions {
  readonly databaseUrl: string;
  readonly pool: pg.Pool;
  readonly reader: EventLogReader;
  readonly decoder: Pick<EventDecoder, 'decode'>;
  readonly parkings: Parkings;
  readonly runner: LiveRunner;
  /** Shared by the rebuilds that run side by side. */
  readonly feed: EventFeed;
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
        await this.catchUp();
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
      if (failureKind(error) === 'transient') {
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
    try {
      let next = this.read(place, place.position);
      for (;;) {
        const page = await next;
        if (page === undefined || this.abort.signal.aborted) return;
        next = this.read(place, page.last);
        // Where writing fails, nobody waits for the page behind.
        next.catch(() => undefined);
        await worker.process(page);
        const committed = await worker.position();
        if (committed !== page.last) next = this.read(place, committed);
        place.moveTo(committed);
        await this.noteTarget(committed);
      }
    } finally {
      place.leave();
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
    const { databaseUrl, reader, decoder, parkings, runner, pool } = this.options;
    const beside = serving !== undefined && runner.isRunning(definition.name, serving.version) ? serving : row;
    const lane = (build: number) => ({ definition, build, lane: 0, mode: 'live' as const });
    const report: VerifyReport | undefined = await verifyBuild(
      { databaseUrl, reader, decoder, parkings, signal: this.abort.signal },
      {
        definition,
        build: row.version,
        ...(serving === undefined || serving.version === row.version
          ? {}
          : {
              serving: {
                build: serving.version,
                definitionVersion: serving.definition_version,
                aligned: beside === serving,
              },
            }),
        aligned: async (work) => {
          const done = await runner.aligned(lane(row.version), lane(beside.version), async (position) => {
            await work(position);
            return true;
          });
          return done === true;
        },
      },
    );
    if (report === undefined) {
      if (this.abort.signal.aborted) return;
      throw new VerificationFailedError(definition.name, row.version);
    }
    await pool.query('update hub.projection set verified = $3, report = $4 where name = $1 and version = $2', [
      definition.name,
      row.version,
      report.equal,
      JSON.stringify(reportJson(report)),
    ]);
    if (!report.equal) throw new VerificationFailedError(definition.name, row.version);
  }

  /** One update: a reader that asks before gets the old build, one that asks after the new one. */
  private async switch(): Promise<void> {
    const { definition, row } = this;
    const { pool } = this.options;
    await inTransaction(pool, async (client) => {
      const { rows } = await client.query<{ state: string }>(
        'select state from hub.projection where name = $1 and version = $2 for update',
        [definition.name, row.version],
      );
      if (rows[0]?.state === 'built') await serve(client, definition.name, row.version);
    });
  }

  private async setBuilt(): Promise<void> {
    await this.options.pool.query(
      `update hub.projection set state = 'built', finished_at = clock_timestamp() where name = $1 and version = $2 and state = 'building'`,
      [this.definition.name, this.row.version],
    );
  }

  private async fail(error: unknown): Promise<void> {
    await this.options.pool.query(
      `update hub.projection set state = 'failed', finished_at = clock_timestamp(), last_error = $3
       where name = $1 and version = $2 and state in ('building', 'built')`,
      [
        this.definition.name,
        this.row.version,
        error instanceof VerificationFailedError ? error.message : errorText(error),
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
