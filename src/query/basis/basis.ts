/**
 * `at(knownAt, position, validAt, basis)`: from what was asked to one basis, which every resolver below reads the store at
 * (clinical.graphql, Query.at; docs/architecture.md §4 and §10).
 */
import type pg from 'pg';
import { masterTables } from '../../../projections/master/tables.js';
import type { Position } from '../../log/event-log.js';
import type { Instant } from '../../time/valid-time.js';
import { GraphError } from '../errors.js';
import { Shared } from '../shared.js';
import { instantOfMicroseconds } from './instant.js';
import { decodeToken, encodeToken, type TokenContent } from './token.js';

export interface AtArguments {
  readonly knownAt?: Instant | null;
  /** Decimal. */
  readonly position?: string | null;
  readonly validAt?: Instant | null;
  readonly basis?: string | null;
  readonly wait?: boolean | null;
  /** The build that a rebuild has made, in place of the one that serves. */
  readonly candidate?: boolean | null;
}

/** The point an answer stands on. */
export interface Basis {
  readonly token: string;
  readonly logId: string;
  readonly position: Position;
  readonly knownAt: Instant;
  readonly validAt: Instant;
  /** Why the same token may answer otherwise than before. */
  readonly revised: string | null;
  /** Physical build of the master store that answers. */
  readonly build: number;
  readonly masterVersion: number;
  readonly erasureEpoch: number;
}

/** Longest that `wait: true` waits. */
export const WAIT_MOST_MS = 10_000;
const LOOK_AGAIN_MS = 50;
/** An Instant, for PostgreSQL's to_char. */
const INSTANT = 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"';

/** A rebuild that has caught up, or is as far as its checkpoint; one that is still being loaded in bulk has no indexes to answer by. */
const CANDIDATE = `p.state in ('building', 'built') and not p.serving and not p.loading`;

/** A restore: positions in (head, base] and times in (mark, at) were answered for by a log that was lost. */
interface Restore {
  readonly head: Position;
  readonly base: Position;
  readonly mark: Instant;
  readonly at: Instant;
}

/** How far everything is, read in one statement, so that it is one snapshot. */
interface Progress {
  readonly build: number;
  readonly masterVersion: number;
  readonly watermark: Position;
  /** Last batch at or below the watermark. */
  readonly watermarkAt: Instant | null;
  readonly mark: Instant | null;
  readonly markHead: Position | null;
  /** Last position of the log, where it was read along. */
  readonly logHead: Position | null;
  /** How many erasures there were. */
  readonly erasureEpoch: number;
  /** What a restore from a backup lost. */
  readonly restores: readonly Restore[];
}

export interface BasisOptions {
  /** From `openPointPool`, or any other. */
  readonly pool: pg.Pool;
  readonly logId: string;
  /** Last position of the log: an expression in SQL where it stands in this database, so that it needs no statement of its own. */
  readonly logHead: string | (() => Promise<Position>);
  /** Waits until the master has moved beyond a watermark, at most so many milliseconds; may resolve earlier. */
  readonly moved: (watermark: Position, timeoutMs: number) => Promise<unknown>;
  /** Takes the erased out of a build, up to an erasure, before it is asked anything. */
  readonly forget?: (build: number, epoch: bigint) => Promise<void>;
  /** Microseconds since 1970. Only for a hub whose writer never ran. */
  readonly clock?: () => bigint;
}

type Asked =
  | { readonly kind: 'now' }
  | { readonly kind: 'knownAt'; readonly knownAt: Instant }
  | { readonly kind: 'position'; readonly position: Position }
  | { readonly kind: 'basis'; readonly content: TokenContent };

/** Not there yet: answered once the master has come further, if the client waits. */
class NotYet {
  constructor(readonly progress: Progress) {}
}

export class BasisResolver {
  /**
   * By build, the greatest clock mark that was seen with everything up to its head projected. No event is ever stamped at or below a mark, so what
   * was settled once stays so, also when the mark has moved on and the master has not come so far yet.
   */
  private readonly settledMarks = new Map<number, Instant>();

