import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createProjections } from '../../projections/index.js';
import type { Build, ProjectionDefinition } from '../../src/projecting/projection.js';
import { KeyedHashes } from '../../src/sealing/hashes.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

const IN_ONE_STEP: Build = 71;
const IN_TWO_STEPS: Build = 72;

/** Everything that the catalogue says of a build's tables, without the build's number. */
async function catalogue(definition: ProjectionDefinition, build: Build): Promise<string[]> {
  const { rows } = await database.pool.query<{ line: string }>(
    `with own as (
       select c.oid, c.relname from unnest($1::text[]) t(name) join pg_class c on c.oid = to_regclass(t.name)
     ), tables as (
       select oid, relname from own
       union all select c.oid, c.relname from own join pg_inherits i on i.inhparent = own.oid join pg_class c on c.oid = i.inhrelid
     )
     select 'column ' || relname || ' ' || a.attnum || ' ' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull
         || ' ' || a.attcollation::regcollation as line
       from tables join pg_attribute a on a.attrelid = tables.oid where a.attnum > 0
     union all select 'index ' || pg_get_indexdef(i.indexrelid) from tables join pg_index i on i.indrelid = tables.oid
     union all select 'constraint ' || relname || ' ' || conname || ' ' || pg_get_constraintdef(k.oid) from tables join pg_constraint k on k.conrelid = tables.oid
     union all select 'bounds ' || c.relname || ' ' || pg_get_expr(c.relpartbound, c.oid) from tables join pg_class c using (oid) where c.relispartition`,
    [definition.tables(build)],
  );
  return rows.map(({ line }) => line.replaceAll(String(build), 'N')).sort();
}

describe('the tables of a build made for a load are those of one made at once, when the load is finished', () => {
  const definitions = createProjections({ hashes: new KeyedHashes(Buffer.alloc(32, 1)) });
  const loaded = definitions.filter(({ bulk }) => bulk !== undefined);

  test.each(loaded.map((definition) => [definition.name, definition] as const))('%s', async (_name, definition) => {
    const { bulk } = definition;
    const statements = [
      ...definition.install(IN_ONE_STEP),
      ...(bulk?.prepare(IN_TWO_STEPS) ?? []),
      ...(bulk?.finish(IN_TWO_STEPS) ?? []),
    ];
    for (const statement of statements) await database.pool.query(statement);
    const wanted = await catalogue(definition, IN_ONE_STEP);
    expect(wanted.length).toBeGreaterThan(0);
    expect(await catalogue(definition, IN_TWO_STEPS)).toEqual(wanted);
    for (const build of [IN_ONE_STEP, IN_TWO_STEPS])
      for (const statement of definition.uninstall(build)) await database.pool.query(statement);
  });
});
