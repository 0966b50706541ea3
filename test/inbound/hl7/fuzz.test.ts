/**
 * Frames of real senders and of the project's own, damaged in every way that a wire, an engine or a hand does: read, grouped, checked, answered
 * and mapped. Nothing throws, nothing is lost or repeated, work stays in proportion to the length. 1,000,000 frames at ANAMNESIS_TEST_SCALE=full.
 */
import { expect, test } from '@jest/globals';
import iconv from 'iconv-lite';
import { compileConformance } from '../../../src/inbound/conformance/compile.js';
import { buildAck } from '../../../src/inbound/hl7/ack.js';
import { splitMessages } from '../../../src/inbound/hl7/batch.js';
import { charsetNamed } from '../../../src/inbound/hl7/charset.js';
import { structureOf } from '../../../src/inbound/hl7/groups.js';
import type { Hl7Message } from '../../../src/inbound/hl7/message.js';
import { readHl7 } from '../../../src/inbound/hl7/reader.js';
import { readReceived } from '../../../src/inbound/reading.js';
import { builtInSource } from '../../../src/inbound/source.js';
import { mapMessage } from '../../../src/mapping/map.js';
import { sharedData, sharedFiles } from '../../support/shared-data.js';
import { workOf } from '../../support/work.js';

const FULL = process.env['ANAMNESIS_TEST_SCALE'] === 'full';
const FRAMES = FULL ? 1_000_000 : 4_000;
const SEED = 20_261_121;
/** Planted into every frame; nothing that the hub says of a frame may hold it. */
const CANARY = 'Xq7CANARYz';
/** Longer ones add nothing but time. */
const LONGEST_FRAME_BYTES = 20_000;

/** Numbers from 0 to below 1, the same for a seed on every machine (mulberry32). */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function fixture(charset: string, name: string, encoding: string, mark = ''): Buffer {
  return iconv.encode(
    `${mark}MSH|^~\\&|A|B|C|D|20260301||ORU^R01^ORU_R01|${CANARY}|P|2.5||||||${charset}\rPID|1||${CANARY}^^^M&1.2&ISO^MR~2||${name}^${CANARY}\\T\\x||19840229|F\rPV1|1|I\rOBR|1|P|F|C^T^LN|||20260301\rOBX|1|FT|C^T^LN||\\H\\${CANARY}\\N\\\\.br\\\\X41C3A9\\^""~|kg|||||F\rNTE|1||${name}\rZPI|1|\\Zx\\|\\C2842\\\r`,
    encoding,
  );
}

const FIXTURES: readonly Buffer[] = [
  fixture('UNICODE UTF-8', 'Zoë', 'utf8'),
  fixture('', 'Zoë', 'utf8', '\uFEFF'),
  fixture('8859/1', 'Zoë', 'latin1'),
  fixture('8859/7', 'Ωμέγα', 'iso-8859-7'),
  fixture('8859/15', 'Œuvre €', 'iso-8859-15'),
  fixture('windows-1252', '“Zoë”', 'windows-1252'),
  fixture('TIS-620', 'สมชาย', 'tis620'),
  fixture('Shift_JIS', '表示ポ', 'shift_jis'),
  fixture('GB 18030-2000', '王㐀', 'gb18030'),
  fixture('KS X 1001', '김철수', 'euc-kr'),
  fixture('BIG-5', '許功蓋', 'big5'),
  fixture('UNICODE UTF-16', 'Zoë 王', 'utf16le', '\uFEFF'),
  fixture('UNICODE UTF-16', 'Zoë 王', 'utf16be'),
  fixture('UNICODE UTF-32', 'Zoë 王', 'utf-32le', '\uFEFF'),
  fixture('~ISO IR87', '\x1b$B;3ED\x1b(B', 'latin1'),
  fixture('8859/1~8859/5', 'Zoë \x1b-L\xb0\xd1', 'latin1'),
  Buffer.from('MSH$%*!@$A$B$$$2026$$ADT%A08$77$P$2.3\rPID$1$$1%%%A@B%MR*2$$X!S!Y', 'latin1'),
];

