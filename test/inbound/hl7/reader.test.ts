import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import iconv from 'iconv-lite';
import { splitMessages } from '../../../src/inbound/hl7/batch.js';
import { charsetNamed } from '../../../src/inbound/hl7/charset.js';
import type { Hl7Message } from '../../../src/inbound/hl7/message.js';
import { readHl7 } from '../../../src/inbound/hl7/reader.js';
import { workOf } from '../../support/work.js';
import { sharedData, sharedFiles } from '../../support/shared-data.js';

const ADT = [
  'MSH|^~\\&|ADT1|MERCY|HUB|MAIN|20260301101500||ADT^A01^ADT_A01|MSG00001|P|2.5.1',
  'EVN|A01|20260301101500',
  'PID|1||12345^^^MERCY^MR~999-99^^^SSA&2.16&ISO^SS||Okafor^Ada^""^III|""|19840229|F||~|1 Main St^^Town||^PRN^PH||',
  'PV1|1|I|W^389^1^UABH&&L',
  '',
].join('\r');

const read = (text: string, encoding: BufferEncoding = 'utf8'): Hl7Message => readHl7(Buffer.from(text, encoding));
const codes = (message: Hl7Message): string[] => message.warnings.map((warning) => warning.code);

describe('fields', () => {
  test('fields, repetitions, components and subcomponents count from 1, MSH-1 being the separator itself', () => {
    const message = read(ADT);
    const msh = message.segment('MSH')!;
    expect([msh.value(1), msh.value(2), msh.value(3), msh.fieldCount]).toEqual(['|', '^~\\&', 'ADT1', 12]);
    expect([message.messageCode, message.triggerEvent, message.structure]).toEqual(['ADT', 'A01', 'ADT_A01']);
    expect([message.version, message.controlId, message.charset]).toEqual(['2.5.1', 'MSG00001', 'UTF-8']);
    const pid = message.segment('PID')!;
    expect(pid.repetitions(3)).toBe(2);
    expect(pid.value(3, 2)).toBe('999-99');
    expect([pid.value(3, 2, 4), pid.value(3, 2, 4, 2), pid.subcomponents(3, 2, 4)]).toEqual(['SSA', '2.16', 3]);
    expect(pid.components(3, 1)).toBe(5);
    expect(pid.value(5)).toBe('Okafor');
    expect(pid.fieldCount).toBe(15);
    expect(message.segment('PV1')!.value(3, 1, 4, 3)).toBe('L');
    expect(message.warnings).toEqual([]);
    expect(message.all('ZZZ')).toEqual([]);
  });

  test.each([
    ['ADT^A01^ADT_A01', 'ADT', 'A01'],
    ['adt ^ a08', 'ADT', 'A08'],
    ['ORU_R01', 'ORU', 'R01'],
    ['ADT_A01\rEVN|A04', 'ADT', 'A04'],
    ['ADT^^ADT_A01', 'ADT', ''],
    ['ACK', 'ACK', ''],
    ['Z_1_2', 'Z_1_2', ''],
  ])('the message type %s means %s and %s', (sent, code, trigger) => {
    const message = read(`MSH|^~\\&|A|B|C|D|20260301||${sent.replace('\r', '|1|P|2.3\r')}`);
    expect([message.messageCode, message.triggerEvent]).toEqual([code, trigger]);
  });

  test('nothing said, "" and a value are three things', () => {
    const pid = read(ADT).segment('PID')!;
    expect([pid.value(2), pid.value(5, 1, 3), pid.value(5, 1, 4), pid.value(99), pid.value(5, 9)]).toEqual([
      undefined,
      null,
      'III',
      undefined,
      undefined,
    ]);
    expect([pid.isNull(6), pid.isNull(5), pid.isNull(2), pid.value(6)]).toEqual([true, false, false, null]);
    expect([pid.text(6), pid.text(2)]).toEqual(['', '']);
  });

  test('a field of separators only says nothing', () => {
    const pid = read('MSH|^~\\&|\rPID|~|^^|&^&&~^|a~|~a').segment('PID')!;
    expect([1, 2, 3, 4, 5].map((field) => pid.repetitions(field))).toEqual([0, 0, 0, 1, 2]);
    expect([pid.components(2), pid.components(3), pid.value(3), pid.subcomponents(3, 1, 2)]).toEqual([
      0,
      0,
      undefined,
      0,
    ]);
  });

  test('rawField gives what was sent, escapes and all', () => {
    const obx = read('MSH|^~\\&|\rOBX|1|TX|a^b||x\\F\\y~z').segment('OBX')!;
    expect([obx.rawField(5), obx.rawField(0), obx.rawField(3), obx.rawField(40)]).toEqual(['x\\F\\y~z', '', 'a^b', '']);
  });

  test('custom separators are obeyed', () => {
    const message = read('MSH$%*!@$APP$FAC$$$2026$$ADT%A08$77$P$2.3\rPID$1$$1%%%A@B%MR*2$$X!S!Y|^~\\&');
    expect(message.separators).toEqual({ field: '$', component: '%', repetition: '*', escape: '!', subcomponent: '@' });
    const pid = message.segment('PID')!;
    expect([pid.value(3, 1, 4, 2), pid.value(3, 2), pid.value(5)]).toEqual(['B', '2', 'X%Y|^~\\&']);
    expect([message.messageCode, message.controlId, message.version]).toEqual(['ADT', '77', '2.3']);
  });

  test('a fifth encoding character is the truncation character', () => {
    const message = read('MSH|^~\\&#|A\rNTE|1||x\\P\\y');
    expect(message.separators.truncation).toBe('#');
    expect([message.segment('NTE')!.value(3), codes(message)]).toEqual(['x#y', []]);
  });

  test('missing encoding characters are the usual ones and warned about', () => {
    const message = read('MSH|^|A|B\rPID|1||1^^^M&N');
    expect(message.segment('PID')!.value(3, 1, 4, 2)).toBe('N');
    expect(codes(message)).toEqual(['ODD_ENCODING_CHARACTERS']);
    expect(codes(read('MSH||A|B'))).toEqual(['NO_ENCODING_CHARACTERS']);
    expect(codes(read('MSH'))).toEqual(['NO_ENCODING_CHARACTERS']);
    expect(codes(read('MSH|^^^^|A'))).toEqual(['ODD_ENCODING_CHARACTERS']);
    const doubled = read('MSH|^~\\\\&|A\rPID|1||1^^^M&N');
    expect([doubled.separators, doubled.segment('PID')!.value(3, 1, 4, 2), codes(doubled)]).toEqual([
      { field: '|', component: '^', repetition: '~', escape: '\\', subcomponent: '&' },
      'N',
      ['ODD_ENCODING_CHARACTERS'],
    ]);
  });
});

