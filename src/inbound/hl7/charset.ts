/**
 * Character sets of HL7 v2 messages: HL7 table 0211 and the names that real senders write in MSH-18.
 * Decoding never throws: what a set has no character for becomes U+FFFD and is reported with its byte offset.
 */
import { isAscii, isUtf8 } from 'node:buffer';
import iconv from 'iconv-lite';
import { iso2022 } from './iso2022.js';

export interface Charset {
  /** The name used in the hub, IANA style: `UTF-8`, `ISO-8859-1`, `windows-1252`. */
  readonly name: string;
  /** Bytes of one code unit: 2 for UTF-16, 4 for UTF-32. CR and LF are searched in these units. */
  readonly unitBytes: 1 | 2 | 4;
  /** One byte is one UTF-16 code unit of text, so places in the text are places in the bytes. */
  readonly singleByte: boolean;
  /** A byte below 128 is that character of ASCII wherever it stands, so delimiters can be found in the bytes. */
  readonly delimitsBytes: boolean;
  /** Messages in it begin with the bytes of `MSH` and end their segments with the bytes CR or LF: every set of bytes but a few (EBCDIC). */
  readonly asciiCompatible: boolean;
  decode(bytes: Buffer): string;
  encode(text: string): Buffer;
  /** Byte offsets of what cannot be decoded, in order, at most `most`. Linear time. */
  undecodable(bytes: Buffer, most: number): number[];
}

const REPLACEMENT = '\uFFFD';

export const UTF_8: Charset = {
  name: 'UTF-8',
  unitBytes: 1,
  singleByte: false,
  delimitsBytes: true,
  asciiCompatible: true,
  // Long text is mostly ASCII (a document in Base64), and copying is quicker than decoding.
  decode: (bytes) => bytes.toString(bytes.length > 1024 && isAscii(bytes) ? 'latin1' : 'utf8'),
  encode: (text) => Buffer.from(text, 'utf8'),
  undecodable: utf8Errors,
};

/** 7 bits; whatever has the eighth is not ASCII and becomes U+FFFD. */
export const ASCII: Charset = {
  name: 'US-ASCII',
  unitBytes: 1,
  singleByte: true,
  delimitsBytes: true,
  asciiCompatible: true,
  decode: (bytes) =>
    isAscii(bytes) ? bytes.toString('latin1') : bytes.toString('latin1').replaceAll(/[\x80-\xFF]/g, REPLACEMENT),
  encode: (text) => Buffer.from(text.replaceAll(/[^\0-\x7F]/g, '?'), 'latin1'),
  undecodable(bytes, most) {
    const found: number[] = [];
    if (isAscii(bytes)) return found;
    for (let at = 0; at < bytes.length && found.length < most; at += 1) if (bytes[at]! > 0x7f) found.push(at);
    return found;
  },
};

export const LATIN_1: Charset = {
  name: 'ISO-8859-1',
  unitBytes: 1,
  singleByte: true,
  delimitsBytes: true,
  asciiCompatible: true,
  decode: (bytes) => bytes.toString('latin1'),
  encode: (text) => Buffer.from(text.replaceAll(/[^\0-\xFF]/g, '?'), 'latin1'),
  undecodable: () => [],
};

export const UTF_16LE: Charset = {
  name: 'UTF-16LE',
  unitBytes: 2,
  singleByte: false,
  delimitsBytes: false,
  asciiCompatible: false,
  decode: (bytes) => wellFormed(bytes.toString('utf16le')) + (bytes.length % 2 === 1 ? REPLACEMENT : ''),
  encode: (text) => Buffer.from(text, 'utf16le'),
  undecodable: utf16Errors((bytes, at) => bytes.readUInt16LE(at)),
};

export const UTF_16BE: Charset = {
  name: 'UTF-16BE',
  unitBytes: 2,
  singleByte: false,
  delimitsBytes: false,
  asciiCompatible: false,
  decode: (bytes) =>
    wellFormed(
      Buffer.from(bytes.subarray(0, bytes.length & ~1))
        .swap16()
        .toString('utf16le'),
    ) + (bytes.length % 2 === 1 ? REPLACEMENT : ''),
  encode: (text) => Buffer.from(text, 'utf16le').swap16(),
  undecodable: utf16Errors((bytes, at) => bytes.readUInt16BE(at)),
};

