/** A data directory of the format before migration 009, with letters, waiting messages and parkings in it. */
import { afterEach, expect, test } from '@jest/globals';
import { migrate } from '../../src/database/migrate.js';
import { Letters1763700009000 } from '../../migrations/009-letters.js';
import { attributeProjection, jsonOf, LetterHub } from './support.js';

let running: LetterHub | undefined;
afterEach(async () => {
  await running?.close();
  running = undefined;
});

/** The tables of migration 005 with the rows that a hub of that format keeps for the same log. */
const BACK = `
  create table hub.letter_before (message_id uuid not null, scope text not null, position bigint not null, source_record_id uuid, code text not null,
    path text, byte_offset bigint, attempt int not null, status text not null check (status in ('PARKED', 'CORRECTED', 'REPLAYED', 'DISCARDED')),
    parked_at bigint, released_at bigint, announced boolean not null default false, primary key (message_id, scope));
  insert into hub.letter_before (message_id, scope, position, source_record_id, code, path, byte_offset, attempt, status, parked_at, announced)
    select message_id, scope, position, records[1], code, path, byte_offset, attempt, 'PARKED', parked_at, announced from hub.parking;
  insert into hub.letter_before (message_id, scope, position, source_record_id, code, path, byte_offset, attempt, status, parked_at, announced)
    select message_id, '*', position, records[1], code, path, byte_offset, attempt, status, parked_at, true from hub.dead_letter d
    where not exists (select from hub.parking p where p.message_id = d.message_id);
  create table hub.waiting (projection text not null, message_id uuid not null, source_record_id uuid not null, position bigint not null,
    primary key (projection, message_id, source_record_id));
  insert into hub.waiting select distinct projection, message_id, source_record_id, position from hub.held where not parked;
  create index waiting_record on hub.waiting (source_record_id, position);
  drop table hub.held, hub.parking, hub.dead_letter;
  alter table hub.letter_before rename to dead_letter;
  alter index hub.letter_before_pkey rename to dead_letter_pkey;
  create index dead_letter_position on hub.dead_letter (position);
  create index dead_letter_record on hub.dead_letter (source_record_id) where source_record_id is not null;
  create index dead_letter_unannounced on hub.dead_letter (position) where not announced;
  delete from anamnesis_migration where name = '${Letters1763700009000.name}'`;

async function earlier(hub: LetterHub): Promise<LetterHub> {
  return hub.restart(async ({ pool, url }) => {
    await pool.query(BACK);
    expect(await migrate(url)).toEqual([Letters1763700009000.name]);
  });
}

const NAMES = ['one', 'two'];

test('lines are carried over, and are replayed in order; a rebuild holds back and gives the same', async () => {
  let broken = true;
  let hub = (running = await LetterHub.open(NAMES.map((name) => attributeProjection(name, () => broken))));
  await hub.send(hub.event('1', 'a'));
  const both = await hub.send(hub.event('1', 'poison'));
  await hub.send(hub.event('1', 'c'));
  const second = await hub.send(hub.event('1', 'poison-2'));
  await hub.send(hub.event('1', 'e'));
  const single = await hub.send(hub.event('2', 'only-one'));
  await hub.send(hub.event('2', 'y'));
  const refused = await hub.send(hub.event('3', 'z', { ts: 'yesterday' }));
  await hub.send(hub.event('3', 'after'));
  const nobody = await hub.send(jsonOf({ eventId: 'n', type: 'patient.attributes', data: { colour: 'n' } }));
  expect([refused.status, nobody.status]).toEqual(['parked', 'parked']);
  await hub.quiet();
  await hub.parked(4);
  const lines = await Promise.all(NAMES.map((name) => hub.held(name, 1)));
  const letters = await hub.letterRows();

  hub = running = await earlier(hub);
  expect(await Promise.all(NAMES.map((name) => hub.held(name, 1)))).toEqual(lines);
  expect(await hub.letterRows()).toEqual(letters);
  await hub.quiet();
  for (const [index, name] of NAMES.entries()) {
    await hub.rebuild(name);
    expect(await hub.held(name, 2)).toEqual(lines[index]);
    expect(await hub.values(name, 2)).toEqual(await hub.values(name, 1));
  }

  broken = false;
  await hub.send(hub.event('1', 'f'));
  await hub.correct(refused.messageId, hub.event('3', 'z'));
  await hub.correct(nobody.messageId, hub.event('4', 'n'));
  await hub.replay([both, single, refused, nobody].map(({ messageId }) => messageId));
  await hub.quiet();
  const letterOf = new Map((await hub.letterRows()).map((row) => [row.message_id, row.status]));
  expect(letterOf.get(second.messageId) ?? 'REPLAYED').toBe('REPLAYED');
  expect([...new Set(letterOf.values())]).toEqual(['REPLAYED']);
  for (const name of NAMES) {
    const { rows } = await hub.hub.database.pool.query<{ values: string[] }>(
      `select array_agg(value order by pos) as values from ${name}.row_v2 group by record order by min(value)`,
    );
    expect(rows.map(({ values }) => values)).toEqual(
      [['a', 'poison', 'c', 'poison-2', 'e', 'f'], ['n'], ['only-one', 'y'], ['z', 'after']].toSorted((one, other) =>
        ([...one].sort()[0] ?? '').localeCompare([...other].sort()[0] ?? ''),
      ),
    );
    expect(await hub.held(name, 2)).toEqual([]);
    await hub.rebuild(name);
    expect(await hub.values(name, 3)).toEqual(await hub.values(name, 2));
  }
});
