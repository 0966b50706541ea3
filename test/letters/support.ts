/** A hub with intake, projections and dead letters over a real PostgreSQL, in one process and without sockets. */
import { randomUUID } from 'node:crypto';
import { EventRejected, type DecodedEvent, type ProjectionDefinition } from '../../src/projecting/projection.js';
import { startLetters, type Letters } from '../../src/inbound/letters/index.js';
import { CORRECT_REQUEST, DISCARD_REQUEST, REPLAY_REQUEST } from '../../src/inbound/letters/letter-desk.js';
import { sealParcel } from '../../src/inbound/letters/parcel.js';
import type { IntakeParts } from '../../src/inbound/intake/pipeline.js';
import type { ReceivedMessage } from '../../src/inbound/received.js';
import { builtInSource, resolveSource } from '../../src/inbound/source.js';
import { serveMailbox, WriterMailbox } from '../../src/log/writer-mailbox.js';
import type { Json } from '../../src/mapping/fact.js';
import { servingBuild } from '../../src/projecting/builds.js';
import { createEventDecoder } from '../../src/projecting/decode.js';
import { projectionMailboxHandlers } from '../../src/projecting/mailbox-handlers.js';
import { Projections } from '../../src/projecting/projections.js';
import { openTestHub, type TestHub } from '../inbound/support.js';
import { quiet } from '../projecting/support.js';

/** One row for every attribute that a message states: record, place, cause and value, refused where the value says so and `broken` does too. */
export function attributeProjection(name: string, broken: () => boolean = () => true): ProjectionDefinition {
  return {
    name,
    version: 1,
    install: (build) => [
      `create schema if not exists ${name}`,
      `create table ${name}.row_v${build} (pos bigint, record uuid, cause uuid, value text, at timestamptz)`,
    ],
    uninstall: (build) => [`drop table if exists ${name}.row_v${build}`],
    tables: (build) => [`${name}.row_v${build}`],
    rowTables: (build) => [`${name}.row_v${build}`],
    apply: (batch, _context, build) => [
      {
        table: `${name}.row_v${build}`,
        columns: ['pos', 'record', 'cause', 'value', 'at'],
        types: ['int8', 'uuid', 'uuid', 'text', 'timestamptz'],
        rows: batch.flatMap((event) => rowsOf(event, name, broken)),
      },
    ],
  };
}

function rowsOf(event: DecodedEvent, name: string, broken: () => boolean): unknown[][] {
  return event.mapped.facts.flatMap((fact) =>
    Object.entries(fact.assert ?? {})
      .filter(([field]) => field.includes('colour'))
      .map(([, value]) => {
        const text = typeof value === 'string' ? value : JSON.stringify(value);
        if (broken() && (text.includes('poison') || text.includes(`only-${name}`)))
          throw new EventRejected(event.id, 'BAD_COLOUR', 'data.colour');
        return [
          event.position,
          fact.sourceRecordId,
          event.replayOf?.messageId ?? event.id,
          text,
          event.envelope.recordedAt,
        ];
      }),
  );
}

export interface LetterRow {
  readonly message_id: string;
  readonly status: string;
  readonly code: string;
  readonly attempt: number;
  readonly version: number;
  readonly records: readonly string[];
}

export class LetterHub {
  private number = 0;
  private constructor(
    readonly hub: TestHub,
    readonly definitions: readonly ProjectionDefinition[],
    private projections: Projections,
    private letters: Letters,
    private mailboxes: { readonly close: () => Promise<void> },
    readonly ask: WriterMailbox,
  ) {}

  static async open(
    definitions: readonly ProjectionDefinition[] | ((hub: TestHub) => readonly ProjectionDefinition[]),
    change: (parts: IntakeParts) => IntakeParts = (parts) => parts,
  ): Promise<LetterHub> {
    const hub = await openTestHub(change);
    return LetterHub.over(hub, typeof definitions === 'function' ? definitions(hub) : definitions);
  }

  private static async over(hub: TestHub, definitions: readonly ProjectionDefinition[]): Promise<LetterHub> {
    const { pool, url } = hub.database;
    const ask = new WriterMailbox(url);
    const letters = await startLetters({
      pool,
      reader: hub.reader,
      keys: hub.keys,
      decoder: createEventDecoder({ keyStore: hub.keys, reader: hub.reader, blobs: hub.blobs }),
      writer: hub.writer,
      pipeline: hub.intake,
      tenant: 'main',
      source: (id) => resolveSource(id, 2, {}, { timeZone: 'UTC' }),
      onTrouble: () => undefined,
      limits: { lookEveryMs: 200 },
    });
    const mailbox = serveMailbox(url, {
      ...projectionMailboxHandlers({ writer: hub.writer, reader: hub.reader, hashes: hub.keys.hashes, tenant: 'main' }),
      ...letters.handlers,
    });
    const projections = await startProjections(hub, definitions, ask);
    return new LetterHub(hub, definitions, projections, letters, mailbox, ask);
  }

  /** Everything that runs ends at once and is opened again over the same database. @param meanwhile while nothing runs */
  async restart(
    meanwhile: (database: TestHub['database']) => Promise<void> = async () => undefined,
  ): Promise<LetterHub> {
    await this.end();
    await meanwhile(this.hub.database);
    return LetterHub.over(await this.hub.restart(), this.definitions);
  }

  private async end(): Promise<void> {
    await this.letters.stop();
    await this.projections.stop();
    await this.mailboxes.close();
    await this.ask.close();
  }

  async close(): Promise<void> {
    await this.end();
    await this.hub.close();
  }