describe('escapes', () => {
  test.each([
    ['a\\F\\b\\S\\c\\T\\d\\R\\e\\E\\f', 'a|b^c&d~e\\f'],
    ['one\\.br\\two\\.BR\\three', 'one\ntwo\nthree'],
    ['\\X41\\\\X42C3A9\\', 'ABé'],
    ['\\XC3\\\\XA9\\', 'é'],
    ['\\C2842\\ \\M2442\\ \\Zlocal 1\\', '\\C2842\\ \\M2442\\ \\Zlocal 1\\'],
    ['\\H\\bold\\N\\ plain', 'bold plain'],
    ['one\\.sp\\two\\.sp+2\\three\\.ce\\four', 'one\ntwo\n\nthree\nfour'],
    ['\\.in+4\\\\.ti-2\\\\.fi\\a\\.sk3\\b\\.nf\\', 'a   b'],
    ['\\.sp999999999\\', '\n'.repeat(100)],
    ['\\.sk1234567890123\\ \\.xx\\', '\\.sk1234567890123\\ \\.xx\\'],
    ['C:\\temp\\F\\x', 'C:\\temp|x'],
    ['odd\\', 'odd\\'],
    ['\\X4\\ \\XZZ\\ \\\\', '\\X4\\ \\XZZ\\ \\\\'],
    ['\\X0D0A\\', '\r\n'],
    ['plain', 'plain'],
  ])('%s', (raw, text) => {
    expect(read(`MSH|^~\\&|\rNTE|1||${raw}`).segment('NTE')!.value(3)).toBe(text);
  });

  test('an escaped delimiter never splits', () => {
    const nte = read('MSH|^~\\&|\rNTE|1||a\\S\\b^c').segment('NTE')!;
    expect([nte.components(3), nte.value(3), nte.value(3, 1, 2)]).toEqual([2, 'a^b', 'c']);
  });
});

