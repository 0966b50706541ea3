import { afterEach, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { once } from 'node:events';
import { connect } from 'node:net';
import { readHl7 } from '../../../src/inbound/hl7/reader.js';
import { frameOf } from '../../../src/inbound/mllp/framing.js';
import {
  MllpServer,
  sharedBounds,
  type MllpServerOptions,
  type MllpSharedLimits,
} from '../../../src/inbound/mllp/server.js';
import type { Intake } from '../../../src/inbound/received.js';
import { builtInSource, type SourceConfiguration } from '../../../src/inbound/source.js';
import { AT, FakeIntake, framed, message, Sender } from './support.js';

let server: MllpServer | undefined;
let intake: FakeIntake;

interface Wishes {
  readonly intake?: Intake;
  readonly limits?: MllpServerOptions['limits'];
  readonly shared?: Partial<MllpSharedLimits>;
  readonly source?: Partial<SourceConfiguration>;
}

async function start(wishes: Wishes = {}): Promise<MllpServer> {
  intake = new FakeIntake();
  const source = { ...builtInSource('mllp'), ...wishes.source };
  server = await MllpServer.listen({
    host: '127.0.0.1',
    port: 0,
    intake: wishes.intake ?? intake,
    admit: () => source,
    shared: sharedBounds(wishes.shared),
    ...(wishes.limits === undefined ? {} : { limits: wishes.limits }),
  });
  return server;
}
afterEach(() => server?.stop());

describe('every frame gets one answer, in order', () => {
  test('frames one by one and in one write', async () => {
    const { port } = await start();
    const sender = await Sender.connect(port);
    sender.send(framed('1'));
    expect(await sender.until(1)).toEqual(['AA 1']);
    sender.send(framed('2') + framed('3'));
    expect(await sender.finish()).toEqual(['AA 1', 'AA 2', 'AA 3']);
    expect(intake.received.map(({ bytes }) => bytes.toString())).toEqual(['1', '2', '3'].map((id) => message(id)));
    expect(intake.received[0]).toMatchObject({
      transport: 'mllp',
      contentType: 'x-application/hl7-v2+er7',
      source: { id: 'mllp' },
    });
  });

  test.each([
    ['an empty frame', '\x0b\x1c\r', ['AR'], ['EMPTY_FRAME ']],
    ['a frame of garbage', '\x0b\x00\xff\xfe!\x1c\r', ['AR'], [' \x00\xff\xfe!']],
    ['a frame without MSH', '\x0bPID|1\x1c\r', ['AR'], [' PID|1']],
    ['bytes before the start block', `junk${framed('1')}`, ['AA 1'], ['BYTES_OUTSIDE_FRAME junk', ` ${message('1')}`]],
    [
      'a frame without start block',
      `${message('0')}\x1c\r${framed('1')}`,
      ['AR 0', 'AA 1'],
      [`FRAME_NOT_OPENED ${message('0')}`, ` ${message('1')}`],
    ],
    [
      'a frame without end block',
      `\x0b${message('0')}${framed('1')}`,
      ['AR 0', 'AA 1'],
      [`FRAME_NOT_CLOSED ${message('0')}`, ` ${message('1')}`],
    ],
    [
      'a frame cut off by the end',
      `${framed('1')}\x0bMSH|^~\\&|half`,
      ['AA 1', 'AR'],
      [` ${message('1')}`, 'FRAME_NOT_CLOSED MSH|^~\\&|half'],
    ],
    [
      'an end block without CR',
      `\x0b${message('0')}\x1c${framed('1')}`,
      ['AA 0', 'AA 1'],
      [` ${message('0')}`, ` ${message('1')}`],
    ],
    ['two start blocks', `\x0b${framed('1')}`, ['AA 1'], [` ${message('1')}`]],
    ['nothing', '', [], []],
  ])('%s', async (_name, bytes, answers, received) => {
    const { port } = await start();
    const sender = await Sender.connect(port);
    sender.send(bytes);
    expect(await sender.finish()).toEqual(answers);
    expect(intake.received.map((one) => `${one.fault?.code ?? ''} ${one.bytes.toString('latin1')}`)).toEqual(received);
  });

  test('a frame that is too large is kept in its first part and rejected, its neighbours are not', async () => {
    const { port } = await start({ source: { maxFrameBytes: 100_000 } });
    const sender = await Sender.connect(port);
    sender.send(framed('1'));
    sender.send(`\x0b${message('big')}${'NTE|1||x\r'.repeat(100_000)}\x1c\r${framed('3')}`);
    expect(await sender.finish()).toEqual(['AA 1', 'AR big', 'AA 3']);
    expect(intake.received[1]).toMatchObject({ fault: { code: 'FRAME_TOO_LARGE', byteOffset: 100_000 } });
    expect(intake.received[1]!.bytes.length).toBe(100_000);
  });

  test('a sender that leaves out the CR and waits gets its answer', async () => {
    const { port } = await start({ limits: { endBlockGraceMs: 20 } });
    const sender = await Sender.connect(port);
    sender.send(`\x0b${message('1')}\x1c`);
    expect(await sender.until(1)).toEqual(['AA 1']);
    sender.send(`\r${framed('2')}`);
    expect(await sender.finish()).toEqual(['AA 1', 'AA 2']);
  });

  test('answers keep the order of the frames, whatever is stored first', async () => {
    const order: (() => void)[] = [];
    const { port } = await start({
      intake: {
        async receive({ bytes }) {
          await new Promise<void>((resolve) => {
            order.push(resolve);
            if (order.length === 5) for (const open of order.reverse()) open();
          });
          return { status: 'accepted', messageId: bytes.toString(), position: 1n, recordedAt: AT, answer: 'AA' };
        },
      },
    });
    const sender = await Sender.connect(port);
    sender.send(['1', '2', '3', '4', '5'].map(framed).join(''));
    expect(await sender.finish()).toEqual(['AA 1', 'AA 2', 'AA 3', 'AA 4', 'AA 5']);
  });

  test('a batch is answered as a batch, and the frame behind it does not overtake it', async () => {
    const { port } = await start();
    const sender = await Sender.connect(port);
    const ids = Array.from({ length: 1500 }, (_, index) => `B${index}`);
    sender.send(`\x0bBHS|^~\\&|A\r${ids.map((id) => message(id)).join('')}BTS|1500\r\x1c\r${framed('after')}`);
    const answers = await sender.finish();
    expect(answers).toHaveLength(2);
    expect(answers[0]!.split(', ')).toEqual(ids.map((id) => `AA ${id}`));
    expect(sender.raw[0]!.toString().startsWith('BHS|')).toBe(true);
    expect(intake.received.map(({ bytes }) => readHl7(bytes).controlId)).toEqual([...ids, 'after']);
  });

  test('when nothing can be stored there is no positive answer, in either mode', async () => {
    const { port } = await start();
    intake.down = true;
    const sender = await Sender.connect(port);
    sender.send(`${framed('1')}\x0b${message('2', '|||AL|NE')}\x1c\r`);
    expect(await sender.until(2)).toEqual(['AE 1', 'CE 2']);
    expect(readHl7(sender.raw[0]!).segment('ERR')!.text(5)).toBe('LOG_UNAVAILABLE');
    intake.down = false;
    sender.send(framed('1'));
    expect(await sender.finish()).toEqual(['AE 1', 'CE 2', 'AA 1']);
    expect(server!.statistics).toMatchObject({ frames: 3, answers: 3, unavailable: 2, faults: 0 });
  });

  test('any frames in any chunks', async () => {
    const { port } = await start();
    const part = fc.oneof(
      fc.record({ text: fc.constant('message'), answer: fc.constant('AA') }),
      fc.constantFrom(
        { text: '\x0b\x1c\r', answer: 'AR' },
        { text: '\x0bgarbage\x1c\r', answer: 'AR' },
        { text: '\r\n', answer: undefined },
        { text: 'PID|1\x1c\r', answer: 'AR' },
      ),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(part, { maxLength: 12 }),
        fc.array(fc.integer({ min: 1, max: 60 }), { maxLength: 30 }),
        async (parts, sizes) => {
          const expected: string[] = [];
          const bytes = Buffer.from(
            parts
              .map(({ text, answer }, index) => {
                if (answer !== undefined) expected.push(text === 'message' ? `AA ${index}` : answer);
                return text === 'message' ? framed(`${index}`) : text;
              })
              .join(''),
            'latin1',
          );
          const sender = await Sender.connect(port);
          let at = 0;
          for (const size of sizes) {
            if (at >= bytes.length) break;
            sender.send(bytes.subarray(at, at + size));
            at += size;
            await new Promise(setImmediate);
          }
          sender.send(bytes.subarray(Math.min(at, bytes.length)));
          expect(await sender.finish()).toEqual(expected);
        },
      ),
      { numRuns: 60 },
    );
  });

  test('64 connections at once, each with its own answers', async () => {
    const { port } = await start();
    const all = await Promise.all(
      Array.from({ length: 64 }, async (_, index) => {
        const sender = await Sender.connect(port);
        const ids = Array.from({ length: 50 }, (_unused, number) => `${index}-${number}`);
        sender.send(ids.map(framed).join(''));
        return [await sender.finish(), ids.map((id) => `AA ${id}`)];
      }),
    );
    for (const [answers, expected] of all) expect(answers).toEqual(expected);
    expect(intake.received).toHaveLength(3200);
  });
});

