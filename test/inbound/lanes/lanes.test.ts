import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Lanes, type LaneItem, type LaneLimits } from '../../../src/inbound/lanes/lanes.js';
import { orderKeys } from '../../../src/inbound/lanes/order-keys.js';
import type { ReceivedMessage } from '../../../src/inbound/received.js';
import { builtInSource, type SourceConfiguration } from '../../../src/inbound/source.js';

interface Item extends LaneItem {
  readonly number: number;
  readonly patient: string;
  readonly connection: string;
}

const connections = new Map<string, object>();
function channelOf(name: string): object {
  let channel = connections.get(name);
  if (channel === undefined) connections.set(name, (channel = { name }));
  return channel;
}

function oru(patient: string, bytes: number): Buffer {
  const head = `MSH|^~\\&|LAB|M|H|H|2026||ORU^R01|1|P|2.5\rPID|1||${patient}^^^M^MR||A^B\r`;
  return Buffer.from(head.padEnd(bytes, 'x'));
}

let counter = 0;
function item(
  source: string,
  options: { bytes?: number; patient?: string; connection?: string } & Partial<SourceConfiguration> = {},
): Item {
  const { bytes = 300, patient = `P${counter}`, connection = source, ...more } = options;
  counter += 1;
  const received: ReceivedMessage = {
    transport: 'mllp',
    source: { ...builtInSource('mllp'), ...more, id: source },
    channel: channelOf(connection),
    contentType: 'x-application/hl7-v2+er7',
    bytes: oru(patient, bytes),
  };
  return { received, number: counter, patient, connection };
}

function lanes(limits: Partial<LaneLimits> = {}): Lanes<Item> {
  return new Lanes<Item>({ quantum: 10_000, messageCost: 700, heavyBytes: 5_000, memoryBatches: 4, ...limits });
}

function push(into: Lanes<Item>, count: number, of: () => Item): void {
  for (let index = 0; index < count; index += 1) into.push(of());
}

/** How many of each source a batch holds. */
function shares(batch: readonly Item[]): Record<string, number> {
  const found: Record<string, number> = {};
  for (const { received } of batch) found[received.source.id] = (found[received.source.id] ?? 0) + 1;
  return found;
}

describe('a batch', () => {
  test('is as large as it may be where one source alone has anything to send, in the order of arrival', () => {
    const queue = lanes({ batchMessages: 1_000 });
    push(queue, 2_500, () => item('flood'));
    const batches = [queue.take(), queue.take(), queue.take(), queue.take()];
    expect(batches.map(({ length }) => length)).toEqual([1_000, 1_000, 500, 0]);
    const numbers = batches.flat().map(({ number }) => number);
    expect(numbers).toEqual([...numbers].sort((left, right) => left - right));
  });

  test('holds no more of a flood than its share where others send too', () => {
    const queue = lanes();
    push(queue, 5_000, () => item('flood'));
    queue.push(item('ward'));
    // 10,000 of cost at 1,000 each.
    expect(shares(queue.take())).toEqual({ flood: 10, ward: 1 });
  });

  test('stays small for a while after the others have fallen silent, and grows again', () => {
    const queue = lanes({ memoryBatches: 4 });
    push(queue, 5_000, () => item('flood'));
    queue.push(item('ward'));
    expect(Array.from({ length: 8 }, () => queue.take().length)).toEqual([11, 10, 10, 10, 10, 1_000, 1_000, 1_000]);
  });

  test('gives every source the same cost, whatever the size of its messages', () => {
    const queue = lanes();
    push(queue, 1_000, () => item('small', { bytes: 300 }));
    push(queue, 1_000, () => item('large', { bytes: 4_300 }));
    const taken = Array.from({ length: 50 }, () => queue.take()).flat();
    expect(shares(taken)).toEqual({ small: 500, large: 100 });
  });

  test('lets a message that costs more than a share in when its lane has saved for it, and others go meanwhile', () => {
    const queue = lanes();
    queue.push(item('documents', { bytes: 49_300 }));
    push(queue, 100, () => item('ward'));
    const batches = Array.from({ length: 5 }, () => shares(queue.take()));
    expect(batches).toEqual([{ ward: 10 }, { ward: 10 }, { ward: 10 }, { ward: 10 }, { documents: 1, ward: 10 }]);
  });

  test('is never empty while something may go, however large it is', () => {
    const queue = lanes();
    push(queue, 3, () => item('documents', { bytes: 1_000_000 }));
    queue.push(item('ward'));
    const batches = Array.from({ length: 4 }, () => shares(queue.take()));
    expect(batches).toEqual([{ ward: 1 }, { documents: 1 }, { documents: 1 }, { documents: 1 }]);
  });

  test('of a full round goes on where the last one ended, so that no source is passed over', () => {
    const queue = lanes({ batchMessages: 7, quantum: 1_000 });
    for (let index = 0; index < 10; index += 1) push(queue, 7, () => item(`s${index}`));
    const taken = Array.from({ length: 10 }, () => queue.take()).flat();
    expect(Object.values(shares(taken))).toEqual(Array.from({ length: 10 }, () => 7));
    expect(queue.size).toBe(0);
    for (let round = 0; round < 7; round += 1) {
      expect(new Set(taken.slice(round * 10, round * 10 + 10).map(({ received }) => received.source.id)).size).toBe(10);
    }
  });
});

