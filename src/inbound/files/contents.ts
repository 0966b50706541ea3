/** What a file holds, told from its name and first bytes. */
import { byteOrderMarkLength } from '../fhir/json-scanner.js';

export type FileKind =
  /** HL7 v2: one message, several, or a batch. */
  | 'hl7v2'
  /** One JSON text: a FHIR resource or bundle, or a clinical event. */
  | 'json'
  /** A JSON text per line. */
  | 'ndjson'
  /** Anything else: kept as it is. */
  | 'other';

/** So many first bytes tell what it is. */
export const SNIFF_BYTES = 64 * 1024;

/**
 * @param name file name, '' for standard input; `.gz` at its end is passed over
 * @param start the first {@link SNIFF_BYTES} bytes, or all
 */
export function kindOfFile(name: string, start: Buffer): FileKind {
  const extension = /\.([A-Za-z0-9]+)(?:\.gz|\.zst)?$/i.exec(name)?.[1]?.toLowerCase() ?? '';
  if (['hl7', 'hl7v2', 'er7'].includes(extension)) return 'hl7v2';
  if (['ndjson', 'jsonl'].includes(extension)) return 'ndjson';
  const text = start.toString('latin1', byteOrderMarkLength(start)).trimStart();
  // MLLP framing (VT) may be left in a file, and is white space here; UTF-16 has a zero byte beside each letter.
  if (
    /^(MSH|FHS|BHS)[^A-Za-z0-9]/.test(text) ||
    /^(\xff\xfeM\0S\0H\0|\xfe\xff\0M\0S\0H|M\0S\0H\0|\0M\0S\0H)/.test(text)
  )
    return 'hl7v2';
  if (extension === 'json') return 'json';
  if (!text.startsWith('{')) return 'other';
  const [first = '', ...others] = text.split(/\r?\n/);
  return others.some((line) => line.trim() !== '') && isJson(first) ? 'ndjson' : 'json';
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

const CONTENT_TYPES: Readonly<Record<string, string>> = {
  xml: 'application/xml',
  cda: 'application/xml',
  txt: 'text/plain',
  csv: 'text/csv',
  pdf: 'application/pdf',
};

/** Content type of a file of kind `other`, by its name. */
export function contentTypeOf(name: string): string {
  const extension = /\.([A-Za-z0-9]+)(?:\.gz)?$/.exec(name)?.[1]?.toLowerCase() ?? '';
  return CONTENT_TYPES[extension] ?? 'application/octet-stream';
}

/** Of a folder only what looks like messages is sent; a file that is named is sent whatever it is. */
export function belongsInFolder(name: string, kind: FileKind): boolean {
  return kind !== 'other' || /\.(xml|cda)(\.gz)?$/i.test(name);
}
