import { afterEach, expect, test } from '@jest/globals';
import { EVENT_TYPES } from '../../src/log/envelope.js';
import { attributeProjection, jsonOf, LetterHub } from './support.js';
import { fhir } from '../inbound/support.js';

let running: LetterHub | undefined;
afterEach(async () => {
  await running?.close();
  running = undefined;
});

async function start(broken?: () => boolean): Promise<LetterHub> {
  running = await LetterHub.open([attributeProjection('one', broken), attributeProjection('two', broken)]);
  return running;
}

/** Both builds of both projections hold the same rows, and hold the same back. */
async function rebuildsEqual(hub: LetterHub): Promise<void> {
  for (const name of ['one', 'two']) {
    await hub.rebuild(name);
    expect(await hub.values(name, 2)).toEqual(await hub.values(name, 1));
    expect(await hub.held(name, 2)).toEqual(await hub.held(name, 1));
  }
}

test('a corrected letter and what waited behind it are replayed in order, while others flow', async () => {
  const hub = await start();
  const first = await hub.send(hub.event('1', 'a'));
  const bad = await hub.send(hub.event('1', 'poison'));
  const behind = [await hub.send(hub.event('1', 'c')), await hub.send(hub.event('1', 'd'))];
  await hub.send(hub.event('2', 'x'));
  await hub.quiet();
  expect(await hub.values('one')).toEqual(['a', 'x']);
  const [letter] = await hub.parked(1);
  expect(letter).toMatchObject({ message_id: bad.messageId, code: 'BAD_COLOUR', attempt: 1, version: 1 });

  await hub.correct(bad.messageId, hub.event('1', 'b'), { expectedVersion: 1 });
  await expect(hub.correct(bad.messageId, hub.event('1', 'z'), { expectedVersion: 1 })).rejects.toMatchObject({
    code: 'CONFLICT',
  });
  expect(await hub.values('one')).toEqual(['a', 'x']);
  await hub.replay([bad.messageId]);
  await hub.quiet();
  for (const name of ['one', 'two']) expect(await hub.values(name)).toEqual(['a', 'x', 'b', 'c', 'd']);
  await hub.send(hub.event('1', 'e'));
  await hub.quiet();
  expect(await hub.values('one')).toEqual(['a', 'x', 'b', 'c', 'd', 'e']);
  expect(await hub.letterRows()).toMatchObject([{ status: 'REPLAYED', version: 3 }]);

  // Each has an event of its own, names the original as its cause, and no answer given before has changed.
  const { rows } = await hub.hub.database.pool.query<{ pos: bigint; cause: string; value: string }>(
    'select pos, cause, value from one.row_v1 order by pos',
  );
  expect(rows.map((row) => row.cause).slice(2, 5)).toEqual([bad.messageId, ...behind.map((one) => one.messageId)]);
  const replays = (await hub.hub.events()).filter((event) => event.type === EVENT_TYPES.replayed);
  expect(rows.slice(2, 5).map((row) => row.pos)).toEqual(replays.map((event) => event.position));
  expect(rows[0]).toMatchObject({ cause: first.messageId, pos: first.position });
  await rebuildsEqual(hub);
});

test('a discarded letter lets go of what waited behind it, and its reason is sealed', async () => {
  const hub = await start();
  const bad = await hub.send(hub.event('1', 'poison'));
  await hub.send(hub.event('1', 'b'));
  await hub.quiet();
  await hub.parked(1);
  await hub.discard(bad.messageId, 'sent by mistake for OKAFOR');
  await hub.quiet();
  expect(await hub.values('one')).toEqual(['b']);
  expect(await hub.letterRows()).toMatchObject([{ status: 'DISCARDED' }]);
  await expect(hub.replay([bad.messageId])).rejects.toMatchObject({ code: 'CONFLICT' });
  const discarded = (await hub.hub.events()).find((event) => event.type === EVENT_TYPES.discarded);
  expect(discarded?.content?.toString()).toBe('sent by mistake for OKAFOR');
  const stored = await hub.hub.reader.readPage({ types: [EVENT_TYPES.discarded], limit: 1 });
  expect(`${stored[0]?.data.toString('latin1')}${stored[0]?.metadata.toString('latin1')}`).not.toContain('OKAFOR');
  await rebuildsEqual(hub);
});

