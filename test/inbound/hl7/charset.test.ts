import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import iconv from 'iconv-lite';
import { charsetNamed } from '../../../src/inbound/hl7/charset.js';
import type { Hl7Message } from '../../../src/inbound/hl7/message.js';
import { readHl7 } from '../../../src/inbound/hl7/reader.js';

/** A message whose note is given as bytes. */
function note(charset: string, bytes: Buffer | string, alternate = ''): Buffer {
  const text = typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes;
  return Buffer.concat([
    Buffer.from(`MSH|^~\\&|A|B|||2026||ADT^A01|1|P|2.5||||||${charset}||${alternate}\rNTE|1||`, 'latin1'),
    text,
    Buffer.from('|after\rPID|1||5', 'latin1'),
  ]);
}

function noteOf(message: Hl7Message): string {
  const segment = message.segment('NTE')!;
  expect([segment.text(4), message.segment('PID')?.text(3)]).toEqual(['after', '5']);
  return segment.text(3);
}

describe('sets of HL7 table 0211 and of the field', () => {
  test.each([
    ['8859/1', 'iso-8859-1', 'Zoë'],
    ['8859/2', 'iso-8859-2', 'Łódź'],
    ['8859/3', 'iso-8859-3', 'Ħĝ'],
    ['8859/4', 'iso-8859-4', 'Ķāŗ'],
    ['8859/5', 'iso-8859-5', 'Иванов'],
    ['8859/6', 'iso-8859-6', 'محمد'],
    ['8859/7', 'iso-8859-7', 'Ωμέγα'],
    ['8859/8', 'iso-8859-8', 'שלום'],
    ['8859/9', 'iso-8859-9', 'Şğı'],
    ['8859/10', 'iso-8859-10', 'Ðŋ'],
    ['8859/13', 'iso-8859-13', 'Ųž'],
    ['8859/14', 'iso-8859-14', 'Ŵŷ'],
    ['8859/15', 'iso-8859-15', 'Œ€'],
    ['ISO_IR 144', 'iso-8859-5', 'Иванов'],
    ['windows-1251', 'windows-1251', 'Иванов'],
    ['cp1253', 'windows-1253', 'Ωμέγα'],
    ['WIN1258', 'windows-1258', 'Đa'],
    ['TIS-620', 'tis620', 'สมชาย'],
    ['ISO_IR 166', 'tis620', 'สมชาย'],
    ['KOI8-R', 'koi8-r', 'Иванов'],
    ['Shift_JIS', 'shift_jis', '表示ポ山田ﾀﾛｳ'],
    ['Windows-31J', 'shift_jis', '表示ポ'],
    ['EUC-JP', 'euc-jp', '表示ポ'],
    ['GB 18030-2000', 'gb18030', '王𠮷㐀'],
    ['GBK', 'gb18030', '王小明'],
    ['KS X 1001', 'euc-kr', '김철수'],
    ['ISO_IR 149', 'euc-kr', '김철수'],
    ['BIG-5', 'big5', '許功蓋'],
    ['UNICODE UTF-8', 'utf8', 'Zoë 王 🙂'],
  ])('%s', (name, encoding, text) => {
    const bytes = note(name, iconv.encode(text, encoding));
    const message = readHl7(bytes, { charset: 'windows-1252' });
    expect(noteOf(message)).toBe(text);
    expect(message.warnings).toEqual([]);
    // The name the hub keeps leads to the same set, whatever the message says.
    expect(noteOf(readHl7(bytes, { charsetOverride: message.charset }))).toBe(text);
    const set = charsetNamed(message.charset)!;
    expect(set.encode(text).equals(iconv.encode(text, encoding))).toBe(true);
  });

  test.each([
    ['utf-16le', ''],
    ['utf-16le', '\uFEFF'],
    ['utf-16be', ''],
    ['utf-16be', '\uFEFF'],
    ['utf-32le', ''],
    ['utf-32le', '\uFEFF'],
    ['utf-32be', ''],
    ['utf-32be', '\uFEFF'],
  ])('%s with %j in front', (encoding, mark) => {
    const bytes = iconv.encode(`${mark}MSH|^~\\&|A\rNTE|1||Zoë 王 🙂|after\nZZ1|x^y\r\nPID|1||5`, encoding);
    const message = readHl7(bytes);
    expect(message.segments.map(({ name }) => name)).toEqual(['MSH', 'NTE', 'ZZ1', 'PID']);
    expect([noteOf(message), message.segment('ZZ1')!.text(1, 1, 2)]).toEqual(['Zoë 王 🙂', 'y']);
    expect(message.warnings).toEqual([]);
    const nte = message.segment('NTE')!;
    const start = iconv.encode(`${mark}MSH|^~\\&|A\r`, encoding).length;
    expect([nte.byteOffset, nte.fieldOffset(3)]).toEqual([start, start + iconv.encode('NTE|1||', encoding).length]);
  });

  test('what nobody knows is said, and read in the set of the source', () => {
    const bytes = note('CNS 11643-1992', Buffer.from('é', 'latin1'));
    const message = readHl7(bytes, { charset: 'ISO-8859-1' });
    expect([noteOf(message), message.warnings]).toEqual([
      'é',
      [{ code: 'UNKNOWN_CHARSET', byteOffset: 0, path: 'MSH-18' }],
    ]);
  });

  test('a source can override what its messages say, but not what their bytes prove', () => {
    const wrong = note('UNICODE UTF-8', Buffer.from('Zoë', 'latin1'));
    const message = readHl7(wrong, { charsetOverride: 'windows-1252' });
    expect([noteOf(message), message.charset, message.warnings]).toEqual(['Zoë', 'windows-1252', []]);
    const wide = iconv.encode('\uFEFFMSH|^~\\&|A\rNTE|1||ë|after\rPID|1||5', 'utf-16le');
    expect(readHl7(wide, { charsetOverride: 'windows-1252' }).charset).toBe('UTF-16LE');
    expect(readHl7(wrong, { charsetOverride: 'UTF-16' }).warnings.map(({ code }) => code)).toContain('UNKNOWN_CHARSET');
  });

  test('delimiters beyond ASCII are found in the set that the message states', () => {
    const bytes = Buffer.from('MSH§^~\\&§A§B§§§2026§§ADT^A01§1§P§2.5§§§§§§8859/1\rPID§1§§5^§é', 'latin1');
    const message = readHl7(bytes);
    expect([message.separators.field, message.charset, message.segment('PID')?.text(4)]).toEqual([
      '§',
      'ISO-8859-1',
      'é',
    ]);
  });
});

