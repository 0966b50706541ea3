/**
 * What this code would change in a hub: which projections it touches, what has to be rebuilt and about how long that takes, and what breaks in the
 * graphs. Reads the hub's tables and changes nothing; the hub may run, also under an earlier release.
 */
import { buildSchema, findBreakingChanges, findDangerousChanges } from 'graphql';
import type { Queryable } from './builds.js';
import { definitionHash } from './builds.js';
import { codeHash, mappingHash } from './fingerprint.js';
import type { ProjectionDefinition } from './projection.js';

export type PlannedAction =
  /** Nothing to do. */
  | 'none'
  /** The next start builds it beside the one that serves, verifies it and switches. */
  | 'rebuild'
  /** The next start makes it, from the beginning of the log. */
  | 'new'
  /** The next start refuses: the tables changed and the version did not. */
  | 'refused'
  /** The code changed and the version did not: rows of before and after may follow other rules. Raise the version, or verify. */
  | 'look'
  /** The hub has it and this code does not: its tables stay, nobody carries them on. */
  | 'gone';

export interface ProjectionPlan {
  readonly name: string;
  readonly action: PlannedAction;
  /** Of the serving build; null where there is none. */
  readonly installedVersion: number | null;
  readonly version: number | null;
  readonly build: number | null;
  /** What differs: version, tables, rules, mapping. */
  readonly changed: readonly ('version' | 'tables' | 'rules' | 'mapping')[];
  /** Meanwhile readers are kept up to date: the tables are the same, so this code carries the old build on. */
  readonly carriedOn: boolean;
  readonly events: string;
  /** By the rate of the last build; null where none was timed. */
  readonly seconds: number | null;
  /** Why, as the versions declare it. */
  readonly reasons: readonly string[];
}

export interface SchemaPlan {
  readonly name: string;
  /** False where the hub has recorded none: then nothing can be said. */
  readonly known: boolean;
  readonly breaking: readonly string[];
  readonly dangerous: readonly string[];
  /** Types and fields that are new. */
  readonly added: readonly string[];
}

export interface Plan {
  readonly projections: readonly ProjectionPlan[];
  readonly schemas: readonly SchemaPlan[];
}

/** A build as any release has it: an earlier one lacks the later columns. */
interface InstalledRow {
  readonly name: string;
  readonly version: number;
  readonly definition_version: number;
  readonly definition_hash: string;
  readonly serving: boolean;
  readonly build_seconds?: number;
  readonly build_events?: number;
  readonly code_hash?: string | null;
  readonly mapping_hash?: string | null;
}

export interface PlanOptions {
  readonly database: Queryable;
  readonly definitions: readonly ProjectionDefinition[];
  /** Events in the log. */
  readonly events: bigint;
  /** The graphs that this code serves, as SDL by name. */
  readonly schemas: Readonly<Record<string, string>>;
}

export async function makePlan({ database, definitions, events, schemas }: PlanOptions): Promise<Plan> {
  const { rows } = await database.query<{ row: InstalledRow }>(
    'select to_jsonb(p) - $1::text as row from hub.projection p order by version desc',
    ['report'],
  );
  const installed = rows.map(({ row }) => row);
  const known = definitions.map((definition) =>
    planOf(
      definition,
      installed.filter(({ name }) => name === definition.name),
      events,
    ),
  );
  const gone = installed
    .filter(({ name, serving }) => serving && definitions.every((definition) => definition.name !== name))
    .map((row) => ({ ...NOTHING, name: row.name, action: 'gone' as const, installedVersion: row.definition_version }));
  return { projections: [...known, ...gone], schemas: await planSchemas(database, schemas) };
}

const NOTHING: Omit<ProjectionPlan, 'name' | 'action' | 'installedVersion'> = {
  version: null,
  build: null,
  changed: [],
  carriedOn: false,
  events: '0',
  seconds: null,
  reasons: [],
};

function planOf(definition: ProjectionDefinition, rows: readonly InstalledRow[], events: bigint): ProjectionPlan {
  const { name, version } = definition;
  const serving = rows.find((row) => row.serving);
  const timed = rows.find((row) => (row.build_seconds ?? 0) > 0 && (row.build_events ?? 0) > 0);
  const seconds =
    timed === undefined
      ? null
      : Math.ceil((Number(events) * (timed.build_seconds as number)) / (timed.build_events as number));
  if (serving === undefined) {
    return { ...NOTHING, name, action: 'new', installedVersion: null, version, events: events.toString(), seconds };
  }
  const changed: ('version' | 'tables' | 'rules' | 'mapping')[] = [];
  const sameTables = serving.definition_hash === definitionHash(definition);
  if (serving.definition_version !== version) changed.push('version');
  if (!sameTables) changed.push('tables');
  if (serving.code_hash != null && serving.code_hash !== codeHash(name)) changed.push('rules');
  const takesFacts = definition.reads !== 'envelopes';
  if (takesFacts && serving.mapping_hash != null && serving.mapping_hash !== mappingHash()) changed.push('mapping');
  const action = changed.includes('version')
    ? 'rebuild'
    : changed.includes('tables')
      ? 'refused'
      : changed.length > 0
        ? 'look'
        : 'none';
  const from = serving.definition_version;
  return {
    name,
    action,
    installedVersion: from,
    version,
    build: serving.version,
    changed,
    carriedOn: action === 'rebuild' && sameTables,
    events: events.toString(),
    seconds: action === 'rebuild' || action === 'look' ? seconds : null,
    reasons: (definition.changes ?? [])
      .filter((change) => change.version > from && change.version <= version)
      .map((change) => `${change.reason} (${change.fields.join(', ')})`),
  };
}

async function planSchemas(database: Queryable, schemas: PlanOptions['schemas']): Promise<SchemaPlan[]> {
  const { rows: there } = await database.query<{ found: boolean }>(
    `select to_regclass('hub.served_schema') is not null as found`,
  );
  const recorded =
    there[0]?.found === true
      ? (await database.query<{ name: string; sdl: string }>('select name, sdl from hub.served_schema')).rows
      : [];
  return Object.entries(schemas).map(([name, sdl]) => {
    const served = recorded.find((schema) => schema.name === name);
    if (served === undefined) return { name, known: false, breaking: [], dangerous: [], added: [] };
    const [before, now] = [buildSchema(served.sdl), buildSchema(sdl)];
    const words = (changes: readonly { description: string }[]): string[] =>
      changes.map(({ description }) => description);
    // What is new to the new one is what would break if it were taken away again.
    const added = findBreakingChanges(now, before)
      .filter(({ type }) => String(type).endsWith('_REMOVED'))
      .map(({ description }) => description.replace(/ was removed\.?$/, ''));
    return {
      name,
      known: true,
      breaking: words(findBreakingChanges(before, now)),
      dangerous: words(findDangerousChanges(before, now)),
      added,
    };
  });
}

/** Keeps what is served now, for the plan of the next release. */
export async function recordSchemas(database: Queryable, schemas: PlanOptions['schemas']): Promise<void> {
  await database.query(
    `insert into hub.served_schema (name, sdl) select * from unnest($1::text[], $2::text[])
     on conflict (name) do update set sdl = excluded.sdl, since = clock_timestamp() where served_schema.sdl <> excluded.sdl`,
    [Object.keys(schemas), Object.values(schemas)],
  );
}