test('heavy messages of a source do not hold up its light ones from other connections', () => {
  const queue = lanes();
  push(queue, 100, () => item('lab', { bytes: 9_000, connection: 'reports' }));
  push(queue, 100, () => item('lab', { bytes: 300, connection: 'results' }));
  const first = queue.take();
  expect(first.map(({ connection }) => connection)).toEqual([
    'reports',
    ...Array.from({ length: 10 }, () => 'results'),
  ]);
});

test('what is about the same person as something heavy that waits, or came by the same connection, stays behind it', () => {
  const queue = lanes();
  push(queue, 50, () => item('lab', { bytes: 9_000, connection: 'reports' }));
  queue.push(item('lab', { bytes: 9_000, patient: 'P', connection: 'reports' }));
  const samePerson = item('lab', { patient: 'P', connection: 'a' });
  const behindThat = item('lab', { patient: 'Q', connection: 'a' });
  const free = item('lab', { patient: 'R', connection: 'b' });
  for (const one of [samePerson, behindThat, free]) queue.push(one);
  const order: Item[] = [];
  while (queue.size > 0) order.push(...queue.take());
  const place = (one: Item): number => order.indexOf(one);
  expect(place(free)).toBeLessThan(3);
  expect(place(samePerson)).toBe(52);
  expect(place(behindThat)).toBe(53);
});

test('what may not overtake a slow message that was taken waits until that is passed, and everything else flows', () => {
  const queue = lanes({ slowBytes: 50_000 });
  const slow = item('lab', { bytes: 60_000, patient: 'P', connection: 'reports' });
  queue.push(slow);
  expect(queue.take()).toEqual([slow]);
  const samePerson = item('lab', { patient: 'P', connection: 'a' });
  const sameConnection = item('lab', { patient: 'Q', connection: 'reports' });
  const [free, elsewhere] = [item('lab', { patient: 'R', connection: 'b' }), item('ward', { patient: 'P' })];
  for (const one of [samePerson, sameConnection, free, elsewhere]) queue.push(one);
  expect(new Set(queue.take())).toEqual(new Set([free, elsewhere]));
  expect(queue.take()).toEqual([]);
  queue.passed(slow.received);
  expect(queue.take()).toEqual([samePerson, sameConnection]);
  // One that fails is done without having been passed.
  const failing = item('lab', { bytes: 60_000, patient: 'P', connection: 'reports' });
  queue.push(failing);
  expect(queue.take()).toEqual([failing]);
  queue.push(samePerson);
  expect(queue.take()).toEqual([]);
  queue.done(failing);
  expect(queue.take()).toEqual([samePerson]);
});

test('a source has no more messages under way than it has workers', () => {
  const queue = lanes();
  push(queue, 5, () => item('slow', { workers: 2 }));
  const first = queue.take();
  expect(first).toHaveLength(2);
  expect(queue.take()).toEqual([]);
  queue.push(item('ward'));
  expect(shares(queue.take())).toEqual({ ward: 1 });
  for (const one of first) queue.done(one);
  expect(queue.take()).toHaveLength(2);
  expect(queue.size).toBe(1);
});