describe('sets that are switched inside the text', () => {
  const KANJI = '\x1b$B;3ED\x1b(B';

  test.each([
    ['ISO IR87', '~ISO IR87', KANJI, '山田'],
    ['ISO IR14: half-width katakana', 'ISO IR14~ISO IR87', `\xd4\xcf\xc0\xde^${KANJI}`, 'ﾔﾏﾀﾞ'],
    ['katakana in the lower half', '~ISO IR14', '\x1b(IT6\x1b(B', 'ﾔｶ'],
    ['ISO IR159, the supplementary kanji', '~ISO IR159', '\x1b$(D0!\x1b(B', '丂'],
    [
      'delimiters inside kanji are none',
      '~ISO IR87',
      '\x1b$B1^2|3~4&\x1b(B',
      iconv.decode(Buffer.from([0xb1, 0xde, 0xb2, 0xfc, 0xb3, 0xfe, 0xb4, 0xa6]), 'euc-jp'),
    ],
    ['Latin and Cyrillic', '8859/1~8859/5', 'Zo\xeb \x1b-L\xb8\xd2\xd0\xdd', 'Zoë Иван'],
    ['Greek behind Latin', '8859/1~8859/7', '\xe9\x1b-F\xd9\x1b-A\xe9', 'éΩé'],
    ['Korean in the upper half', '8859/1~KS X 1001', '\x1b$)C\xb1\xe8', '김'],
    ['a line begins in the first set again', '8859/1~8859/5', '\xe9', 'é'],
  ])('%s', (_, charset, bytes, text) => {
    const message = readHl7(note(charset, bytes));
    expect(noteOf(message)).toBe(text);
    expect(message.warnings).toEqual([]);
    expect(noteOf(readHl7(note(charset, bytes), { charsetOverride: message.charset }))).toBe(text);
  });

  test('MSH-20 says so too', () => {
    const message = readHl7(note('8859/1', '\xeb\x1b-L\xb8', 'ISO 2022-1994'));
    expect([noteOf(message), message.charset]).toEqual(['ëИ', 'ISO-2022 ISO-8859-1']);
  });

  test('an answer can repeat what was sent', () => {
    const set = charsetNamed('ISO IR87')!;
    for (const text of ['山田 A', 'ﾔﾏ太郎', '丂', 'plain']) expect(set.decode(set.encode(text))).toBe(text);
    const mixed = charsetNamed('ISO-2022 ISO-8859-5')!;
    expect(mixed.decode(mixed.encode('Иван 山'))).toBe('Иван 山');
  });

  test('an escape that designates nothing, half a pair and a pair that is none are named by their place', () => {
    const bytes = note('~ISO IR87', '\x1b%Z\x1b$B;3E\x1b(Bx\x1b$B)!\x1b(B');
    const from = bytes.indexOf(0x1b);
    const places = readHl7(bytes).warnings.map(({ code, byteOffset }) => [code, byteOffset - from]);
    expect(places).toEqual([
      ['UNDECODABLE_BYTES', 0],
      ['UNDECODABLE_BYTES', 8],
      ['UNDECODABLE_BYTES', 16],
    ]);
  });
});