  private readonly serving = new Shared(() => this.readProgress(false));
  private readonly candidates = new Shared(() => this.readProgress(true));
  /** The builds that were asked last, the serving one and the candidate: where the next question looks at once. */
  private readonly lastBuilds = new Map<boolean, number>();
  /** By build, the erasure up to which the erased are out of it. */
  private readonly forgotten = new Map<number, number>();

  constructor(private readonly options: BasisOptions) {}

  /**
   * What is projected, and the last position of the log when that was asked: what a client has written stands at or before it.
   * @param along reads something in the same statement, for which it gets the build and the SQL of one row (`position`, and `progress` as jsonb)
   * @returns `found` is what that read, up to the position of the basis; undefined where it found another build than it was given
   * @throws GraphError UNAVAILABLE
   */
  async present<Found>(
    along?: (
      build: number,
      reached: string,
    ) => Promise<{ readonly progress: ProgressJson; readonly found: Found } | undefined>,
  ): Promise<{ readonly basis: Basis; readonly head: Position; readonly found?: Found }> {
    const { logHead } = this.options;
    const guess = this.lastBuilds.get(false);
    if (along !== undefined && guess !== undefined && typeof logHead === 'string') {
      const forgotten = this.forgotten.get(guess) ?? 0;
      const read = await along(guess, reachedText(logHead));
      // What was read before the erased were taken out of the build may tell of them: it is read again.
      if (read?.progress.build === guess && read.progress.erasures <= forgotten)
        return { ...this.presentOf(this.progressOf(rowOfJson(read.progress), false), undefined), found: read.found };
    }
    const [progress, head] = await Promise.all([
      this.progress(false),
      typeof logHead === 'string' ? undefined : logHead(),
    ]);
    return this.presentOf(progress, head);
  }

  private presentOf(
    progress: Progress,
    head: Position | undefined,
  ): { readonly basis: Basis; readonly head: Position } {
    return { basis: this.current(progress, undefined), head: head ?? progress.logHead ?? progress.watermark };
  }

  /**
   * @throws GraphError BAD_USER_INPUT, BEYOND_WATERMARK (with the watermark), BEFORE_LOG, UNKNOWN_BASIS, UNAVAILABLE
   */
  async resolve(given: AtArguments): Promise<Basis> {
    const asked = this.read(given);
    const validAt = given.validAt ?? undefined;
    const deadline = performance.now() + (given.wait === true ? WAIT_MOST_MS : 0);
    for (;;) {
      const found = await this.tryResolve(asked, validAt, given.candidate === true);
      if (!(found instanceof NotYet)) return found;
      const left = deadline - performance.now();
      if (left <= 0) {
        throw new GraphError('BEYOND_WATERMARK', 'this point is not projected yet', {
          watermark: found.progress.watermark.toString(),
          watermarkKnownAt: echoOf(found.progress, found.progress.watermark) ?? null,
        });
      }
      // A clock mark alone can settle a time, and it comes without a notice.
      await this.options.moved(found.progress.watermark, Math.min(left, LOOK_AGAIN_MS));
    }
  }

