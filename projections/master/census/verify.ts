/**
 * Holds the census of a build against the facts and links that it was counted from: it is counted once more, from the beginning, beside the one
 * that is there. Values have their numbers in the order in which they came, so rows are compared by what the numbers stand for.
 */
import type pg from 'pg';
import { compareSets, type ComparedSets, type Findings } from '../../../src/projecting/verification/findings.js';
import { censusPosition, countAnew } from './keeper.js';
import { censusTables, type CensusTables } from './tables.js';

/** Rows of one table with the content of their value. */
interface Compared {
  readonly name: keyof CensusTables;
  readonly columns: string;
  readonly where?: string;
  readonly place: ComparedSets['place'];
}

const COMPARED: readonly Compared[] = [
  {
    name: 'span',
    columns:
      't.kind, t.patient, t.record, t.entity, t.pos_from, case when t.pos_to <= s.position then t.pos_to end as pos_to, t.valid_from, t.valid_to',
    // Some people's may be further than the position that the census states.
    where: 't.pos_from <= s.position',
    place: { position: 'pos_from', patient: 'patient' },
  },
  { name: 'delta', columns: 't.pos, t.valid_from, t.d, t.block', place: { position: 'pos' } },
  {
    name: 'total',
    columns: 't.level, t.block, t.valid_from, t.froms, t.totals',
    place: {},
  },
];

/** In the transaction of a verification, which sees one moment of all tables (`repeatable read`), however far others count meanwhile. */
export async function verifyCensus(client: pg.ClientBase, build: number, findings: Findings): Promise<void> {
  if ((await censusPosition(client, build)) === undefined) return;
  const stored = censusTables(build);
  const { rows } = await client.query<{ position: bigint }>(`select position from ${stored.state}`);
  const position = rows[0]?.position ?? 0n;
  const counted = await scratch(client, stored);
  await countAnew(client, build, counted, position);
  for (const table of COMPARED) await compare(client, table, counted, stored, findings);
  const { rowCount } = await client.query(
    `select block, first_pos from ${counted.block} except select block, first_pos from ${stored.block}`,
  );
  for (let missing = 0; missing < (rowCount ?? 0); missing += 1)
    findings.add({ defect: 'missing', table: 'master.census_block' });
  const { rows: states } = await client.query<{ same: boolean }>(
    `select (s.steps, s.blocks) = (c.steps, c.blocks) as same from ${stored.state} s, ${counted.state} c`,
  );
  if (states[0]?.same !== true) findings.add({ defect: 'changed', table: 'master.census_state' });
}

/** Empty tables of the same form, of this transaction alone. */
async function scratch(client: pg.ClientBase, stored: CensusTables): Promise<CensusTables> {
  const named = Object.entries<string>({ ...stored }).map(([name, table]) => [name, `verify_census_${name}`, table]);
  for (const [, own, table] of named)
    await client.query(`create temp table ${own} (like ${table} including all) on commit drop`);
  const tables = Object.fromEntries(named.map(([name, own]) => [name, own])) as unknown as CensusTables;
  await client.query(
    `insert into ${tables.state} (position, steps, block_steps) select 0, 0, block_steps from ${stored.state}`,
  );
  return tables;
}

async function compare(
  client: pg.ClientBase,
  { name, columns, where = 'true', place }: Compared,
  counted: CensusTables,
  stored: CensusTables,
  findings: Findings,
): Promise<void> {
  const table = `master.census_${name}`;
  const rowsOf = (tables: CensusTables): string =>
    `select ${columns}, v.kind as value_kind, v.content
     from ${tables[name]} t cross join ${tables.state} s left join ${tables.value} v on v.id = t.value where ${where}`;
  await compareSets(client, findings, table, {
    expected: rowsOf(counted),
    stored: rowsOf(stored),
    place,
  });
}
