import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { CR, frameOf, FS, MllpFraming, VT, type MllpFrame } from '../../../src/inbound/mllp/framing.js';
import { growth } from '../../support/growth.js';

const MAX = 40;

/** What a connection gives, however it is cut: content, fault, whether it is answered. */
function read(chunks: readonly Buffer[], maxFrameBytes = MAX): string[] {
  const framing = new MllpFraming({ maxFrameBytes });
  const frames: MllpFrame[] = [];
  for (const chunk of chunks) frames.push(...framing.push(chunk));
  frames.push(...framing.end());
  return frames.map(
    ({ bytes, fault, answered }) =>
      `${fault?.code ?? 'OK'}${answered ? '' : ' (no answer)'} ${bytes.toString('latin1')}`,
  );
}
const whole = (text: string): string[] => read([Buffer.from(text, 'latin1')]);
const name = (text: string): string =>
  text.replaceAll('<', '\x0b').replaceAll('>', '\x1c\r').replaceAll('!', '\x1c').replaceAll(';', '\r');

test.each([
  ['<MSH|1>', ['OK MSH|1']],
  ['<MSH|1><MSH|2>', ['OK MSH|1', 'OK MSH|2']],
  ['<MSH|1;PID|1;>', ['OK MSH|1;PID|1;']],
  ['<>', ['OK ']],
  ['<;>', ['OK ;']],
  [';;  <a>;\n<b>;', ['OK a', 'OK b']],
  ['junk<a>', ['BYTES_OUTSIDE_FRAME (no answer) junk', 'OK a']],
  ['<a>junk', ['OK a', 'BYTES_OUTSIDE_FRAME (no answer) junk']],
  ['MSH|1><a>', ['FRAME_NOT_OPENED MSH|1', 'OK a']],
  ['><a>', ['OK a']],
  ['<a<b>', ['FRAME_NOT_CLOSED a', 'OK b']],
  ['<<a>', ['OK a']],
  ['<a', ['FRAME_NOT_CLOSED a']],
  ['<', []],
  ['<a!<b>', ['OK a', 'OK b']],
  ['<a!', ['OK a']],
  ['<a!b>', ['OK a!b']],
  ['<a!!>', ['OK a!!']],
  ['<a;<b;>', ['FRAME_NOT_CLOSED a;', 'OK b;']],
  [`<${'x'.repeat(MAX)}><a>`, [`OK ${'x'.repeat(MAX)}`, 'OK a']],
  [`<${'x'.repeat(MAX + 1)}><a>`, [`FRAME_TOO_LARGE ${'x'.repeat(MAX)}`, 'OK a']],
  [`<${'x'.repeat(MAX + 9)}<a>`, [`FRAME_TOO_LARGE ${'x'.repeat(MAX)}`, 'OK a']],
  [`${'x'.repeat(MAX * 2)}<a>`, [`BYTES_OUTSIDE_FRAME (no answer) ${'x'.repeat(MAX)}`, 'OK a']],
  [' '.repeat(MAX * 2) + '<a>', ['OK a']],
])('%s', (text, frames) => {
  expect(whole(name(text))).toEqual(frames.map(name));
});

describe('however the bytes are cut', () => {
  const piece = fc.constantFrom('\x0b', '\x1c', '\r', '\x1c\r', 'MSH|', '\n', ' ', 'x'.repeat(15), '\0', '\xff');
  const text = fc.array(piece, { maxLength: 30 }).map((pieces) => Buffer.from(pieces.join(''), 'latin1'));

  test('every single split gives the same frames', () => {
    fc.assert(
      fc.property(text, (bytes) => {
        const expected = read([bytes]);
        for (let at = 0; at <= bytes.length; at += 1)
          expect(read([bytes.subarray(0, at), bytes.subarray(at)])).toEqual(expected);
      }),
      { numRuns: 500 },
    );
  });

  test('any chunks, byte by byte too, give the same frames as a slow and obvious reading of the whole', () => {
    fc.assert(
      fc.property(text, fc.array(fc.nat(20), { maxLength: 40 }), (bytes, sizes) => {
        const chunks: Buffer[] = [];
        let at = 0;
        for (const size of sizes) {
          chunks.push(bytes.subarray(at, at + size));
          at += size;
        }
        chunks.push(bytes.subarray(at));
        const expected = obvious(bytes.toString('latin1'));
        expect(read(chunks)).toEqual(expected);
        expect(read(Array.from(bytes, (byte) => Buffer.of(byte)))).toEqual(expected);
      }),
      { numRuns: 1000 },
    );
  });

  test('frames of any content without VT and FS come back as they were, between any blanks', () => {
    const content = fc
      .uint8Array({ maxLength: MAX })
      .map((bytes) => Buffer.from(bytes.filter((byte) => byte !== VT && byte !== FS)));
    fc.assert(
      fc.property(
        fc.array(fc.tuple(content, fc.constantFrom('', '\r', '\n', '  '))),
        fc.integer({ min: 1, max: 50 }),
        (frames, size) => {
          const bytes = Buffer.concat(frames.flatMap(([one, gap]) => [frameOf(one), Buffer.from(gap)]));
          const chunks: Buffer[] = [];
          for (let at = 0; at < bytes.length; at += size) chunks.push(bytes.subarray(at, at + size));
          expect(read(chunks)).toEqual(frames.map(([one]) => `OK ${one.toString('latin1')}`));
        },
      ),
    );
  });
});