  /** Waits until the master has come to a position. @returns false after `timeoutMs` milliseconds without */
  async reached(position: Position, timeoutMs: number): Promise<boolean> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const { watermark } = await this.progress(false);
      if (watermark >= position) return true;
      const left = deadline - performance.now();
      if (left <= 0) return false;
      await this.options.moved(watermark, Math.min(left, LOOK_AGAIN_MS));
    }
  }

  /** @throws GraphError UNKNOWN_BASIS */
  readToken(token: string): TokenContent {
    const content = decodeToken(token);
    if (content === undefined) throw new GraphError('UNKNOWN_BASIS', 'not a basis of this hub');
    if (content.logId !== this.options.logId) throw new GraphError('UNKNOWN_BASIS', 'a basis of another log');
    return content;
  }

  private read(given: AtArguments): Asked {
    const points = [given.knownAt, given.position, given.basis].filter((value) => value != null);
    if (points.length > 1)
      throw new GraphError('BAD_USER_INPUT', 'only one of knownAt, position and basis may be given');
    if (given.basis != null && given.validAt != null) {
      throw new GraphError('BAD_USER_INPUT', 'a basis has its validAt already');
    }
    if (given.basis != null) return { kind: 'basis', content: this.readToken(given.basis) };
    if (given.knownAt != null) return { kind: 'knownAt', knownAt: given.knownAt };
    if (given.position != null) return { kind: 'position', position: parsePosition(given.position) };
    return { kind: 'now' };
  }

  private async tryResolve(asked: Asked, validAt: Instant | undefined, candidate: boolean): Promise<Basis | NotYet> {
    switch (asked.kind) {
      case 'now':
        return this.current(await this.progress(candidate), validAt);
      case 'knownAt': {
        const { knownAt } = asked;
        const { progress, found } = await this.progressWith<Position>(POSITION_AT, knownAt, candidate);
        // A mark at or beyond T whose head is projected, or a projected event recorded after T: nothing at or before T can be missing.
        const settledMark = this.settledMarks.get(progress.build);
        const settled =
          (settledMark !== undefined && settledMark >= knownAt) ||
          (progress.watermarkAt !== null && progress.watermarkAt >= knownAt);
        if (!settled) return new NotYet(progress);
        if (found === undefined) throw new GraphError('BEFORE_LOG', 'this log begins later');
        const position = found < progress.watermark ? found : progress.watermark;
        return this.basis(progress, position, knownAt, validAt ?? knownAt);
      }
      case 'position': {
        const { position } = asked;
        const { progress, found: recordedAt } = await this.progressWith<Instant>(RECORDED_AT, position, candidate);
        refuseLost(progress, position);
        if (position > progress.watermark) return new NotYet(progress);
        if (recordedAt === undefined) throw new GraphError('BEFORE_LOG', 'this log begins later');
        return this.basis(progress, position, recordedAt, validAt ?? recordedAt);
      }
      case 'basis': {
        const { content } = asked;
        const progress = await this.progress(candidate);
        refuseLost(progress, content.position);
        if (content.position > progress.watermark) return new NotYet(progress);
        return {
          ...this.basis(progress, content.position, content.knownAt, content.validAt),
          token: encodeToken(content),
          revised: revisedSince(content, progress),
        };
      }
    }
  }

  private current(progress: Progress, validAt: Instant | undefined): Basis {
    const knownAt = echoOf(progress, progress.watermark) ?? instantOfMicroseconds(this.clock());
    return this.basis(progress, progress.watermark, knownAt, validAt ?? knownAt);
  }

  private basis(progress: Progress, position: Position, knownAt: Instant, validAt: Instant): Basis {
    const { logId } = this.options;
    const { masterVersion, build, erasureEpoch } = progress;
    const token = encodeToken({ logId, position, knownAt, validAt, masterVersion, erasureEpoch });
    return { token, logId, position, knownAt, validAt, revised: null, build, masterVersion, erasureEpoch };
  }

  private clock(): bigint {
    return this.options.clock?.() ?? BigInt(Date.now()) * 1000n;
  }

  private async progress(candidate: boolean): Promise<Progress> {
    return this.withoutErased(await (candidate ? this.candidates : this.serving).ask());
  }

  private async withoutErased(progress: Progress): Promise<Progress> {
    const { build, erasureEpoch } = progress;
    if (erasureEpoch > 0) await this.options.forget?.(build, BigInt(erasureEpoch));
    this.forgotten.set(build, erasureEpoch);
    return progress;
  }

  /** Progress, and what one look at the clock of the build finds: together in one statement where the build is the one of the last time. */
  private async progressWith<Found>(
    look: ClockLook,
    value: unknown,
    candidate: boolean,
  ): Promise<{ readonly progress: Progress; readonly found: Found | undefined }> {
    const guess = this.lastBuilds.get(candidate);
    if (guess !== undefined) {
      const column = `, (${look.text(masterTables(guess).clock)}) as found`;
      const row = await this.progressRow<{ found: Found | null }>(`${look.name}-${guess}`, column, [value], candidate);
      // Where the build was taken away meanwhile there is no row, or one of another build.
      if (row?.build === guess)
        return { progress: await this.withoutErased(this.progressOf(row, candidate)), found: row.found ?? undefined };
    }
    const progress = await this.progress(candidate);
    const { rows } = await this.options.pool.query<{ found: Found | null }>({
      name: `basis-${look.name}-${progress.build}`,
      text: `select (${look.text(masterTables(progress.build).clock)}) as found`,
      values: [value],
    });
    return { progress, found: rows[0]?.found ?? undefined };
  }

  private async readProgress(candidate: boolean): Promise<Progress> {
    const row = await this.progressRow('', '', [], candidate);
    if (row === undefined && candidate) {
      throw new GraphError('BAD_USER_INPUT', 'there is no build of the master store beside the one that serves');
    }
    if (row === undefined) throw new GraphError('UNAVAILABLE', 'the master store is not there yet');
    return this.progressOf(row, candidate);
  }

  /** @returns undefined where there is no such build, or a table that `more` reads is gone */
  private async progressRow<More extends object = object>(
    name: string,
    more: string,
    values: unknown[],
    candidate: boolean,
  ): Promise<(ProgressRow & More) | undefined> {
    try {
      const { rows } = await this.options.pool.query<ProgressRow & More>({
        name: `basis-progress${candidate ? '-candidate' : ''}${name === '' ? '' : `-${name}`}`,
        text: progressText(this.options.logHead, candidate, more),
        values,
      });
      return rows[0];
    } catch (error) {
      if (more !== '' && (error as { code?: unknown }).code === UNDEFINED_TABLE) return undefined;
      throw error;
    }
  }

  private progressOf(row: ProgressRow, candidate: boolean): Progress {
    const { build, position: watermark, mark, mark_head: markHead } = row;
    this.lastBuilds.set(candidate, build);
    if (mark !== null && markHead !== null && watermark >= markHead && mark > (this.settledMarks.get(build) ?? ''))
      this.settledMarks.set(build, mark);
    return {
      build: row.build,
      masterVersion: row.definition_version,
      watermark: row.position,
      watermarkAt: row.recorded_at,
      mark: row.mark,
      markHead: row.mark_head,
      logHead: row.log_head,
      erasureEpoch: row.erasures,
      restores: row.restores.map(({ head, base, ...times }) => ({ ...times, head: BigInt(head), base: BigInt(base) })),
    };
  }
}

