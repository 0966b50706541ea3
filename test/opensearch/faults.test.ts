import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdtemp, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { createSearchProjection } from '../../projections/search/index.js';
import { buildAlias, OpenSearchDocuments, scanDocuments } from '../../projections/search/opensearch.js';
import { FACT_KINDS, type FactKind } from '../../src/mapping/fact.js';
import { OpenSearchConnection } from '../../src/opensearch/connection.js';
import { Erasures } from '../../src/projecting/erasures.js';
import type { DecodedEvent } from '../../src/projecting/projection.js';
import { Watermarks } from '../../src/projecting/watermark.js';
import { SearchDesk } from '../../src/query/search/desk.js';
import { OpenSearchEngine } from '../../src/query/search/opensearch-engine.js';
import { PostgresSearchEngine } from '../../src/query/search/postgres-engine.js';
import { readQuestion } from '../../src/query/search/question.js';
import { Synonyms } from '../../src/query/search/synonyms.js';
import { MemoryLog, quiet, startProjections, testDecoder, testProjection } from '../projecting/support.js';
import { TestAuthority } from '../support/certificates.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { startHttpFaults, type HttpFaults } from './http-faults.js';
import { removeHome, startOpenSearch } from './node.js';
import { freshUrl, testJava } from './support.js';

const TIMEOUT_MS = 120_000;
const WAIT_MS = 60_000;
const NODE = process.env['ANAMNESIS_TEST_OPENSEARCH'] ?? '';

const hashes = {
  thing: (record: string, kind: FactKind, key: string) =>
    BigInt(`0x${record.slice(0, 8)}`) + BigInt(FACT_KINDS.indexOf(kind) * 1000 + key.length),
};
const synonyms = new Synonyms('');

let database: TestDatabase;
let log: MemoryLog;
let opened: (() => Promise<unknown>)[];

beforeEach(async () => {
  database = await createTestDatabase();
  log = new MemoryLog();
  opened = [];
});
afterEach(async () => {
  for (const close of opened.reverse()) await close();
  await log.close();
  await database.drop();
});

/** A patient of that name; the n-th of it. */
function say(family: string, ...given: string[]): void {
  log.append({ record: randomUUID(), data: { type: 'patient.attributes', data: { name: [{ family, given }] } } });
}

async function hub(url: string) {
  const connection = OpenSearchConnection.open(url);
  const watermarks = await Watermarks.open(database.pool, database.url);
  const outside = new OpenSearchDocuments({ connection, hashes, pool: database.pool, logId: log.id });
  const running = await startProjections(
    database,
    log,
    [createSearchProjection({ hashes, outside }), testProjection()],
    { maxEvents: 50 },
  );
  opened.push(
    () => watermarks.close(),
    () => running.projections.stop(),
    () => connection.close(),
  );
  const desk = new SearchDesk({
    pool: database.pool,
    watermarks,
    postgres: new PostgresSearchEngine(database.pool),
    openSearch: new OpenSearchEngine(connection),
    synonyms,
  });
  return {
    ...running,
    connection,
    watermarks,
    search: desk,
    reached: (projection: string) => watermarks.waitUntilProjected(projection, BigInt(log.events.length), WAIT_MS),
    /** How many things of a name are found once everything is. */
    found: async (name: string): Promise<number> => {
      const view = await desk.at(BigInt(log.events.length), WAIT_MS);
      return (await view.candidates({ atoms: readQuestion(name, synonyms).atoms, reach: 'close', limit: 1_000 }))
        .length;
    },
  };
}

type Hub = Awaited<ReturnType<typeof hub>>;

