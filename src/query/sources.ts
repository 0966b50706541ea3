/** Sources as the graph shows them: as they stand, as they were at a version, and what the configuration file says otherwise. */
import { isDeepStrictEqual } from 'node:util';
import type pg from 'pg';
import { inOrder } from '../inbound/sources/settings.js';
import { NO_ACTIVITY, readActivity, type SourceActivityView } from '../inbound/sources/activity.js';
import { decisionOfEvent, versionEvents } from '../inbound/sources/versions.js';
import {
  resolveSource,
  type SourceConfiguration,
  type SourceDefaults,
  type SourceSettings,
} from '../inbound/source.js';
import type { SourceDirectory } from '../inbound/sources.js';
import type { SourceDecision } from '../log/decisions.js';
import type { Envelope } from '../log/envelope.js';
import type { EventLogReader, Position, RecordedEvent } from '../log/event-log.js';
import { LruMap } from '../sealing/lru.js';
import type { Instant } from '../time/valid-time.js';

export interface SourceView {
  readonly id: string;
  readonly kind: string;
  readonly enabled: boolean;
  readonly paused: boolean;
  readonly version: number;
  /** Everything that is in force, defaults filled in. */
  readonly settings: object;
  /** What was set. */
  readonly ownSettings: object;
}

/** One version of a source, as its event says. */
export interface SourceVersionView {
  readonly version: number;
  /** Type of the event: `source.created`, `source.changed`, … */
  readonly operation: string;
  readonly settings: object;
  readonly recordedAt: Instant;
  readonly position: Position;
  readonly requestedBy: string;
  readonly reason: string | null;
  readonly restored: number | null;
}

export interface SettingDifference {
  readonly setting: string;
  readonly file: unknown;
  readonly hub: unknown;
}

export interface SourceList {
  /** By id. */
  all(): Promise<readonly SourceView[]>;
  find(id: string): Promise<SourceView | undefined>;
  /** A source as it was at a version: what a message came by. Undefined where the log knows no such version. */
  at(id: string, version: number): Promise<SourceView | undefined>;
  /** Every version, newest first. */
  history(id: string): Promise<readonly SourceVersionView[]>;
  activity(id: string): Promise<SourceActivityView>;
  /** Settings of which the configuration file says something else. */
  differences(id: string): readonly SettingDifference[];
}

export interface SourceListParts {
  readonly directory: SourceDirectory & {
    settingsOf(id: string): SourceSettings | undefined;
    look(): Promise<void>;
  };
  readonly reader: Pick<EventLogReader, 'readPage'>;
  readonly pool: pg.Pool;
  readonly defaults: SourceDefaults;
  readonly file: Readonly<Record<string, SourceSettings>>;
}

const VERSIONS_KEPT = 4_096;

export class LiveSourceList implements SourceList {
  /** A version never changes. */
  private readonly versions = new LruMap<string, SourceView>(VERSIONS_KEPT);

  constructor(private readonly parts: SourceListParts) {}

  async all(): Promise<readonly SourceView[]> {
    return this.parts.directory.all().map((source) => this.viewOf(source));
  }

  async find(id: string): Promise<SourceView | undefined> {
    const source = this.parts.directory.find(id);
    return source === undefined ? undefined : this.viewOf(source);
  }

  async at(id: string, version: number): Promise<SourceView | undefined> {
    const current = this.parts.directory.find(id);
    if (current?.version === version) return this.viewOf(current);
    const key = `${version}|${id}`;
    const known = this.versions.get(key);
    if (known !== undefined) return known;
    if (version < 1) return undefined;
    const event = (await versionEvents(this.parts.reader, id))[version - 1];
    if (event === undefined) return undefined;
    const { settings } = decisionOfEvent(event);
    const view = viewOf(resolveSource(id, version, settings, this.parts.defaults), settings);
    this.versions.set(key, view);
    return view;
  }

  async history(id: string): Promise<readonly SourceVersionView[]> {
    return (await versionEvents(this.parts.reader, id)).map(versionView).reverse();
  }

  async activity(id: string): Promise<SourceActivityView> {
    return (await readActivity(this.parts.pool, id)) ?? NO_ACTIVITY;
  }

  differences(id: string): readonly SettingDifference[] {
    const said = this.parts.file[id];
    const stands = this.parts.directory.settingsOf(id);
    return said === undefined || stands === undefined ? [] : differencesOf(said, stands);
  }

  private viewOf(source: SourceConfiguration): SourceView {
    return viewOf(source, this.parts.directory.settingsOf(source.id) ?? {});
  }
}

function viewOf(source: SourceConfiguration, own: SourceSettings): SourceView {
  const { id, kind, enabled, paused, version, ...settings } = source;
  return { id, kind, enabled, paused, version, settings: inOrder(settings), ownSettings: inOrder({ ...own }) };
}

function versionView(event: RecordedEvent): SourceVersionView {
  const decision: SourceDecision = decisionOfEvent(event);
  const { recordedAt } = JSON.parse(event.metadata.toString('utf8')) as Envelope;
  return {
    version: decision.version,
    operation: event.type,
    settings: decision.settings,
    recordedAt,
    position: event.position,
    requestedBy: decision.requestedBy,
    reason: decision.reason ?? null,
    restored: decision.restored ?? null,
  };
}

/** Setting by setting, null where one side says nothing. */
export function differencesOf(file: SourceSettings, hub: SourceSettings): SettingDifference[] {
  const [left, right] = [file as Record<string, unknown>, hub as Record<string, unknown>];
  return Object.keys(inOrder({ ...left, ...right }))
    .filter((setting) => !isDeepStrictEqual(left[setting], right[setting]))
    .map((setting) => ({ setting, file: left[setting] ?? null, hub: right[setting] ?? null }));
}