describe('lines', () => {
  test.each(['\r', '\n', '\r\n', '\n\r'])('segments may end in %j', (end) => {
    const message = read(ADT.replaceAll('\r', end));
    expect(message.segments.map((segment) => segment.name)).toEqual(['MSH', 'EVN', 'PID', 'PV1']);
    expect(message.warnings).toEqual([]);
  });

  test('line ends may be mixed, blank lines and a byte order mark do no harm', () => {
    const message = read('\uFEFF\r\n  \r\nMSH|^~\\&|A\nEVN|A01\r\n\r\n  \nPID|1\r\x1a');
    expect(message.segments.map(({ name, byteOffset, index }) => [name, byteOffset, index])).toEqual([
      ['MSH', 9, 0],
      ['EVN', 20, 1],
      ['PID', 34, 2],
    ]);
    expect(message.warnings).toEqual([]);
  });

  test('a line that is no segment is warned about and belongs to nothing', () => {
    const message = read('MSH|^~\\&|A\rNTE|1||first\nand then|more\rPID|1');
    expect(message.segments.map((segment) => segment.name)).toEqual(['MSH', 'NTE', 'PID']);
    expect(message.warnings).toEqual([{ code: 'NOT_A_SEGMENT', byteOffset: 24 }]);
  });

  test('indented segments, segments before MSH and a second MSH are read and warned about', () => {
    const message = read('EVN|A01\r MSH|^~\\&|A\rPID|1\rMSH|^~\\&|B');
    expect(message.segment('MSH')!.value(3)).toBe('A');
    expect(codes(message)).toEqual(['SEGMENTS_BEFORE_MSH', 'INDENTED_SEGMENT', 'SECOND_MSH']);
  });

  test('without MSH there is still a message', () => {
    const message = read('PID|1||5^^^M\r');
    expect(message.warnings).toEqual([{ code: 'NO_MSH', byteOffset: 0 }]);
    expect([message.messageCode, message.controlId, message.segment('PID')!.value(3, 1, 4)]).toEqual(['', '', 'M']);
    expect(codes(read(''))).toEqual(['NO_MSH']);
    expect(codes(read('MSHA|^~\\&|'))).toEqual(['NO_MSH', 'NOT_A_SEGMENT']);
  });
});

