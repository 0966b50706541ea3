/** Peers that misbehave: the others are served meanwhile. Progress is counted in messages, never in seconds. */
import { afterEach, describe, expect, test } from '@jest/globals';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { Budget, Holdings } from '../../../src/inbound/mllp/budget.js';
import { LogThrottle } from '../../../src/inbound/mllp/log-throttle.js';
import {
  MllpServer,
  sharedBounds,
  type MllpServerOptions,
  type MllpSharedLimits,
} from '../../../src/inbound/mllp/server.js';
import type { Intake } from '../../../src/inbound/received.js';
import { builtInSource } from '../../../src/inbound/source.js';
import { AT, FakeIntake, framed, message, Sender } from './support.js';

let server: MllpServer | undefined;
let intake: FakeIntake;
const open: Socket[] = [];

async function start(
  limits: MllpServerOptions['limits'] = {},
  shared: Partial<MllpSharedLimits> = {},
  given?: Intake,
): Promise<MllpServer> {
  intake = new FakeIntake();
  const source = { ...builtInSource('mllp'), maxConnections: 20_000 };
  server = await MllpServer.listen({
    host: '127.0.0.1',
    port: 0,
    intake: given ?? intake,
    admit: () => source,
    limits,
    shared: sharedBounds(shared),
  });
  return server;
}
afterEach(async () => {
  for (const socket of open.splice(0)) socket.destroy();
  await server?.stop();
});

async function peer(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => undefined);
  open.push(socket);
  await once(socket, 'connect');
  return socket;
}

/** A good sender gets so many answers, each to the frame before it. */
async function served(port: number, rounds: number): Promise<void> {
  const sender = await Sender.connect(port);
  for (let round = 1; round <= rounds; round += 1) {
    sender.send(framed(`${round}`));
    expect(await sender.until(round)).toHaveLength(round);
  }
  expect(await sender.finish()).toEqual(Array.from({ length: rounds }, (_, index) => `AA ${index + 1}`));
}

const IDLE = 5_000;

test(`${IDLE} idle connections hold up nobody, and all of them still work`, async () => {
  const { port } = await start();
  const idle: Sender[] = [];
  while (idle.length < IDLE) {
    idle.push(...(await Promise.all(Array.from({ length: 250 }, () => Sender.connect(port)))));
  }
  while (server!.statistics.connections < IDLE) await new Promise(setImmediate);
  await served(port, 100);
  expect(server!.statistics.bytesHeld).toBe(0);
  for (const [index, sender] of idle.entries()) if (index % 50 === 0) sender.send(framed(`${index}`));
  for (const [index, sender] of idle.entries()) {
    if (index % 50 === 0) expect(await sender.until(1)).toEqual([`AA ${index}`]);
    sender.socket.destroy();
  }
});

test('peers that send a byte now and then, and peers that never read, hold up nobody', async () => {
  const { port } = await start({ maxFramesInFlight: 8 });
  const slow = await Promise.all(Array.from({ length: 20 }, () => peer(port)));
  const deaf = await Promise.all(Array.from({ length: 20 }, () => peer(port)));
  const wholes = Buffer.from(
    Array.from({ length: 400 }, (_, index) => framed(`${index}${'X'.repeat(2_000)}`)).join(''),
    'latin1',
  );
  for (const socket of deaf) {
    socket.pause();
    socket.write(wholes);
  }
  const bytes = Buffer.from(framed('slow'), 'latin1');
  const answers: Promise<unknown>[] = slow.map((socket) => once(socket, 'data'));
  const sender = await Sender.connect(port);
  for (let at = 0; at < bytes.length; at += 1) {
    for (const socket of slow) socket.write(bytes.subarray(at, at + 1));
    sender.send(framed(`${at}`));
    expect(await sender.until(at + 1)).toHaveLength(at + 1);
  }
  // Byte by byte is a frame all the same.
  for (const answer of await Promise.all(answers)) expect(String(answer)).toContain('MSA|AA|slow');
  await served(port, 50);
});

describe('a log that stalls', () => {
  /** Event loop turns and round trips of a good connection elsewhere, until nothing more is accepted. */
  async function settled(sockets: readonly Socket[], elsewhere: Sender): Promise<number> {
    const sent = (): number => sockets.reduce((sum, socket) => sum + socket.bytesWritten - socket.writableLength, 0);
    let [before, same, answers] = [-1, 0, 0];
    while (same < 20) {
      elsewhere.send(framed('tick'));
      await elsewhere.until((answers += 1));
      const now = sent();
      same = now === before ? same + 1 : 0;
      before = now;
    }
    return before;
  }

  test('slows its senders down: what the hub has taken in stops growing, and all of it is answered when the log goes on', async () => {
    const tickers = await MllpServer.listen({
      host: '127.0.0.1',
      port: 0,
      intake: new FakeIntake(),
      admit: () => builtInSource('mllp'),
    });
    try {
      const most = { maxBytesInFlight: 4 * 1024 * 1024, maxBytesHeld: 4 * 1024 * 1024 };
      let open_ = (): void => undefined;
      const gate = new Promise<void>((resolve) => (open_ = resolve));
      let [inside, mostInside] = [0, 0];
      const stalled: Intake = {
        async receive({ bytes }) {
          inside += bytes.length;
          mostInside = Math.max(mostInside, inside);
          await gate;
          inside -= bytes.length;
          return { status: 'accepted', messageId: 'm', position: 1n, recordedAt: AT, answer: 'AA' };
        },
      };
      const { port } = await start({}, most, stalled);
      const frame = Buffer.from(`\x0b${message('1')}NTE|1||${'x'.repeat(20_000)}\r\x1c\r`, 'latin1');
      const frames = 1_200;
      const senders = await Promise.all(Array.from({ length: 4 }, () => peer(port)));
      const counts = senders.map(() => 0);
      senders.forEach((socket, index) =>
        socket.on('data', (chunk: Buffer) => {
          for (let at = chunk.indexOf(0x1c); at >= 0; at = chunk.indexOf(0x1c, at + 1)) counts[index]! += 1;
        }),
      );
      for (const socket of senders) for (let count = 0; count < frames; count += 1) socket.write(frame);
      const elsewhere = await Sender.connect(tickers.port);
      const taken = await settled(senders, elsewhere);
      // Of the 96 MB that are to be sent the hub holds what its bounds say; the rest waits in the senders (and in sockets' buffers).
      expect(mostInside).toBeLessThanOrEqual(most.maxBytesInFlight);
      expect(server!.statistics.bytesHeld).toBeLessThan(most.maxBytesHeld);
      expect(taken).toBeLessThan((frame.length * frames * senders.length) / 2);
      open_();
      while (counts.some((count) => count < frames)) await new Promise(setImmediate);
      expect(counts).toEqual(senders.map(() => frames));
    } finally {
      await tickers.stop();
    }
  });
});

