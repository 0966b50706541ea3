/** The whole intake over a real PostgreSQL, without sockets. */
import { hash, randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import type pg from 'pg';
import { blobBinding } from '../../src/blobs/claim-check.js';
import { FolderBlobStore } from '../../src/blobs/folder-store.js';
import { BlobKeeper } from '../../src/blobs/keeper.js';
import { openPool } from '../../src/database/database.js';
import { IdentityResolver } from '../../src/identity/resolver.js';
import { MessageRegister } from '../../src/inbound/duplicates.js';
import { IntakePipeline, type IntakeParts } from '../../src/inbound/intake/pipeline.js';
import type { ReceivedMessage } from '../../src/inbound/received.js';
import { recoverRegister } from '../../src/inbound/recovery.js';
import { builtInSource, type SourceConfiguration } from '../../src/inbound/source.js';
import type { Envelope } from '../../src/log/envelope.js';
import type { EventLogReader, EventLogWriter, RecordedEvent } from '../../src/log/event-log.js';
import { openPostgresLogReader, openPostgresLogWriter } from '../../src/log/postgres/index.js';
import { LogWriter } from '../../src/log/writer.js';
import type { SealedHeader } from '../../src/projecting/projection.js';
import { openBody } from '../../src/sealing/body.js';
import { localKeyProvider, type KeyProvider } from '../../src/sealing/key-provider.js';
import { KeyStore, type DataKey } from '../../src/sealing/key-store.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

export interface StoredEvent extends RecordedEvent {
  readonly envelope: Envelope;
  readonly header?: SealedHeader;
  readonly content?: Buffer;
}

export interface TestHub {
  readonly database: TestDatabase;
  readonly intake: IntakePipeline;
  readonly keys: KeyStore;
  readonly kek: KeyProvider;
  readonly writer: LogWriter;
  readonly reader: EventLogReader;
  readonly blobs: FolderBlobStore;
  readonly blobFolder: string;
  readonly keeper: BlobKeeper;
  /** Every event behind the writer's fences, opened, in order. */
  readonly events: () => Promise<StoredEvent[]>;
  /** Ends the processes' share and opens it again over the same database, as after a kill. */
  restart(change?: (parts: IntakeParts) => IntakeParts): Promise<TestHub>;
  close(): Promise<void>;
}

export interface Shared {
  readonly database: TestDatabase;
  readonly kek: KeyProvider;
  readonly blobFolder: string;
}

/** Small, so that tests need no large messages. */
const INLINE_BYTES = 8 * 1024;

export async function openTestHub(change: (parts: IntakeParts) => IntakeParts = (parts) => parts): Promise<TestHub> {
  const blobFolder = await mkdtemp(path.join(os.tmpdir(), 'anamnesis-blobs-'));
  return open({ database: await createTestDatabase(), kek: localKeyProvider(randomBytes(32)), blobFolder }, change);
}

/** Over what there is already: a database, its master key and its blobs. */
export function openHubOver(
  shared: Shared,
  change: (parts: IntakeParts) => IntakeParts = (parts) => parts,
): Promise<TestHub> {
  return open(shared, change);
}

async function open(shared: Shared, change: (parts: IntakeParts) => IntakeParts): Promise<TestHub> {
  const { url } = shared.database;
  const pool = openPool(url, { max: 4 });
  const relaxed = openPool(url, { max: 2, relaxedCommit: true });
  const log = await openPostgresLogWriter(url, { takeOver: true });
  const reader = await openPostgresLogReader(url);
  const writer = await LogWriter.open({ log, pool });
  const keys = await KeyStore.open(pool, shared.kek);
  const pipelined = openPool(url, { max: 1, pipelined: true });
  const identity = IdentityResolver.open({ pool: pipelined, hashes: keys.hashes });
  const register = new MessageRegister(relaxed);
  const blobs = new FolderBlobStore(shared.blobFolder);
  const keeper = new BlobKeeper({ pool, store: blobs, reader, fence: writer.fencedAt });
  await keeper.prepare();
  const intake = new IntakePipeline(
    change({
      tenant: 'main',
      hashes: keys.hashes,
      keys,
      identity,
      writer,
      register,
      unreadable: register.unreadable,
      blobs: { inlineBytes: INLINE_BYTES, put: (bodies) => keeper.put(bodies), named: (named) => keeper.named(named) },
      recover: () => recoverRegister({ reader, keys, register }),
    }),
  );
  const end = async (): Promise<void> => {
    await writer.close();
    await endAll(log, reader, pool, relaxed, pipelined);
  };
  return {
    database: shared.database,
    intake,
    keys,
    kek: shared.kek,
    writer,
    reader,
    blobs,
    blobFolder: shared.blobFolder,
    keeper,
    events: () => readAll(reader, keys, blobs),
    async restart(changed = (parts) => parts) {
      await end();
      return open(shared, changed);
    },
    async close() {
      await end();
      await shared.database.drop();
      await rm(shared.blobFolder, { recursive: true, force: true });
    },
  };
}

async function endAll(log: EventLogWriter, reader: EventLogReader, ...pools: pg.Pool[]): Promise<void> {
  await log.close();
  await reader.close();
  await Promise.all(pools.map((pool) => pool.end()));
}

async function readAll(reader: EventLogReader, keys: KeyStore, blobs: FolderBlobStore): Promise<StoredEvent[]> {
  const all: StoredEvent[] = [];
  for (const event of await reader.readPage({ limit: 100_000 })) {
    if (event.type === 'log.fence') continue;
    const envelope = JSON.parse(event.metadata.toString('utf8')) as Envelope;
    if (envelope.keyId === undefined) {
      all.push({ ...event, envelope });
      continue;
    }
    const key = (await keys.keysById([envelope.keyId])).get(envelope.keyId);
    if (key === undefined || 'state' in key) throw new Error('a key is missing');
    const opened = [envelope.sourceRecordId, event.id]
      .filter((owner) => owner !== undefined)
      .map((ownerId) => {
        try {
          return openBody(key, { eventId: event.id, ownerId, type: event.type }, event.data);
        } catch {
          return undefined;
        }
      })
      .find((body) => body !== undefined);
    if (opened === undefined) throw new Error('a body does not open');
    all.push({ ...event, envelope, ...opened, ...(await outsideContent(key, event, envelope, blobs)) });
  }
  return all;
}

async function outsideContent(
  key: DataKey,
  event: RecordedEvent,
  envelope: Envelope,
  blobs: FolderBlobStore,
): Promise<{ content?: Buffer }> {
  if (envelope.blob === undefined) return {};
  const read = await blobs.get(envelope.blob);
  if (read.state !== 'present') throw new Error(`a blob is ${read.state}`);
  for (const ownerId of [envelope.sourceRecordId, event.id]) {
    if (ownerId === undefined) continue;
    try {
      const binding = blobBinding({ eventId: event.id, ownerId, type: event.type });
      return { content: openBody(key, binding, read.bytes).content };
    } catch {
      // Under the other owner.
    }
  }
  throw new Error('a blob does not open');
}

const MLLP = builtInSource('mllp');
const HTTP = builtInSource('http');

/** Text that zstd cannot make smaller by much, the same every time. */
export function incompressible(bytes: number, seed = ''): string {
  let text = '';
  for (let index = 0; text.length < bytes; index += 1) text += hash('sha512', `${seed}${index}`, 'base64url');
  return text.slice(0, bytes);
}

export function hl7(text: string, source: SourceConfiguration = MLLP): ReceivedMessage {
  return {
    transport: 'mllp',
    source,
    contentType: 'x-application/hl7-v2+er7',
    bytes: Buffer.from(text.replaceAll('\n', '\r'), 'utf8'),
  };
}

export function event(value: unknown, source: SourceConfiguration = HTTP): ReceivedMessage {
  return {
    transport: 'http',
    source,
    contentType: 'application/json',
    reader: 'event',
    bytes: Buffer.from(typeof value === 'string' ? value : JSON.stringify(value), 'utf8'),
  };
}

export function fhir(
  value: unknown,
  arrival: NonNullable<ReceivedMessage['fhir']> = { interaction: 'batch' },
): ReceivedMessage {
  return {
    transport: 'http',
    source: HTTP,
    contentType: 'application/fhir+json',
    reader: 'fhir',
    fhir: arrival,
    bytes: Buffer.from(typeof value === 'string' ? value : JSON.stringify(value, undefined, 2), 'utf8'),
  };
}
