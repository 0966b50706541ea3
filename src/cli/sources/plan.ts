/** A file of sources against a hub: what is different, and what would make it the same. Pure. */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { parse as parseYaml, stringify as stringifyYaml } from 'yaml';
import { isConfigurationKey } from '../../config/config.js';
import { isBuiltIn, type SourceSettings } from '../../inbound/source.js';
import { inOrder, readSourceSettings, SourceSettingsError } from '../../inbound/sources/settings.js';
import { CliError, EXIT } from '../cli-error.js';

/** A source as the hub has it. */
export interface HubSource {
  readonly id: string;
  readonly kind: string;
  readonly version: number;
  readonly enabled: boolean;
  readonly ownSettings: Readonly<Record<string, unknown>>;
}

export interface SettingChange {
  readonly setting: string;
  readonly from: unknown;
  readonly to: unknown;
}

export interface SourcePlan {
  readonly id: string;
  readonly action: 'create' | 'change' | 'disable' | 'keep' | 'unnamed';
  /** What the hub has now; 0: no such source. */
  readonly version: number;
  readonly changes: readonly SettingChange[];
  /** For `setSource`: null takes a setting back to its default. */
  readonly settings: Readonly<Record<string, unknown>>;
}

/**
 * Reads a file of sources: YAML or JSON with `sources:`, settings by id; a whole anamnesis.yaml is one too.
 * @throws CliError naming the key and what was expected, exit code 2
 */
export function readSourcesFile(file: string): Record<string, SourceSettings> {
  if (!existsSync(file)) throw new CliError(`there is no file ${file}`, EXIT.usage);
  let document: unknown;
  try {
    document = parseYaml(readFileSync(file, 'utf8'));
  } catch (error) {
    throw new CliError(`${file} is not valid YAML`, EXIT.usage, { cause: error });
  }
  const given = isGroup(document) ? document['sources'] : undefined;
  if (!isGroup(document) || !isGroup(given))
    throw new CliError(`${file}: sources: expected settings by source id`, EXIT.usage);
  for (const key of Object.keys(document)) {
    if (!isConfigurationKey(key))
      throw new CliError(`${file}: ${key}: there is no such setting; expected sources`, EXIT.usage);
  }
  const read: Record<string, SourceSettings> = {};
  for (const [id, settings] of Object.entries(given)) {
    try {
      read[id] = readSourceSettings(id, settings ?? {}, path.dirname(path.resolve(file)));
    } catch (error) {
      if (!(error instanceof SourceSettingsError)) throw error;
      const key = error.key === '' ? `sources.${id}` : `sources.${id}.${error.key}`;
      throw new CliError(`${file}: ${key}: ${error.expected}`, EXIT.usage, { cause: error });
    }
  }
  return read;
}

/** The file that `export` writes: what was set of each source, so that applying it changes nothing. */
export function sourcesFile(sources: readonly HubSource[]): string {
  const settings = Object.fromEntries(sources.map(({ id, ownSettings }) => [id, inOrder(ownSettings)]));
  return stringifyYaml({ sources: settings }, { lineWidth: 0 });
}

/**
 * What makes the hub as the file says, by id. A source that the file does not name stays as it is (`unnamed`), or is disabled where
 * the file is to name them all; the built-in ones stay.
 */
export function planSources(
  wanted: Readonly<Record<string, SourceSettings>>,
  hub: readonly HubSource[],
  options: { readonly prune: boolean },
): SourcePlan[] {
  const known = new Map(hub.map((source) => [source.id, source]));
  const ids = [...new Set([...Object.keys(wanted), ...known.keys()])].sort();
  return ids.map((id): SourcePlan => {
    const stands = known.get(id);
    const version = stands?.version ?? 0;
    const settings = wanted[id];
    if (settings === undefined) {
      const ends = options.prune && stands?.enabled === true && !isBuiltIn(id);
      const changes = ends ? [{ setting: 'enabled', from: true, to: false }] : [];
      return { id, action: ends ? 'disable' : 'unnamed', version, changes, settings: ends ? { enabled: false } : {} };
    }
    const changes = changesOf(stands?.ownSettings ?? {}, settings);
    const action = stands === undefined || version === 0 ? 'create' : changes.length === 0 ? 'keep' : 'change';
    return {
      id,
      action,
      version,
      changes,
      settings: Object.fromEntries(changes.map(({ setting, to }) => [setting, to])),
    };
  });
}

function changesOf(from: Readonly<Record<string, unknown>>, to: Readonly<Record<string, unknown>>): SettingChange[] {
  return Object.keys(inOrder({ ...from, ...to }))
    .filter((setting) => !isDeepStrictEqual(from[setting], to[setting]))
    .map((setting) => ({ setting, from: from[setting] ?? null, to: to[setting] ?? null }));
}

/** The same change of the same version has the same key: an `apply` whose answer was lost does nothing the second time. */
export function applyKey(plan: Pick<SourcePlan, 'id' | 'version' | 'settings'>): string {
  const text = JSON.stringify([plan.id, plan.version, Object.entries(plan.settings).sort()]);
  return `apply ${createHash('sha256').update(text).digest('base64url')}`;
}

const SIGNS = { create: '+', change: '~', disable: '-' } as const;

/** Of the sources that the file does not name, so many are named here: a hub may have a thousand. */
const MOST_UNNAMED = 3;

/** One line per source that changes, one per setting, and one for all that the file does not name. */
export function describePlan(plans: readonly SourcePlan[]): string {
  const changing = plans.filter(({ action }) => action in SIGNS);
  const lines = changing.flatMap(({ id, action, version, changes }) => [
    `${SIGNS[action as keyof typeof SIGNS]} ${id}   version ${version} → ${version + 1}`,
    ...changes.map(({ setting, from, to }) => `    ${setting}: ${shown(from)} → ${shown(to)}`),
  ]);
  const unnamed = plans.filter(({ action }) => action === 'unnamed').map(({ id }) => id);
  if (unnamed.length > 0) {
    const more = unnamed.length > MOST_UNNAMED ? `, … (${unnamed.length})` : '';
    const stay = unnamed.length === 1 ? 'stays as it is' : 'stay as they are';
    lines.push(`? ${unnamed.slice(0, MOST_UNNAMED).join(', ')}${more}   not in the file: ${stay}`);
  }
  const verb = changing.length === 1 ? 'changes' : 'change';
  return [...lines, `${changing.length} of ${plans.length} sources ${verb}`].join('\n');
}

function shown(value: unknown): string {
  if (value === null || value === undefined) return 'default';
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/**
 * Settings from the command line: `timeZone=Europe/Vienna`, `rateLimit={messagesPerSecond: 50, burst: 100}` (YAML), and nothing
 * behind the sign for the default.
 * @throws CliError for what is no assignment, exit code 2
 */
export function readAssignments(assignments: readonly string[]): Record<string, unknown> {
  const settings: Record<string, unknown> = {};
  for (const assignment of assignments) {
    const at = assignment.indexOf('=');
    if (at < 1) throw new CliError(`${assignment}: expected setting=value`, EXIT.usage);
    const text = assignment.slice(at + 1);
    try {
      settings[assignment.slice(0, at)] = text === '' ? null : (parseYaml(text) as unknown);
    } catch (error) {
      throw new CliError(`${assignment.slice(0, at)}: the value is not valid YAML`, EXIT.usage, { cause: error });
    }
  }
  return settings;
}

function isGroup(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
