/** Tables and views of the anonymized projection. */
/** Owner-only. */
export const PRIVATE_SCHEMA = 'anonymized_private';
/** What the role of the anonymized graph may read, and all it may read: snapshots, which src/analytics/snapshots.ts makes. */
export const PUBLIC_SCHEMA = 'anonymized';
export const ANALYST_ROLE = 'anamnesis_analyst';

/** Which snapshots there are: made again when they are asked for, so neither kept in a backup nor by builds. */
export const SNAPSHOTS = `${PRIVATE_SCHEMA}.snapshot`;

/** Counts that bases have shown: what a later answer about another basis must not contradict by few. Kept: it cannot be made again. */
export const RELEASES = `${PRIVATE_SCHEMA}.release`;

/** Subject ids and date offsets: random, so not derivable from the log, so kept by all builds and backed up. */
export const VAULT = `${PRIVATE_SCHEMA}.subject`;

export function anonymizedTables(version: number): {
  readonly link: string;
  readonly fact: string;
  readonly state: string;
} {
  return {
    link: `${PRIVATE_SCHEMA}.link_v${version}`,
    fact: `${PRIVATE_SCHEMA}.fact_v${version}`,
    state: `${PRIVATE_SCHEMA}.state_v${version}`,
  };
}

/** The tables of one snapshot: rows as they may be shown, counts of what is true, and dated rows where they were asked for. */
export function snapshotTables(id: number): { readonly rows: string; readonly cells: string; readonly dated: string } {
  return {
    rows: `${PUBLIC_SCHEMA}.rows_${id}`,
    cells: `${PUBLIC_SCHEMA}.cells_${id}`,
    dated: `${PUBLIC_SCHEMA}.dated_${id}`,
  };
}

/** Bits of `op`. */
export const ASSERTS = 1;
export const ENDS = 2;
export const RETRACTS = 4;

/** The vault, which belongs to no build; also made before a backup is restored into it. */
export function installVault(): readonly string[] {
  return [
    `create schema if not exists ${PRIVATE_SCHEMA}`,
    `create table if not exists ${VAULT} (
       subject uuid primary key,
       patient uuid not null,
       begins bigint not null,
       offset_days int not null check (offset_days <> 0),
       unique (patient, begins)
     )`,
    `create table if not exists ${RELEASES} (
       knowledge text not null,
       basis text not null,
       dimensions text not null,
       answer jsonb not null,
       primary key (basis, dimensions)
     )`,
    `create index if not exists release_knowledge on ${RELEASES} (knowledge, dimensions)`,
  ];
}

export function installAnonymized(version: number): readonly string[] {
  return [...prepareAnonymized(version), ...indexAnonymized(version)];
}

/** What only counts of a point need: they are made of who changed since another (src/analytics/truth.ts), read by position, time and record. */
export function indexAnonymized(version: number): readonly string[] {
  const { link, fact } = anonymizedTables(version);
  const brin = 'with (pages_per_range = 16, autosummarize = on)';
  return [
    `create index on ${link} using brin (pos, recorded_at) ${brin}`,
    // Times follow positions closely, but for what was said of the past.
    `create index on ${fact} using brin (pos, recorded_at, valid_from) ${brin}`,
    `create index on ${fact} (record)`,
  ];
}

/** The tables as a rebuild loads them. */
export function prepareAnonymized(version: number): readonly string[] {
  const tables = anonymizedTables(version);
  return [
    `create schema if not exists ${PRIVATE_SCHEMA}`,
    `create schema if not exists ${PUBLIC_SCHEMA}`,
    // The role belongs to the whole server, so another database may have made it, even at this moment.
    `do $$ begin
       if not exists (select from pg_roles where rolname = '${ANALYST_ROLE}') then create role ${ANALYST_ROLE} nologin; end if;
     exception when duplicate_object or unique_violation then null; end $$`,
    ...installVault().slice(1),
    `create table if not exists ${SNAPSHOTS} (
       id serial primary key,
       build int not null,
       key text not null unique,
       report jsonb not null,
       dated boolean not null default false,
       used_at timestamptz not null default clock_timestamp()
     )`,
    `create table ${tables.link} (
       record uuid not null,
       pos bigint not null,
       patient uuid not null,
       subject uuid not null,
       recorded_at timestamptz not null,
       primary key (record, pos)
     )`,
    // Who is one patient with a record that moves.
    `create index on ${tables.link} (patient)`,
    // `entity` is the visit, result or diagnosis within the record; 0 is the person. No key: nothing is written twice, for rows and checkpoint are one
    // transaction; a key of five columns was two thirds of what PostgreSQL did for an event.
    `create table ${tables.fact} (
       record uuid not null,
       entity bigint not null,
       field int2 not null,
       valid_from timestamptz not null,
       pos bigint not null,
       recorded_at timestamptz not null,
       op int2 not null,
       value text
     )`,
    `create table ${tables.state} (single boolean primary key default true check (single), head bigint not null)`,
    `insert into ${tables.state} (head) values (0)`,
    `revoke all on schema ${PRIVATE_SCHEMA} from public`,
    `revoke all on schema ${PUBLIC_SCHEMA} from public`,
    `grant usage on schema ${PUBLIC_SCHEMA} to ${ANALYST_ROLE}`,
  ];
}

/** Any number, fixed: snapshots are made and dropped one after another. */
export const SNAPSHOT_LOCK = 7_261_023;

/** Rows of erased records, and every snapshot of before: each has shown everybody. */
export function eraseAnonymized(version: number): readonly string[] {
  return [
    `select pg_advisory_xact_lock(${SNAPSHOT_LOCK})`,
    `delete from ${anonymizedTables(version).fact} where record = any ($1::uuid[])`,
    `do $$ declare one record; begin
       for one in select id from ${SNAPSHOTS} where (key::jsonb ->> 1) <> (select coalesce(max(epoch), 0)::text from sealing.erasure) loop
         ${DROP_SNAPSHOT}
         delete from ${SNAPSHOTS} where id = one.id;
       end loop;
     end $$`,
  ];
}

/** PL/pgSQL that drops the tables of the snapshot `one.id`. */
const DROP_SNAPSHOT = `execute format('drop table if exists ${PUBLIC_SCHEMA}.rows_%s, ${PUBLIC_SCHEMA}.cells_%s, ${PUBLIC_SCHEMA}.dated_%s', one.id, one.id, one.id);`;

export function uninstallAnonymized(version: number): readonly string[] {
  const tables = anonymizedTables(version);
  return [
    `do $$ declare one record; begin
       for one in select id from ${SNAPSHOTS} where build = ${version} loop
         ${DROP_SNAPSHOT}
       end loop;
       delete from ${SNAPSHOTS} where build = ${version};
     end $$`,
    // Views of earlier builds stand on their tables.
    `drop view if exists ${PUBLIC_SCHEMA}.fact_v${version}, ${PUBLIC_SCHEMA}.subject_v${version}, ${PUBLIC_SCHEMA}.head_v${version}`,
    `drop table if exists ${tables.fact}, ${tables.link}, ${tables.state}`,
  ];
}
