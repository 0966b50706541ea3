/**
 * Text whose character set changes by escape sequences inside it (ISO/IEC 2022, ECMA-35 §14.3): what HL7 table 0211 means by ISO IR14,
 * IR87 and IR159, and what senders of several repetitions in MSH-18 do. Every line begins in the initial state.
 */
import { isAscii } from 'node:buffer';
import iconv from 'iconv-lite';
import type { Charset } from './charset.js';

const ESCAPE = 0x1b;
const REPLACEMENT = '\uFFFD';

/** A set that can be switched to: how many bytes a character has, and what they mean, given without their eighth bit. */
interface CodedSet {
  readonly size: 1 | 2;
  decode(bytes: Buffer): string;
}

/** A set of pairs, through an encoding in which the same pairs stand with the eighth bit. */
function pairs(encoding: string, prefix = -1): CodedSet {
  return {
    size: 2,
    decode(bytes) {
      const width = prefix < 0 ? 2 : 3;
      const marked = Buffer.alloc((bytes.length / 2) * width);
      for (let at = 0, to = 0; at < bytes.length; at += 2) {
        if (prefix >= 0) marked[to++] = prefix;
        marked[to++] = bytes[at]! | 0x80;
        marked[to++] = bytes[at + 1]! | 0x80;
      }
      return iconv.decode(marked, encoding, { stripBOM: false });
    },
  };
}

/** The upper half of a set of single bytes. */
function upperHalf(encoding: string): CodedSet {
  return {
    size: 1,
    decode(bytes) {
      const marked = Buffer.allocUnsafe(bytes.length);
      for (let at = 0; at < bytes.length; at += 1) marked[at] = bytes[at]! | 0x80;
      return iconv.decode(marked, encoding, { stripBOM: false });
    },
  };
}

const PLAIN: CodedSet = { size: 1, decode: (bytes) => bytes.toString('latin1') };
/** JIS X 0201: senders mean a backslash where the standard draws a yen sign, and it is HL7's escape character. */
const ROMAN = PLAIN;
const KATAKANA: CodedSet = {
  size: 1,
  decode(bytes) {
    let text = '';
    for (const byte of bytes) {
      const code = byte & 0x7f;
      text += code >= 0x21 && code <= 0x5f ? String.fromCharCode(0xff40 + code) : REPLACEMENT;
    }
    return text;
  },
};
const JIS_0208 = pairs('EUC-JP');
const JIS_0212 = pairs('EUC-JP', 0x8f);
const KS_1001 = pairs('EUC-KR');
const GB_2312 = pairs('GBK');

type Half = 'lower' | 'upper';

/** Behind the escape byte (ISO International Register of Coded Character Sets). */
const DESIGNATIONS: ReadonlyMap<string, readonly [Half, CodedSet]> = new Map<string, readonly [Half, CodedSet]>([
  ['(B', ['lower', PLAIN]],
  ['(J', ['lower', ROMAN]],
  ['(I', ['lower', KATAKANA]],
  [')I', ['upper', KATAKANA]],
  ['$@', ['lower', JIS_0208]],
  ['$B', ['lower', JIS_0208]],
  ['$(D', ['lower', JIS_0212]],
  ['$(C', ['lower', KS_1001]],
  ['$)C', ['upper', KS_1001]],
  ['$A', ['lower', GB_2312]],
  ['$)A', ['upper', GB_2312]],
  ['-A', ['upper', upperHalf('iso-8859-1')]],
  ['-B', ['upper', upperHalf('iso-8859-2')]],
  ['-C', ['upper', upperHalf('iso-8859-3')]],
  ['-D', ['upper', upperHalf('iso-8859-4')]],
  ['-L', ['upper', upperHalf('iso-8859-5')]],
  ['-G', ['upper', upperHalf('iso-8859-6')]],
  ['-F', ['upper', upperHalf('iso-8859-7')]],
  ['-H', ['upper', upperHalf('iso-8859-8')]],
  ['-M', ['upper', upperHalf('iso-8859-9')]],
  ['-V', ['upper', upperHalf('iso-8859-10')]],
  ['-T', ['upper', upperHalf('tis620')]],
  ['-Y', ['upper', upperHalf('iso-8859-13')]],
  ['-b', ['upper', upperHalf('iso-8859-15')]],
]);

/**
 * The switching set.
 * @param name `ISO-2022-JP`, or `ISO-2022 ISO-8859-1` with the set it begins in
 * @param base what bytes beyond ASCII mean before anything was designated; without one they are half-width katakana (JIS X 0201)
 */