describe('character sets', () => {
  const withCharset = (name: string): string =>
    `MSH|^~\\&|A|B|||2026||ADT^A01|1|P|2.5||||||${name}\rNTE|1||Zoë Łódź\rPID|1||ü`;

  test.each([
    ['UNICODE UTF-8', 'utf8', 'UTF-8', 'Zoë Łódź'],
    ['UTF-8', 'utf8', 'UTF-8', 'Zoë Łódź'],
    ['8859/2', 'iso-8859-2', 'ISO-8859-2', 'Zoë Łódź'],
    ['ISO-8859-2', 'iso-8859-2', 'ISO-8859-2', 'Zoë Łódź'],
    ['WINDOWS-1250', 'windows-1250', 'windows-1250', 'Zoë Łódź'],
    ['cp1252', 'windows-1252', 'windows-1252', 'Zoë ?ódz'.replace('z', '?')],
    ['GB 18030-2000', 'gb18030', 'GB18030', 'Zoë Łódź'],
  ])('MSH-18 %s', (name, encoding, charset, text) => {
    const message = readHl7(iconv.encode(withCharset(name), encoding), { charset: 'KOI8-R' });
    expect(message.charset).toBe(charset);
    expect(message.segment('NTE')!.value(3)).toBe(text);
    expect(message.warnings).toEqual([]);
  });

  test('delimiter bytes inside characters of several bytes split nothing', () => {
    // The second byte of 表 is 5C, the backslash, and of ポ 7C, the field separator, in Shift_JIS.
    const bytes = iconv.encode(withCharset('Shift_JIS').replace('Zoë Łódź', '表示ポ'), 'shift_jis');
    expect(readHl7(bytes).segment('NTE')!.value(3)).toBe('表示ポ');
    const iso2022 = Buffer.concat([
      Buffer.from('MSH|^~\\&|A|B|||2026||ADT^A01|1|P|2.5||||||~ISO IR87\rNTE|1||', 'latin1'),
      Buffer.from('\x1b$B;3ED\x1b(B', 'latin1'),
      Buffer.from('\rPID|1', 'latin1'),
    ]);
    expect(readHl7(iso2022).segment('NTE')!.value(3)).toBe('山田');
  });

  test.each(['utf16le', 'utf16be'])('%s, with and without byte order mark', (encoding) => {
    for (const mark of ['', '\uFEFF']) {
      const bytes = iconv.encode(mark + withCharset('UNICODE UTF-16'), encoding);
      const message = readHl7(bytes);
      expect(message.segments.map((segment) => segment.name)).toEqual(['MSH', 'NTE', 'PID']);
      expect(message.segment('NTE')!.value(3)).toBe('Zoë Łódź');
      expect(message.segment('NTE')!.byteOffset).toBe(
        iconv.encode(mark + withCharset('UNICODE UTF-16').split('\r')[0]!, encoding).length + 2,
      );
      expect(message.warnings).toEqual([]);
    }
  });

  test('without MSH-18 the set of the transport or source counts', () => {
    const bytes = Buffer.from(withCharset(''), 'latin1');
    expect(readHl7(bytes, { charset: 'ISO-8859-1' }).segment('PID')!.value(3)).toBe('ü');
    const wrong = readHl7(bytes);
    expect(wrong.segment('PID')!.value(3)).toBe('\uFFFD');
    expect(wrong.warnings[0]).toEqual({ code: 'UNDECODABLE_BYTES', byteOffset: bytes.indexOf(0xeb) });
  });

  test('a byte order mark outweighs MSH-18, which is warned about', () => {
    const message = read(`\uFEFF${withCharset('8859/1')}`);
    expect(message.segment('PID')!.value(3)).toBe('ü');
    expect(codes(message)).toEqual(['CHARSET_MISMATCH']);
  });

  test('ASCII beside bytes that are not ASCII is read in the set of the source and warned about', () => {
    const message = read(withCharset('ASCII'));
    expect(message.segment('NTE')!.value(3)).toBe('Zoë Łódź');
    expect(codes(message)).toEqual(['CHARSET_MISMATCH']);
  });

  test('an unknown set is warned about and the set of the source taken', () => {
    const message = read(withCharset('KLINGON'));
    expect(message.segment('PID')!.value(3)).toBe('ü');
    expect(codes(message)).toEqual(['UNKNOWN_CHARSET']);
    expect(['base64', 'hex', '', 'x', '__proto__', 'constructor', 'toString'].map(charsetNamed)).toEqual(
      Array(7).fill(undefined),
    );
  });

  test('every undecodable byte is named by its place', () => {
    const bytes = Buffer.concat([
      Buffer.from('MSH|^~\\&|A\rNTE|1||é', 'utf8'),
      Buffer.from([0xff, 0x41, 0xe2, 0x82, 0x42, 0xc0, 0x80]),
    ]);
    const from = bytes.indexOf(0xff);
    expect(readHl7(bytes).warnings).toEqual(
      [0, 2, 5, 6].map((place) => ({ code: 'UNDECODABLE_BYTES', byteOffset: from + place })),
    );
  });

  test('byte offsets count bytes, not characters', () => {
    const bytes = Buffer.from(withCharset('UTF-8'), 'utf8');
    for (const segment of readHl7(bytes).segments)
      expect(bytes.toString('latin1', segment.byteOffset).startsWith(segment.name)).toBe(true);
  });
});