const SETS = [
  '8859/1',
  'UNICODE UTF-8',
  'UNICODE UTF-16',
  'Shift_JIS',
  '~ISO IR87',
  'GB 18030-2000',
  'KS X 1001',
  'ASCII',
  'x',
  '8859/2~ISO IR87',
];
const PIECES = [
  '|',
  '^',
  '~',
  '\\',
  '&',
  '""',
  '\r',
  '\n',
  '\r\n',
  '\\F',
  '\\X4',
  '\\X41\\',
  '\\.sp9999\\',
  '\\Z',
  'MSH|',
  'MSH',
  'PID|',
  'OBX|',
  'ZZZ|',
  'BHS|',
  'FHS|',
  '\x0b',
  '\x1c',
  '\x1b$B',
  '\x1b-L',
  '\0',
  '\xff',
  '\xc3',
  '\xe2\x82',
  '\ufeff',
  '\u8868',
  '9'.repeat(40),
  '-',
  '20261399',
  '|'.repeat(60),
  '~'.repeat(300),
].map((piece) => Buffer.from(piece, /[\x80-\xff]/.test(piece) && !/[^\0-\xff]/.test(piece) ? 'latin1' : 'utf8'));

/** One damage; gives other bytes. */
function damage(bytes: Buffer, next: () => number, corpus: readonly Buffer[]): Buffer {
  const at = Math.floor(next() * (bytes.length + 1));
  const some = Math.floor(next() ** 3 * 60);
  switch (Math.floor(next() * 9)) {
    case 0: {
      const flipped = Buffer.from(bytes);
      if (at < flipped.length) flipped[at] = flipped[at]! ^ (1 << Math.floor(next() * 8));
      return flipped;
    }
    case 1:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + some)]);
    case 2:
      return bytes.subarray(0, at);
    case 3: {
      const other = corpus[Math.floor(next() * corpus.length)]!;
      return Buffer.concat([bytes.subarray(0, at), other.subarray(Math.floor(next() * other.length))]);
    }
    case 4: {
      const from = Math.floor(next() * bytes.length);
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(from, from + some), bytes.subarray(at)]);
    }
    case 5: {
      // Another character in the place of a delimiter, everywhere or in the header only.
      const [from, to] = [0, 1].map(() => '|^~\\&\r#$'.charCodeAt(Math.floor(next() * 8)));
      const end = next() < 0.5 ? Math.min(bytes.length, 9) : bytes.length;
      const changed = Buffer.from(bytes);
      for (let place = 0; place < end; place += 1) if (changed[place] === from) changed[place] = to!;
      return changed;
    }
    case 6: {
      const text = bytes.toString('latin1');
      const end = text.search(/[\r\n]/);
      const fields = (end < 0 ? text : text.slice(0, end)).split('|');
      fields[17] = SETS[Math.floor(next() * SETS.length)]!;
      return Buffer.from(
        Array.from(fields, (field) => field ?? '').join('|') + (end < 0 ? '' : text.slice(end)),
        'latin1',
      );
    }
    default: {
      const piece = PIECES[Math.floor(next() * PIECES.length)]!;
      return Buffer.concat([bytes.subarray(0, at), piece, bytes.subarray(at + (next() < 0.5 ? piece.length : 0))]);
    }
  }
}

/** Everything a mapping could ask. */
function readAll(message: Hl7Message): void {
  for (const segment of message.segments) {
    for (let field = 1; field <= segment.fieldCount; field += 1) {
      segment.rawField(field);
      const repetitions = segment.repetitions(field);
      for (let repetition = 1; repetition <= repetitions; repetition += 1) {
        const components = segment.components(field, repetition);
        for (let component = 1; component <= components; component += 1) {
          const count = segment.subcomponents(field, repetition, component);
          for (let part = 1; part <= count; part += 1) {
            segment.value(field, repetition, component, part);
            segment.bytes(field, repetition, component, part);
          }
        }
      }
    }
  }
}

/** Every field stands in the bytes where the reader says, and nothing between two of them but the separator. */
function expectSameBytes(message: Hl7Message): void {
  const charset = charsetNamed(message.charset)!;
  if (!charset.delimitsBytes || message.separators.field.charCodeAt(0) > 0x7f) return;
  const { bytes, separators } = message;
  for (const segment of message.segments) {
    const header = ['MSH', 'FHS', 'BHS'].includes(segment.name);
    const first = header ? 2 : 1;
    let at = segment.byteOffset + 3;
    for (let field = first; field <= segment.fieldCount; field += 1) {
      if (bytes[at] !== separators.field.charCodeAt(0)) throw new Error('a separator is not where it should be');
      at += 1;
      if (segment.fieldOffset(field) !== at) throw new Error('a field is not where it should be');
      let end = bytes.indexOf(separators.field, at, 'latin1');
      const last = segment.fieldOffset(segment.fieldCount + 1);
      if (end < 0 || end > last) end = last;
      if (charset.decode(bytes.subarray(at, end)) !== segment.rawField(field))
        throw new Error('a field is not what was sent');
      at = end;
    }
  }
}

