/** An event log in memory and a small projection, for tests of the runtime. */
import { createHash, randomUUID } from 'node:crypto';
import type pg from 'pg';
import { EVENT_TYPES, type Envelope } from '../../src/log/envelope.js';
import type { EventLogReader, Position, ReadOptions, RecordedEvent } from '../../src/log/event-log.js';
import { EventDecoder } from '../../src/projecting/decode.js';
import { EventFeed } from '../../src/projecting/feed.js';
import { Parkings } from '../../src/projecting/parkings.js';
import { installBuild } from '../../src/projecting/builds.js';
import { LiveRunner, type RuntimeLog } from '../../src/projecting/runner.js';
import { EventRejected, type ProjectionDefinition } from '../../src/projecting/projection.js';
import { MappingError, type Json } from '../../src/mapping/fact.js';
import type { Mailbox } from '../../src/projecting/announcer.js';
import { ProjectionDesk } from '../../src/projecting/commands.js';
import { projectionMailboxHandlers } from '../../src/projecting/mailbox-handlers.js';
import { Projections } from '../../src/projecting/projections.js';

export const quiet: RuntimeLog = { info: () => undefined, warn: () => undefined, error: () => undefined };

export interface TestEvent {
  readonly id?: string;
  readonly type?: string;
  readonly record?: string;
  readonly stream?: string;
  readonly data?: unknown;
  /** Stored bytes, in place of `data`. */
  readonly bytes?: Buffer;
  readonly envelope?: Partial<Envelope>;
}

/** A clock that never repeats a stamp. */
function stamp(batch: number): string {
  return `2026-01-01T00:00:00.${String(batch).padStart(6, '0')}Z`;
}

export class MemoryLog implements EventLogReader {
  readonly id = randomUUID();
  readonly adapter = 'memory';
  readonly events: RecordedEvent[] = [];
  reads = 0;
  private batches = 0;
  private wake: (() => void)[] = [];

  /** One append batch. @returns positions */
  append(...events: readonly TestEvent[]): Position[] {
    this.batches += 1;
    const recordedAt = stamp(this.batches);
    const positions = events.map((event) => {
      const position = BigInt(this.events.length + 1);
      const type = event.type ?? EVENT_TYPES.clinicalEvent;
      const envelope = {
        schema: 1,
        tenant: 'main',
        source: 'test',
        sourceVersion: 1,
        recordedAt,
        validation: { state: 'valid' },
        decoder: 1,
        bodyHash: '',
        ...(type.startsWith('inbound.') ? { keyId: 'k' } : {}),
        ...(event.record === undefined ? {} : { sourceRecordId: event.record }),
        ...event.envelope,
      };
      this.events.push({
        id: event.id ?? randomUUID(),
        type,
        metadata: Buffer.from(JSON.stringify(envelope)),
        data: event.bytes ?? Buffer.from(JSON.stringify(event.data ?? { type: 'patient.attributes', data: {} })),
        position,
        stream: event.stream ?? 'clinical-0',
        revision: position - 1n,
      });
      return position;
    });
    for (const wake of this.wake.splice(0)) wake();
    return positions;
  }

  async readPage(options: ReadOptions): Promise<RecordedEvent[]> {
    this.reads += 1;
    const { after, direction = 'forwards', types, stream, limit } = options;
    const all = direction === 'forwards' ? this.events : this.events.toReversed();
    const page: RecordedEvent[] = [];
    // Positions are dense here, so a forward read can start where it should.
    const start = direction === 'forwards' && after !== undefined ? Number(after) : 0;
    for (let index = start; index < all.length && page.length < limit; index += 1) {
      const event = all[index] as RecordedEvent;
      if (direction === 'backwards' && after !== undefined && event.position >= after) continue;
      if (types !== undefined && !types.includes(event.type)) continue;
      if (stream === undefined || event.stream === stream) page.push(event);
    }
    return page;
  }

  async head(): Promise<Position> {
    return BigInt(this.events.length);
  }

  async count(): Promise<bigint> {
    return BigInt(this.events.length);
  }

  async streamRevision(): Promise<bigint | 'no_stream'> {
    return this.events.length === 0 ? 'no_stream' : BigInt(this.events.length - 1);
  }

