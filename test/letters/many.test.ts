/** Every letter replayed at once, where there are many: a few at a time, in order, and each once. */
import { afterEach, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import type { IntakeOutcome, ReceivedMessage } from '../../src/inbound/received.js';
import type { MessageReplayed } from '../../src/log/decisions.js';
import { EVENT_TYPES } from '../../src/log/envelope.js';
import type { Json } from '../../src/mapping/fact.js';
import { LetterDesk } from '../../src/query/letter-desk.js';
import { persistently } from '../support/persistently.js';
import { attributeProjection, LetterHub } from './support.js';

const FULL = process.env['ANAMNESIS_TEST_SCALE'] === 'full';
const LETTERS = FULL ? 10_000 : 400;
/** src/query/letter-desk.ts: letters of one request. */
const CHUNK = 100;
/** src/inbound/letters/releaser.ts: lines, and messages of each, that are replayed together. */
const ROUND = 64 * 64;

let hub: LetterHub | undefined;
afterEach(async () => {
  await hub?.close();
  hub = undefined;
});

/** How much was under way at most. */
class Flight {
  most = 0;
  largest = 0;
  private now = 0;

  async count<T>(size: number, work: () => Promise<T>): Promise<T> {
    this.now += size;
    this.most = Math.max(this.most, this.now);
    this.largest = Math.max(this.largest, size);
    try {
      return await work();
    } finally {
      this.now -= size;
    }
  }
}

test('replaying all of many letters hands the writer a few at a time, settles each once and in order, and again changes nothing', async () => {
  let broken = true;
  const running = (hub = await LetterHub.open([attributeProjection('one', () => broken)]));
  const { database, keys, writer } = running.hub;
  const send = (message: ReceivedMessage): Promise<IntakeOutcome> => persistently(() => running.send(message));
  const sent = await Promise.all(
    Array.from({ length: LETTERS }, async (_, person) => {
      // Somebody healthy beside each, as in real life: a batch that fails as a whole stops a projection.
      const [, { messageId: letter }] = await Promise.all([
        send(running.event(`H${person}`, 'healthy')),
        send(running.event(`M${person}`, `poison-${person}`)),
      ]);
      const ids = [letter];
      // One after another about each person, while many people's are on their way.
      for (const colour of ['b', 'c']) {
        const { messageId } = await send(running.event(`M${person}`, `${colour}-${person}`));
        ids.push(messageId);
      }
      return ids;
    }),
  );
  await running.quiet();
  await running.parked(LETTERS);
  expect(new Set(await running.values('one'))).toEqual(new Set(['healthy']));
  broken = false;

  const requests = new Flight();
  const events = new Flight();
  const submit = writer.submit.bind(writer);
  writer.submit = (pending) => events.count(pending.length, () => submit(pending));
  const desk = new LetterDesk(
    database.pool,
    {
      request: (kind, payload, options) =>
        requests.count((payload as { messageIds: Json[] }).messageIds.length, () =>
          running.ask.request(kind, payload, options),
        ),
    },
    keys,
  );
  const asked = { request: randomUUID(), requestedBy: 'engineer' };
  const answered = await desk.replayAll(asked);
  await running.quiet();

  const firsts = await running.letterRows();
  expect(answered).toEqual(firsts.map(({ message_id: id }) => id));
  expect(firsts.every(({ status, attempt, version }) => status === 'REPLAYED' && attempt === 1 && version === 2)).toBe(
    true,
  );
  // However many letters there are.
  expect(requests).toMatchObject({ most: CHUNK, largest: CHUNK });
  expect(events.most).toBeLessThanOrEqual(CHUNK + ROUND);
  expect(events.largest).toBeLessThanOrEqual(ROUND);

  // Each message is replayed by one event, whether it was a letter or waited behind one.
  const replays = await replaysOf(running);
  expect(replays.map(({ messageId }) => messageId).toSorted()).toEqual(sent.flat().toSorted());
  expect(replays.filter(({ only }) => only === undefined).map(({ messageId }) => messageId)).toEqual(answered);
  const { rows } = await database.pool.query<{ record: string; causes: string[] }>(
    "select record, array_agg(cause::text order by pos) as causes from one.row_v1 where value <> 'healthy' group by record",
  );
  expect(rows.map(({ causes }) => causes.join()).toSorted()).toEqual(sent.map((ids) => ids.join()).toSorted());

  // Parkings are told to the log one after another, beside everything else.
  await running.until(async () => {
    const { rows: untold } = await database.pool.query('select from hub.parking where not announced limit 1');
    return untold.length === 0;
  });
  const head = await running.hub.reader.head();
  expect(await desk.replayAll(asked)).toEqual([]);
  expect(await desk.replayAll({ ...asked, request: randomUUID() })).toEqual([]);
  expect(await running.hub.reader.head()).toBe(head);
  await running.rebuild('one');
  expect(await running.values('one', 2)).toEqual(await running.values('one', 1));
});

async function replaysOf(running: LetterHub): Promise<MessageReplayed[]> {
  const all: MessageReplayed[] = [];
  for (let after = 0n; ;) {
    const page = await running.hub.reader.readPage({ after, types: [EVENT_TYPES.replayed], limit: 1_000 });
    const last = page.at(-1);
    if (last === undefined) return all;
    all.push(...page.map((event) => JSON.parse(event.data.toString('utf8')) as MessageReplayed));
    after = last.position;
  }
}
