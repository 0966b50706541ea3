/** The sources that messages may come from. */
import {
  BUILT_IN_SOURCES,
  resolveSource,
  type SourceConfiguration,
  type SourceDefaults,
  type SourceSettings,
} from './source.js';

export interface SourceChange {
  /** Absent for a source that is new. */
  readonly before?: SourceConfiguration;
  readonly after: SourceConfiguration;
}

/**
 * Looks sources up, for every message anew: what a lookup answers may change while the hub runs. A configuration never changes;
 * another version of a source is another object, so `===` tells whether it is still the same.
 */
export interface SourceDirectory {
  find(id: string): SourceConfiguration | undefined;
  /** By id. */
  all(): readonly SourceConfiguration[];
  /**
   * Tells of every change from now on, one source at a time, after `find` gives the new version. Sources are never removed, only disabled.
   * @returns stops telling
   */
  onChange(listener: (change: SourceChange) => void): () => void;
}

/**
 * Sources of a configuration file alone, which never change: `mllp`, `http` and `file` with the settings given for them, and what else it names.
 */
export function configuredSources(
  settings: Readonly<Record<string, SourceSettings>>,
  defaults: SourceDefaults | string,
): SourceDirectory {
  const filled = typeof defaults === 'string' ? { timeZone: defaults } : defaults;
  const ids = [...new Set([...BUILT_IN_SOURCES, ...Object.keys(settings)])].sort();
  const sources = new Map(ids.map((id) => [id, resolveSource(id, 1, settings[id] ?? {}, filled)]));
  const all = [...sources.values()];
  return { find: (id) => sources.get(id), all: () => all, onChange: () => () => undefined };
}
