import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { DuckDBInstance, type DuckDBConnection } from '@duckdb/node-api';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { ANALYST_ROLE } from '../../projections/anonymized/tables.js';
import { anonymizedTablesOf } from '../../src/analytics/anonymized-tables.js';
import { DeltaLogError } from '../../src/lake/delta-log.js';
import { ERASURES_KEY, exportTables, type ExportTarget } from '../../src/lake/export.js';
import { sqlTable, type LakeTable } from '../../src/lake/lake-table.js';
import { Snapshots, type SnapshotPoint } from '../../src/analytics/snapshots.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { EventSeries, fact, install, project } from '../anonymized/population.js';

let database: TestDatabase;
let snapshots: Snapshots;
let folder: string;
let duckdb: DuckDBConnection;
const series = new EventSeries();

beforeAll(async () => {
  database = await createTestDatabase();
  await install(database.pool, 1);
  snapshots = new Snapshots(database.pool);
  folder = await mkdtemp(path.join(os.tmpdir(), 'anamnesis-export-'));
  duckdb = await (await DuckDBInstance.create(':memory:')).connect();
  series.recordedAt = '2024-06-01T00:00:00.000000Z';
  for (let n = 0; n < 40; n += 1) {
    const { record } = series.person(
      {
        gender: n < 37 ? 'female' : 'male',
        birthDate: n < 20 ? '1980-05-05' : '1930',
        'attribute:favoriteColor': 'teal',
      },
      '2024-01-01T00:00:00.000000Z',
    );
    const coding = { coding: [{ system: 'http://loinc.org', code: '2345-7' }] };
    const resource = { code: coding, valueQuantity: { value: 90 + n / 10, unit: 'mg/dL' } };
    series.add([
      fact(record, { resource }, { kind: 'OBSERVATION', key: 'o', validFrom: '2024-02-29T00:00:00.000000Z' }),
    ]);
  }
  await project(database.pool, series.events, 1);
});
afterAll(async () => {
  duckdb.closeSync();
  await rm(folder, { recursive: true, force: true });
  await database.drop();
});

const POINT: Omit<SnapshotPoint, 'known'> = {
  valid: { at: '2026-11-01T00:00:00.000000Z', now: true },
  released: '2026-01-01T00:00:00.000000Z',
};
const about = (basis: string, erasures = '0') => ({ 'anamnesis.basis': basis, [ERASURES_KEY]: erasures });
async function tablesAt(position: string): Promise<LakeTable[]> {
  return anonymizedTablesOf((await snapshots.datedRows({ ...POINT, known: { position } })).id);
}
async function exported(basis: string, more: Partial<ExportTarget> = {}): ReturnType<typeof exportTables> {
  const tables = await tablesAt(await snapshots.head());
  return exportTables(tables, { pool: database.pool, role: ANALYST_ROLE, folder, about: about(basis), ...more });
}
async function rowsOf(sql: string): Promise<Record<string, unknown>[]> {
  return (await duckdb.runAndReadAll(sql)).getRowObjectsJson();
}

interface Logged {
  readonly add?: { readonly path: string; readonly size: number; readonly stats: string };
  readonly remove?: { readonly path: string };
  readonly metaData?: { readonly schemaString: string; readonly partitionColumns: string[] };
}

/** A reader of Delta tables, of its own: files of a version, by the actions of the protocol. */
async function deltaFiles(table: string, version: number): Promise<{ files: string[]; columns: string[] }> {
  const files = new Set<string>();
  let columns: string[] = [];
  for (let at = 0; at <= version; at += 1) {
    const log = path.join(folder, table, '_delta_log', `${String(at).padStart(20, '0')}.json`);
    for (const line of (await readFile(log, 'utf8')).trimEnd().split('\n')) {
      const { add, remove, metaData } = JSON.parse(line) as Logged;
      if (metaData !== undefined)
        columns = (JSON.parse(metaData.schemaString) as { fields: { name: string }[] }).fields.map(({ name }) => name);
      if (remove !== undefined) files.delete(remove.path);
      if (add === undefined) continue;
      expect((await stat(path.join(folder, table, add.path))).size).toBe(add.size);
      files.add(add.path);
    }
  }
  return { files: [...files].map((file) => path.join(folder, table, file)), columns };
}
const from = (files: readonly string[]): string =>
  `read_parquet([${files.map((file) => `'${file}'`).join(', ')}], hive_partitioning = true)`;

