/**
 * What sealing costs an event, without database and network: data key at hand, body sealed and hashed, as in the intake, and opened again. By cipher
 * suite and size, and how much of it is compression. `node bench/run.mjs sealing`, and a part of the bench `log`.
 */
import { createHash, hash, randomBytes, randomUUID } from 'node:crypto';
import { constants, zstdCompressSync } from 'node:zlib';
import { openBody, sealBody } from '../src/sealing/body.js';
import { CIPHER_SUITES } from '../src/sealing/cipher.js';
import { numberArgument, type Figures } from './support.js';

export interface SealingCost {
  readonly suite: keyof typeof CIPHER_SUITES;
  readonly bytes: number;
  /** Microseconds an event. */
  readonly sealUs: number;
  readonly hashUs: number;
  readonly openUs: number;
  /** Share of sealing that is compression, 0 to 1; 0 where nothing is compressed. */
  readonly zstdShare: number;
  /** Sealed bytes by bytes of the message. */
  readonly sizeRatio: number;
}

const SIZES = [300, 1_000, 20_000];
const ZSTD_LEVEL = { params: { [constants.ZSTD_c_compressionLevel]: 1 } };

/** @param milliseconds how long each figure is measured */
export function measureSealing(milliseconds = 200): SealingCost[] {
  const costs: SealingCost[] = [];
  for (const suite of Object.keys(CIPHER_SUITES) as (keyof typeof CIPHER_SUITES)[]) {
    for (const bytes of SIZES) costs.push(measureOne(suite, bytes, milliseconds));
  }
  return costs;
}

function measureOne(suite: keyof typeof CIPHER_SUITES, bytes: number, milliseconds: number): SealingCost {
  const key = { keyId: randomUUID(), key: randomBytes(32) };
  const binding = { eventId: randomUUID(), ownerId: randomUUID(), type: 'inbound.hl7v2' };
  const header = { controlId: 'MSG00001', duplicateKey: randomUUID(), answer: 'AA' as const };
  const content = messageOf(bytes);
  const sealed = sealBody(key, binding, header, content, CIPHER_SUITES[suite]);
  const sealUs = timed(milliseconds, () => sealBody(key, binding, header, content, CIPHER_SUITES[suite]));
  // Header and content together decide whether a body is compressed: one that came out smaller than its content was.
  const compressed = sealed.length < content.length;
  const zstdUs = compressed ? timed(milliseconds, () => zstdCompressSync(content, ZSTD_LEVEL)) : 0;
  return {
    suite,
    bytes,
    sealUs,
    // As `bodyHash` makes it, which remembers what it has hashed.
    hashUs: timed(milliseconds, () => hash('sha256', sealed, 'base64url')),
    openUs: timed(milliseconds, () => openBody(key, binding, sealed)),
    zstdShare: Math.min(1, zstdUs / sealUs),
    sizeRatio: sealed.length / content.length,
  };
}

/** Microseconds of CPU a call, in turns of a hundred after a warm-up. */
function timed(milliseconds: number, work: () => unknown): number {
  for (let call = 0; call < 500; call += 1) work();
  const begun = performance.now();
  const before = process.cpuUsage();
  let calls = 0;
  while (performance.now() - begun < milliseconds) {
    for (let call = 0; call < 100; call += 1) work();
    calls += 100;
  }
  const { user, system } = process.cpuUsage(before);
  return (user + system) / calls;
}

/** Segments with different values: text that compresses as messages do. */
function messageOf(bytes: number): Buffer {
  const lines = ['MSH|^~\\&|LAB|MERCY|HUB|ANAMNESIS|20260101120000||ORU^R01^ORU_R01|MSG00001|P|2.5.1'];
  let length = 0;
  for (let index = 1; length < bytes; index += 1) {
    const value = createHash('sha256').update(String(index)).digest().readUInt16BE(0);
    const line = `OBX|${index}|NM|${10_000 + (value % 900)}-${index % 9}^Result ${index}^LN||${value / 10}|mmol/L|3.5-5.1||||F|||20260101${value % 10}`;
    lines.push(line);
    length += line.length + 1;
  }
  return Buffer.from(lines.join('\r').slice(0, bytes), 'utf8');
}

const ROUNDS = 3;
const SHORT: Readonly<Record<keyof typeof CIPHER_SUITES, string>> = { xchacha20poly1305: 'xchacha', aes256gcm: 'gcm' };

export function run(args: readonly string[]): Figures {
  const milliseconds = numberArgument(args, 'milliseconds', 200);
  const values: Record<string, { unit: string; values: number[] }> = {};
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const cost of measureSealing(milliseconds)) {
      const name = `${SHORT[cost.suite]}${cost.bytes}`;
      for (const [figure, value, unit] of [
        [`${name}SealUs`, cost.sealUs, 'µs'],
        [`${name}OpenUs`, cost.openUs, 'µs'],
        [`${name}HashUs`, cost.hashUs, 'µs'],
        [`${name}ZstdShare`, cost.zstdShare, 'of sealing'],
      ] as const) {
        (values[figure] ??= { unit, values: [] }).values.push(value);
      }
    }
  }
  return Object.fromEntries(Object.entries(values).map(([name, figure]) => [name, { ...figure, goal: '' }]));
}
