/** Tables of the master store: physical names and DDL (docs/architecture.md §8). */

import { UNKNOWN_SHAPE } from './shape.js';
import { installCensus, uninstallCensus } from './census/tables.js';

export interface MasterTables {
  readonly fact: string;
  readonly link: string;
  readonly message: string;
  readonly note: string;
  readonly lookup: string;
  readonly clock: string;
}

/** Physical names of one version. */
export function masterTables(version: number): MasterTables {
  if (!Number.isSafeInteger(version) || version < 1) throw new RangeError('a projection version counts from 1');
  return {
    fact: `master.fact_v${version}`,
    link: `master.link_v${version}`,
    message: `master.message_v${version}`,
    note: `master.note_v${version}`,
    lookup: `master.lookup_v${version}`,
    clock: `master.tx_clock_v${version}`,
  };
}

/**
 * Positions per partition of the fact table. Partitions above a basis are pruned, so those made ahead cost no read anything; what lies
 * beyond them goes to the default partition, so that reaching an edge never stops anything.
 */
export const FACT_PARTITION_POSITIONS = 4_000_000;
const FACT_PARTITIONS = 8;

export function installMaster(version: number): readonly string[] {
  return [...prepareMaster(version), ...indexMaster(version)];
}

/** What a load needs: the tables, and the one key that a row of a later page may run into. */
export function prepareMaster(version: number): readonly string[] {
  const t = masterTables(version);
  const partitions = Array.from(
    { length: FACT_PARTITIONS },
    (_, index) =>
      `create table ${t.fact}_p${index} partition of ${t.fact}
       for values from (${index * FACT_PARTITION_POSITIONS}) to (${(index + 1) * FACT_PARTITION_POSITIONS})`,
  );
  return [
    'create schema if not exists master',
    // One row for one thing at one valid time by one event. `entity` is the keyed hash of (record, kind, key).
    `create table ${t.fact} (
       record uuid not null, kind int2 not null, entity int8 not null,
       valid_from timestamptz not null, pos int8 not null, recorded_at timestamptz not null, event_id uuid not null,
       valid_text text not null, valid_field text not null, valid_flags int2 not null, key text not null, body jsonb not null,
       shape int8 not null default ${UNKNOWN_SHAPE}
     ) partition by range (pos)`,
    ...partitions,
    `create table ${t.fact}_rest partition of ${t.fact} default`,
    `create table ${t.link} (
       record uuid not null, pos int8 not null, patient uuid not null, recorded_at timestamptz not null, event_id uuid not null,
       reason text not null)`,
    `create table ${t.message} (
       event_id uuid not null, pos int8 not null, type text not null, version text, content_type text not null,
       source text not null, source_version int4 not null, record uuid, patient uuid, recorded_at timestamptz not null,
       source_recorded_at text, control_hash bytea, parked_code text, parked_path text, parked_offset int4,
       duplicate_of uuid, unmapped text[] not null, state text not null)`,
    // Lines of a timeline that are no fact.
    `create table ${t.note} (
       record uuid not null, valid_from timestamptz not null, pos int8 not null, seq int2 not null, recorded_at timestamptz not null,
       event_id uuid not null, valid_text text not null, valid_field text not null, valid_flags int2 not null, title text not null)`,
    // Candidates for filters: everything a record ever had, with the first position; what is found is folded at the basis.
    `create table ${t.lookup} (
       kind int2 not null, token text collate "C" not null, record uuid not null, pos int8 not null)`,
    `create table ${t.clock} (recorded_at timestamptz primary key, pos int8 not null)`,
    ...installCensus(version),
  ];
}

/** What loaded tables lack: of each token of a record the first row alone, then keys and indexes. */
export function finishMaster(version: number): readonly string[] {
  const { lookup } = masterTables(version);
  const loaded = `${lookup}_loaded`;
  return [
    `alter table ${lookup} rename to ${unqualified(loaded)}`,
    `create table ${lookup} (like ${loaded} including all)`,
    `insert into ${lookup} select kind, token, record, min(pos) from ${loaded} group by kind, token, record order by kind, token, record`,
    `drop table ${loaded}`,
    ...indexMaster(version),
  ];
}

function unqualified(table: string): string {
  return table.replace('master.', '');
}

function indexMaster(version: number): readonly string[] {
  const t = masterTables(version);
  const name = unqualified;
  return [
    // The rows of a thing, those of each shape in the order of the fold; unique, so that an event applied twice cannot pass.
    `create unique index ${name(t.fact)}_fold on ${t.fact} (record, kind, entity, shape, valid_from, pos)`,
    // Diff and "what did this message change" read by position; diff also by valid time, which follows position closely.
    `create index ${name(t.fact)}_pos on ${t.fact} using brin (pos) with (pages_per_range = 16, autosummarize = on)`,
    `create index ${name(t.fact)}_valid on ${t.fact} using brin (valid_from) with (pages_per_range = 32, autosummarize = on)`,
    `alter table ${t.link} add primary key (record, pos)`,
    // A patient's records, and patients in their stable order.
    `create index ${name(t.link)}_patient on ${t.link} (patient, record, pos)`,
    `create index ${name(t.link)}_pos on ${t.link} (pos)`,
    `alter table ${t.message} add primary key (event_id)`,
    `create unique index ${name(t.message)}_pos on ${t.message} (pos)`,
    `create index ${name(t.message)}_record on ${t.message} (record, pos)`,
    `create index ${name(t.message)}_control on ${t.message} (control_hash) where control_hash is not null`,
    `alter table ${t.note} add primary key (record, valid_from, pos, seq)`,
    `alter table ${t.lookup} add primary key (kind, token, record)`,
    `create unique index ${name(t.clock)}_pos on ${t.clock} (pos)`,
  ];
}

export function uninstallMaster(version: number): readonly string[] {
  return [
    ...Object.values(masterTables(version)).map((table) => `drop table if exists ${table as string}`),
    ...uninstallCensus(version),
  ];
}
