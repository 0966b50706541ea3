/**
 * Tables that counts of people are read from. They hold nothing that facts and links do not: the same, folded once for each change instead of
 * once for each question. `census_state` says up to which position.
 */

export interface CensusTables {
  readonly state: string;
  readonly value: string;
  readonly span: string;
  readonly delta: string;
  readonly block: string;
  readonly total: string;
}

/** Physical names of one build of the master store. */
export function censusTables(build: number): CensusTables {
  if (!Number.isSafeInteger(build) || build < 1) throw new RangeError('a build of a projection counts from 1');
  return {
    state: `master.census_state_v${build}`,
    value: `master.census_value_v${build}`,
    span: `master.census_span_v${build}`,
    delta: `master.census_delta_v${build}`,
    block: `master.census_block_v${build}`,
    total: `master.census_total_v${build}`,
  };
}

/** About so many steps make a block, of which the last is read step by step: `block_steps` of the state, so that tests have small ones. */
const BLOCK_STEPS = 8_192;
/** Totals in a row: a row stays on its page. */
export const ROW_TOTALS = 120;
/** Blocks of one level in a block of the next. */
export const BLOCK_FACTOR = 8;
export const LEVELS = 5;

export function installCensus(build: number): readonly string[] {
  const { state, value, span, delta, block, total } = censusTables(build);
  const name = (table: string): string => table.replace('master.', '');
  return [
    `create table ${state} (one bool primary key default true check (one), position int8 not null, steps int8 not null, blocks int4 not null default 0, block_steps int8 not null default ${BLOCK_STEPS})`,
    `insert into ${state} (position, steps) values (0, 0)`,
    // What spans and steps are of, each once: `kind` as KIND and DIMENSION of values.ts number them.
    `create table ${value} (id int4 primary key, kind int2 not null, content jsonb not null)`,
    `create index ${name(value)}_kind on ${value} (kind)`,
    // What held for valid times of [valid_from, valid_to), as known at positions of [pos_from, pos_to); null is open.
    `create table ${span} (kind int2 not null, patient uuid not null, record uuid, entity int8, value int4 not null,
       pos_from int8 not null, pos_to int8, valid_from timestamptz not null, valid_to timestamptz)`,
    `create index ${name(span)}_patient on ${span} (patient)`,
    `create index ${name(span)}_value on ${span} (value, patient)`,
    // One more or less in a group (`value`), from a position and a valid time on. A position is in one block.
    `create table ${delta} (pos int8 not null, value int4 not null, valid_from timestamptz not null, d int4 not null, block int4 not null)`,
    `create index ${name(delta)}_pos on ${delta} (pos)`,
    `create table ${block} (block int4 primary key, first_pos int8 not null unique)`,
    // Running totals over valid time of blocks: what was known at any position is a few dozen blocks and part of one. `froms` and `totals` go together.
    `create table ${total} (level int2 not null, block int4 not null, value int4 not null, valid_from timestamptz not null,
       froms timestamptz[] not null, totals int4[] not null, primary key (level, block, value, valid_from))`,
  ];
}

export function uninstallCensus(build: number): readonly string[] {
  return Object.values(censusTables(build)).map((table) => `drop table if exists ${table as string}`);
}