export const UTF_32LE = utf32('UTF-32LE', 'utf-32le', (bytes, at) => bytes.readUInt32LE(at));
export const UTF_32BE = utf32('UTF-32BE', 'utf-32be', (bytes, at) => bytes.readUInt32BE(at));

/** A surrogate without its other half is no character: left in, it would become three bytes that are not UTF-8 wherever it is stored. */
function wellFormed(text: string): string {
  return text.isWellFormed() ? text : text.toWellFormed();
}

function utf32(name: string, encoding: string, codeAt: (bytes: Buffer, at: number) => number): Charset {
  return {
    name,
    unitBytes: 4,
    singleByte: false,
    delimitsBytes: false,
    asciiCompatible: false,
    decode: (bytes) => wellFormed(iconv.decode(bytes, encoding, { stripBOM: false })),
    encode: (text) => iconv.encode(text, encoding),
    undecodable(bytes, most) {
      const found: number[] = [];
      const last = bytes.length - 3;
      let at = 0;
      for (; at < last && found.length < most; at += 4) {
        const code = codeAt(bytes, at);
        if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) found.push(at);
      }
      if (at < bytes.length && at >= last && found.length < most) found.push(at);
      return found;
    },
  };
}

interface IconvTraits {
  readonly singleByte?: boolean;
  /** Characters of several bytes hold none below 128. */
  readonly delimitsBytes?: boolean;
}

/** A set that iconv-lite knows, of one byte or of several per character. */
function throughIconv(name: string, encoding: string, traits: IconvTraits = {}): Charset {
  const singleByte = traits.singleByte ?? false;
  const decode = (bytes: Buffer): string => iconv.decode(bytes, encoding, { stripBOM: false });
  const asciiCompatible = decode(Buffer.from('MSH|^~\\&\r\n"0Az')) === 'MSH|^~\\&\r\n"0Az';
  return {
    name,
    unitBytes: 1,
    singleByte,
    delimitsBytes: asciiCompatible && (singleByte || (traits.delimitsBytes ?? false)),
    asciiCompatible,
    decode,
    encode: (text) => iconv.encode(text, encoding),
    undecodable(bytes, most) {
      if (asciiCompatible && isAscii(bytes)) return [];
      if (!singleByte) return errorsByChunk(bytes, encoding, most);
      const found: number[] = [];
      const text = decode(bytes);
      for (let at = text.indexOf(REPLACEMENT); at >= 0 && found.length < most; at = text.indexOf(REPLACEMENT, at + 1)) {
        found.push(at);
      }
      return found;
    },
  };
}

const CHUNK_BYTES = 4096;
/** Longest character of any of these sets, in bytes. */
const LONGEST_CHARACTER_BYTES = 4;

/**
 * Where a set of several bytes per character cannot be decoded. Chunks that end at the end of a character are decoded whole; only
 * those that hold a replacement are walked byte by byte.
 */
function errorsByChunk(bytes: Buffer, encoding: string, most: number): number[] {
  const found: number[] = [];
  let from = 0;
  while (from < bytes.length && found.length < most) {
    let to = Math.min(from + CHUNK_BYTES, bytes.length);
    let chunk = decodeChunk(bytes, from, to, encoding);
    for (let tries = 0; chunk.cut && to < bytes.length && tries < LONGEST_CHARACTER_BYTES; tries += 1) {
      to += 1;
      chunk = decodeChunk(bytes, from, to, encoding);
    }
    if (chunk.broken) errorsByByte(bytes, from, to, encoding, most, found);
    from = to;
  }
  return found;
}

function decodeChunk(
  bytes: Buffer,
  from: number,
  to: number,
  encoding: string,
): { readonly cut: boolean; readonly broken: boolean } {
  const decoder = iconv.getDecoder(encoding, { stripBOM: false });
  const text = decoder.write(bytes.subarray(from, to));
  const rest = decoder.end() ?? '';
  return { cut: rest !== '', broken: text.includes(REPLACEMENT) || rest.includes(REPLACEMENT) };
}

function errorsByByte(bytes: Buffer, from: number, to: number, encoding: string, most: number, found: number[]): void {
  const decoder = iconv.getDecoder(encoding, { stripBOM: false });
  const own = iconv.encode(REPLACEMENT, encoding);
  let start = from;
  for (let at = from; at < to && found.length < most; at += 1) {
    const text = decoder.write(bytes.subarray(at, at + 1));
    if (text === '') continue;
    // GB 18030 has a code for U+FFFD itself: that one was sent.
    if (text.includes(REPLACEMENT) && !bytes.subarray(start, at + 1).equals(own)) found.push(start);
    start = at + 1;
  }
  if (start < to && found.length < most) found.push(start);
}