describe('bytes that a set does not know', () => {
  test.each([
    ['Shift_JIS', [0x95, 0x5c, 0x41, 0xfd, 0x42, 0x83, 0x20], [3, 5]],
    ['GB 18030-2000', [0xcd, 0xf5, 0x41, 0x84, 0x31, 0xa4, 0x37, 0xff, 0x42], [7]],
    ['KS X 1001', [0xb1, 0xe8, 0xff, 0x41], [2]],
    ['BIG-5', [0xb3, 0x5c, 0x41, 0xff, 0x42], [3]],
    ['EUC-JP', [0x41, 0xb0, 0x20, 0x42], [1]],
    ['windows-1253', [0x41, 0xd2, 0x42], [1]],
    ['8859/7', [0x41, 0xff, 0x42, 0xd2], [1, 3]],
    ['TIS-620', [0xa1, 0xdb, 0x41], [1]],
    ['UNICODE UTF-8', [0xc3, 0xa9, 0xff, 0x41, 0xe2, 0x82, 0x42], [2, 4]],
  ])('%s: each is named by its own place, and the rest is read', (charset, bytes, places) => {
    const sent = note(charset, Buffer.from(bytes));
    const message = readHl7(sent);
    const from = sent.indexOf('NTE|1||') + 7;
    expect(message.warnings).toEqual(places.map((place) => ({ code: 'UNDECODABLE_BYTES', byteOffset: from + place })));
    expect(noteOf(message)).toContain('\uFFFD');
  });

  test.each(['Shift_JIS', 'GB 18030-2000', 'KS X 1001', 'BIG-5', 'EUC-JP'])(
    '%s: one bad byte far into a long text is found, wherever the pieces of work are cut',
    (charset) => {
      const set = charsetNamed(charset)!;
      const character = set.encode('王一'.includes('王') && set.decode(set.encode('王')) === '王' ? '王' : '一');
      for (const pairs of [2040, 2046, 2047, 2048, 2049, 5000]) {
        const good = Buffer.concat(Array.from({ length: pairs }, () => character));
        const sent = Buffer.concat([good, Buffer.from([0xff]), Buffer.from('A'), good]);
        expect(set.undecodable(sent, 100)).toEqual([good.length]);
        expect(set.undecodable(Buffer.concat([good, good]), 100)).toEqual([]);
        expect(set.undecodable(Buffer.concat([Buffer.from('A'), good]), 100)).toEqual([]);
      }
    },
  );

  test('no bytes make any set throw, and its places lie within them, in order', () => {
    const names = [
      'Shift_JIS',
      'GB18030',
      'EUC-KR',
      'Big5',
      'EUC-JP',
      'ISO IR87',
      'ISO-2022 ISO-8859-5',
      'UTF-8',
      'UTF-16',
      'UTF-32',
      'windows-1252',
    ];
    fc.assert(
      fc.property(fc.constantFrom(...names), fc.uint8Array({ maxLength: 80 }), (name, sent) => {
        const set = charsetNamed(name)!;
        const bytes = Buffer.from(sent);
        const places = set.undecodable(bytes, 20);
        expect(places).toEqual([...places].sort((a, b) => a - b));
        for (const place of places) expect(place >= 0 && place < bytes.length).toBe(true);
        const text = set.decode(bytes);
        expect(text.isWellFormed()).toBe(true);
        if (places.length === 0 && name !== 'GB18030') expect(text).not.toContain('\uFFFD'.repeat(2));
      }),
      { numRuns: 3000, seed: 20261121 },
    );
  });
});