  async *subscribe(options: {
    after: Position;
    pageSize: number;
    signal: AbortSignal;
  }): AsyncGenerator<RecordedEvent[], void, undefined> {
    let after = options.after;
    while (!options.signal.aborted) {
      const page = this.events.slice(Number(after));
      if (page.length > 0) {
        after = (page.at(-1) as RecordedEvent).position;
        yield page;
        continue;
      }
      await new Promise<void>((resolve) => {
        this.wake.push(resolve);
        options.signal.addEventListener('abort', () => resolve(), { once: true });
      });
    }
  }

  async close(): Promise<void> {
    for (const wake of this.wake.splice(0)) wake();
  }
}

/** Bodies in clear; `data.poison` makes the mapping refuse a message, each event gives one fact with `data` as its fields. */
export function testDecoder(log: Pick<EventLogReader, 'readPage'>): EventDecoder {
  return new EventDecoder({
    keys: { keysById: async () => new Map([['k', { keyId: 'k', key: Buffer.alloc(32) }]]) },
    reader: log,
    openBody: (_key, _aad, sealed) => ({ header: {}, content: sealed }),
    readHl7: () => {
      throw new Error('no HL7 here');
    },
    mapMessage: (content, context) => {
      if (content.kind !== 'event') return { facts: [], notes: [], unmapped: [] };
      const { data } = content.event;
      if (data['poison'] === 'mapping') throw new MappingError('TEST_UNMAPPABLE', 'PID-5', 7);
      if (data['poison'] === 'mapping-crash') throw new TypeError('content of a patient');
      if (context.sourceRecordId === undefined) return { facts: [], notes: [], unmapped: [] };
      return {
        facts: [
          {
            kind: 'PATIENT',
            sourceRecordId: context.sourceRecordId,
            key: '',
            valid: { instant: context.recordedAt, text: context.recordedAt, field: 'ARRIVAL', flags: [] },
            assert: data,
          },
        ],
        notes: [],
        unmapped: [],
      };
    },
  });
}

/**
 * Every kind of write the runtime knows: `row` is plain COPY (a row per fact), `seen` keeps the first position of a record, `last` the
 * newest, `total` is kept by a set-based statement. Any order of batches must give the same tables.
 */
export function testProjection(options: { name?: string; version?: number } = {}): ProjectionDefinition {
  const name = options.name ?? 'sample';
  return {
    name,
    version: options.version ?? 1,
    install: (build) => [
      `create schema if not exists ${name}`,
      `create table ${name}.row_v${build} (pos bigint primary key, id uuid not null unique, record uuid, body jsonb, at timestamptz)`,
      `create table ${name}.seen_v${build} (record uuid primary key, pos bigint not null)`,
      `create table ${name}.last_v${build} (record uuid primary key, pos bigint not null, n text)`,
      `create table ${name}.total_v${build} (one int primary key, events bigint not null)`,
      `insert into ${name}.total_v${build} values (1, 0)`,
    ],
    uninstall: (build) =>
      ['row', 'seen', 'last', 'total'].map((table) => `drop table if exists ${name}.${table}_v${build}`),
    tables: (build) => ['row', 'seen', 'last', 'total'].map((table) => `${name}.${table}_v${build}`),
    apply: (batch, _context, build) => {
      const rows: unknown[][] = [];
      const seen: unknown[][] = [];
      const last = new Map<string, unknown[]>();
      for (const event of batch) {
        for (const fact of event.mapped.facts) {
          if (fact.assert?.['poison'] === 'apply') throw new EventRejected(event.id, 'TEST_REJECTED', 'PV1-44');
          const instant = fact.assert?.['poison'] === 'encode' ? 'not a time' : event.envelope.recordedAt;
          const body = fact.assert?.['poison'] === 'data' ? { n: 'a\u0000b' } : fact.assert;
          rows.push([event.position, event.id, fact.sourceRecordId, body, instant]);
          seen.push([fact.sourceRecordId, event.position]);
          last.set(fact.sourceRecordId, [
            fact.sourceRecordId,
            event.position,
            JSON.stringify(fact.assert?.['n'] ?? null),
          ]);
        }
      }
      return [
        {
          table: `${name}.row_v${build}`,
          columns: ['pos', 'id', 'record', 'body', 'at'],
          types: ['int8', 'uuid', 'uuid', 'jsonb', 'timestamptz'],
          rows,
        },
        {
          table: `${name}.seen_v${build}`,
          columns: ['record', 'pos'],
          types: ['uuid', 'int8'],
          rows: seen,
          onConflict: 'ignore',
          key: ['record'],
        },
        {
          table: `${name}.last_v${build}`,
          columns: ['record', 'pos', 'n'],
          types: ['uuid', 'int8', 'text'],
          rows: [...last.values()],
          onConflict: { update: 'on conflict (record) do update set pos = excluded.pos, n = excluded.n' },
        },
      ];
    },
    after: (batch, build) => [
      { text: `update ${name}.total_v${build} set events = events + $1`, values: [batch.length] },
    ],
  };
}