/** Line ends and MLLP framing as line feeds, other control characters as blanks. */
function withoutControls(text: string): string {
  return Array.from(text, (character) =>
    '\r\n\x0b\x1c'.includes(character) ? '\n' : character < ' ' ? ' ' : character,
  ).join('');
}

describe('splitting', () => {
  const one = 'MSH|^~\\&|A|||||||1\rPID|1\r';
  const two = 'MSH|^~\\&|A|||||||2\rPID|2\r';
  const texts = (text: string): string[] =>
    splitMessages(Buffer.from(text)).messages.map(({ bytes }) => bytes.toString());

  test('one message without envelope comes back whole, every byte', () => {
    for (const text of [one, `\r\n ${one}\n\n`, 'garbage', 'PID|1\rEVN|2', '\uFEFFMSH|^~\\&|\r']) {
      expect(splitMessages(Buffer.from(text)).messages).toEqual([{ bytes: Buffer.from(text), byteOffset: 0 }]);
    }
    expect(splitMessages(Buffer.alloc(0)).messages).toEqual([]);
  });

  test('messages one after another', () => {
    expect(texts(one + two)).toEqual([one, two]);
    expect(texts(`${one}\r\n${two}\r \n`)).toEqual([one, two]);
    expect(texts((one + two).replaceAll('\r', '\r\n'))).toEqual(
      [one, two].map((text) => text.replaceAll('\r', '\r\n')),
    );
    expect(texts(`\x0b${one}\x1c\r\x0b${two}\x1c\r`)).toEqual([one, two]);
  });

  test('a file of batches gives messages, their batch and the envelope', () => {
    const text = `FHS|^~\\&|LAB|F\rBHS|^~\\&|LAB|F|||2026||||B1\r${one}${two}BTS|2\rBHS|^~\\&|LAB|||||||B2\r${one}BTS|2\rFTS|2\r`;
    const { messages, batch, warnings } = splitMessages(Buffer.from(text));
    expect(messages.map(({ bytes, batch: number }) => [bytes.toString(), number])).toEqual([
      [one, 0],
      [two, 0],
      [one, 1],
    ]);
    for (const { bytes, byteOffset } of messages)
      expect(text.slice(byteOffset).startsWith(bytes.toString())).toBe(true);
    expect(batch?.fhs?.value(3)).toBe('LAB');
    expect(batch?.bhs.map((segment) => segment.value(11))).toEqual(['B1', undefined]);
    expect(batch?.bts.map((segment) => segment.value(1))).toEqual(['2', '2']);
    expect(batch?.fts?.value(1)).toBe('2');
    expect(warnings).toEqual([{ code: 'BATCH_COUNT_DIFFERS', byteOffset: text.lastIndexOf('BTS'), path: 'BTS-1' }]);
  });

  test('what belongs to no message is kept as one of its own', () => {
    expect(texts(`junk\r${one}BTS|1\rPID|lost\r`)).toEqual(['junk\r', one, 'PID|lost\r']);
  });

  test('UTF-16 is split too', () => {
    const bytes = iconv.encode(`\uFEFF${one}${two}`, 'utf16le');
    const { messages } = splitMessages(bytes);
    expect(messages.map(({ bytes: message }) => readHl7(message).controlId)).toEqual(['1', '2']);
    expect(Buffer.concat([bytes.subarray(0, 2), ...messages.map((message) => message.bytes)])).toEqual(bytes);
  });

  test('nothing but blanks, envelope and framing is left out, whatever the bytes', () => {
    const piece = fc.constantFrom(
      'MSH|',
      'FHS|',
      'BHS|',
      'BTS|1',
      'FTS|',
      'PID|x',
      'junk',
      '\r',
      '\n',
      '\r\n',
      '\x0b',
      '\x1c',
      ' ',
      '\0',
      '\u00e9',
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 30 }), (pieces) => {
        const bytes = Buffer.from(pieces.join(''));
        let rest = Buffer.from(bytes);
        for (const message of splitMessages(bytes).messages) {
          expect(bytes.subarray(message.byteOffset, message.byteOffset + message.bytes.length)).toEqual(message.bytes);
          rest = Buffer.concat([
            rest.subarray(0, message.byteOffset),
            Buffer.alloc(message.bytes.length, 0x20),
            rest.subarray(message.byteOffset + message.bytes.length),
          ]);
        }
        for (const line of withoutControls(rest.toString('latin1')).split('\n')) {
          expect(line.trim()).toMatch(/^(?:$|FHS|BHS|BTS|FTS)/);
        }
      }),
      { numRuns: 1000 },
    );
  });
});

