/** Tables and views of the anonymized projection. */
import { ANONYMIZED_FIELDS } from './declaration.js';

/** Owner-only. */
export const PRIVATE_SCHEMA = 'anonymized_private';
/** What the role of the anonymized graph may read, and all it may read. */
export const PUBLIC_SCHEMA = 'anonymized';
export const ANALYST_ROLE = 'anamnesis_analyst';

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

export function anonymizedViews(version: number): {
  readonly fact: string;
  readonly subject: string;
  readonly head: string;
} {
  return {
    fact: `${PUBLIC_SCHEMA}.fact_v${version}`,
    subject: `${PUBLIC_SCHEMA}.subject_v${version}`,
    head: `${PUBLIC_SCHEMA}.head_v${version}`,
  };
}

/** Bits of `op`. */
export const ASSERTS = 1;
export const ENDS = 2;
export const RETRACTS = 4;

/** The first month that begins at or after a time: from then on, at the grain of months, what happened then had happened. */
function monthAfter(time: string): string {
  return `(date_trunc('month', (${time} at time zone 'UTC') - interval '1 microsecond') + interval '1 month')::date`;
}

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
  ];
}

export function installAnonymized(version: number): readonly string[] {
  const tables = anonymizedTables(version);
  const views = anonymizedViews(version);
  const names = ANONYMIZED_FIELDS.map((field) => `when ${field.number} then '${field.name}'`).join(' ');
  // A record belongs to a subject until its next link.
  const tenure = `(
    select record, subject, number, ${monthAfter('recorded_at')} as known_month, lead(number) over records as ended_number,
           ${monthAfter('lead(recorded_at) over records')} as ended_month
      from ${tables.link} window records as (partition by record order by pos))`;
  return [
    `create schema if not exists ${PRIVATE_SCHEMA}`,
    `create schema if not exists ${PUBLIC_SCHEMA}`,
    // The role belongs to the whole server, so another database may have made it, even at this moment.
    `do $$ begin
       if not exists (select from pg_roles where rolname = '${ANALYST_ROLE}') then create role ${ANALYST_ROLE} nologin; end if;
     exception when duplicate_object or unique_violation then null; end $$`,
    ...installVault().slice(1),
    `create table ${tables.link} (
       record uuid not null,
       pos bigint not null,
       patient uuid not null,
       subject uuid not null,
       recorded_at timestamptz not null,
       number bigint not null,
       primary key (record, pos)
     )`,
    // Who is one patient with a record that moves.
    `create index on ${tables.link} (patient)`,
    `create table ${tables.fact} (
       record uuid not null,
       field int2 not null,
       valid_from timestamptz not null,
       pos bigint not null,
       recorded_at timestamptz not null,
       number bigint not null,
       op int2 not null,
       value text,
       primary key (record, field, valid_from, pos)
     )`,
    `create table ${tables.state} (single boolean primary key default true check (single), number bigint not null)`,
    `insert into ${tables.state} (number) values (0)`,
    // security_barrier: no condition of the reader is tried on a row that the view does not show.
    `create view ${views.fact} with (security_barrier) as
       select t.subject, dense_rank() over (partition by t.subject order by f.record) as source,
              case f.field ${names} end as field, f.op, f.value,
              f.valid_from > f.recorded_at as planned, ${monthAfter('f.valid_from')} as valid_month,
              dense_rank() over (partition by t.subject, f.field order by f.valid_from) as valid_order,
              row_number() over (partition by t.subject, f.field order by f.valid_from, f.pos, f.record) as place,
              greatest(f.number, t.number) as known_number,
              greatest(${monthAfter('f.recorded_at')}, t.known_month) as known_month, t.ended_number, t.ended_month
         from ${tables.fact} f join ${tenure} t on t.record = f.record`,
    `create view ${views.subject} with (security_barrier) as
       select subject, number as known_number, known_month, ended_number, ended_month from ${tenure} t`,
    `create view ${views.head} with (security_barrier) as select number from ${tables.state}`,
    `create or replace view ${PUBLIC_SCHEMA}.serving with (security_barrier) as
       select version from hub.projection where name = 'anonymized' and serving`,
    `revoke all on schema ${PRIVATE_SCHEMA} from public`,
    `revoke all on schema ${PUBLIC_SCHEMA} from public`,
    `grant usage on schema ${PUBLIC_SCHEMA} to ${ANALYST_ROLE}`,
    `grant select on ${views.fact}, ${views.subject}, ${views.head}, ${PUBLIC_SCHEMA}.serving to ${ANALYST_ROLE}`,
  ];
}

export function uninstallAnonymized(version: number): readonly string[] {
  const tables = anonymizedTables(version);
  const views = anonymizedViews(version);
  return [
    `drop view if exists ${views.fact}, ${views.subject}, ${views.head}`,
    `drop table if exists ${tables.fact}, ${tables.link}, ${tables.state}`,
  ];
}
