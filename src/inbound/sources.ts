/** The sources that messages may come from: the built-in ones and those of the configuration. */
import type { SourceSettings } from '../config/config.js';
import { builtInSource, type SourceConfiguration } from './source.js';

const BUILT_IN = ['mllp', 'http', 'file'] as const;

/** Looks sources up by id, for every message anew: what a lookup answers may change while the hub runs. */
export interface SourceDirectory {
  find(id: string): SourceConfiguration | undefined;
}

/**
 * Sources of a configuration: `mllp`, `http` and `file` with the settings given for them, and any further id as a source of kind `http`.
 * @param timeZone IANA zone of sources that state none
 */
export function configuredSources(
  settings: Readonly<Record<string, SourceSettings>>,
  timeZone: string,
): SourceDirectory {
  const sources = new Map<string, SourceConfiguration>();
  for (const id of BUILT_IN) sources.set(id, { ...builtInSource(id, timeZone), ...settings[id] });
  for (const [id, own] of Object.entries(settings)) {
    if (!sources.has(id)) sources.set(id, { ...builtInSource('http', timeZone), defaultAuthority: id, ...own, id });
  }
  return { find: (id) => sources.get(id) };
}
