/** The sources in a process that does not change them: hub.source, followed by notices and, where one is missed, by looking every second. */
import type pg from 'pg';
import { Listener } from '../../log/postgres/listener.js';
import { BUILT_IN_SOURCES, type SourceConfiguration, type SourceDefaults, type SourceSettings } from '../source.js';
import type { SourceChange, SourceDirectory } from '../sources.js';
import type { StoredSource } from './decide.js';
import { LiveSources } from './directory.js';
import { SOURCE_CHANNEL, sourcesChangedAfter } from './table.js';

const LOOK_AGAIN_MS = 1_000;

export interface SourceFollowerParts {
  readonly pool: pg.Pool;
  readonly url: string;
  readonly defaults: SourceDefaults;
  /** Settings by source id of the configuration file: until the ingest role has made them, its sources are shown as version 0. */
  readonly file: Readonly<Record<string, SourceSettings>>;
  readonly onTrouble: (error: unknown) => void;
}

export class SourceFollower implements SourceDirectory {
  private readonly live: LiveSources;
  private readonly settings = new Map<string, SourceSettings>();
  private readonly listener: Listener;
  private readonly closing = new AbortController();
  private running: Promise<void> | undefined;
  /** All changes up to this number are taken in; below any at first. */
  private change = -1n;

  private constructor(private readonly parts: SourceFollowerParts) {
    this.live = new LiveSources(parts.defaults, parts.onTrouble);
    this.listener = new Listener(parts.url, [SOURCE_CHANNEL]);
  }

  static async open(parts: SourceFollowerParts): Promise<SourceFollower> {
    const follower = new SourceFollower(parts);
    await follower.look();
    for (const id of new Set([...BUILT_IN_SOURCES, ...Object.keys(parts.file)])) {
      if (follower.find(id) === undefined) follower.take({ id, version: 0, settings: parts.file[id] ?? {} });
    }
    follower.running = follower.run();
    return follower;
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
    return this.settings.get(id);
  }

  /** Takes in what has changed by now: for an answer about a change that was just made. */
  async look(): Promise<void> {
    const { rows, change } = await sourcesChangedAfter(this.parts.pool, this.change);
    for (const row of rows) this.take(row);
    if (change > this.change) this.change = change;
  }

  private take(stored: StoredSource): void {
    this.settings.set(stored.id, stored.settings);
    this.live.take(stored);
  }

  async close(): Promise<void> {
    this.closing.abort();
    await this.running;
    await this.listener.close();
  }

  private async run(): Promise<void> {
    const waiter = this.listener.wait(this.closing.signal);
    while (!this.closing.signal.aborted) {
      await waiter.next(LOOK_AGAIN_MS);
      waiter.reset();
      if (this.closing.signal.aborted) break;
      try {
        await this.look();
      } catch (error) {
        this.parts.onTrouble(error);
      }
    }
    waiter.done();
  }
}