test('a letter behind another waits for it, also once it is replayed', async () => {
  const hub = await start();
  const one = await hub.send(hub.event('1', 'poison-1'));
  await hub.send(hub.event('1', 'b'));
  const two = await hub.send(hub.event('1', 'poison-2'));
  await hub.send(hub.event('1', 'd'));
  await hub.quiet();
  await hub.parked(1);
  await hub.correct(one.messageId, hub.event('1', 'a'));
  await hub.replay([one.messageId]);
  await hub.quiet();
  // The second was not tried before it came to the front.
  expect(await hub.values('one')).toEqual(['a', 'b']);
  await hub.parked(1);
  await hub.correct(two.messageId, hub.event('1', 'c'));
  await hub.replay([two.messageId]);
  await hub.quiet();
  expect(await hub.values('one')).toEqual(['a', 'b', 'c', 'd']);
  await rebuildsEqual(hub);
});

test('a correction that is itself bad is parked again, as the same letter', async () => {
  const hub = await start();
  const bad = await hub.send(hub.event('1', 'poison'));
  await hub.send(hub.event('1', 'b'));
  await hub.quiet();
  await hub.parked(1);
  await hub.correct(bad.messageId, jsonOf({ type: 'patient.attributes' }));
  const again = await hub.attempt(2);
  expect(again).toMatchObject({ message_id: bad.messageId, status: 'PARKED' });
  expect(again.code).not.toBe('BAD_COLOUR');
  // One that reads well and cannot be applied.
  await hub.correct(bad.messageId, hub.event('1', 'poison again'));
  await hub.replay([bad.messageId]);
  await hub.quiet();
  expect(await hub.parked(1)).toMatchObject([{ message_id: bad.messageId, code: 'BAD_COLOUR' }]);
  expect(await hub.values('one')).toEqual([]);
  await hub.correct(bad.messageId, hub.event('1', 'a'));
  await hub.replay([bad.messageId]);
  await hub.quiet();
  expect(await hub.values('one')).toEqual(['a', 'b']);
  await rebuildsEqual(hub);
});

test('a letter of one projection is replayed into that one alone, and twice at once is once', async () => {
  let broken = true;
  const hub = await start(() => broken);
  const bad = await hub.send(hub.event('1', 'only-one'));
  await hub.send(hub.event('1', 'b'));
  await hub.quiet();
  await hub.parked(1);
  expect([await hub.values('one'), await hub.values('two')]).toEqual([[], ['only-one', 'b']]);
  broken = false;
  const outcomes = await Promise.allSettled([hub.replay([bad.messageId]), hub.replay([bad.messageId])]);
  expect(outcomes.map((outcome) => outcome.status).toSorted()).toEqual(['fulfilled', 'rejected']);
  await hub.quiet();
  expect([await hub.values('one'), await hub.values('two')]).toEqual([
    ['only-one', 'b'],
    ['only-one', 'b'],
  ]);
  await rebuildsEqual(hub);
});

test('the same request twice is carried out once', async () => {
  const hub = await start();
  const bad = await hub.send(hub.event('1', 'poison'));
  await hub.quiet();
  await hub.parked(1);
  const request = '00000000-0000-8000-8000-000000000001';
  await hub.correct(bad.messageId, hub.event('1', 'a'), { request });
  await hub.correct(bad.messageId, hub.event('1', 'a'), { request });
  expect((await hub.hub.events()).filter((event) => event.type === EVENT_TYPES.corrected)).toHaveLength(1);
});

test('a correction to another patient moves the wait to them', async () => {
  const hub = await start();
  const bad = await hub.send(hub.event('1', 'poison'));
  await hub.send(hub.event('1', 'b'));
  const other = await hub.send(hub.event('2', 'poison'));
  await hub.send(hub.event('2', 'y'));
  await hub.quiet();
  await hub.parked(2);
  await hub.correct(bad.messageId, hub.event('2', 'moved'));
  await hub.replay([bad.messageId]);
  await hub.quiet();
  // Its own line is free; in the other one it stands behind.
  expect(await hub.values('one')).toEqual(['b']);
  await hub.correct(other.messageId, hub.event('2', 'x'));
  await hub.replay([other.messageId]);
  await hub.quiet();
  expect(await hub.values('one')).toEqual(['b', 'x', 'y', 'moved']);
  await rebuildsEqual(hub);
});