describe('large fields', () => {
  const DATA = Buffer.alloc(300_000, 'anamnesis').toString('base64');

  test.each([
    ['UNICODE UTF-8', 'ISO-8859-1'],
    ['8859/1', 'UTF-8'],
    ['Shift_JIS', 'UTF-8'],
  ])('%s: a document is the same as bytes and as text, and its neighbours too', (charset, fallback) => {
    const bytes = note(charset, `^application^pdf^Base64^${DATA}`);
    const nte = readHl7(bytes, { charset: fallback }).segment('NTE')!;
    expect([nte.repetitions(3), nte.components(3), nte.subcomponents(3, 1, 5)]).toEqual([1, 5, 1]);
    expect(nte.bytes(3, 1, 5)!.toString('latin1')).toBe(DATA);
    expect([nte.text(3, 1, 5), nte.text(3, 1, 4), nte.rawField(3).length, nte.text(4)]).toEqual([
      DATA,
      'Base64',
      DATA.length + 24,
      'after',
    ]);
  });

  test('a document without escapes is a view of the message, one with escapes is decoded', () => {
    const sent = note('UNICODE UTF-8', DATA);
    const view = readHl7(sent).segment('NTE')!.bytes(3)!;
    expect([view.buffer === sent.buffer, view.byteOffset - sent.byteOffset]).toEqual([true, sent.indexOf(DATA)]);
    const escaped = readHl7(note('UNICODE UTF-8', `${DATA}\\F\\é`)).segment('NTE')!;
    expect(escaped.bytes(3)!.subarray(DATA.length).toString('utf8')).toBe('|\uFFFD');
    expect(escaped.text(3).length).toBe(DATA.length + 2);
    expect(readHl7(note('8859/1', '""')).segment('NTE')!.bytes(3)).toBeUndefined();
  });

  test('large repetitions, components and subcomponents are counted and found like small ones', () => {
    const big = 'x'.repeat(70_000);
    const nte = readHl7(note('UNICODE UTF-8', `a&b^${big}&c~^~${big}^&~~&^`)).segment('NTE')!;
    expect(nte.repetitions(3)).toBe(3);
    expect([1, 2, 3, 4].map((repetition) => nte.components(3, repetition))).toEqual([2, 0, 1, 0]);
    expect([nte.subcomponents(3, 1, 1), nte.subcomponents(3, 1, 2), nte.subcomponents(3, 3, 2)]).toEqual([2, 2, 0]);
    expect([nte.text(3, 1, 1, 2), nte.text(3, 1, 2).length, nte.text(3, 1, 2, 2), nte.text(3, 3).length]).toEqual([
      'b',
      70_000,
      'c',
      70_000,
    ]);
    expect([nte.value(3, 2), nte.value(3, 9), nte.value(3, 1, 9), nte.value(3, 1, 1, 9)]).toEqual(
      Array(4).fill(undefined),
    );
  });
});
