/**
 * Bench `log`: events handed to the writer until they are durable in the log, against one bare COPY of the same rows (the
 * same columns and indexes, one transaction), round by round in turn in one run; and a subscription from the beginning.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import type { ClientBase } from 'pg';
import { copyRows } from '../src/database/binary-copy.js';
import { inTransaction, openPool } from '../src/database/database.js';
import { clinicalStream, EVENT_TYPES, PARTITIONS } from '../src/log/envelope.js';
import type { RecordedEvent } from '../src/log/event-log.js';
import { openPostgresLogReader, openPostgresLogWriter } from '../src/log/postgres/index.js';
import { LogWriter, type PendingEvent } from '../src/log/writer.js';
import { bodyHash } from '../src/sealing/body.js';
import { numberArgument, secondsOf, startBenchDatabase, type Figures } from './support.js';

const ROUNDS = 5;
/** As the intake hands them over: a call per message, many at a time. */
const CALLS_AT_ONCE = 4_000;

const COLUMNS = ['position', 'batch', 'stream_id', 'revision', 'id', 'type', 'metadata', 'data'];
const TYPES = ['int8', 'int8', 'int4', 'int8', 'uuid', 'text', 'bytea', 'bytea'] as const;

function pendingEvents(count: number, bytes: number): PendingEvent[] {
  return Array.from({ length: count }, (_, index) => {
    const data = randomBytes(bytes);
    return {
      stream: clinicalStream(index % PARTITIONS),
      id: randomUUID(),
      type: EVENT_TYPES.hl7,
      envelope: {
        schema: 1,
        tenant: 'main',
        source: 'mllp',
        sourceVersion: 1,
        transport: 'mllp',
        contentType: 'x-application/hl7-v2+er7',
        messageType: 'ADT^A01',
        messageVersion: '2.5.1',
        sourceRecordedAt: '2026-03-01T10:15:00+00:00',
        patientId: randomUUID(),
        sourceRecordId: randomUUID(),
        identity: { method: 'identifier' },
        validation: { state: 'valid' },
        decoder: 1,
        keyId: randomUUID(),
        bodyHash: bodyHash(data),
      },
      data,
    };
  });
}

async function submitAll(writer: LogWriter, events: readonly PendingEvent[]): Promise<void> {
  for (let from = 0; from < events.length; from += CALLS_AT_ONCE) {
    await writer.room();
    const calls = events.slice(from, from + CALLS_AT_ONCE).map((event) => writer.submit([event]));
    if (from + CALLS_AT_ONCE >= events.length) await Promise.all(calls);
    else await calls[calls.length >> 1];
  }
}

async function bareCopy(client: ClientBase, events: readonly RecordedEvent[]): Promise<void> {
  await copyRows(
    client,
    'bare_event',
    COLUMNS,
    TYPES,
    events.map((event) => {
      const partition = Number(event.stream.slice('clinical-'.length));
      return [
        event.position,
        event.position,
        partition,
        event.revision,
        event.id,
        event.type,
        event.metadata,
        event.data,
      ];
    }),
  );
}

/** @param args `--events n`: events per round, 20,000 by default; about 20 seconds */
export async function run(args: readonly string[]): Promise<Figures> {
  const count = numberArgument(args, 'events', 20_000);
  const database = await startBenchDatabase();
  const pool = openPool(database.url);
  const log = await openPostgresLogWriter(database.url);
  const reader = await openPostgresLogReader(database.url);
  const writer = await LogWriter.open({ log, pool });
  const figures: Figures = {};
  try {
    await pool.query(
      `create table bare_event (like log.event including defaults including storage) with (toast_tuple_target = 8160)`,
    );
    await pool.query(`alter table bare_event add primary key (position)`);
    await pool.query(`create index on bare_event (stream_id, position)`);
    for (const [bytes, suffix] of [
      [300, ''],
      [1000, '1kb'],
    ] as const) {
      const [ours, copies, reads]: [number[], number[], number[]] = [[], [], []];
      // The first round warms both up and does not count.
      for (let round = 0; round <= ROUNDS; round += 1) {
        const events = pendingEvents(count, bytes);
        const before = await log.head();
        const written = await secondsOf(() => submitAll(writer, events));
        const stored: RecordedEvent[] = [];
        const read = await secondsOf(async () => {
          const stop = new AbortController();
          for await (const page of reader.subscribe({ after: before, pageSize: 1_000, signal: stop.signal })) {
            for (const event of page) stored.push(event);
            if (stored.length >= count) stop.abort();
          }
        });
        const copied = await secondsOf(() => inTransaction(pool, (client) => bareCopy(client, stored)));
        if (round === 0) continue;
        ours.push(written);
        copies.push(copied);
        reads.push(read);
      }
      figures[`ratioToCopy${suffix}`] = {
        values: ours.map((seconds, round) => seconds / (copies[round] as number)),
        unit: `× the time of a COPY (${bytes} B)`,
        goal: '≤ 2',
      };
      const perSecond = (seconds: readonly number[]) => seconds.map((value) => count / value);
      figures[`appended${suffix}PerSecond`] = { values: perSecond(ours), unit: 'events/s', goal: '' };
      figures[`copied${suffix}PerSecond`] = { values: perSecond(copies), unit: 'rows/s', goal: '' };
      figures[`read${suffix}PerSecond`] = { values: perSecond(reads), unit: 'events/s', goal: '' };
    }
  } finally {
    await writer.close();
    await Promise.all([reader.close(), log.close(), pool.end()]);
    await database.stop();
  }
  return figures;
}