/** Reads everything a mapping could ask, so that lazy reading has no place to hide. */
function readAll(message: Hl7Message): number {
  let size = message.messageCode.length + message.version.length + message.controlId.length;
  for (const segment of message.segments) {
    for (let field = 1; field <= segment.fieldCount; field += 1) {
      size += segment.rawField(field).length;
      for (let repetition = 1; repetition <= segment.repetitions(field); repetition += 1) {
        for (let component = 1; component <= segment.components(field, repetition); component += 1) {
          const count = segment.subcomponents(field, repetition, component);
          for (let part = 1; part <= count; part += 1) size += segment.text(field, repetition, component, part).length;
        }
      }
    }
  }
  return size;
}

describe('any bytes', () => {
  test('no bytes make reading throw', () => {
    const bits = fc.constantFrom(
      'MSH',
      'PID',
      '|',
      '^',
      '~',
      '\\',
      '&',
      '""',
      '\r',
      '\n',
      '\\X',
      'F',
      '41',
      '\0',
      '\u00ff',
      'ISO IR87',
      '\x1b$B',
      '8859/2',
      '|||||||||||||||',
      '\uFEFF',
    );
    const texts = fc.array(bits, { maxLength: 40 }).map((all) => Buffer.from(all.join(''), 'latin1'));
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 200 }).map((all) => Buffer.from(all)),
      texts,
    );
    fc.assert(
      fc.property(
        bytes,
        fc.option(fc.constantFrom('UTF-16', 'x', 'windows-1252', 'EBCDIC'), { nil: undefined }),
        (sent, charset) => {
          const before = Buffer.from(sent);
          const message = readHl7(sent, charset === undefined ? {} : { charset });
          readAll(message);
          expect(sent.equals(before)).toBe(true);
          for (const warning of message.warnings) expect(warning.byteOffset).toBeLessThanOrEqual(sent.length);
        },
      ),
      { numRuns: 2000 },
    );
  });

  test('a mutated message is still read', () => {
    const mutation = fc.array(fc.tuple(fc.nat(ADT.length), fc.nat(3), fc.uint8Array({ maxLength: 4 })), {
      maxLength: 6,
    });
    fc.assert(
      fc.property(mutation, (mutations) => {
        let bytes = Buffer.from(ADT);
        for (const [at, cut, insert] of mutations)
          bytes = Buffer.concat([bytes.subarray(0, at), insert, bytes.subarray(at + cut)]);
        readAll(readHl7(bytes));
      }),
      { numRuns: 1000 },
    );
  });

  test.each([
    ['repetitions', '~x'],
    ['components', '^x'],
    ['subcomponents', '&x'],
    ['escapes', '\\E\\'],
    ['open escapes', '\\x'],
    ['fields', '|x'],
    ['segments', '\rNTE|1||x'],
    ['broken lines', '\nx'],
    ['bytes beyond ASCII', 'é'],
    ['undecodable bytes', '\xff'],
    ['delimiters of all kinds', '~^&|'],
    ['repetitions of many components', '~^^^^^^^^^^^^'],
    ['quotes', '""^'],
    ['blank lines', '\r \n'],
  ])('four times the %s take four times the work, not sixteen', (name, piece) => {
    const work = (count: number): number => {
      const bytes = Buffer.from(
        `MSH|^~\\&|A\rNTE|1||${piece.repeat(count)}`,
        name === 'undecodable bytes' ? 'latin1' : 'utf8',
      );
      return workOf(() => {
        readAll(readHl7(bytes));
        splitMessages(bytes);
      });
    };
    // A long line is first looked at as bytes, which is at most one more pass.
    expect(work(80_000) / work(20_000)).toBeLessThan(5.5);
  });
});

