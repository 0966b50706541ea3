/**
 * What the adapter writes into an event's metadata beside the caller's own: one field, `$log`, taken off again before the
 * metadata is given to anybody. Pure.
 *
 * The client hands metadata out parsed, so bytes come back only where writing the parsed value down again gives the same
 * bytes. Where that is not so (spaces, numbers beyond 2^53, no JSON at all) the bytes themselves stand in the field.
 */

/** Which round an event belongs to, and where it stands if its place is not the server's own. */
export interface EventTag {
  /** Revision of the control stream at which the record stands that makes the round count. */
  readonly control: bigint;
  /** Id of the round: that record names it, or the event does not count. */
  readonly round: string;
  /** Position of a copied event. */
  readonly position?: bigint;
  /** Number of the event in its stream, where the server's own is another: events that never counted take numbers too. */
  readonly revision?: bigint;
  /** What is added to the server's position of an event appended behind copied ones; 0n is left out. */
  readonly offset?: bigint;
}

interface Field {
  readonly c: string;
  readonly r: string;
  readonly p?: string;
  readonly v?: string;
  readonly o?: string;
  /** The caller's metadata as base64, where it cannot be told from its parsed form. */
  readonly raw?: string;
}

const FIELD = '$log';

/** Metadata as the server stores it. The client takes bytes only as a plain Uint8Array; of a Buffer it would make JSON. */
export function encodeMetadata(metadata: Buffer, tag: EventTag): Uint8Array {
  const own = plainText(metadata);
  const field: Field = {
    c: tag.control.toString(),
    r: tag.round,
    ...(tag.position === undefined ? {} : { p: tag.position.toString() }),
    ...(tag.revision === undefined ? {} : { v: tag.revision.toString() }),
    ...(tag.offset === undefined || tag.offset === 0n ? {} : { o: tag.offset.toString() }),
    ...(own === undefined ? { raw: metadata.toString('base64') } : {}),
  };
  const rest = own === undefined || own === '{}' ? '}' : `,${own.slice(1)}`;
  const bytes = Buffer.from(`{"${FIELD}":${JSON.stringify(field)}${rest}`, 'utf8');
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** The tag, and the caller's metadata byte for byte; undefined for an event that this adapter has not written. */
export function decodeMetadata(stored: unknown): { readonly tag: EventTag; readonly metadata: Buffer } | undefined {
  if (!isRecord(stored)) return undefined;
  const { [FIELD]: field, ...rest } = stored;
  if (!isField(field)) return undefined;
  const tag: EventTag = {
    control: BigInt(field.c),
    round: field.r,
    ...(field.p === undefined ? {} : { position: BigInt(field.p) }),
    ...(field.v === undefined ? {} : { revision: BigInt(field.v) }),
    ...(field.o === undefined ? {} : { offset: BigInt(field.o) }),
  };
  const metadata =
    field.raw === undefined ? Buffer.from(JSON.stringify(rest), 'utf8') : Buffer.from(field.raw, 'base64');
  return { tag, metadata };
}

/** The text of metadata that parsing and writing down again gives back byte for byte. */
function plainText(metadata: Buffer): string | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(metadata.toString('utf8'));
  } catch {
    return undefined;
  }
  if (!isRecord(parsed) || FIELD in parsed) return undefined;
  const text = JSON.stringify(parsed);
  return Buffer.from(text, 'utf8').equals(metadata) ? text : undefined;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array);
}

function isField(value: unknown): value is Field {
  return isRecord(value) && typeof value['c'] === 'string' && typeof value['r'] === 'string';
}