const RULES = compileConformance([
  { path: 'PID', required: true },
  { path: 'PID-3', required: true, type: 'CX', max: 3 },
  { path: 'PID-5', type: 'XPN', maxLength: 20 },
  { path: 'PID-7', type: 'TS' },
  { path: 'PID-8', table: '0001' },
  { path: 'OBX-5', type: 'VARIES' },
  { path: 'OBX-11', required: true, table: '0085' },
]);

const CONTEXT = {
  sourceRecordId: '11111111-1111-4111-8111-111111111111',
  records: {},
  timeZone: 'Europe/Vienna',
  recordedAt: '2026-11-20T12:00:00.000000Z',
  messageId: '33333333-3333-8333-8333-333333333333',
  defaultAuthority: 'fuzz',
} as const;

/** What the hub does with a frame; everything it says of it in words. */
function handle(bytes: Buffer, mapped: boolean): string {
  const said: unknown[] = [];
  const split = splitMessages(bytes, { charset: 'UTF-8' });
  said.push(split.warnings);
  for (const { bytes: one } of split.messages) {
    const message = readHl7(one);
    readAll(message);
    expectSameBytes(message);
    for (const warning of message.warnings) {
      if (!(warning.byteOffset >= 0 && warning.byteOffset <= one.length))
        throw new Error(`${warning.code}: a place outside`);
    }
    const structure = structureOf(message);
    if (structure !== undefined && structure.root.segments().length !== message.segments.length) {
      throw new Error('a segment is lost');
    }
    const problems = RULES(message);
    const read = readReceived({
      transport: 'mllp',
      source: builtInSource('mllp'),
      contentType: 'x-application/hl7-v2+er7',
      bytes: one,
      hl7: message,
    });
    said.push(message.warnings, problems, read.warnings, read.problem, read.messageType, read.messageVersion);
    const answer = buildAck(message, {
      code: 'AE',
      problem: read.problem ?? { code: 'READER_FAILED' },
      messageId: CONTEXT.messageId,
      recordedAt: CONTEXT.recordedAt,
    });
    if (answer.length === 0) throw new Error('no answer');
    if (mapped) {
      const facts = mapMessage({ kind: 'hl7v2', message }, CONTEXT);
      said.push(facts.unmapped);
    }
  }
  return JSON.stringify(said);
}

function corpusOf(): Buffer[] {
  const corpus = [...FIXTURES];
  if (sharedData() !== undefined) {
    for (const { bytes } of sharedFiles('messages', ['.hl7'])) {
      if (bytes.length <= LONGEST_FRAME_BYTES) corpus.push(plant(bytes));
    }
  }
  return corpus;
}

/** The canary in every field that is long enough to be a name. */
function plant(bytes: Buffer): Buffer {
  const text = bytes.toString('latin1');
  const end = text.search(/[\r\n]/);
  if (end < 0) return bytes;
  return Buffer.from(
    text.slice(0, end) + text.slice(end).replaceAll(/\|[A-Za-z ]{4,}(?=[|^~])/g, `|${CANARY}`),
    'latin1',
  );
}

test(`${FRAMES} damaged frames: none throws, none is lost in part, none is quoted, none costs more than its length`, () => {
  const corpus = corpusOf();
  const next = random(SEED);
  let longest = 0;
  for (let frame = 0; frame < FRAMES; frame += 1) {
    let bytes = corpus[Math.floor(next() * corpus.length)]!;
    const damages = 1 + Math.floor(next() ** 2 * 6);
    for (let count = 0; count < damages; count += 1) bytes = damage(bytes, next, corpus);
    if (bytes.length > 2 * LONGEST_FRAME_BYTES) bytes = bytes.subarray(0, 2 * LONGEST_FRAME_BYTES);
    const before = frame % 64 === 0 ? Buffer.from(bytes) : undefined;
    try {
      let said = '';
      const mapped = frame % 8 === 0;
      if (frame % 16 === 0) {
        const work = workOf(() => (said = handle(bytes, mapped)));
        longest = Math.max(longest, work / (bytes.length + 200));
      } else said = handle(bytes, mapped);
      if (said.includes(CANARY)) throw new Error('content is quoted');
    } catch (error) {
      throw new Error(`frame ${frame} of seed ${SEED}: ${bytes.toString('base64').slice(0, 4_000)}`, { cause: error });
    }
    if (before !== undefined) expect(bytes.equals(before)).toBe(true);
  }
  // A field of 256 characters is searched anew for each of its pieces; everything else goes over the bytes a few times.
  expect(longest).toBeLessThan(400);
  console.info(
    `${FRAMES} frames from ${corpus.length}; at most ${longest.toFixed(0)} characters looked at for each byte`,
  );
});