/** Keys are {@link key}: lower case, letters and digits only. */
const NAMED: Readonly<Record<string, Charset>> = {
  ascii: ASCII,
  usascii: ASCII,
  isoir6: ASCII,
  '88591': LATIN_1,
  iso88591: LATIN_1,
  latin1: LATIN_1,
  utf8: UTF_8,
  unicodeutf8: UTF_8,
  unicode: UTF_8,
  isoir192: UTF_8,
  utf16: UTF_16LE,
  utf16le: UTF_16LE,
  utf16be: UTF_16BE,
  unicodeutf16: UTF_16LE,
  utf32: UTF_32LE,
  utf32le: UTF_32LE,
  utf32be: UTF_32BE,
  unicodeutf32: UTF_32LE,
};

/** Names that stand for another one: of HL7 table 0211, of DICOM (which the same senders use), and of ISO's register. */
const ALIASES: Readonly<Record<string, string>> = {
  isoir100: '8859/1',
  isoir101: '8859/2',
  isoir109: '8859/3',
  isoir110: '8859/4',
  isoir144: '8859/5',
  isoir127: '8859/6',
  isoir126: '8859/7',
  isoir138: '8859/8',
  isoir148: '8859/9',
  isoir203: '8859/15',
  isoir166: 'TIS-620',
  tis620: 'TIS-620',
  tis6202533: 'TIS-620',
  '885911': 'TIS-620',
  iso885911: 'TIS-620',
  gb180302000: 'GB18030',
  gb18030: 'GB18030',
  gb2312: 'GB18030',
  gbk: 'GB18030',
  isoir58: 'GB18030',
  ksx1001: 'EUC-KR',
  ksc5601: 'EUC-KR',
  isoir149: 'EUC-KR',
  big5: 'Big5',
  sjis: 'Shift_JIS',
  shiftjis: 'Shift_JIS',
  windows31j: 'Shift_JIS',
  ms932: 'Shift_JIS',
  cp932: 'Shift_JIS',
  isoir13: 'ISO-2022-JP',
  isoir14: 'ISO-2022-JP',
  isoir87: 'ISO-2022-JP',
  isoir159: 'ISO-2022-JP',
  iso2022jp: 'ISO-2022-JP',
};

const resolved = new Map<string, Charset | null>();
const MOST_NAMES_KEPT = 256;

function key(name: string): string {
  return name.toLowerCase().replaceAll(/[^a-z0-9]/g, '');
}

/** The set of that name (HL7 table 0211, IANA, or a usual misspelling); undefined where nobody knows it. */
export function charsetNamed(name: string): Charset | undefined {
  let charset = resolved.get(name);
  if (charset === undefined) {
    charset = find(name);
    if (resolved.size < MOST_NAMES_KEPT) resolved.set(name, charset);
  }
  return charset ?? undefined;
}

/** Sets that iconv-lite has under the name the hub uses. */
const SEVERAL_BYTES: Readonly<Record<string, IconvTraits>> = {
  GB18030: {},
  Big5: {},
  Shift_JIS: {},
  // The second byte has the eighth bit, or is a letter: no delimiter of any sender.
  'EUC-KR': {},
  'EUC-JP': { delimitsBytes: true },
};