describe('room that is shared', () => {
  test('is given in the order of asking: a large frame is not passed by for ever', () => {
    const budget = new Budget(100);
    const got: string[] = [];
    const ask = (name: string, bytes: number): (() => void) => {
      const again = (): void => {
        if (budget.take(bytes, again)) got.push(name);
      };
      return again;
    };
    const small = ask('small', 60);
    small();
    ask('large', 90)();
    ask('next', 10)();
    ask('last', 10)();
    expect(got).toEqual(['small']);
    budget.giveBack(60);
    expect(got).toEqual(['small', 'large', 'next']);
    budget.giveBack(90);
    expect(got).toEqual(['small', 'large', 'next', 'last']);
  });

  test('is not kept for who no longer wants it, or is gone', () => {
    const budget = new Budget(100);
    const got: string[] = [];
    let wants = true;
    const first = (): void => {
      if (wants && budget.take(50, first)) got.push('first');
    };
    const gone = (): void => {
      if (budget.take(50, gone)) got.push('gone');
    };
    const second = (): void => {
      if (budget.take(50, second)) got.push('second');
    };
    expect(budget.take(100, () => undefined)).toBe(true);
    first();
    gone();
    second();
    wants = false;
    budget.leave(gone);
    budget.giveBack(100);
    expect(got).toEqual(['second']);
  });

  test('is bounded in frames as well', () => {
    const budget = new Budget(100, 2);
    const got: string[] = [];
    const third = (): void => {
      if (budget.take(1, third)) got.push('third');
    };
    expect([budget.take(1, () => undefined), budget.take(1, () => undefined)]).toEqual([true, true]);
    third();
    expect(got).toEqual([]);
    budget.giveBack(1);
    expect(got).toEqual(['third']);
  });

  test('one frame may always be on its way, however large', () => {
    const budget = new Budget(10);
    expect(budget.take(1_000, () => undefined)).toBe(true);
    expect(budget.take(1, () => undefined)).toBe(false);
  });

  test('one that sends a large frame slowly loses its turn to those that wait', async () => {
    const holdings = new Holdings(300_000, 5);
    const turns: string[] = [];
    const holder = (name: string): { advance(): void } => ({ advance: () => turns.push(name) });
    const [slow, fast] = [holder('slow'), holder('fast')];
    holdings.set(slow, 200_000);
    holdings.set(fast, 200_000);
    expect([holdings.mayRead(slow), holdings.mayRead(fast)]).toEqual([true, false]);
    while (!holdings.mayRead(fast)) await new Promise(setImmediate);
    expect(turns).toContain('fast');
    expect(holdings.mayRead(slow)).toBe(false);
    holdings.set(fast, 0);
    expect(holdings.mayRead(slow)).toBe(true);
    holdings.set(slow, 0);
    expect(holdings.total).toBe(0);
  });

  test('over sockets: a large frame that stops in the middle does not keep another from coming in', async () => {
    const { port } = await start({}, { maxBytesHeld: 200_000, turnMs: 5 });
    const stuck = await Sender.connect(port);
    stuck.send(`\x0b${message('stuck')}${'NTE|1||x\r'.repeat(50_000)}`);
    while (server!.statistics.bytesHeld < 200_000) await new Promise(setImmediate);
    const other = await Sender.connect(port);
    other.send(`\x0b${message('other')}${'NTE|1||x\r'.repeat(200_000)}\x1c\r`);
    expect(await other.finish()).toEqual(['AA other']);
    stuck.send('\x1c\r');
    expect(await stuck.finish()).toEqual(['AA stuck']);
  });
});

test('what peers do cannot fill the log file: the same line is left out after a while, and counted', () => {
  const lines: [Readonly<Record<string, unknown>>, string][] = [];
  let time = 0;
  const throttle = new LogThrottle({ warn: (fields, text) => lines.push([fields, text]) }, () => time);
  for (let count = 0; count < 1_000; count += 1) throttle.warn({ count }, 'refused');
  throttle.warn({}, 'another');
  expect(lines).toHaveLength(21);
  time = 60_000;
  throttle.warn({}, 'refused');
  expect(lines.slice(21)).toEqual([
    [{ count: 980 }, 'left out before: refused'],
    [{}, 'refused'],
  ]);
});