describe('bounds', () => {
  test('only so many frames of a connection are on their way, the rest waits unread', async () => {
    const { port } = await start({ limits: { maxFramesInFlight: 4 } });
    const release = intake.hold();
    const sender = await Sender.connect(port);
    const ids = Array.from({ length: 5000 }, (_, index) => `${index}`);
    sender.send(ids.map(framed).join(''));
    await intake.until(() => intake.received.length === 4);
    await new Promise(setImmediate);
    expect(intake.received).toHaveLength(4);
    release();
    expect(await sender.finish()).toEqual(ids.map((id) => `AA ${id}`));
  });

  test('only so many bytes over all connections are on their way, but one frame always may be', async () => {
    const { port } = await start({ limits: { maxBytesInFlight: 1 }, shared: { maxBytesInFlight: 1 } });
    const release = intake.hold();
    const senders = await Promise.all(Array.from({ length: 3 }, () => Sender.connect(port)));
    for (const sender of senders) sender.send(framed('1') + framed('2'));
    await intake.until(() => intake.received.length === 1);
    await new Promise(setImmediate);
    expect(intake.received).toHaveLength(1);
    release();
    for (const sender of senders) expect(await sender.finish()).toEqual(['AA 1', 'AA 2']);
  });

  test('large frames beyond the bound come in one after another, and hold up nobody else', async () => {
    const { port } = await start({ shared: { maxBytesHeld: 200_000 } });
    const first = await Sender.connect(port);
    first.send(`${framed('small')}\x0b${message('1')}${'NTE|1||x\r'.repeat(50_000)}`);
    await first.until(1);
    const others = await Promise.all(['2', '3'].map(() => Sender.connect(port)));
    const large = Buffer.from(`\x0b${message('large')}${'NTE|1||x\r'.repeat(600_000)}\x1c\r`);
    for (const other of others) other.send(large);
    const quick = await Sender.connect(port);
    for (let round = 1; round <= 50; round += 1) {
      quick.send(framed(`${round}`));
      expect(await quick.until(round)).toHaveLength(round);
      expect(server!.statistics.bytesHeld).toBeLessThan(3_000_000);
    }
    first.send('\x1c\r');
    expect(await first.finish()).toEqual(['AA small', 'AA 1']);
    for (const other of others) expect(await other.finish()).toEqual(['AA large']);
    expect(server!.statistics.bytesHeld).toBe(0);
  });

  test('a peer that does not read its answers is not read from, and closed in the end', async () => {
    const { port } = await start({ limits: { stalledTimeoutMs: 300, maxFramesInFlight: 8 } });
    const sender = await Sender.connect(port);
    sender.socket.pause();
    const long = 'X'.repeat(100_000);
    let written = 0;
    let closed = false;
    sender.socket.on('close', () => (closed = true));
    while (!closed && written < 2000) {
      written += 1;
      if (!sender.socket.write(Buffer.from(framed(`${written}${long}`)))) {
        await Promise.race([once(sender.socket, 'drain'), once(sender.socket, 'close')]).catch(() => undefined);
      }
    }
    await sender.when(() => sender.ended);
    expect(intake.received.length).toBeLessThan(500);
    while (server!.statistics.connections > 0) await new Promise(setImmediate);
  });

  test('connections beyond the limit are closed, the others go on', async () => {
    const { port } = await start({ source: { maxConnections: 2 } });
    const first = await Sender.connect(port);
    const second = await Sender.connect(port);
    for (const [index, sender] of [first, second].entries()) {
      sender.send(framed(`${index}`));
      await sender.until(1);
    }
    const third = await Sender.connect(port);
    await third.when(() => third.ended);
    expect(third.answers).toEqual([]);
    first.send(framed('again'));
    expect(await first.until(2)).toEqual(['AA 0', 'AA again']);
    expect(server!.statistics.connectionsRefused).toBe(1);
  });

  test('a silent connection is closed', async () => {
    const { port } = await start({ source: { idleSeconds: 0.05 } });
    const idle = await Sender.connect(port);
    await idle.when(() => idle.ended);
    expect(intake.received).toEqual([]);
  });

  test('a connection silent in the middle of a frame is closed; what had come is kept', async () => {
    const { port } = await start({ limits: { stalledTimeoutMs: 60 } });
    const stalled = await Sender.connect(port);
    stalled.send(`\x0b${message('1')}`);
    expect(await stalled.until(1)).toEqual(['AR 1']);
    expect(intake.received[0]!.fault?.code).toBe('FRAME_NOT_CLOSED');
  });

  test('a silent sender is not closed while the hub is at work for it', async () => {
    const { port } = await start({ source: { idleSeconds: 0.3 } });
    const release = intake.hold();
    const sender = await Sender.connect(port);
    sender.send(framed('1'));
    await intake.until(() => intake.received.length === 1);
    // Silence for longer than the server allows otherwise.
    await new Promise<void>((resolve) => sender.socket.setTimeout(700, resolve));
    release();
    expect(await sender.until(1)).toEqual(['AA 1']);
  });
});