export interface TestRuntime {
  readonly runner: LiveRunner;
  readonly feed: EventFeed;
  readonly parkings: Parkings;
  close(): Promise<void>;
}

/** A live runner over a log, with the projections installed as their first builds where they are not yet. */
export async function startRuntime(
  database: { url: string; pool: pg.Pool },
  log: MemoryLog,
  definitions: readonly ProjectionDefinition[],
  options: { maxEvents?: number } = {},
): Promise<TestRuntime> {
  const parkings = await Parkings.load(database.pool);
  const feed = new EventFeed({ reader: log, decoder: testDecoder(log), ...options });
  const runner = new LiveRunner({ databaseUrl: database.url, pool: database.pool, feed, parkings, log: quiet });
  for (const definition of definitions) {
    await installBuild(database.pool, definition, log.id, { state: 'live', serving: true });
    runner.start({ definition, build: 1, lane: 0, mode: 'live' });
  }
  return {
    runner,
    feed,
    parkings,
    close: async () => {
      await runner.stopAll();
      await feed.close();
    },
  };
}

/** Whole content of a projection's tables, in a comparable form. */
export async function contentOf(
  pool: pg.Pool,
  definition: ProjectionDefinition,
  build: number,
): Promise<Record<string, unknown[]>> {
  const content: Record<string, unknown[]> = {};
  for (const table of definition.tables(build)) {
    const { rows } = await pool.query<{ row: string }>(`select t::text as row from ${table} t order by 1`);
    content[table.replace(/_v\d+$/, '')] = rows.map(({ row }) => row);
  }
  return content;
}

/** A mailbox whose writer appends to the log in memory; `away` makes it fail as if the ingest role were down. */
export class MemoryMailbox implements Mailbox {
  away = false;
  private readonly handlers;

  constructor(private readonly log: MemoryLog) {
    this.handlers = projectionMailboxHandlers({
      reader: log,
      hashes: testHashes,
      tenant: 'main',
      writer: {
        submit: async (events) =>
          events.map((event) => {
            const [position] = log.append({
              id: event.id,
              type: event.type,
              stream: event.stream,
              data: JSON.parse(event.data.toString('utf8')) as unknown,
              envelope: event.envelope,
            });
            return { id: event.id, position: position as Position, recordedAt: '' };
          }),
      },
    });
  }

  async request(kind: string, payload: Json): Promise<Json> {
    if (this.away) throw Object.assign(new Error('the writer is away'), { code: 'WRITER_UNAVAILABLE' });
    const handler = this.handlers[kind];
    if (handler === undefined) throw new Error(`no handler for ${kind}`);
    return handler(payload);
  }
}

/** Deterministic, not secret. */
export const testHashes = {
  uuid: (purpose: string, ...parts: (string | Uint8Array)[]): string => {
    const hex = createHash('sha256')
      .update(JSON.stringify([purpose, ...parts]))
      .digest('hex');
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20, 32)}`;
  },
};

/** The whole runtime of the project role over a log in memory. */
export async function startProjections(
  database: { url: string; pool: pg.Pool },
  log: MemoryLog,
  definitions: readonly ProjectionDefinition[],
  options: { mailbox?: MemoryMailbox; maxEvents?: number; keepRetiredSeconds?: number; autoSwitch?: boolean } = {},
): Promise<{ projections: Projections; desk: ProjectionDesk; mailbox: MemoryMailbox }> {
  const mailbox = options.mailbox ?? new MemoryMailbox(log);
  const projections = new Projections({
    databaseUrl: database.url,
    pool: database.pool,
    reader: log,
    decoder: testDecoder(log),
    mailbox,
    definitions,
    log: quiet,
    ...(options.maxEvents === undefined ? {} : { maxEvents: options.maxEvents }),
    ...(options.keepRetiredSeconds === undefined ? {} : { keepRetiredSeconds: options.keepRetiredSeconds }),
    ...(options.autoSwitch === undefined ? {} : { autoSwitch: options.autoSwitch }),
  });
  await projections.start();
  return { projections, desk: new ProjectionDesk(database.pool, log, mailbox, testHashes), mailbox };
}