const UNDEFINED_TABLE = '42P01';

interface ProgressRow {
  readonly build: number;
  readonly definition_version: number;
  readonly position: bigint;
  readonly recorded_at: Instant | null;
  readonly mark: Instant | null;
  readonly mark_head: bigint | null;
  readonly log_head: bigint | null;
  readonly erasures: number;
  readonly restores: readonly { head: string; base: string; mark: Instant; at: Instant }[];
}

/**
 * One statement is one snapshot: a mark read apart from the watermark could claim more than is projected.
 * @param more further columns
 */
function progressText(logHead: BasisOptions['logHead'], candidate: boolean, more: string): string {
  return `select p.version as build, p.definition_version, c.position, c.recorded_at, m.at as mark, m.head as mark_head,
      ${typeof logHead === 'string' ? logHead : 'null::int8'} as log_head,
      (select coalesce(max(epoch), 0)::int4 from sealing.erasure) as erasures,
      (select coalesce(jsonb_agg(jsonb_build_object('head', head::text, 'base', base::text, 'mark', to_char(mark, '${INSTANT}'),
        'at', to_char(at, '${INSTANT}'))), '[]') from log.restored) as restores${more}
    from hub.projection p
    join lateral (select position, recorded_at from hub.checkpoint
      where projection = p.name and version = p.version order by position limit 1) c on true
    left join hub.clock_mark m on true
    where p.name = 'master' and ${candidate ? CANDIDATE : 'p.serving'}`;
}

