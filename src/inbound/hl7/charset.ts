/**
 * Character sets of HL7 v2 messages: HL7 table 0211 and the names that real senders write in MSH-18.
 * Decoding never throws: what a set has no character for becomes U+FFFD and is reported with its byte offset.
 */
import { isAscii, isUtf8 } from 'node:buffer';
import iconv from 'iconv-lite';

export interface Charset {
  /** The name used in the hub, IANA style: `UTF-8`, `ISO-8859-1`, `windows-1252`. */
  readonly name: string;
  /** Bytes of one code unit: 2 for UTF-16, 4 for UTF-32. CR and LF are searched in these units. */
  readonly unitBytes: 1 | 2 | 4;
  /** One byte is one UTF-16 code unit of text, so places in the text are places in the bytes. */
  readonly singleByte: boolean;
  decode(bytes: Buffer): string;
  encode(text: string): Buffer;
}

const REPLACEMENT = '\uFFFD';

export const UTF_8: Charset = {
  name: 'UTF-8',
  unitBytes: 1,
  singleByte: false,
  decode: (bytes) => bytes.toString('utf8'),
  encode: (text) => Buffer.from(text, 'utf8'),
};

/** 7 bits; whatever has the eighth is not ASCII and becomes U+FFFD. */
export const ASCII: Charset = {
  name: 'US-ASCII',
  unitBytes: 1,
  singleByte: true,
  decode: (bytes) =>
    isAscii(bytes) ? bytes.toString('latin1') : bytes.toString('latin1').replaceAll(/[\x80-\xFF]/g, REPLACEMENT),
  encode: (text) => Buffer.from(text.replaceAll(/[^\0-\x7F]/g, '?'), 'latin1'),
};

const LATIN_1: Charset = {
  name: 'ISO-8859-1',
  unitBytes: 1,
  singleByte: true,
  decode: (bytes) => bytes.toString('latin1'),
  encode: (text) => Buffer.from(text.replaceAll(/[^\0-\xFF]/g, '?'), 'latin1'),
};

export const UTF_16LE: Charset = {
  name: 'UTF-16LE',
  unitBytes: 2,
  singleByte: false,
  decode: (bytes) => bytes.toString('utf16le'),
  encode: (text) => Buffer.from(text, 'utf16le'),
};

export const UTF_16BE: Charset = {
  name: 'UTF-16BE',
  unitBytes: 2,
  singleByte: false,
  decode: (bytes) =>
    Buffer.from(bytes.subarray(0, bytes.length & ~1))
      .swap16()
      .toString('utf16le'),
  encode: (text) => Buffer.from(text, 'utf16le').swap16(),
};

function throughIconv(name: string, encoding: string, singleByte: boolean, unitBytes: 1 | 4 = 1): Charset {
  return {
    name,
    unitBytes,
    singleByte,
    decode: (bytes) => iconv.decode(bytes, encoding, { stripBOM: false }),
    encode: (text) => iconv.encode(text, encoding),
  };
}

/** ISO IR14, IR87 and IR159 switch sets by escape sequences inside the text, as ISO-2022-JP does. */
const ISO_2022_JP: Charset = {
  name: 'ISO-2022-JP',
  unitBytes: 1,
  singleByte: false,
  decode: (bytes) => new TextDecoder('iso-2022-jp').decode(bytes),
  // The only thing the hub ever encodes is an answer, whose text is ASCII but for the echoed control id.
  encode: (text) => Buffer.from(text.replaceAll(/[^\0-\x7F]/g, '?'), 'latin1'),
};

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
  utf16: UTF_16LE,
  utf16le: UTF_16LE,
  utf16be: UTF_16BE,
  unicodeutf16: UTF_16LE,
  utf32: throughIconv('UTF-32LE', 'utf-32le', false, 4),
  unicodeutf32: throughIconv('UTF-32LE', 'utf-32le', false, 4),
  isoir14: ISO_2022_JP,
  isoir87: ISO_2022_JP,
  isoir159: ISO_2022_JP,
  iso2022jp: ISO_2022_JP,
  gb180302000: throughIconv('GB18030', 'gb18030', false),
  gb18030: throughIconv('GB18030', 'gb18030', false),
  ksx1001: throughIconv('EUC-KR', 'euc-kr', false),
  big5: throughIconv('Big5', 'big5', false),
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

function find(name: string): Charset | null {
  const short = key(name);
  const named = Object.hasOwn(NAMED, short) ? NAMED[short] : undefined;
  if (named !== undefined) return named;
  const iso = /^(?:iso)?8859(\d{1,2})(?:19\d\d)?$/.exec(short);
  if (iso !== null) {
    if (iso[1] === '1') return LATIN_1;
    const encoding = `iso-8859-${iso[1]}`;
    return iconv.encodingExists(encoding) ? throughIconv(encoding.toUpperCase(), encoding, true) : null;
  }
  const windows = /^(?:windows|cp|win)?(125\d|874)$/.exec(short);
  if (windows !== null) return throughIconv(`windows-${windows[1]}`, `windows-${windows[1]}`, true);
  if (short.length < 3 || !/^[\w .:/-]+$/.test(name) || TRANSFER_ENCODINGS.has(short) || !iconv.encodingExists(name))
    return null;
  return throughIconv(name, name, isSingleByte(name));
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

/**
 * Whether a set can hold a message whose segments end in the bytes CR or LF: every set but a few (EBCDIC) has the 7 bits
 * of ASCII at their place.
 */
export function isAsciiCompatible(charset: Charset): boolean {
  return charset.unitBytes > 1 || charset.decode(Buffer.from('MSH|\r', 'latin1')) === 'MSH|\r';
}

/**
 * Byte offsets of what cannot be decoded, in order, at most `most`.
 * Each ill-formed piece of UTF-8 counts once (Unicode §3.9, maximal subpart).
 */
export function undecodable(bytes: Buffer, charset: Charset, most: number): number[] {
  const found: number[] = [];
  if (charset === UTF_8) {
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
  if (charset === LATIN_1) return found;
  if (charset === ASCII) {
    if (isAscii(bytes)) return found;
    for (let at = 0; at < bytes.length && found.length < most; at += 1) if (bytes[at]! > 0x7f) found.push(at);
    return found;
  }
  const text = charset.decode(bytes);
  if (charset.unitBytes === 2) {
    for (let at = 0; at < text.length && found.length < most; at += 1) {
      const unit = text.charCodeAt(at);
      const low = text.charCodeAt(at + 1);
      if (unit >= 0xd800 && unit < 0xdc00 && low >= 0xdc00 && low < 0xe000) at += 1;
      else if (unit >= 0xd800 && unit < 0xe000) found.push(at * 2);
    }
    if (bytes.length % 2 === 1 && found.length < most) found.push(bytes.length - 1);
    return found;
  }
  let from = text.indexOf(REPLACEMENT);
  if (from < 0) return found;
  if (charset.singleByte) {
    for (; from >= 0 && found.length < most; from = text.indexOf(REPLACEMENT, from + 1)) found.push(from);
    return found;
  }
  // Other sets of several bytes: the line is as near as the decoder tells.
  found.push(0);
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