test('whatever comes in whatever order: nothing is lost or doubled, and the order of every connection and every person of a source is kept', () => {
  const arrival = fc.record({
    source: fc.constantFrom('a', 'b', 'c'),
    connection: fc.integer({ min: 0, max: 3 }),
    patient: fc.integer({ min: 0, max: 5 }),
    bytes: fc.constantFrom(200, 4_000, 6_000, 60_000),
    workers: fc.constantFrom(2, 1_000),
    takes: fc.integer({ min: 0, max: 2 }),
  });
  fc.assert(
    fc.property(fc.array(arrival, { maxLength: 80 }), (arrivals) => {
      const queue = lanes({ batchMessages: 5, slowBytes: 50_000 });
      const sent: Item[] = [];
      const taken: Item[] = [];
      const aside: Item[] = [];
      const underWay: Item[] = [];
      const take = (): void => {
        const batch = queue.take();
        for (const one of batch) (one.received.bytes.length > 50_000 ? aside : taken).push(one);
        underWay.push(...batch.filter((one) => !aside.includes(one)));
        // Slow ones come back in any order: here the last first.
        while (aside.length > 2 || (batch.length === 0 && aside.length > 0)) {
          const back = aside.pop() as Item;
          queue.passed(back.received);
          taken.push(back);
          underWay.push(back);
        }
        if (underWay.length > 6 || batch.length === 0) for (const one of underWay.splice(0)) queue.done(one);
      };
      for (const { source, connection, patient, bytes, workers, takes } of arrivals) {
        const one = item(source, { bytes, workers, patient: `P${patient}`, connection: `${source}${connection}` });
        sent.push(one);
        queue.push(one);
        for (let index = 0; index < takes; index += 1) take();
      }
      for (let idle = 0; (queue.size > 0 || aside.length > 0) && idle < 1_000; idle += 1) take();
      expect(taken).toHaveLength(sent.length);
      expect(new Set(taken)).toEqual(new Set(sent));
      for (const key of [(one: Item) => one.connection, (one: Item) => `${one.received.source.id} ${one.patient}`]) {
        const last = new Map<string, number>();
        for (const one of taken) {
          expect(one.number).toBeGreaterThan(last.get(key(one)) ?? 0);
          last.set(key(one), one.number);
        }
      }
    }),
    { numRuns: 300, seed: 20261121 },
  );
});

test('a thousand sources that send and one that floods: each gets its share of every round', () => {
  const queue = lanes({ quantum: 2_000 });
  push(queue, 20_000, () => item('flood'));
  for (let index = 0; index < 1_000; index += 1) push(queue, 3, () => item(`s${index}`));
  const taken: Item[] = [];
  while (taken.length < 3 * 1_000 + 4) taken.push(...queue.take());
  const got = shares(taken);
  expect(got['flood']).toBeLessThanOrEqual(10);
  expect(Object.keys(got)).toHaveLength(1_001);
});

describe('what keeps messages in order is read from the bytes', () => {
  const keysOf = (text: string): unknown[] =>
    orderKeys({ ...item('x').received, bytes: Buffer.from(text.replaceAll('\n', '\r')) }).slice(1);

  test.each<[string, string, string[]]>([
    ['every number of PID-3', 'MSH|^~\\&|\nPID|1|old|12^^^A~34^^^B||X', ['12', '34']],
    ['PID-2 of an old message', 'MSH|^~\\&|\nPID|1|77||X', ['77']],
    ['both persons of a merge', 'MSH|^~\\&|\nPID|1||12^^^A\nMRG|34^^^A', ['12', '34']],
    ['other separators', 'MSH*:;\\&*\nPID*1**12:::A;34:::B*', ['12', '34']],
    ['a last field', 'MSH|^~\\&|\nPID|1||12', ['12']],
    ['PID inside another segment is none', 'MSH|^~\\&|\nNTE|1|PID|1||12', ['nobody']],
    ['nobody', 'MSH|^~\\&|\nEVN|A01', ['nobody']],
  ])('%s', (_name, text, expected) => {
    expect(keysOf(text)).toEqual(expected);
  });

  test('never throws on any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        orderKeys({ ...item('x').received, bytes: Buffer.concat([Buffer.from('MSH|^~\\&|\rPID'), bytes]) });
      }),
    );
  });
});
