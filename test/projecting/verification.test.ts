import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { createAnonymizedProjection } from '../../projections/anonymized/index.js';
import { createSearchProjection } from '../../projections/search/index.js';
import type { RecordLink } from '../../src/log/envelope.js';
import type { EventLogReader, RecordedEvent } from '../../src/log/event-log.js';
import type { Fact, Json } from '../../src/mapping/fact.js';
import { Parkings } from '../../src/projecting/parkings.js';
import type { DecodedEvent, ProjectionDefinition } from '../../src/projecting/projection.js';
import { DifferenceReading, UNDECLARED } from '../../src/projecting/verification/differences.js';
import { verifyBuild } from '../../src/projecting/verify.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { apply, decoded, verify, type GivenEvent } from '../support/projection-spec.js';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

const at = (hour: number): string => `2026-02-01T${String(hour).padStart(2, '0')}:00:00.000000Z`;
function said(record: string, hour: number, assert: Record<string, Json>, more: Partial<Fact> = {}): Fact {
  const valid = { instant: at(hour), text: at(hour), field: 'EVN-6' as const, flags: [] };
  return { kind: 'PATIENT', sourceRecordId: record, key: '', valid, assert, ...more };
}
const says = (...facts: Fact[]): Pick<GivenEvent, 'mapped'> => ({ mapped: { facts, notes: [], unmapped: [] } });
const link = (record: string, patientId: string, reason: RecordLink['reason'] = 'first'): RecordLink => ({
  sourceRecordId: record,
  patientId,
  reason,
});

const [ada, bob, cora] = [randomUUID(), randomUUID(), randomUUID()];
const [one, two, three] = [randomUUID(), randomUUID(), randomUUID()];

test('the search projection: a text that is missing, too much or known from another position on is found', async () => {
  const hashes = { thing: (record: string) => BigInt(`0x${record.slice(0, 8)}`) };
  const search = createSearchProjection({ hashes });
  const name = (family: string): Record<string, Json> => ({ name: [{ family }] });
  const events = decoded([
    says(said(ada, 8, name('Okafor')), said(bob, 8, name('Stone'))),
    says(said(ada, 9, name('Okafor'))),
    says(said(ada, 9, name('Okafor-Stone'))),
  ]);
  const build = await apply(database, search, [events.slice(0, 1), events.slice(1)]);
  expect(await verify(database, search, build, events)).toEqual([]);
  const table = `search.document_v${build}`;
  await database.pool.query(`delete from ${table} where record = '${bob}'`);
  await database.pool.query(`update ${table} set pos = 2 where record = '${ada}' and pos = 1`);
  const found = await verify(database, search, build, events);
  expect(found).toHaveLength(3);
  expect(found).toEqual(
    expect.arrayContaining([
      { defect: 'missing', table: 'search.document', position: '1', record: bob },
      { defect: 'missing', table: 'search.document', position: '1', record: ada },
      { defect: 'extra', table: 'search.document', position: '2', record: ada },
    ]),
  );
});

test('the anonymized projection: statements, memberships, subjects and a head that are off are found', async () => {
  const anonymizedProjection = createAnonymizedProjection({
    hashes: { thing: (record: string) => BigInt(`0x${record.slice(0, 8)}`) },
  });
  const diagnosis = said(cora, 8, { resource: { code: { coding: [] } } }, { kind: 'CONDITION', key: 'I10' });
  const events = decoded([
    { links: [link(ada, one)], ...says(said(ada, 8, { gender: 'female', birthDate: '1984-02-29' })) },
    { links: [link(bob, two)], ...says(said(bob, 8, { gender: 'male' })) },
    {
      links: [link(cora, three)],
      ...says(said(cora, 8, { gender: 'other', name: [{ family: 'Nobody' }] }), diagnosis),
    },
    { links: [link(bob, one, 'merge')] },
    { ...says({ ...said(ada, 8, {}), retract: '*' }, said(ada, 9, { gender: 'female' })) },
    { links: [link(bob, two, 'unmerge')], ...says(said(bob, 9, { birthDate: '1990' })) },
  ]);
  const build = await apply(database, anonymizedProjection, [events.slice(0, 3), events.slice(3)]);
  const check = () => verify(database, anonymizedProjection, build, events);
  expect(await check()).toEqual([]);
  const { fact, link: links } = {
    fact: `anonymized_private.fact_v${build}`,
    link: `anonymized_private.link_v${build}`,
  };
  for (const [damage, ...wanted] of [
    [
      `update ${fact} set value = 'MALE' where record = '${ada}' and pos = 5 and value = 'FEMALE'`,
      { defect: 'changed', table: 'anonymized.fact', position: '5', record: ada, fields: ['value'] },
    ],
    [
      `delete from ${links} where record = '${ada}' and pos = 4`,
      { defect: 'missing', table: 'anonymized.link', position: '4', record: ada, patient: one },
    ],
    // A merge that kept the subject of before: whoever follows subjects could follow the person through it.
    [
      `update ${links} l set subject = o.subject from ${links} o where l.record = '${ada}' and l.pos = 4 and o.record = '${ada}' and o.pos = 1`,
      { defect: 'extra', table: 'anonymized.subject', position: '4', record: ada, patient: one },
    ],
    // One person under another's subject.
    [
      `update ${links} l set subject = o.subject from ${links} o where l.record = '${cora}' and o.record = '${ada}' and o.pos = 1`,
      { defect: 'extra', table: 'anonymized.subject', position: '3', record: cora, patient: three },
    ],
    // A diagnosis under another's key.
    [
      `update ${fact} set entity = 7 where entity <> 0`,
      { defect: 'missing', table: 'anonymized.fact', position: '3', record: cora },
      { defect: 'extra', table: 'anonymized.fact', position: '3', record: cora },
    ],
  ] as const) {
    await database.pool.query(
      `create table saved_fact as select * from ${fact}; create table saved_link as select * from ${links}`,
    );
    await database.pool.query(damage);
    expect(await check()).toEqual(
      expect.arrayContaining(wanted.map((finding) => expect.objectContaining(finding) as unknown)),
    );
    await database.pool.query(
      `truncate ${fact}, ${links}; insert into ${fact} select * from saved_fact; insert into ${links} select * from saved_link; drop table saved_fact, saved_link`,
    );
  }
  expect(await check()).toEqual([]);
  await database.pool.query(`update anonymized_private.state_v${build} set head = 5`);
  expect(await check()).toMatchObject([{ defect: 'extra', table: 'anonymized.state', position: '5' }]);
});