async function documents(connection: OpenSearchConnection, build: number): Promise<number> {
  let count = 0;
  for await (const page of scanDocuments(connection, build)) count += page.length;
  return count;
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + WAIT_MS; !(await condition());) {
    if (Date.now() > deadline) throw new Error('it did not come about');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Nothing is parked, everything is found, and each once. */
async function expectAll({ connection, found, reached }: Hub, name: string, count: number): Promise<void> {
  expect(await reached('search')).toBeDefined();
  expect(await found(name)).toBe(count);
  expect(await documents(connection, 1)).toBe(log.events.length);
  const { rows } = await database.pool.query('select from hub.parking');
  expect(rows).toHaveLength(0);
}

test(
  'a node that is killed holds up nobody else, parks and loses nothing, and search catches up by itself once it is back',
  async () => {
    const folder = await mkdtemp(path.join(os.tmpdir(), 'anamnesis-opensearch-'));
    opened.push(() => removeHome(folder));
    const home = path.join(folder, 'node');
    let node = await startOpenSearch({ java: testJava(), home });
    opened.push(() => node.kill());
    const running = await hub(freshUrl(node.url));
    for (let index = 0; index < 60; index += 1) say('Okafor', `A${index}`);
    expect(await running.found('okafor')).toBe(60);
    for (let index = 0; index < 60; index += 1) say('Okafor', `B${index}`);
    await node.kill();
    for (let index = 0; index < 60; index += 1) say('Okafor', `C${index}`);
    // The other projection is not held up.
    expect(await running.reached('sample')).toBeDefined();
    const behind = await running.search
      .at(BigInt(log.events.length), 0)
      .catch((error: { code?: string }) => error.code);
    expect(behind).toMatch(/^SEARCH_(BEHIND|UNAVAILABLE)$/);
    node = await startOpenSearch({ java: testJava(), home, port: node.port });
    await expectAll(running, 'okafor', 180);
    // It logs from level info on what it does, slow questions and slow writes among it: none of them with a word of a document or a question.
    const logged = (): string => readFileSync(path.join(home, 'node.log'), 'utf8');
    expect(logged()).toMatch(/ INFO .*creating index/);
    expect(logged()).not.toMatch(/okafor/i);
    // A leak would be seen: with the slow log let loose on the index, the question stands there.
    const { connection } = running;
    await connection.request({
      method: 'PUT',
      path: `/${buildAlias(connection.prefix, 1)}/_settings`,
      body: { 'index.search.slowlog.threshold.query.info': '0ms' },
    });
    expect(await running.found('okafor')).toBe(180);
    await until(() => Promise.resolve(/okafor/i.test(logged())));
  },
  TIMEOUT_MS,
);

test.each<[string, HttpFaults['fault']]>([
  ['refuses everything for now (503)', 503],
  ['refuses everything for being too much (429)', 429],
  ['refuses the login (401)', 401],
  ['refuses each document of a bulk (429)', 'refuse-items'],
  ['does what it is asked and loses the answer: a crash between bulk and checkpoint', 'lose-answers'],
])(
  'an engine that %s is tried again until it passes, and nothing is doubled',
  async (_what, fault) => {
    const faults = await startHttpFaults({ target: NODE });
    opened.push(() => faults.close());
    const running = await hub(freshUrl(faults.url));
    say('Okafor', 'Before');
    expect(await running.found('okafor')).toBe(1);
    faults.fault = fault;
    const sent = faults.bulks;
    for (let index = 0; index < 30; index += 1) say('Okafor', `N${index}`);
    expect(await running.reached('sample')).toBeDefined();
    const retries = (): number =>
      running.projections.counters().find(({ projection }) => projection === 'search')?.counters.retries ?? 0;
    await until(async () => retries() >= 2);
    if (fault === 'lose-answers') expect(faults.bulks).toBeGreaterThan(sent + 1);
    await expect(running.search.at(BigInt(log.events.length), 0)).rejects.toThrow(/search has reached|is away/);
    faults.fault = 'pass';
    await expectAll(running, 'okafor', 31);
  },
  TIMEOUT_MS,
);

test(
  'an index that a full disk made read-only takes nothing and loses nothing; once there is room it catches up',
  async () => {
    const running = await hub(freshUrl());
    say('Okafor', 'Before');
    expect(await running.found('okafor')).toBe(1);
    const block = (value: boolean | null): Promise<unknown> =>
      running.connection.request({
        method: 'PUT',
        path: `/${buildAlias(running.connection.prefix, 1)}/_settings`,
        body: { 'index.blocks.read_only_allow_delete': value },
      });
    await block(true);
    say('Okafor', 'After');
    expect(await running.reached('sample')).toBeDefined();
    await until(async () =>
      running.projections
        .counters()
        .some(({ projection, counters }) => projection === 'search' && counters.retries > 1),
    );
    // What is there can still be found.
    expect((await running.search.at(1n, 0)).reached).toBe(1n);
    await block(null);
    await expectAll(running, 'okafor', 2);
  },
  TIMEOUT_MS,
);

test(
  'whatever order writes of one text come in, and however often, it is there once, from the first position at which it was said',
  async () => {
    const connection = OpenSearchConnection.open(freshUrl());
    opened.push(() => connection.close());
    const record = randomUUID();
    const said = { record, data: { type: 'patient.attributes', data: { name: [{ family: 'Okafor' }] } } };
    for (let index = 0; index < 9; index += 1) log.append(said);
    const events = await testDecoder(log).decode(await log.readPage({ after: 0n, limit: 10 }));
    for (const places of [[4], [7], [2, 3], [8], [2]]) {
      // A worker of its own each time: nothing is remembered.
      const outside = new OpenSearchDocuments({ connection, hashes, pool: database.pool, logId: log.id });
      await outside.write(
        places.map((place) => events[place] as DecodedEvent),
        1,
      );
    }
    const found = [];
    for await (const page of scanDocuments(connection, 1)) found.push(...page);
    expect(found).toMatchObject([{ record, position: 3n }]);
  },
  TIMEOUT_MS,
);

test(
  'a rebuild fills an index beside the one that serves, is verified, and takes the alias over; what is no longer kept is removed',
  async () => {
    const running = await hub(freshUrl());
    const { connection } = running;
    for (let index = 0; index < 120; index += 1) say('Okafor', `A${index}`);
    expect(await running.found('okafor')).toBe(120);
    const served = async (): Promise<string[]> => {
      const found = await connection.request<Record<string, unknown>>(
        { method: 'GET', path: `/_alias/${connection.prefix}` },
        [404],
      );
      return Object.keys(found ?? {});
    };
    await until(async () => (await served()).join() === `${connection.prefix}-b1-000001`);
    for (const build of [2, 3]) {
      expect(await running.projections.rebuild('search', { verify: true })).toBe(build);
      let asked = 0;
      await until(async () => {
        expect(await running.found('okafor')).toBe(120);
        asked += 1;
        return (await running.watermarks.watermark('search')).build === build;
      });
      expect(asked).toBeGreaterThan(0);
      await until(async () => (await served()).join() === `${connection.prefix}-b${build}-000001`);
    }
    const { rows } = await database.pool.query<{ verified: boolean }>(
      "select verified from hub.projection where name = 'search' and version > 1 order by version",
    );
    expect(rows.every(({ verified }) => verified)).toBe(true);
    say('Okafor', 'Later');
    expect(await running.found('okafor')).toBe(121);
  },
  TIMEOUT_MS,
);

test(
  'an index that is gone stops the projection instead of being filled from the middle, and a rebuild makes it anew',
  async () => {
    const running = await hub(freshUrl());
    const { connection } = running;
    say('Okafor', 'Before');
    expect(await running.found('okafor')).toBe(1);
    await connection.request({ method: 'DELETE', path: `/${connection.prefix}-b1-000001` });
    say('Okafor', 'After');
    await until(async () =>
      running.projections.counters().some(({ projection, failed }) => projection === 'search' && failed),
    );
    const { rows } = await database.pool.query<{ last_error: string }>(
      "select last_error from hub.projection where name = 'search'",
    );
    expect(rows[0]?.last_error).toContain('anamnesis projections rebuild search');
    const view = await running.search.at(1n, 0);
    const { atoms } = readQuestion('okafor', synonyms);
    await expect(view.candidates({ atoms, reach: 'close', limit: 1 })).rejects.toMatchObject({
      code: 'SEARCH_UNAVAILABLE',
    });
    await running.projections.rebuild('search', { verify: true });
    await until(async () => (await running.watermarks.watermark('search')).build === 2);
    expect(await running.found('okafor')).toBe(2);
  },
  TIMEOUT_MS,
);

test(
  'over TLS with a password: the right authority and login are let in, others are not, and no error names the password',
  async () => {
    const authority = new TestAuthority();
    const other = new TestAuthority('Other');
    const folder = await mkdtemp(path.join(os.tmpdir(), 'anamnesis-opensearch-'));
    opened.push(() => removeHome(folder));
    const [right, wrong] = [path.join(folder, 'ca.pem'), path.join(folder, 'other.pem')];
    await writeFile(right, authority.cert);
    await writeFile(wrong, other.cert);
    const credentials = { username: 'hub', password: 'pa ss/wörd' };
    const tls = authority.issue({ commonName: 'search', ip: ['127.0.0.1'] });
    const faults = await startHttpFaults({ target: NODE, tls, credentials });
    opened.push(() => faults.close());
    const url = new URL(freshUrl(faults.url));
    const given = (username: string, password: string, ca: string): string => {
      const whole = new URL(url);
      [whole.username, whole.password] = [username, password];
      whole.searchParams.set('ca', ca);
      return whole.href;
    };
    for (const [text, reason] of [
      [given('hub', 'guess', right), 'HTTP 401'],
      [given('hub', 'pa ss/wörd', wrong), 'ConnectionError'],
    ] as const) {
      const connection = OpenSearchConnection.open(text);
      const error = await connection.request({ method: 'GET', path: '/' }).catch((failure: Error) => failure.message);
      await connection.close();
      expect(error).toBe(`OpenSearch: ${reason}`);
    }
    const running = await hub(given('hub', 'pa ss/wörd', right));
    say('Okafor', 'Ada');
    await expectAll(running, 'okafor ada', 1);
  },
  TIMEOUT_MS,
);

test(
  'words of an erased person are gone from the index with the erasure, and do not come back with what is written again',
  async () => {
    const running = await hub(freshUrl());
    say('Okafor', 'Ada');
    say('Okafor', 'Bela');
    expect(await running.found('okafor')).toBe(2);
    const gone = (JSON.parse(log.events[0]?.metadata.toString() ?? '{}') as { sourceRecordId: string }).sourceRecordId;
    const outside = new OpenSearchDocuments({
      connection: running.connection,
      hashes,
      pool: database.pool,
      logId: log.id,
    });
    const erasures = new Erasures({
      databaseUrl: database.url,
      pool: database.pool,
      reader: log,
      definitions: [createSearchProjection({ hashes, outside })],
      log: quiet,
    });
    opened.push(() => erasures.stop());
    erasures.start();
    await database.pool.query('insert into sealing.erasure (epoch, at, owners) values (1, now(), $1)', [[gone]]);
    await database.pool.query('notify anamnesis_erasure');
    await until(async () => (await documents(running.connection, 1)) === 1);
    expect(await running.found('okafor')).toBe(1);
    expect(await running.found('bela')).toBe(1);
  },
  TIMEOUT_MS,
);

test(
  'a hub that is switched to OpenSearch builds it beside PostgreSQL, says so of what PostgreSQL has not, and is switched back as well',
  async () => {
    const url = freshUrl();
    const connection = OpenSearchConnection.open(url);
    const watermarks = await Watermarks.open(database.pool, database.url);
    opened.push(
      () => watermarks.close(),
      () => connection.close(),
    );
    for (let index = 0; index < 20; index += 1) say('Okafor', `A${index}`);
    const { atoms } = readQuestion('okafor', synonyms);
    const over = async (engine: 'postgres' | 'opensearch', autoSwitch = true) => {
      const outside = new OpenSearchDocuments({ connection, hashes, pool: database.pool, logId: log.id });
      const running = await startProjections(
        database,
        log,
        [createSearchProjection({ hashes, ...(engine === 'postgres' ? {} : { outside }) })],
        { maxEvents: 50, autoSwitch },
      );
      const desk = new SearchDesk({
        pool: database.pool,
        watermarks,
        postgres: new PostgresSearchEngine(database.pool),
        ...(engine === 'postgres' ? {} : { openSearch: new OpenSearchEngine(connection) }),
        synonyms,
      });
      return { ...running, desk };
    };
    const found = async (desk: SearchDesk): Promise<number> => {
      const view = await desk.at(BigInt(log.events.length), WAIT_MS);
      return (await view.candidates({ atoms, reach: 'close', limit: 100 })).length;
    };
    const builds = async (): Promise<string> => {
      const { rows } = await database.pool.query<{ build: string }>(
        "select version || ' ' || state as build from hub.projection where name = 'search' order by version",
      );
      return rows.map(({ build }) => build).join(', ');
    };
    const first = await over('postgres');
    expect(await found(first.desk)).toBe(20);
    await first.projections.stop();

    // While nothing is projected the old build serves, for what it has.
    const between = new SearchDesk({
      pool: database.pool,
      watermarks,
      postgres: new PostgresSearchEngine(database.pool),
      openSearch: new OpenSearchEngine(connection),
      synonyms,
    });
    expect((await between.at(20n, 0)).reached).toBe(20n);
    say('Okafor', 'Later');
    await expect(between.at(21n, 0)).rejects.toMatchObject({ code: 'SEARCH_BEHIND', rebuilding: false });
    await database.pool.query(
      "insert into hub.projection (name, version, definition_version, definition_hash, log_id, state, serving, paused, verify_wanted, switch_wanted) values ('search', 99, 1000004, '', $1, 'building', false, true, false, false)",
      [log.id],
    );
    await expect(between.at(21n, 0)).rejects.toMatchObject({ code: 'SEARCH_BEHIND', rebuilding: true });
    await database.pool.query('delete from hub.projection where version = 99');

    // PostgreSQL's index is carried on while the other is filled, and until it takes over.
    const both = await over('opensearch', false);
    await until(async () => (await builds()) === '1 live, 2 built');
    say('Okafor', 'Meanwhile');
    expect((await both.desk.at(22n, WAIT_MS)).reached).toBe(22n);
    expect(await found(both.desk)).toBe(22);
    await both.projections.stop();
    await database.pool.query('update hub.projection set switch_wanted = true where version = 2');

    const second = await over('opensearch');
    await until(async () => (await builds()) === '1 retired, 2 live');
    expect(await found(second.desk)).toBe(22);
    expect(await documents(connection, 2)).toBe(22);
    await second.projections.stop();

    const back = await over('postgres');
    await until(async () => (await builds()).endsWith('2 retired, 3 live'));
    expect(await found(back.desk)).toBe(22);
    await back.projections.stop();
  },
  TIMEOUT_MS,
);