/** Progress as JSON: positions and times as texts. */
export interface ProgressJson {
  readonly build: number;
  readonly definition_version: number;
  readonly position: string;
  readonly recorded_at: Instant | null;
  readonly mark: Instant | null;
  readonly mark_head: string | null;
  readonly log_head: string | null;
  readonly erasures: number;
  readonly restores: ProgressRow['restores'];
}

/** `position`, and all of it as `progress`. */
function reachedText(logHead: string): string {
  return `select position, jsonb_build_object('build', build, 'definition_version', definition_version, 'position', position::text,
      'recorded_at', to_char(recorded_at, '${INSTANT}'), 'mark', to_char(mark, '${INSTANT}'), 'mark_head', mark_head::text,
      'log_head', log_head::text, 'erasures', erasures, 'restores', restores) as progress
    from (${progressText(logHead, false, '')}) found`;
}

function rowOfJson({ position, mark_head: markHead, log_head: logHead, ...rest }: ProgressJson): ProgressRow {
  return {
    ...rest,
    position: BigInt(position),
    mark_head: markHead === null ? null : BigInt(markHead),
    log_head: logHead === null ? null : BigInt(logHead),
  };
}

/** A look into the clock of a build, for the value `$1`. */
interface ClockLook {
  readonly name: string;
  readonly text: (clock: string) => string;
}

/** Last position recorded at or before a time. */
const POSITION_AT: ClockLook = {
  name: 'position',
  text: (clock) => `select pos from ${clock} where recorded_at <= $1::timestamptz order by recorded_at desc limit 1`,
};

/** When the append batch that holds a position was recorded; none before the first position. */
const RECORDED_AT: ClockLook = {
  name: 'recorded',
  text: (clock) => `select recorded_at from ${clock} where pos >= $1::int8 and $1::int8 > 0 order by pos limit 1`,
};

/** A token or position that only the log knew which a restore replaced. @throws GraphError UNKNOWN_BASIS */
function refuseLost(progress: Progress, position: Position): void {
  const lost = progress.restores.find(({ head, base }) => position > head && position <= base);
  if (lost === undefined) return;
  throw new GraphError(
    'UNKNOWN_BASIS',
    `what the log held behind ${lost.head} was lost: it was restored from a backup at ${lost.at}`,
  );
}

/** Why a token may answer otherwise than it did, or null. */
function revisedSince(content: TokenContent, progress: Progress): string | null {
  const reasons: string[] = [];
  if (content.masterVersion !== progress.masterVersion) {
    reasons.push(
      `the master store was derived anew by version ${progress.masterVersion} of its rules; this basis comes from version ${content.masterVersion}`,
    );
  }
  const erasures = progress.erasureEpoch - content.erasureEpoch;
  if (erasures > 0) reasons.push(`${erasures} erasure${erasures === 1 ? ' was' : 's were'} carried out since`);
  return reasons.length === 0 ? null : reasons.join('; ');
}

/**
 * A time that leads to this watermark again: the clock mark where everything up to it is projected and nothing after it is, else the stamp of
 * the last projected event.
 */
function echoOf(progress: Progress, position: Position): Instant | undefined {
  const { mark, watermarkAt } = progress;
  if (mark !== null && progress.markHead === position)
    return watermarkAt !== null && watermarkAt > mark ? watermarkAt : mark;
  return progress.watermarkAt ?? progress.mark ?? undefined;
}

/** @throws GraphError BAD_USER_INPUT */
export function parsePosition(text: string): Position {
  if (!/^\d{1,19}$/.test(text)) throw new GraphError('BAD_USER_INPUT', 'not a position');
  const position = BigInt(text);
  if (position > 9_223_372_036_854_775_807n) throw new GraphError('BAD_USER_INPUT', 'not a position');
  return position;
}
