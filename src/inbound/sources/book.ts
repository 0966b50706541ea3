/**
 * The sources of the ingest role: the only place where a source changes. A change is an event in the source's stream at a concrete
 * revision; from the moment in which it is durable this process goes by it, and tells the others through hub.source.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type pg from 'pg';
import type { SourceDecision } from '../../log/decisions.js';
import { EVENT_TYPES } from '../../log/envelope.js';
import {
  WrongExpectedRevisionError,
  type EventLogReader,
  type Position,
  type RecordedEvent,
} from '../../log/event-log.js';
import type { PendingEvent, RecordedResult } from '../../log/round.js';
import type { Json } from '../../mapping/fact.js';
import type { KeyedHashes } from '../../sealing/hashes.js';
import { decisionEvent } from '../decision-events.js';
import {
  BUILT_IN_SOURCES,
  resolveSource,
  type SourceConfiguration,
  type SourceDefaults,
  type SourceSettings,
} from '../source.js';
import type { SourceChange, SourceDirectory } from '../sources.js';
import {
  decideSource,
  SOURCE_EVENT_TYPES,
  SourceConflictError,
  sourceStream,
  type SourceEventType,
  type SourceRequest,
  type StoredSource,
} from './decide.js';
import { LiveSources } from './directory.js';
import { checkListeners } from './listeners.js';
import { SourceSettingsError } from './settings.js';
import {
  forgetSources,
  sourceProgress,
  sourcesChangedAfter,
  storeSourceProgress,
  storeSources,
  type SourceRow,
} from './table.js';
import { decisionOfEvent, versionEvents } from './versions.js';

/** Mailbox kind of {@link SourceRequest}. */
export const SOURCE_REQUEST = 'source';

/** What a change made, or that there was nothing to change: then it is the version that stands. */
export interface SourceAnswer {
  readonly id: string;
  readonly version: number;
  readonly changed: boolean;
  /** Position of the event, decimal; absent where nothing changed. */
  readonly position?: string;
}

export interface SourceBookParts {
  readonly pool: pg.Pool;
  readonly reader: Pick<EventLogReader, 'readPage' | 'head'>;
  readonly writer: { submit(events: readonly PendingEvent[]): Promise<RecordedResult[]> };
  readonly hashes: Pick<KeyedHashes, 'uuid'>;
  readonly tenant: string;
  readonly defaults: SourceDefaults;
  /** Settings by source id of the configuration file: the first version of a source that the log does not know. */
  readonly file: Readonly<Record<string, SourceSettings>>;
  readonly onTrouble: (error: unknown) => void;
}

const PAGE_EVENTS = 1_000;
const RETRY_MS = 200;
/** How much of the log a start has to look through for changes that the table missed. */
const PROGRESS_MS = 5_000;

export class SourceBook implements SourceDirectory {
  private readonly live: LiveSources;
  private readonly stored = new Map<string, StoredSource>();
  /** The last request of each source: one after another, for each builds on what the one before made. */
  private readonly queues = new Map<string, Promise<unknown>>();
  /** Versions on their way into the log, by source: what is decided meanwhile must agree with them too. */
  private readonly appending = new Map<string, SourceConfiguration>();
  /** Versions that are in the log and not yet in the table. */
  private unannounced: SourceRow[] = [];
  private announcing: Promise<void> | undefined;
  private readonly closing = new AbortController();
  private progressTimer: NodeJS.Timeout | undefined;

  private constructor(private readonly parts: SourceBookParts) {
    this.live = new LiveSources(parts.defaults, parts.onTrouble);
  }

  /** Restores the sources from the log, and makes those that the log does not know: the built-in ones and those of the file. */
  static async open(parts: SourceBookParts): Promise<SourceBook> {
    const book = new SourceBook(parts);
    let progress = await sourceProgress(parts.pool);
    if (progress > (await parts.reader.head())) {
      // The tables are of another log, or of a later state of this one: the log is what counts.
      await forgetSources(parts.pool);
      progress = 0n;
    }
    for (const row of (await sourcesChangedAfter(parts.pool, -1n)).rows) book.take(row);
    await book.readOn(progress);
    await book.createMissing();
    await book.announced();
    book.progressTimer = setInterval(() => void book.storeProgress().catch(parts.onTrouble), PROGRESS_MS);
    book.progressTimer.unref();
    return book;
  }

