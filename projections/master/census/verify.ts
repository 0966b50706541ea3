/**
 * Holds the census of a build against the facts and links that it was counted from: it is counted once more, from the beginning, beside the one
 * that is there. Values have their numbers in the order in which they came, so rows are compared by what the numbers stand for.
 */
import type pg from 'pg';
import type { Findings } from '../../../src/projecting/verification/findings.js';
import { censusPosition, countAnew } from './keeper.js';
import { censusTables, type CensusTables } from './tables.js';

/** Rows of one table with the content of their value; `place` is where a finding is. */
interface Compared {
  readonly name: keyof CensusTables;
  readonly columns: string;
  readonly pos: string;
  readonly patient: string;
}

const COMPARED: readonly Compared[] = [
  {
    name: 'span',
    columns: 't.kind, t.patient, t.record, t.entity, t.pos_from, t.pos_to, t.valid_from, t.valid_to',
    pos: 'pos_from',
    patient: 'patient',
  },
  { name: 'delta', columns: 't.pos, t.valid_from, t.d, t.block', pos: 'pos', patient: 'null::uuid' },
  {
    name: 'total',
    columns: 't.level, t.block, t.valid_from, t.froms, t.totals',
    pos: 'null::int8',
    patient: 'null::uuid',
  },
];

/** What is wrong in one table is named up to so often. */
const NAMED = 1_000;

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
  { name, columns, pos, patient }: Compared,
  counted: CensusTables,
  stored: CensusTables,
  findings: Findings,
): Promise<void> {
  const table = `master.census_${name}`;
  const rowsOf = (tables: CensusTables): string =>
    `select ${columns}, v.kind as value_kind, v.content from ${tables[name]} t left join ${tables.value} v on v.id = t.value`;
  const { rows: sizes } = await client.query<{ expected: bigint; stored: bigint }>(
    `select (select count(*) from ${counted[name]}) as expected, (select count(*) from ${stored[name]}) as stored`,
  );
  const count = findings.count(table);
  count.expected += sizes[0]?.expected ?? 0n;
  count.stored += sizes[0]?.stored ?? 0n;
  for (const [defect, left, right] of [
    ['missing', counted, stored],
    ['extra', stored, counted],
  ] as const) {
    const { rows } = await client.query<{ pos: bigint | null; patient: string | null }>(
      `select ${pos} as pos, ${patient} as patient from ((${rowsOf(left)}) except all (${rowsOf(right)})) d order by 1, 2 limit ${NAMED}`,
    );
    for (const row of rows) {
      findings.add({
        defect,
        table,
        ...(row.pos === null ? {} : { position: row.pos.toString() }),
        ...(row.patient === null ? {} : { patient: row.patient }),
      });
    }
  }
}
