/** Verifications that somebody asked for and those of rebuilds: carried out one after another, kept with their reports. */
import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { buildsOf, ONLY_LANE, type BuildRow } from '../builds.js';
import { errorText, errorWord, failureKind } from '../errors.js';
import type { ProjectionDefinition } from '../projection.js';
import type { LiveRunner, RuntimeLog } from '../runner.js';
import type { Shares } from '../shares.js';
import { verifyBuild, type VerifyParts, type VerifyReport } from '../verify.js';
import { untilAborted } from '../until-aborted.js';
import { Following } from '../following.js';

export interface VerificationRunsOptions {
  readonly pool: pg.Pool;
  readonly parts: VerifyParts;
  readonly runner: LiveRunner;
  /** Only builds that this process carries can be held at a position. */
  readonly shares: Pick<Shares, 'holds'>;
  readonly definitions: readonly ProjectionDefinition[];
  readonly log: RuntimeLog;
}

/** Which build is to be verified, and the one that serves. */
export interface VerifiedBuilds {
  readonly definition: ProjectionDefinition;
  readonly row: BuildRow;
  readonly serving: BuildRow | undefined;
}

/** A build that is not carried on, or by another release, cannot be brought to a position. */
export class NotVerifiableError extends Error {
  readonly code = 'NOT_VERIFIABLE';
  constructor(projection: string, build: number, reason: string) {
    super(`build ${build} of ${projection} cannot be verified: ${reason}`);
  }
}

interface OpenRow {
  readonly id: string;
  readonly projection: string;
  readonly version: number;
}

const PROGRESS_MS = 500;
const INTERRUPTED = 'interrupted';

export class VerificationRuns {
  private readonly following: Following;
  /** Resolves when the last that was begun is over. */
  private last: Promise<unknown> = Promise.resolve();

  constructor(private readonly options: VerificationRunsOptions) {
    this.following = new Following({
      work: () => this.carryOutAll(),
      signal: options.parts.signal,
      log: options.log,
      words: { stopped: 'verifications stopped', again: 'a verification is tried again' },
    });
  }

  /** Carries out what `hub.verification` wants, oldest first; what a stop or a kill interrupted is begun anew. */
  follow(): void {
    this.following.ask();
  }

  /** Resolves when none is under way; the signal of the options ends one. */
  settled(): Promise<void> {
    return this.following.settled();
  }

  /** Verifies the build of a rebuild, and keeps the report. @param signal ends it @returns undefined where the builds could not be brought to one position */
  async ofRebuild(builds: VerifiedBuilds, signal: AbortSignal): Promise<VerifyReport | undefined> {
    const { definition, row } = builds;
    const id = randomUUID();
    // A process that was killed left its own under way.
    await this.options.pool.query(
      `update hub.verification set state = 'failed', finished_at = clock_timestamp(), error = $2
       where projection = $1 and reason = 'rebuild' and state = 'running'`,
      [definition.name, INTERRUPTED],
    );
    await this.options.pool.query(
      `insert into hub.verification (id, projection, version, definition_version, reason, requested_by, state)
       values ($1, $2, $3, $4, 'rebuild', 'rebuild', 'running')`,
      [id, definition.name, row.version, definition.version],
    );
    try {
      const report = await this.verify(id, builds, AbortSignal.any([signal, this.options.parts.signal]));
      if (report === undefined) await this.end(id, 'the builds could not be brought to one position');
      else await this.keep(id, report);
      return report;
    } catch (error) {
      await this.end(id, signal.aborted || this.options.parts.signal.aborted ? INTERRUPTED : errorText(error));
      throw error;
    }
  }

  private async carryOutAll(): Promise<void> {
    const { signal } = this.options.parts;
    for (let next = await this.next(); next !== undefined && !signal.aborted; next = await this.next())
      await this.carryOut(next);
  }

