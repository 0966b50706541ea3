/**
 * What questions read, counted instead of timed: each statement a question runs is explained with the values it had, and the rows its scans touch
 * are added up. A store of ten times the size must not make a question about the same few changes read more.
 */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { keepCensus } from '../../projections/master/census/keeper.js';
import { censusTables } from '../../projections/master/census/tables.js';
import { masterTables } from '../../projections/master/tables.js';
import { adt, person, TestHub, type Sent } from './support.js';

const SMALL = 1_000;
const LARGE = 10_000;
const TABLES = masterTables(1);

let hub: TestHub;
beforeAll(async () => {
  hub = await TestHub.start();
});
afterAll(() => hub.stop());

interface PlanNode {
  readonly 'Node Type': string;
  readonly 'Relation Name'?: string;
  readonly 'Actual Rows': number;
  readonly 'Actual Loops': number;
  readonly 'Rows Removed by Filter'?: number;
  readonly 'Rows Removed by Index Recheck'?: number;
  readonly Plans?: readonly PlanNode[];
}

interface Reads {
  readonly rows: number;
  readonly statements: number;
  /** Tables of which rows were touched. */
  readonly relations: ReadonlySet<string>;
}

interface Statement {
  readonly text: string;
  readonly values?: readonly unknown[];
}

/** Runs a question and explains what it ran. */
async function readsOf(query: string): Promise<Reads> {
  const { pool } = hub.database;
  const ran: Statement[] = [];
  const run = pool.query.bind(pool) as (...given: unknown[]) => unknown;
  Object.assign(pool, {
    query: (...given: unknown[]) => {
      const [first] = given;
      if (typeof first === 'object' && first !== null && 'text' in first) ran.push(first as Statement);
      return run(...given);
    },
  });
  try {
    const answer = await hub.ask(query);
    expect(answer.errors).toBeUndefined();
  } finally {
    Object.assign(pool, { query: run });
  }
  let rows = 0;
  const relations = new Set<string>();
  const visit = (node: PlanNode): void => {
    const relation = node['Relation Name'];
    const touched =
      (node['Actual Rows'] + (node['Rows Removed by Filter'] ?? 0) + (node['Rows Removed by Index Recheck'] ?? 0)) *
      node['Actual Loops'];
    if (relation !== undefined && touched > 0) {
      rows += touched;
      relations.add(relation);
    }
    for (const inner of node.Plans ?? []) visit(inner);
  };
  for (const { text, values = [] } of ran) {
    const { rows: plans } = await pool.query<{ 'QUERY PLAN': readonly { readonly Plan: PlanNode }[] }>(
      `explain (analyze, timing off, format json) ${text}`,
      [...values],
    );
    visit(plans[0]!['QUERY PLAN'][0]!.Plan);
  }
  return { rows, statements: ran.length, relations };
}

/** So many people with a visit each, as if the first message had brought them all: rows made by PostgreSQL. */
async function people(from: number, to: number): Promise<void> {
  const record = "(lpad(to_hex(r), 8, '0') || '-0000-4000-8000-000000000000')::uuid";
  const { pool } = hub.database;
  await pool.query(
    `insert into ${TABLES.fact} select ${record}, v, r * 2 + v, timestamptz '2026-01-01 00:00+00', 1, timestamptz '2026-01-01 00:00+00',
       gen_random_uuid(), '2026-01-01', 'EVN-6', 0, '', case v when 0 then '{"a":{"gender":"female","birthDate":"1984-02-29"}}'::jsonb
       else '{"a":{"status":"in-progress","class":{"code":"IMP"}}}'::jsonb end
     from generate_series($1::int, $2::int - 1) r, generate_series(0, 1) v`,
    [from, to],
  );
  await pool.query(
    `insert into ${TABLES.link} select ${record}, 1, ${record}, timestamptz '2026-01-01 00:00+00', gen_random_uuid(), 'first'
     from generate_series($1::int, $2::int - 1) r`,
    [from, to],
  );
}

async function settle(): Promise<void> {
  await hub.database.pool.query(`vacuum analyze ${TABLES.fact}`);
  await hub.database.pool.query(`vacuum analyze ${TABLES.link}`);
}

async function change(one: ReturnType<typeof person>, name: string): Promise<Sent> {
  return hub.send({
    ...one,
    content: adt({
      trigger: 'A01',
      mrn: one.mrn,
      name: `${name}^X`,
      at: '2026-11-10T10:00:00Z',
      sex: 'F',
      location: 'W^1^1',
    }),
  });
}

describe(`with ${SMALL} people and with ${LARGE}`, () => {
  const small: Record<string, Reads> = {};
  const large: Record<string, Reads> = {};
  let patient = '';

  /** Five people change between two positions; what the questions about that read. */
  async function ask(into: Record<string, Reads>): Promise<void> {
    const [first, ...others] = [person(), person(), person(), person(), person()];
    patient = first.patient;
    const start = await change(first, 'FIRST');
    let last = start;
    for (const one of others) last = await change(one, 'OTHER');
    await settle();
    await keepCensus(hub.database.pool, 1);
    await hub.database.pool.query('analyze');
    // Which build serves is known from here on.
    await readsOf('{ at { basis { position } } }');
    into['diff'] = await readsOf(
      `{ diff(from: { position: "${start.position}" }, to: { position: "${last.position}" }) { nodes { id kind fields { path } } } }`,
    );
    into['point'] = await readsOf(
      `{ at(position: "${start.position}") { patient(id: "${patient}") { names { family } encounters { nodes { status } } } } }`,
    );
    into['population'] = await readsOf(
      `{ at(position: "${start.position}") { population(by: [SEX]) { key { value } count } } }`,
    );
  }

  beforeAll(async () => {
    await people(0, SMALL);
    await ask(small);
    await people(SMALL, LARGE);
    // The census counts what came since: the rows added here stand below where it is, so it is made anew.
    const census = censusTables(1);
    await hub.database.pool.query(`truncate ${Object.values<string>({ ...census }).join()}`);
    await hub.database.pool.query(`insert into ${census.state} (position, steps) values (0, 0)`);
    await ask(large);
  });

  it('a difference of the whole hub reads in proportion to what changed', () => {
    // Of the index by position a range of pages is read whole: some hundreds of rows, whatever the size of the store.
    expect(large['diff']!.rows).toBeLessThan(LARGE / 5);
    expect(large['diff']!.rows).toBeLessThan(small['diff']!.rows + 1_000);
    expect(large['diff']!.statements).toBe(small['diff']!.statements);
  });

  it('a point of one patient reads that patient', () => {
    for (const { rows, statements } of [small['point']!, large['point']!]) {
      expect(rows).toBeLessThan(60);
      // Where the point is, and the patient with the visits.
      expect(statements).toBe(2);
    }
  });

  it('a count of everybody reads totals, and neither facts nor links', () => {
    expect(large['population']!.rows).toBeLessThan(SMALL / 2);
    for (const relation of large['population']!.relations) expect(relation).not.toMatch(/^(fact|link)_/);
  });
});