  /** A clinical event about the patient with this record number. */
  event(mrn: string, colour: string, more: Record<string, unknown> = {}): ReceivedMessage {
    this.number += 1;
    return jsonOf({
      eventId: `e${this.number}-${randomUUID()}`,
      type: 'patient.attributes',
      ts: '2026-03-01T10:00:00Z',
      patient: { identifiers: [{ authority: 'MERCY', value: mrn, type: 'MR' }] },
      data: { colour },
      ...more,
    });
  }

  async send(message: ReceivedMessage) {
    return this.hub.intake.receive(message);
  }

  /** Every projection has everything, and nothing that could move on waits. */
  async quiet(): Promise<void> {
    for (;;) {
      const head = await this.hub.reader.head();
      await this.until(async () => {
        const { rows } = await this.hub.database.pool.query<{ least: bigint | null }>(
          'select min(c.position) as least from hub.checkpoint c join hub.projection p on p.name = c.projection and p.version = c.version where p.serving',
        );
        return (rows[0]?.least ?? 0n) >= head;
      });
      await this.letters.releaser.settled();
      if ((await this.hub.reader.head()) === head && (await this.openLines()) === 0) return;
    }
  }

  /** Lines whose front is not parked. */
  async openLines(): Promise<number> {
    const { rows } = await this.hub.database.pool.query<{ n: number }>(
      `select count(*)::int as n from (select distinct on (projection, version, source_record_id) parked from hub.held
         order by projection, version, source_record_id, position) f where not parked`,
    );
    return rows[0]?.n ?? 0;
  }

  async until(condition: () => Promise<boolean>): Promise<void> {
    while (!(await condition())) await this.hub.database.pool.query('select pg_sleep(0.005)');
  }

  /** [value, cause] of a projection, in the order in which it learned them. */
  async values(name: string, build?: number): Promise<string[]> {
    const serving = build ?? (await servingBuild(this.hub.database.pool, name));
    const { rows } = await this.hub.database.pool.query<{ value: string }>(
      `select value from ${name}.row_v${serving} order by pos`,
    );
    return rows.map((row) => row.value);
  }

  async letterRows(): Promise<LetterRow[]> {
    const { rows } = await this.hub.database.pool.query<LetterRow>(
      'select message_id, status, code, attempt, version, records from hub.dead_letter order by position',
    );
    return rows;
  }

  async parked(count: number): Promise<LetterRow[]> {
    await this.until(async () => (await this.letterRows()).filter((row) => row.status === 'PARKED').length === count);
    return this.letterRows();
  }

  /** The letter of that attempt. */
  async attempt(attempt: number): Promise<LetterRow> {
    for (;;) {
      const found = (await this.letterRows()).find((row) => row.attempt === attempt);
      if (found !== undefined) return found;
      await this.hub.database.pool.query('select pg_sleep(0.005)');
    }
  }

  async correct(messageId: string, message: ReceivedMessage, more: Record<string, Json> = {}): Promise<void> {
    const body = await sealParcel(this.hub.keys, messageId, message.bytes);
    await this.ask.request(CORRECT_REQUEST, { ...asked(), messageId, body: { ...body }, ...more });
  }

  async replay(messageIds: readonly string[], more: Record<string, Json> = {}): Promise<void> {
    await this.ask.request(REPLAY_REQUEST, { ...asked(), messageIds: [...messageIds], ...more });
  }

  async discard(messageId: string, reason: string, more: Record<string, Json> = {}): Promise<void> {
    const sealed = await sealParcel(this.hub.keys, messageId, Buffer.from(reason));
    await this.ask.request(DISCARD_REQUEST, { ...asked(), messageId, reason: { ...sealed }, ...more });
  }

  /** Rebuilds a projection with verification, and waits until the new build serves. */
  async rebuild(name: string): Promise<void> {
    const before = (await servingBuild(this.hub.database.pool, name)) ?? 0;
    await this.projections.rebuild(name, { verify: true });
    await this.until(async () => {
      const { rows } = await this.hub.database.pool.query<{
        state: string;
        last_error: string | null;
        report: unknown;
      }>('select state, last_error, report from hub.projection where name = $1 and version = $2', [name, before + 1]);
      if (rows[0]?.state === 'failed') throw new Error(`${rows[0].last_error} ${JSON.stringify(rows[0].report)}`);
      return (await servingBuild(this.hub.database.pool, name)) === before + 1;
    });
  }

  /** What a build holds back, for comparison. */
  async held(name: string, build: number): Promise<unknown[]> {
    const { rows } = await this.hub.database.pool.query<Record<string, unknown>>(
      `select source_record_id, position, message_id, parked, attempt from hub.held where projection = $1 and version = $2
       order by source_record_id, position`,
      [name, build],
    );
    return rows;
  }
}

function asked(): { requestedBy: string; request: string } {
  return { requestedBy: 'engineer', request: randomUUID() };
}

export function jsonOf(value: unknown): ReceivedMessage {
  return {
    transport: 'http',
    source: builtInSource('http'),
    contentType: 'application/json',
    reader: 'event',
    bytes: Buffer.from(JSON.stringify(value), 'utf8'),
  };
}

async function startProjections(
  hub: TestHub,
  definitions: readonly ProjectionDefinition[],
  mailbox: WriterMailbox,
): Promise<Projections> {
  const projections = new Projections({
    databaseUrl: hub.database.url,
    pool: hub.database.pool,
    reader: hub.reader,
    decoder: createEventDecoder({ keyStore: hub.keys, reader: hub.reader, blobs: hub.blobs }),
    mailbox,
    definitions,
    log: quiet,
  });
  await projections.start();
  return projections;
}
