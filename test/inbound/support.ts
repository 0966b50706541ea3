/** The whole intake over a real PostgreSQL, without sockets. */
import { randomBytes } from 'node:crypto';
import type pg from 'pg';
import { openPool } from '../../src/database/database.js';
import { IdentityResolver } from '../../src/identity/resolver.js';
import { MessageRegister } from '../../src/inbound/duplicates.js';
import { IntakePipeline, type IntakeParts } from '../../src/inbound/intake.js';
import type { ReceivedMessage } from '../../src/inbound/received.js';
import { recoverRegister } from '../../src/inbound/recovery.js';
import { builtInSource, type SourceConfiguration } from '../../src/inbound/source.js';
import type { Envelope } from '../../src/log/envelope.js';
import type { EventLogReader, EventLogWriter, RecordedEvent } from '../../src/log/event-log.js';
import { openPostgresLogReader, openPostgresLogWriter } from '../../src/log/postgres/index.js';
import { LogWriter } from '../../src/log/writer.js';
import type { SealedHeader } from '../../src/projecting/projection.js';
import { openBody } from '../../src/sealing/body.js';
import { localKeyProvider } from '../../src/sealing/key-provider.js';
import { KeyStore } from '../../src/sealing/key-store.js';
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
  readonly reader: EventLogReader;
  /** Every event behind the writer's fences, opened, in order. */
  readonly events: () => Promise<StoredEvent[]>;
  /** Ends the processes' share and opens it again over the same database, as after a kill. */
  restart(change?: (parts: IntakeParts) => IntakeParts): Promise<TestHub>;
  close(): Promise<void>;
}

interface Shared {
  readonly database: TestDatabase;
  readonly masterKey: Buffer;
}

export async function openTestHub(change: (parts: IntakeParts) => IntakeParts = (parts) => parts): Promise<TestHub> {
  return open({ database: await createTestDatabase(), masterKey: randomBytes(32) }, change);
}

async function open(shared: Shared, change: (parts: IntakeParts) => IntakeParts): Promise<TestHub> {
  const { url } = shared.database;
  const pool = openPool(url, { max: 4 });
  const relaxed = openPool(url, { max: 2, relaxedCommit: true });
  const log = await openPostgresLogWriter(url, { takeOver: true });
  const reader = await openPostgresLogReader(url);
  const writer = await LogWriter.open({ log, pool });
  const keys = await KeyStore.open(pool, localKeyProvider(shared.masterKey));
  const identity = IdentityResolver.open({ pool, hashes: keys.hashes });
  const register = new MessageRegister(relaxed);
  const intake = new IntakePipeline(
    change({
      tenant: 'main',
      hashes: keys.hashes,
      keys,
      identity,
      writer,
      register,
      recover: () => recoverRegister({ reader, keys, register }),
    }),
  );
  const end = async (): Promise<void> => {
    await writer.close();
    await endAll(log, reader, pool, relaxed);
  };
  return {
    database: shared.database,
    intake,
    keys,
    reader,
    events: () => readAll(reader, keys),
    async restart(changed = (parts) => parts) {
      await end();
      return open(shared, changed);
    },
    async close() {
      await end();
      await shared.database.drop();
    },
  };
}

async function endAll(log: EventLogWriter, reader: EventLogReader, ...pools: pg.Pool[]): Promise<void> {
  await log.close();
  await reader.close();
  await Promise.all(pools.map((pool) => pool.end()));
}

async function readAll(reader: EventLogReader, keys: KeyStore): Promise<StoredEvent[]> {
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
    all.push({ ...event, envelope, ...opened });
  }
  return all;
}

const MLLP = builtInSource('mllp');
const HTTP = builtInSource('http');

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