export function iso2022(name: string, base: Charset | undefined): Charset {
  const upper: CodedSet =
    base === undefined
      ? KATAKANA
      : {
          size: 1,
          decode(bytes) {
            const marked = Buffer.allocUnsafe(bytes.length);
            for (let at = 0; at < bytes.length; at += 1) marked[at] = bytes[at]! | 0x80;
            return base.decode(marked);
          },
        };
  return {
    name,
    unitBytes: 1,
    singleByte: false,
    delimitsBytes: false,
    asciiCompatible: true,
    decode: (bytes) => decode(bytes, upper),
    encode: (text) => encode(text, base),
    undecodable(bytes, most) {
      const found: number[] = [];
      decode(bytes, upper, (offset) => {
        if (found.length < most) found.push(offset);
      });
      return found;
    },
  };
}

/** A line end ends what was designated, for text of several lines as for one that is decoded line by line. */
function decode(bytes: Buffer, initialUpper: CodedSet, report?: (offset: number) => void): string {
  if (!bytes.includes(ESCAPE) && isAscii(bytes)) return bytes.toString('latin1');
  let text = '';
  let lower: CodedSet = PLAIN;
  let upper: CodedSet = initialUpper;
  let at = 0;
  while (at < bytes.length) {
    const byte = bytes[at]!;
    if (byte === ESCAPE) {
      const designation = designationAt(bytes, at + 1);
      if (designation === undefined) {
        report?.(at);
        text += REPLACEMENT;
        at += 1;
        continue;
      }
      const [half, set, length] = designation;
      if (half === 'lower') lower = set;
      else upper = set;
      at += 1 + length;
      continue;
    }
    if (byte < 0x21 || byte === 0x7f) {
      if (byte === 0x0d || byte === 0x0a) {
        lower = PLAIN;
        upper = initialUpper;
      }
      text += String.fromCharCode(byte);
      at += 1;
      continue;
    }
    const high = byte & 0x80;
    const set = high === 0 ? lower : upper;
    let end = at + 1;
    while (end < bytes.length && isOfRun(bytes[end]!, high)) end += 1;
    text += decodeRun(bytes, at, end, set, report);
    at = end;
  }
  return text;
}

function isOfRun(byte: number, high: number): boolean {
  return (byte & 0x80) === high && (high !== 0 || (byte > 0x20 && byte !== 0x7f));
}

function decodeRun(
  bytes: Buffer,
  from: number,
  to: number,
  set: CodedSet,
  report: ((offset: number) => void) | undefined,
): string {
  const whole = from + Math.floor((to - from) / set.size) * set.size;
  let text = set.decode(bytes.subarray(from, whole));
  if (report !== undefined && text.includes(REPLACEMENT)) {
    for (let at = from; at < whole; at += set.size) {
      if (set.decode(bytes.subarray(at, at + set.size)).includes(REPLACEMENT)) report(at);
    }
  }
  if (whole < to) {
    report?.(whole);
    text += REPLACEMENT;
  }
  return text;
}

function designationAt(bytes: Buffer, at: number): readonly [Half, CodedSet, number] | undefined {
  for (const length of [2, 3]) {
    const found = DESIGNATIONS.get(bytes.toString('latin1', at, at + length));
    if (found !== undefined) return [found[0], found[1], length];
  }
  return undefined;
}

/** Text of an answer, which begins and ends in ASCII. What neither the base set nor JIS has becomes `?`. */
function encode(text: string, base: Charset | undefined): Buffer {
  if (!/[^\0-\x7F]/.test(text)) return Buffer.from(text, 'latin1');
  const parts: Buffer[] = [];
  let state = '(B';
  const put = (wanted: string, bytes: readonly number[]): void => {
    if (state !== wanted) parts.push(Buffer.from(`\x1b${wanted}`, 'latin1'));
    state = wanted;
    parts.push(Buffer.from(bytes));
  };
  for (const character of text) {
    const code = character.codePointAt(0)!;
    if (code < 0x80) {
      put('(B', [code]);
      continue;
    }
    const inBase = base?.encode(character);
    if (inBase !== undefined && base!.decode(inBase) === character) {
      put('(B', [...inBase]);
      continue;
    }
    const coded = [...iconv.encode(character, 'EUC-JP')];
    if (coded.length === 3) put('$(D', [coded[1]! & 0x7f, coded[2]! & 0x7f]);
    else if (coded.length === 2 && coded[0] === 0x8e) put('(I', [coded[1]! & 0x7f]);
    else if (coded.length === 2) put('$B', [coded[0]! & 0x7f, coded[1]! & 0x7f]);
    else put('(B', [0x3f]);
  }
  if (state !== '(B') parts.push(Buffer.from('\x1b(B', 'latin1'));
  return Buffer.concat(parts);
}