/** The rules once more, read over the whole text with regular expressions. */
function obvious(text: string): string[] {
  const frames: string[] = [];
  // Content and marks in turn. A mark is a start block, an end block, or the end; FS before VT, or at the end, is an end block without its CR.
  const tokens = [''];
  for (let at = 0; at < text.length; at += 1) {
    const next = text[at + 1];
    if (text[at] === '\x0b') tokens.push('\x0b', '');
    else if (text[at] === '\x1c' && (next === '\r' || next === '\x0b' || next === undefined)) {
      tokens.push('\x1c', '');
      if (next === '\r') at += 1;
    } else tokens[tokens.length - 1]! += text[at]!;
  }
  let opened = false;
  let content = '';
  const finish = (mark: string): void => {
    const tooLong = content.length > MAX;
    const kept = content.slice(0, MAX);
    const blank = Array.from(kept).every((character) => character <= ' ');
    if (tooLong) frames.push(opened ? `FRAME_TOO_LARGE ${kept}` : `BYTES_OUTSIDE_FRAME (no answer) ${kept}`);
    else if (mark.startsWith('\x1c')) {
      if (opened) frames.push(`OK ${kept}`);
      else if (!blank) frames.push(`FRAME_NOT_OPENED ${kept}`);
    } else if (opened && content !== '') frames.push(`FRAME_NOT_CLOSED ${kept}`);
    else if (!opened && !blank) frames.push(`BYTES_OUTSIDE_FRAME (no answer) ${kept}`);
    opened = mark === '\x0b';
    content = '';
  };
  tokens.forEach((token, index) => {
    if (index % 2 === 0) {
      content = token;
      // Blanks in front of what is outside a frame do not count.
      if (!opened) while (content !== '' && content[0]! <= ' ') content = content.slice(1);
    } else finish(token);
  });
  finish('');
  return frames;
}

test('a sender that leaves out the CR and waits is understood once it is silent', () => {
  const framing = new MllpFraming();
  expect(framing.push(Buffer.from('\x0bMSH|1\x1c'))).toEqual([]);
  expect(framing.isEndPending).toBe(true);
  expect(framing.settle().map(({ bytes }) => bytes.toString())).toEqual(['MSH|1']);
  expect(framing.push(Buffer.from('\r\x0bMSH|2\x1c\r')).map(({ bytes }) => bytes.toString())).toEqual(['MSH|2']);
  expect([framing.settle(), framing.end(), framing.isOpen]).toEqual([[], [], false]);
});

test('a large frame in tiny chunks takes linear time and no more memory than the limit', () => {
  const time = (size: number): number => {
    const started = performance.now();
    const framing = new MllpFraming({ maxFrameBytes: size });
    framing.push(Buffer.of(VT));
    const chunk = Buffer.from('xxxxxxxx');
    for (let sent = 0; sent < size; sent += chunk.length) framing.push(chunk);
    expect(framing.heldBytes).toBeLessThanOrEqual(size);
    expect(framing.push(Buffer.of(FS, CR))[0]!.bytes.length).toBe(size);
    return performance.now() - started;
  };
  time(100_000);
  expect(growth(time, 1_000_000)).toBeLessThan(10);
});

test('what follows a frame that is too large is not held', () => {
  const framing = new MllpFraming({ maxFrameBytes: 100 });
  framing.push(Buffer.of(VT));
  for (let round = 0; round < 1000; round += 1) framing.push(Buffer.alloc(1000, 0x78));
  expect(framing.heldBytes).toBe(0);
});