  private async next(): Promise<OpenRow | undefined> {
    const { rows } = await this.options.pool.query<OpenRow>(
      `update hub.verification set state = 'running', progress = 0 where id =
         (select id from hub.verification where state in ('wanted', 'running') and reason = 'asked'
            and not (projection = any ($1::text[])) order by wanted_at limit 1)
       returning id, projection, version`,
      [this.options.definitions.map(({ name }) => name).filter((name) => !this.options.shares.holds(name))],
    );
    return rows[0];
  }

  private async carryOut({ id, projection, version }: OpenRow): Promise<void> {
    const { pool, definitions, parts, log } = this.options;
    const definition = definitions.find(({ name }) => name === projection);
    const builds = await buildsOf(pool, projection);
    const row = builds.find((build) => build.version === version);
    if (definition === undefined || row === undefined) {
      await this.end(id, 'the build is gone');
      return;
    }
    try {
      const serving = builds.find((build) => build.serving && build.version !== version);
      const report = await this.verify(id, { definition, row, serving }, parts.signal);
      if (report === undefined) throw new NotVerifiableError(projection, version, 'it is not running');
      await this.keep(id, report);
      const found = { projection, version, defects: report.defects };
      if (report.equal) log.info(found, 'projection verified');
      else log.error(found, 'projection differs from the log: see the report');
    } catch (error) {
      if (parts.signal.aborted) return;
      if (failureKind(error) === 'transient') throw error;
      log.error({ projection, version, code: errorWord(error) }, 'verification failed');
      await this.end(id, error instanceof NotVerifiableError ? error.message : errorText(error));
    }
  }

  /** One after another, whoever wants it: each reads the whole log, and has part of it in memory. */
  private async verify(id: string, builds: VerifiedBuilds, signal: AbortSignal): Promise<VerifyReport | undefined> {
    const before = this.last;
    const { promise, resolve: leave } = Promise.withResolvers<undefined>();
    this.last = before.then(() => promise);
    try {
      await untilAborted(before, signal);
      signal.throwIfAborted();
      return await this.verifyAlone(id, builds, signal);
    } finally {
      leave(undefined);
    }
  }

  private async verifyAlone(
    id: string,
    { definition, row, serving }: VerifiedBuilds,
    signal: AbortSignal,
  ): Promise<VerifyReport | undefined> {
    const { parts, runner } = this.options;
    const { name } = definition;
    if (row.definition_version !== definition.version) {
      const reason = `it was made by version ${row.definition_version} of the definition, this release has ${definition.version}`;
      throw new NotVerifiableError(name, row.version, reason);
    }
    const beside = serving !== undefined && runner.isSound(name, serving.version) ? serving : row;
    const lane = (build: number) => ({ definition, build, lane: ONLY_LANE, mode: 'live' as const });
    return verifyBuild(
      { ...parts, signal },
      {
        definition,
        build: row.version,
        progress: this.progressOf(id),
        ...(serving === undefined
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
  }

  private progressOf(id: string): (share: number) => void {
    let notedAt = performance.now();
    return (share) => {
      const now = performance.now();
      if (now - notedAt < PROGRESS_MS) return;
      notedAt = now;
      this.options.pool.query('update hub.verification set progress = $2 where id = $1', [id, share]).catch((error) => {
        this.options.log.warn({ code: errorWord(error) }, 'progress of a verification not noted');
      });
    };
  }

  private async keep(id: string, report: VerifyReport): Promise<void> {
    await this.options.pool.query(
      `update hub.verification set state = 'done', progress = 1, finished_at = clock_timestamp(), position = $2, equal = $3,
         defects = $4, report = $5 where id = $1`,
      [id, report.position, report.equal, report.defects, JSON.stringify(report)],
    );
  }

  private async end(id: string, error: string): Promise<void> {
    await this.options.pool.query(
      `update hub.verification set state = 'failed', finished_at = clock_timestamp(), error = $2 where id = $1`,
      [id, error],
    );
  }
}