test('a verification holds no more than a page of the log at a time, and locks no more the more it replays, also where a few records have all of it', async () => {
  const EVENTS = 3_500;
  const record = randomUUID();
  const all = decoded(Array.from({ length: EVENTS }, () => ({ sourceRecordId: record })));
  const stored = all.map(({ envelope, body: _body, mapped: _mapped, ...event }): RecordedEvent => ({
    ...event,
    metadata: Buffer.from(JSON.stringify(envelope)),
    data: Buffer.alloc(0),
  }));
  let replayed = 0;
  let read = 0;
  let mostAhead = 0;
  const locks: number[] = [];
  const counting: ProjectionDefinition = {
    name: 'counting',
    version: 1,
    install: (build) => [`create table counted_v${build} (pos int8 primary key)`],
    uninstall: (build) => [`drop table counted_v${build}`],
    tables: (build) => [`counted_v${build}`],
    load: async (_batch, client) => {
      const { rows } = await client.query<{ held: number }>(
        'select count(*)::int as held from pg_locks where pid = pg_backend_pid()',
      );
      locks.push(rows[0]?.held ?? 0);
    },
    apply(batch, { mode }, build) {
      if (mode === 'test') replayed += batch.length;
      const rows = batch.map(({ position }) => [position]);
      return [{ table: `counted_v${build}`, columns: ['pos'], types: ['int8'], rows, onConflict: 'ignore' }];
    },
  };
  await database.pool.query(
    `create table counted_v1 as select generate_series(1, ${EVENTS}::int8) as pos; alter table counted_v1 add primary key (pos)`,
  );
  const reader: Pick<EventLogReader, 'readPage' | 'count'> = {
    readPage: async ({ after = 0n, limit }) => stored.filter(({ position }) => position > after).slice(0, limit),
    count: async () => BigInt(EVENTS),
  };
  const report = await verifyBuild(
    {
      databaseUrl: database.url,
      reader: reader as EventLogReader,
      decoder: {
        async decode(events) {
          read += events.length;
          mostAhead = Math.max(mostAhead, read - replayed);
          return events.map(({ position }) => all[Number(position) - 1] as DecodedEvent);
        },
      },
      parkings: new Parkings(),
      signal: new AbortController().signal,
    },
    {
      definition: counting,
      build: 1,
      aligned: async (work) => {
        await work(BigInt(EVENTS));
        return true;
      },
    },
  );
  expect(report).toMatchObject({ equal: true, replay: { events: EVENTS, all: true } });
  expect(mostAhead).toBeLessThan(1_100);
  // The first batch finds no stage yet.
  expect(locks.length).toBeGreaterThan(50);
  expect(new Set(locks.slice(1)).size).toBe(1);
});

test('a difference between versions is explained by a declared change only, and by anything where a version declares nothing', () => {
  const definition = {
    changes: [{ version: 2, fields: ['PATIENT.pronouns', 'ENCOUNTER.*'], reason: 'pronouns are read' }],
  };
  const declared = new DifferenceReading(definition, 1, 2);
  expect(declared.accountsFor('PATIENT', 'pronouns')).toBe(true);
  expect(declared.accountsFor('ENCOUNTER', 'location')).toBe(true);
  expect(declared.accountsFor('PATIENT', 'name')).toBe(false);
  expect(declared.report()).toEqual([
    { version: 2, reason: 'pronouns are read', fields: { 'ENCOUNTER.location': 1, 'PATIENT.pronouns': 1 } },
  ]);
  const undeclared = new DifferenceReading(definition, 1, 3);
  expect(undeclared.accountsFor('PATIENT', 'name')).toBe(true);
  expect(undeclared.report()).toEqual([{ version: 3, reason: UNDECLARED, fields: { 'PATIENT.name': 1 } }]);
  expect(new DifferenceReading(definition, 2, 2).accountsFor('PATIENT', 'pronouns')).toBe(false);
});
