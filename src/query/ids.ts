/** Global ids of the graph: a patient's is its UUID, a message's its event id, a thing's base64url of kind (1 byte), record (16), hash (8). */
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const THING = /^[A-Za-z0-9_-]{34}$/;

export interface ThingId {
  readonly kind: number;
  readonly record: string;
  readonly entity: bigint;
}

/** Lower-case UUID, or undefined. */
export function readUuid(id: string): string | undefined {
  const lower = id.toLowerCase();
  return UUID.test(lower) ? lower : undefined;
}

export function thingId({ kind, record, entity }: ThingId): string {
  const bytes = Buffer.allocUnsafe(25);
  bytes.writeUInt8(kind, 0);
  bytes.write(record.replaceAll('-', ''), 1, 16, 'hex');
  bytes.writeBigInt64BE(entity, 17);
  return bytes.toString('base64url');
}

export function readThingId(id: string): ThingId | undefined {
  if (!THING.test(id)) return undefined;
  const bytes = Buffer.from(id, 'base64url');
  if (bytes.length !== 25 || bytes.toString('base64url') !== id) return undefined;
  const hex = bytes.toString('hex', 1, 17);
  return {
    kind: bytes.readUInt8(0),
    record: `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`,
    entity: bytes.readBigInt64BE(17),
  };
}

/** A global id in the characters that FHIR allows in a logical id (R4 §2.24.0.1, `id`). */
export function fhirId(id: string): string {
  return id.replaceAll('_', '.');
}

/** The global id that a FHIR logical id stands for. */
export function ofFhirId(id: string): string {
  return id.replaceAll('.', '_');
}

/** The UUID just below one, undefined below the first. */
export function previousUuid(uuid: string): string | undefined {
  const number = BigInt(`0x${uuid.replaceAll('-', '')}`);
  if (number === 0n) return undefined;
  const hex = (number - 1n).toString(16).padStart(32, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