const data = sharedData();
(data === undefined ? describe.skip : describe)('the messages beside the repository', () => {
  test('every message is read, and joining what was read gives its bytes back', () => {
    const files = sharedFiles('messages', ['.hl7']);
    expect(files.length).toBeGreaterThan(900);
    let segments = 0;
    for (const { name, bytes } of files) {
      for (const { bytes: sent } of splitMessages(bytes).messages) {
        const message = readHl7(sent);
        readAll(message);
        const charset = charsetNamed(message.charset)!;
        const undecodable = message.warnings.some((warning) => warning.code === 'UNDECODABLE_BYTES');
        let end = 0;
        for (const segment of message.segments) {
          // Between two segments stand line ends, blanks, and lines that were warned about.
          const gap = sent.subarray(end, segment.byteOffset);
          if (
            !message.warnings.some((warning) => warning.byteOffset >= end && warning.byteOffset < segment.byteOffset)
          ) {
            expect(withoutControls(gap.toString('latin1').replace(/^\u00ef\u00bb\u00bf/, '')).trim()).toBe('');
          }
          const header = ['MSH', 'FHS', 'BHS'].includes(segment.name);
          const fields = Array.from({ length: segment.fieldCount }, (_, field) => segment.rawField(field + 1));
          const separator = message.separators.field;
          const text = header
            ? segment.name + fields[0]! + fields.slice(1).join(separator)
            : [segment.name, ...fields].join(separator);
          const joined = charset.encode(text);
          if (!undecodable) {
            const found = sent.subarray(segment.byteOffset, segment.byteOffset + joined.length);
            if (!found.equals(joined))
              throw new Error(`${name}: segment ${segment.index} (${segment.name}) is not what was sent`);
          }
          end = segment.byteOffset + (undecodable ? 0 : joined.length);
          segments += 1;
        }
        if (!undecodable && !message.warnings.some((warning) => warning.byteOffset >= end)) {
          expect(withoutControls(sent.toString('latin1', end)).trim()).toBe('');
        }
      }
    }
    expect(segments).toBeGreaterThan(8000);
  });

  test('every message, damaged at random, is still read', () => {
    const files = sharedFiles('messages', ['.hl7']).filter(({ bytes }) => bytes.length < 20_000);
    const damage = fc.tuple(
      fc.nat(files.length - 1),
      fc.array(fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.nat(5), fc.uint8Array({ maxLength: 5 })), {
        minLength: 1,
        maxLength: 8,
      }),
    );
    fc.assert(
      fc.property(damage, ([index, cuts]) => {
        let bytes = files[index]!.bytes;
        for (const [place, cut, insert] of cuts) {
          const at = Math.floor(place * bytes.length);
          bytes = Buffer.concat([bytes.subarray(0, at), insert, bytes.subarray(at + cut)]);
        }
        for (const message of splitMessages(bytes).messages) readAll(readHl7(message.bytes));
      }),
      { numRuns: 500 },
    );
  });
});
