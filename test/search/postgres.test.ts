import { expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { documentOf } from '../../projections/search/document.js';
import {
  beginningsOf,
  COLUMNS,
  comparedWords,
  documentTable,
  eraseSearch,
  installSearch,
  lexemesOf,
  TYPES,
} from '../../projections/search/tables.js';
import { copyRows } from '../../src/database/binary-copy.js';
import { inTransaction } from '../../src/database/database.js';
import { FACT_KINDS } from '../../src/mapping/fact.js';
import type { Watermarks } from '../../src/projecting/watermark.js';
import { SearchDesk } from '../../src/query/search/desk.js';
import { openSearchPool, PostgresSearchEngine } from '../../src/query/search/postgres-engine.js';
import { readQuestion } from '../../src/query/search/question.js';
import { Synonyms } from '../../src/query/search/synonyms.js';
import { nearKeys } from '../../src/text/edits.js';
import { createTestDatabase } from '../support/database.js';
import { describeSearch } from './contract.js';

describeSearch('PostgreSQL');

test('on the way from OpenSearch back to PostgreSQL search says why there is none', async () => {
  const database = await createTestDatabase();
  try {
    await database.pool.query(
      "insert into hub.projection (name, version, definition_version, definition_hash, log_id, state, serving, paused, verify_wanted, switch_wanted) values ('search', 1, 1000004, '', gen_random_uuid(), 'live', true, false, false, false)",
    );
    const watermark = { build: 1, position: 5n };
    const desk = new SearchDesk({
      pool: database.pool,
      watermarks: { watermark: () => Promise.resolve(watermark) } as unknown as Watermarks,
      postgres: new PostgresSearchEngine(database.pool),
      synonyms: new Synonyms(''),
    });
    await expect(desk.at(5n, 0)).rejects.toMatchObject({
      code: 'SEARCH_UNAVAILABLE',
      told: expect.stringContaining('being built') as unknown,
    });
  } finally {
    await database.drop();
  }
});

test('PostgreSQL makes the keys of what a name begins with as the questions do, and keeps a beginning as long as a document has it', async () => {
  const database = await createTestDatabase();
  try {
    for (const statement of installSearch(1)) await database.pool.query(statement);
    const words = ['o', 'oç', 'née', 'żółw', 'ana’', "o'con", 'okafor', '王小明', 'adaezeo', '😀😀ab'];
    const { rows } = await database.pool.query<{ keys: string[] }>(
      'select search.near_keys(word) as keys from unnest($1::text[]) with ordinality as w (word, place) order by place',
      [words],
    );
    expect(rows.map(({ keys }) => [...new Set(keys)].sort())).toEqual(words.map((word) => nearKeys(word).sort()));

    const stored = async (): Promise<string[]> => {
      const found = await database.pool.query<{ beginning: string }>(
        'select beginning from search.beginning_v1 order by 1',
      );
      return found.rows.map(({ beginning }) => beginning);
    };
    const [one, other] = [randomUUID(), randomUUID()];
    const client = await database.pool.connect();
    for (const [record, family] of [
      [one, "O'Hara"],
      [other, 'Hara'],
    ] as const) {
      const document = documentOf('PATIENT', { name: [{ family }] });
      if (document === undefined) throw new Error('nothing to be found');
      const row = [record, 0, 1n, 1n, 1n, lexemesOf(document), null, null, comparedWords(document)];
      await copyRows(client, documentTable(1), COLUMNS, TYPES, [row]);
      for (const beginning of beginningsOf(document))
        await client.query('insert into search.beginning_v1 values ($1) on conflict do nothing', [beginning]);
    }
    client.release();
    expect(await stored()).toEqual(['hara', 'ohara']);
    await inTransaction(database.pool, async (eraser) => {
      for (const statement of eraseSearch(1))
        await eraser.query(statement, statement.includes('$1') ? [[one]] : undefined);
    });
    expect(await stored()).toEqual(['hara']);
  } finally {
    await database.drop();
  }
});

test('whatever is asked of however small a table goes by the index, and is few lists to plan', async () => {
  const database = await createTestDatabase();
  const pool = openSearchPool(database.url);
  try {
    for (const statement of installSearch(1)) await database.pool.query(statement);
    const client = await database.pool.connect();
    const rows = Array.from({ length: 2_000 }, (_, index) => {
      const name = { family: `M${'aeiou'.charAt(index % 5)}ller${index % 40}`, given: [`J${index % 9}an`] };
      const document = documentOf('PATIENT', { name: [name] });
      if (document === undefined) throw new Error('nothing to be found');
      const place = BigInt(index);
      return [randomUUID(), 0, place, place, place, lexemesOf(document), null, null, comparedWords(document)];
    });
    await copyRows(client, documentTable(1), COLUMNS, TYPES, rows);
    client.release();
    const { rows: index } = await database.pool.query<{ reloptions: string[] }>(
      'select reloptions from pg_class where oid = to_regclass($1)',
      [`${documentTable(1)}_gin`],
    );
    // A list of what was written last would be read whole by every question.
    expect(index[0]?.reloptions).toEqual(['fastupdate=off']);
    await database.pool.query(`vacuum analyze ${documentTable(1)}`);
    const plans: string[] = [];
    const explained: Pick<pg.Pool, 'query'> = {
      query: (async (asked: pg.QueryConfig) => {
        const { rows: lines } = await pool.query<Record<'QUERY PLAN', string>>(`explain ${asked.text}`, asked.values);
        plans.push(lines.map((line) => line['QUERY PLAN']).join('\n'));
        return pool.query(asked);
      }) as pg.Pool['query'],
    };
    const engine = new PostgresSearchEngine(explained);
    const synonyms = new Synonyms('');
    for (const [text, reach] of [
      ['mller7 jan', 'close'],
      ['mller7 jan', 'far'],
      ['moller', 'close'],
      ['mler7 1984 jean', 'close'],
    ] as const) {
      const { atoms } = readQuestion(text, synonyms);
      for (const kinds of [['PATIENT'] as const, FACT_KINDS])
        await engine.candidates(1, { atoms, reach, kinds, position: 10_000n, limit: 50 });
    }
    for (const plan of plans) {
      expect(plan).not.toMatch(/Seq Scan|document_v1_pkey|Gather/);
      expect(plan.match(/Limit/g)?.length ?? 0).toBeLessThanOrEqual(3);
    }
  } finally {
    await pool.end();
    await database.drop();
  }
});