describe('an export', () => {
  test('that was stopped goes on behind the last whole part, and is the same as one that was not', async () => {
    const stopped = exported('one', {
      onPart: (done) => {
        if (done === 5) throw new Error('stopped');
      },
    });
    await expect(stopped).rejects.toThrow('stopped');
    expect(await readdir(path.join(folder, 'subjects', '_delta_log'))).toEqual([]);
    const first = path.join(folder, 'subjects', 'bucket=0');
    const [part] = await readdir(first);
    const written = (await stat(path.join(first, String(part)))).mtimeMs;
    const tables = await exported('one');
    expect((await stat(path.join(first, String(part)))).mtimeMs).toBe(written);
    expect(tables.map(({ table, rows, version }) => [table, rows, version])).toEqual([
      ['subjects', 40, 0],
      ['encounters', 0, 0],
      ['observations', 40, 0],
      ['conditions', 0, 0],
      ['immunizations', 0, 0],
    ]);
    // What the log says of a file is its size, its rows and the time of the export: no value, and nothing of when its rows came.
    const log = await readFile(path.join(folder, 'observations', '_delta_log', '00000000000000000000.json'), 'utf8');
    const lines = log.trimEnd().split('\n');
    const adds = lines.flatMap((line) => (JSON.parse(line) as Logged).add ?? []);
    expect(new Set(adds.flatMap(({ stats }) => Object.keys(JSON.parse(stats) as object)))).toEqual(
      new Set(['numRecords']),
    );
    expect(log).not.toMatch(/202[0-5]-\d\d/);
    // Once more, and nothing is written.
    expect(await exported('one')).toEqual(tables);
    expect(await readdir(path.join(folder, 'subjects', '_delta_log'))).toHaveLength(1);
  });

  test('is read by DuckDB: types, partitions, what the files say of themselves, and no row but what the graph shows', async () => {
    const { files, columns } = await deltaFiles('subjects', 0);
    const seen = await rowsOf(
      `select age_years, age_90_plus, sex, zip3, favorite_color, count(*)::int as n from ${from(files)} group by all order by n`,
    );
    expect(seen).toEqual([
      { age_years: null, age_90_plus: false, sex: null, zip3: null, favorite_color: 'teal', n: 3 },
      { age_years: null, age_90_plus: true, sex: 'FEMALE', zip3: null, favorite_color: 'teal', n: 17 },
      { age_years: 46, age_90_plus: false, sex: 'FEMALE', zip3: null, favorite_color: 'teal', n: 20 },
    ]);
    expect(
      await rowsOf(
        `select count(distinct bucket)::int as n, bool_and(bucket::text = subject_id[1]) as own from ${from(files)}`,
      ),
    ).toEqual([{ n: expect.any(Number) as unknown, own: true }]);
    expect((await rowsOf(`describe select * from ${from(files)}`)).map((row) => row['column_name'])).toEqual(columns);
    const metadata = await rowsOf(
      `select decode(key) as key, decode(value) as value from parquet_kv_metadata('${files[0]}')`,
    );
    expect(metadata).toContainEqual({ key: 'anamnesis.basis', value: 'one' });
    const results = (await deltaFiles('observations', 0)).files;
    const [days] = await rowsOf(
      `select typeof(any_value(date)) as type, min(value) as least, max(value) as most, count(distinct date)::int as dates from ${from(results)}`,
    );
    expect(days).toMatchObject({ type: 'DATE', least: 90, most: 93.9 });
    expect(days?.['dates']).toBeGreaterThan(1);
    // The same shifted day as the model has, in days since 1970.
    const { rows } = await database.pool.query<{ day: string }>(
      `select distinct (date '2024-02-29' + offset_days)::text as day from anonymized_private.subject order by 1`,
    );
    expect(
      (await rowsOf(`select distinct date::varchar as day from ${from(results)} order by 1`)).map((row) => row['day']),
    ).toEqual(rows.map(({ day }) => day));
  });

  test('of another basis is another version; the one before stays until somebody is erased', async () => {
    series.person(
      { gender: 'female', birthDate: '1980', 'attribute:favoriteColor': 'teal' },
      '2024-01-01T00:00:00.000000Z',
    );
    await project(database.pool, series.events.slice(80), 1);
    expect((await exported('two'))[0]).toMatchObject({ table: 'subjects', rows: 41, version: 1 });
    const count = async (version: number): Promise<unknown> =>
      (await rowsOf(`select count(*)::int as n from ${from((await deltaFiles('subjects', version)).files)}`))[0]?.['n'];
    expect(await count(0)).toBe(40);
    expect(await count(1)).toBe(41);
    expect((await exported('two', { about: about('two', '1') }))[0]).toMatchObject({ version: 2 });
    await expect(deltaFiles('subjects', 0)).rejects.toThrow('ENOENT');
  });

  test('reads under the role of the analysts: a table that asks for more is refused', async () => {
    const leak = sqlTable({
      name: 'leak',
      columns: [{ name: 'patient', type: 'string', sql: 'patient' }],
      from: () => 'from anonymized_private.subject',
      order: 'patient',
    });
    await expect(
      exportTables([leak], { pool: database.pool, role: ANALYST_ROLE, folder, about: about('leak') }),
    ).rejects.toMatchObject({ code: '42501' });
  });

  test('refuses a folder with a table of somebody else', async () => {
    const other = path.join(folder, 'other', 'subjects', '_delta_log');
    await mkdir(other, { recursive: true });
    await writeFile(
      path.join(other, '00000000000000000000.json'),
      JSON.stringify({ metaData: { id: 'x', configuration: {} } }),
    );
    await expect(exported('three', { folder: path.join(folder, 'other') })).rejects.toThrow(DeltaLogError);
  });
});