  find(id: string): SourceConfiguration | undefined {
    return this.live.find(id);
  }

  all(): readonly SourceConfiguration[] {
    return this.live.all();
  }

  onChange(listener: (change: SourceChange) => void): () => void {
    return this.live.onChange(listener);
  }

  /** What was set of a source, without defaults. */
  settingsOf(id: string): SourceSettings | undefined {
    return this.stored.get(id)?.settings;
  }

  /** Ids of the sources about which the configuration file says something else than the log. */
  differing(): string[] {
    return Object.entries(this.parts.file)
      .filter(([id, said]) => !isDeepStrictEqual(said, this.settingsOf(id)))
      .map(([id]) => id);
  }

  /**
   * Changes a source. A request repeated with the same id is answered with what it made, whatever happened since.
   * @throws SourceConflictError, UnknownSourceError, SourceSettingsError; LogUnavailableError where it cannot be said what became of it
   */
  decide(request: SourceRequest): Promise<SourceAnswer> {
    const before = this.queues.get(request.sourceId) ?? Promise.resolve();
    const answer = before.then(
      () => this.decideNow(request),
      () => this.decideNow(request),
    );
    this.queues.set(request.sourceId, answer);
    const forget = (): void => {
      if (this.queues.get(request.sourceId) === answer) this.queues.delete(request.sourceId);
    };
    answer.then(forget, forget);
    return answer;
  }

  /** Tells the others what is not told yet, and notes how far the table goes. */
  async close(): Promise<void> {
    clearInterval(this.progressTimer);
    this.closing.abort();
    await Promise.allSettled(this.queues.values());
    await this.announcing;
    await this.storeProgress().catch(this.parts.onTrouble);
  }

  private async decideNow(request: SourceRequest): Promise<SourceAnswer> {
    const { sourceId } = request;
    const versions = await this.versionsOf(sourceId);
    const made = versions.find((event) => event.id === request.id);
    if (made !== undefined) {
      const { version } = decisionOfEvent(made);
      return { id: sourceId, version, changed: true, position: made.position.toString() };
    }
    const current = this.stored.get(sourceId);
    const next = decideSource(current, request, (version) => {
      const event = versions[version - 1];
      return event === undefined ? undefined : decisionOfEvent(event).settings;
    });
    if (next === undefined) return { id: sourceId, version: current?.version ?? 0, changed: false };
    const { settings, version } = next.decision;
    checkListeners(sourceId, settings, [...this.all(), ...this.appending.values()], this.parts.defaults);
    this.appending.set(sourceId, resolveSource(sourceId, version, settings, this.parts.defaults));
    try {
      const row = await this.append(request.id, next.type, next.decision);
      this.announce([row]);
      return { id: sourceId, version: row.version, changed: true, position: row.position.toString() };
    } finally {
      this.appending.delete(sourceId);
    }
  }

  private async append(id: string, type: SourceEventType, decision: SourceDecision): Promise<SourceRow> {
    const { sourceId, version, settings } = decision;
    const event = decisionEvent(id, sourceStream(sourceId), type, decision, {
      tenant: this.parts.tenant,
      source: 'hub',
      sourceVersion: 1,
    });
    const expectedRevision = version === 1 ? 'no_stream' : BigInt(version - 2);
    try {
      const [result] = await this.parts.writer.submit([{ ...event, expectedRevision }]);
      const { position, recordedAt } = result as RecordedResult;
      const row = { id: sourceId, version, settings, position, recordedAt };
      this.take(row);
      return row;
    } catch (error) {
      if (!(error instanceof WrongExpectedRevisionError)) throw error;
      throw new SourceConflictError(`source ${sourceId} was changed meanwhile`, { cause: error });
    }
  }