describe('stopping', () => {
  test('what was received whole is answered, what came in part is forgotten, nothing new is accepted', async () => {
    const { port } = await start();
    const release = intake.hold();
    const sender = await Sender.connect(port);
    sender.send(`${framed('1')}${framed('2')}\x0bMSH|^~\\&|half`);
    await intake.until(() => intake.received.length === 2);
    const stopped = server!.stop();
    const refused = connect({ port, host: '127.0.0.1' });
    await once(refused, 'error');
    sender.send(framed('late'));
    release();
    expect(await sender.finish()).toEqual(['AA 1', 'AA 2']);
    await stopped;
    expect(intake.received).toHaveLength(2);
  });

  test('idle connections do not hold the stop up, and it may be asked for twice', async () => {
    const { port } = await start();
    const sender = await Sender.connect(port);
    sender.send(framed('1'));
    await sender.until(1);
    await Promise.all([server!.stop(), server!.stop()]);
    await sender.when(() => sender.ended);
  });

  test('a stop waits only so long', async () => {
    const { port } = await start({ limits: { stopTimeoutMs: 50 } });
    const release = intake.hold();
    const sender = await Sender.connect(port);
    sender.send(framed('1'));
    await intake.until(() => intake.received.length === 1);
    await server!.stop();
    await sender.when(() => sender.ended);
    expect(sender.answers).toEqual([]);
    release();
  });

  test('a sender that is cut off in the middle costs nobody else anything', async () => {
    const { port } = await start();
    const good = await Sender.connect(port);
    const bad = await Sender.connect(port);
    bad.send(`${framed('1')}\x0bMSH|^~\\&|half`);
    await intake.until(() => intake.received.length === 1);
    bad.socket.resetAndDestroy();
    await intake.until(() => intake.received.length === 2);
    expect(intake.received[1]!.fault?.code).toBe('FRAME_NOT_CLOSED');
    good.send(framed('2'));
    expect(await good.finish()).toEqual(['AA 2']);
  });
});

test('a frame around an answer is one frame, whatever is in it', () => {
  expect(frameOf(Buffer.from('x'))).toEqual(Buffer.from('\x0bx\x1c\r'));
  expect(frameOf(Buffer.from('a\x1c\rb\x0bc\x1cd\x1c', 'latin1'))).toEqual(
    Buffer.from('\x0ba?\rb?c\x1cd?\x1c\r', 'latin1'),
  );
});

test('a control id that ends in FS comes back exactly, in one answer', async () => {
  const { port } = await start();
  const sender = await Sender.connect(port);
  sender.send(framed('odd\x1c') + framed('2'));
  expect(await sender.finish()).toEqual(['AA odd\x1c', 'AA 2']);
  expect(sender.raw[0]!.toString('latin1')).toContain('MSA|AA|odd\x1c|\r');
});