function find(name: string): Charset | null {
  const short = key(name);
  const named = Object.hasOwn(NAMED, short) ? NAMED[short] : undefined;
  if (named !== undefined) return named;
  const alias = Object.hasOwn(ALIASES, short) ? ALIASES[short]! : undefined;
  if (alias === 'ISO-2022-JP') return iso2022(alias, undefined);
  if (alias === 'TIS-620') return throughIconv('TIS-620', 'tis620', { singleByte: true });
  if (alias !== undefined && Object.hasOwn(SEVERAL_BYTES, alias))
    return throughIconv(alias, alias, SEVERAL_BYTES[alias]);
  if (alias !== undefined) return find(alias);
  const switching = /^iso2022iso8859(\d{1,2})$/.exec(short);
  if (switching !== null) {
    const base = charsetNamed(`8859/${switching[1]}`);
    return base === undefined ? null : switchingFrom(base);
  }
  const iso = /^(?:iso)?8859(\d{1,2})(?:19\d\d)?$/.exec(short);
  if (iso !== null) {
    if (iso[1] === '1') return LATIN_1;
    const encoding = `iso-8859-${iso[1]}`;
    return iconv.encodingExists(encoding) ? throughIconv(encoding.toUpperCase(), encoding, { singleByte: true }) : null;
  }
  const windows = /^(?:windows|cp|win)?(125\d|874)$/.exec(short);
  if (windows !== null) {
    return throughIconv(`windows-${windows[1]}`, `windows-${windows[1]}`, { singleByte: true });
  }
  if (short.length < 3 || !/^[\w .:/-]+$/.test(name) || TRANSFER_ENCODINGS.has(short) || !iconv.encodingExists(name))
    return null;
  if (short.startsWith('eucjp')) return throughIconv('EUC-JP', 'EUC-JP', SEVERAL_BYTES['EUC-JP']);
  return throughIconv(name, name, { singleByte: isSingleByte(name) });
}

const switching = new Map<string, Charset>();

/**
 * The set that begins as `base` and changes by the escape sequences of ISO 2022: MSH-18 with several repetitions, or MSH-20
 * `ISO 2022-1994` (HL7 v2.9 §2.14.9.18, §2.14.9.20).
 */
export function switchingFrom(base: Charset): Charset {
  if (base.name.startsWith('ISO-2022')) return base;
  let charset = switching.get(base.name);
  if (charset === undefined) {
    charset = base === ASCII ? iso2022('ISO-2022-JP', undefined) : iso2022(`ISO-2022 ${base.name}`, base);
    switching.set(base.name, charset);
  }
  return charset;
}

/** What iconv-lite calls encodings but are none of characters. */
const TRANSFER_ENCODINGS: ReadonlySet<string> = new Set([
  'base64',
  'hex',
  'binary',
  'internal',
  'cesu8',
  'utf7',
  'utf7imap',
]);

function isSingleByte(encoding: string): boolean {
  const every = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
  return (
    every.every(
      (_, byte) => iconv.decode(every.subarray(byte, byte + 1), encoding, { stripBOM: false }).length === 1,
    ) && iconv.decode(every, encoding, { stripBOM: false }).length === 256
  );
}

function utf16Errors(codeAt: (bytes: Buffer, at: number) => number): Charset['undecodable'] {
  return (bytes, most) => {
    const found: number[] = [];
    const end = bytes.length & ~1;
    for (let at = 0; at < end && found.length < most; at += 2) {
      const unit = codeAt(bytes, at);
      if (unit < 0xd800 || unit >= 0xe000) continue;
      const low = unit < 0xdc00 && at + 2 < end ? codeAt(bytes, at + 2) : 0;
      if (low >= 0xdc00 && low < 0xe000) at += 2;
      else found.push(at);
    }
    if (bytes.length % 2 === 1 && found.length < most) found.push(bytes.length - 1);
    return found;
  };
}

/** Each ill-formed piece of UTF-8 counts once (Unicode §3.9, maximal subpart). */
function utf8Errors(bytes: Buffer, most: number): number[] {
  const found: number[] = [];
  if (isUtf8(bytes)) return found;
  let at = 0;
  while (at < bytes.length && found.length < most) {
    const size = utf8Sequence(bytes, at);
    if (size > 0) at += size;
    else {
      found.push(at);
      at += -size;
    }
  }
  return found;
}

/** Size of the well-formed sequence at a place, or minus the size of the ill-formed piece there. */
function utf8Sequence(bytes: Buffer, at: number): number {
  const lead = bytes[at]!;
  if (lead < 0x80) return 1;
  const size = lead >= 0xc2 && lead < 0xe0 ? 2 : lead >= 0xe0 && lead < 0xf0 ? 3 : lead >= 0xf0 && lead < 0xf5 ? 4 : 0;
  if (size === 0) return -1;
  for (let index = 1; index < size; index += 1) {
    const next = bytes[at + index];
    let low = 0x80;
    let high = 0xbf;
    if (index === 1) {
      if (lead === 0xe0) low = 0xa0;
      else if (lead === 0xed) high = 0x9f;
      else if (lead === 0xf0) low = 0x90;
      else if (lead === 0xf4) high = 0x8f;
    }
    if (next === undefined || next < low || next > high) return -index;
  }
  return size;
}