  private take(row: StoredSource): void {
    const known = this.stored.get(row.id);
    if (known !== undefined && known.version >= row.version) return;
    this.stored.set(row.id, { id: row.id, version: row.version, settings: row.settings });
    this.live.take(row);
  }

  /** Takes in what stands in the log behind a position: after a crash, or where the table was lost, more than the table says. */
  private async readOn(from: Position): Promise<void> {
    const head = await this.parts.reader.head();
    for (let after = from; ;) {
      const page = await this.parts.reader.readPage({ after, types: [...SOURCE_EVENT_TYPES], limit: PAGE_EVENTS });
      const rows = page.map((event): SourceRow => {
        const { sourceId: id, version, settings } = decisionOfEvent(event);
        const { recordedAt } = JSON.parse(event.metadata.toString('utf8')) as { recordedAt: string };
        return { id, version, settings, position: event.position, recordedAt };
      });
      for (const row of rows) this.take(row);
      this.announce(rows.filter((row, index) => !rows.some((other, at) => at > index && other.id === row.id)));
      const last = page.at(-1);
      if (last === undefined || page.length < PAGE_EVENTS) break;
      after = last.position;
    }
    await this.announced();
    await storeSourceProgress(this.parts.pool, head);
  }

  private async createMissing(): Promise<void> {
    const ids = [...new Set([...BUILT_IN_SOURCES, ...Object.keys(this.parts.file)])];
    const rows = await Promise.all(
      ids
        .filter((id) => !this.stored.has(id))
        .map((id) =>
          this.append(this.parts.hashes.uuid('source-start', id), EVENT_TYPES.sourceCreated, {
            sourceId: id,
            version: 1,
            settings: this.parts.file[id] ?? {},
            origin: 'start',
            requestedBy: 'hub',
          }),
        ),
    );
    this.announce(rows);
  }

  /** All versions, oldest first. */
  private async versionsOf(id: string): Promise<RecordedEvent[]> {
    if (!this.stored.has(id)) return [];
    return versionEvents(this.parts.reader, id);
  }

  private announce(rows: readonly SourceRow[]): void {
    this.unannounced.push(...rows);
    if (this.unannounced.length > 0) this.announcing ??= this.announceAll();
  }

  /** Never rejects; what is not told when the process ends is found in the log at the next start. */
  private async announceAll(): Promise<void> {
    while (this.unannounced.length > 0) {
      const rows = [...this.unannounced];
      const latest = [...new Map(rows.map((row) => [row.id, row])).values()];
      try {
        await storeSources(this.parts.pool, latest);
        this.unannounced = this.unannounced.slice(rows.length);
      } catch (error) {
        this.parts.onTrouble(error);
        if (this.closing.signal.aborted) break;
        await delay(RETRY_MS, undefined, { signal: this.closing.signal }).catch(() => undefined);
      }
    }
    this.announcing = undefined;
  }

  private async announced(): Promise<void> {
    while (this.announcing !== undefined) await this.announcing;
  }

  /** Everything up to here is in the table: nothing is on its way, and nobody else writes to the streams of sources. */
  private async storeProgress(): Promise<void> {
    if (this.queues.size > 0 || this.unannounced.length > 0) return;
    const head = await this.parts.reader.head();
    if (this.queues.size > 0 || this.unannounced.length > 0) return;
    await storeSourceProgress(this.parts.pool, head);
  }
}

/** Handlers by mailbox kind, for `serveMailbox`. */
export function sourceMailboxHandlers(book: SourceBook): Record<string, (payload: Json) => Promise<Json>> {
  return {
    [SOURCE_REQUEST]: async (payload) => {
      const request = payload as unknown as SourceRequest;
      if (
        typeof request.id !== 'string' ||
        typeof request.sourceId !== 'string' ||
        typeof request.action !== 'object'
      ) {
        throw new SourceSettingsError('', 'expected a change of a source');
      }
      return { ...(await book.decide(request)) };
    },
  };
}