test('a message refused on the way in is corrected, gets its identity then, and is replayed', async () => {
  const hub = await start();
  const refused = await hub.send(jsonOf({ eventId: 'r1', type: 'patient.attributes', data: { colour: 'a' } }));
  expect(refused.status).toBe('parked');
  await hub.quiet();
  await hub.parked(1);
  // As it was sent it is refused again.
  await hub.replay([refused.messageId]);
  expect(await hub.attempt(2)).toMatchObject({ status: 'PARKED' });
  await hub.correct(refused.messageId, hub.event('7', 'a'));
  await hub.replay([refused.messageId]);
  await hub.quiet();
  expect([await hub.values('one'), await hub.values('two')]).toEqual([['a'], ['a']]);
  expect(await hub.letterRows()).toMatchObject([{ status: 'REPLAYED' }]);
  const next = await hub.send(hub.event('7', 'b'));
  const corrected = (await hub.hub.events()).find((event) => event.type === EVENT_TYPES.corrected);
  expect(corrected?.envelope.patientId).toBe(next.patientId);
  await rebuildsEqual(hub);
});

test('a parked bundle holds all its patients back', async () => {
  const patient = (id: string) => ({
    resource: { resourceType: 'Patient', id, identifier: [{ system: 'urn:h', value: id }] },
    request: { method: 'PUT', url: `Patient/${id}` },
  });
  const broken = attributeProjection('three');
  running = await LetterHub.open([
    {
      ...broken,
      apply: (batch, context, build) => {
        const bundle = batch.find((event) => event.envelope.parts !== undefined && event.mapped.facts.length > 0);
        if (bundle !== undefined) throw Object.assign(new Error('no bundles'), { code: 'XX' });
        return broken.apply(batch, context, build);
      },
    },
  ]);
  const bundle = await running.send(
    fhir({ resourceType: 'Bundle', type: 'transaction', entry: [patient('p1'), patient('p2')] }),
  );
  expect(bundle.status).toBe('accepted');
  for (const mrn of ['p1', 'p2', 'p3']) {
    await running.send(
      running.event(mrn, `c-${mrn}`, { patient: { identifiers: [{ authority: 'urn:h', value: mrn, type: 'MR' }] } }),
    );
  }
  await running.quiet();
  expect(await running.values('three')).toEqual(['c-p3']);
  const [letter] = await running.parked(1);
  expect(letter?.records).toHaveLength(2);
  await running.discard(bundle.messageId, 'no bundles');
  await running.quiet();
  expect((await running.values('three')).toSorted()).toEqual(['c-p1', 'c-p2', 'c-p3']);
});

test('messages that keep coming while a line is released stay in order and lose nothing', async () => {
  const hub = await start();
  const bad = await hub.send(hub.event('1', 'poison'));
  const sent: string[] = [];
  for (let n = 0; n < 20; n += 1) {
    sent.push(`v${n}`);
    await hub.send(hub.event('1', `v${n}`));
  }
  await hub.quiet();
  await hub.parked(1);
  let going = true;
  const sender = (async () => {
    for (let n = 20; going; n += 1) {
      sent.push(`v${n}`);
      await hub.send(hub.event('1', `v${n}`));
    }
  })();
  await hub.correct(bad.messageId, hub.event('1', 'first'));
  await hub.replay([bad.messageId]);
  // Until the line is empty although they keep coming.
  await hub.until(async () => (await hub.held('one', 1)).length === 0);
  going = false;
  await sender;
  await hub.quiet();
  for (const name of ['one', 'two']) expect(await hub.values(name)).toEqual(['first', ...sent]);
  await rebuildsEqual(hub);
});

test('a hub that ends in the middle of a replay goes on where it stopped: nothing lost, doubled or out of order', async () => {
  let hub = await start();
  const bad = await hub.send(hub.event('1', 'poison'));
  const sent = Array.from({ length: 150 }, (_, n) => `v${n}`);
  await Promise.all(sent.map((value) => hub.send(hub.event('1', value))));
  await hub.quiet();
  await hub.parked(1);
  await hub.correct(bad.messageId, hub.event('1', 'first'));
  await hub.replay([bad.messageId]);
  for (let cut = 0; cut < 3; cut += 1) {
    const before = (await hub.values('one')).length;
    await hub.until(async () => (await hub.values('one')).length > before || (await hub.openLines()) === 0);
    hub = running = await hub.restart();
  }
  await hub.quiet();
  for (const name of ['one', 'two']) expect(await hub.values(name)).toEqual(['first', ...sent]);
  await rebuildsEqual(hub);
});
