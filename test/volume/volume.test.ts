import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { volumeProjection } from '../../projections/volume/index.js';
import { EVENT_TYPES } from '../../src/log/envelope.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { apply, decoded, given, verify, type GivenEvent } from '../support/projection-spec.js';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

const sunday = '2026-03-01T23:59:59.999999Z';
const monday = '2026-03-02T00:00:00.000000Z';
const parked = { state: 'parked', code: 'HL7_INVALID' } as const;
const messages: readonly GivenEvent[] = [
  { messageType: 'ADT^A01', recordedAt: sunday },
  { messageType: 'ADT^A01', recordedAt: sunday },
  { messageType: 'ADT^A01', recordedAt: monday },
  { messageType: 'ORU^R01', recordedAt: monday, source: 'lab' },
  { type: EVENT_TYPES.unknown, recordedAt: monday, source: 'lab', validation: parked },
  { type: EVENT_TYPES.fhirPart, recordedAt: monday, source: 'http' },
  { type: EVENT_TYPES.fhir, messageType: 'Bundle', recordedAt: monday, source: 'http' },
  { type: EVENT_TYPES.parked, recordedAt: monday },
];

test('messages are counted by source, day and type; parts of a bundle and decisions of the hub are none', () =>
  given(...messages)
    .when(volumeProjection)
    .then(database, {
      'volume.day': [
        { source: 'mllp', day: '2026-03-01', type: 'ADT^A01', messages: 2n, refused: 0n, last_pos: 2n },
        { source: 'mllp', day: '2026-03-02', type: 'ADT^A01', messages: 1n, refused: 0n, last_pos: 3n },
        { source: 'lab', day: '2026-03-02', type: 'ORU^R01', messages: 1n, refused: 0n, last_pos: 4n },
        { source: 'lab', day: '2026-03-02', type: '', messages: 1n, refused: 1n, last_pos: 5n },
        { source: 'http', day: '2026-03-02', type: 'Bundle', messages: 1n, refused: 0n, last_pos: 7n },
      ],
    }));

test('no messages leave no rows', () => given().when(volumeProjection).then(database, {}));

test('a count that is off, missing or too much is found and named', async () => {
  const events = decoded(messages);
  const build = await apply(database, volumeProjection, [events]);
  const table = `volume.day_v${build}`;
  await database.pool.query(`update ${table} set messages = messages + 1 where type = 'ORU^R01'`);
  await database.pool.query(`delete from ${table} where type = 'Bundle'`);
  await database.pool.query(`insert into ${table} values ('ghost', '2026-03-02', '', 1, 0, 4)`);
  const found = await verify(database, volumeProjection, build, events);
  expect(found).toHaveLength(3);
  expect(found).toEqual(
    expect.arrayContaining([
      { defect: 'changed', table: 'volume.day', position: '4', fields: ['messages'] },
      { defect: 'missing', table: 'volume.day', position: '7' },
      { defect: 'extra', table: 'volume.day', position: '4' },
    ]),
  );
});
