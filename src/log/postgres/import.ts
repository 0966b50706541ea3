/**
 * Writing a copy of another log into PostgreSQL: the same rows at the same positions. A page is one transaction with the progress in it, so a copy that is
 * killed goes on behind the last whole page.
 */
import type pg from 'pg';
import { copyRows, type CopyType } from '../../database/binary-copy.js';
import {
  LogNotEmptyError,
  WriterFencedError,
  type EventLogImport,
  type ImportProgress,
  type RecordedEvent,
} from '../event-log.js';
import { checkOrder } from '../check-round.js';
import { asLogFailure } from './failures.js';
import { makePartitions, PARTITION_EVENTS } from './partitions.js';
import { claim, openSession, type PostgresLogWriterOptions } from './writer.js';

export interface PostgresLogImportOptions extends Pick<PostgresLogWriterOptions, 'takeOver' | 'waitMs'> {
  /** How far apart positions lie in the original, on average: partitions are cut by position. */
  readonly positionsPerEvent?: number;
  /** Whether what stands here is known to be the beginning of the original, which the copy may go on behind. */
  readonly goOn?: boolean;
}

const COLUMNS = ['position', 'batch', 'stream_id', 'revision', 'id', 'type', 'metadata', 'data'];
const TYPES: readonly CopyType[] = ['int8', 'int8', 'int4', 'int8', 'uuid', 'text', 'bytea', 'bytea'];
/** A page may take as long as its rows need. */
const PATIENCE_MS = 300_000;
/** `,"recordedAt":"2026-03-01T10:15:00.000001Z"}`, the end of an envelope. */
const STAMP_FIELD = ',"recordedAt":"';
const STAMP_BYTES = 29;

interface StreamState {
  readonly id: number;
  revision: bigint;
}

interface LogRow {
  id: string;
  copying: boolean;
  head: bigint;
  events: bigint;
}

export class PostgresLogImport implements EventLogImport {
  readonly adapter = 'postgres';
  private partitionsUpTo = 0n;
  private epoch = 0n;
  private done: ImportProgress = { position: 0n, events: 0n };

  private constructor(
    private readonly url: string,
    private readonly logId: string,
    private readonly options: PostgresLogImportOptions,
    private client: pg.Client | undefined,
  ) {}

  /** @throws LogNotEmptyError, WriterActiveError, LogUnavailableError */
  static async begin(url: string, logId: string, options: PostgresLogImportOptions = {}): Promise<PostgresLogImport> {
    const copy = new PostgresLogImport(url, logId, options, undefined);
    try {
      await copy.session(options.goOn === true);
      return copy;
    } catch (error) {
      throw asLogFailure(error, 'beginning a copy');
    }
  }

  get progress(): ImportProgress {
    return this.done;
  }

  async write(page: readonly RecordedEvent[]): Promise<ImportProgress> {
    try {
      const client = await this.session(true);
      const fresh = page.filter(({ position }) => position > this.done.position);
      const last = fresh.at(-1);
      if (last === undefined) return this.done;
      checkOrder(fresh, this.done.position);
      await this.preparePartitions(client);
      await client.query('begin');
      try {
        const next = { position: last.position, events: this.done.events + BigInt(fresh.length) };
        const { rowCount } = await client.query(
          'update log.writer set head = $1, events = $2 where epoch = $3 and head = $4',
          [next.position, next.events, this.epoch, this.done.position],
        );
        if (rowCount === 0) throw new WriterFencedError();
        const streams = await advanceStreams(client, fresh);
        await copyRows(client, 'log.event', COLUMNS, TYPES, rowsOf(fresh, streams));
        await client.query('commit');
        this.done = next;
      } catch (error) {
        await client.query('rollback').catch(() => this.abandon(client));
        throw error;
      }
      return this.done;
    } catch (error) {
      throw asLogFailure(error, 'copying');
    }
  }

  async finish(): Promise<void> {
    try {
      // What a restore has left out is never given out here either, where that was carried along.
      await (
        await this.session(true)
      ).query(
        `with opened as (update log.identity set copying = false)
         update log.writer set head = greatest(head, (select max(base) from log.restored))`,
      );
    } catch (error) {
      throw asLogFailure(error, 'finishing a copy');
    }
  }

  async close(): Promise<void> {
    const { client } = this;
    this.client = undefined;
    await client?.end();
  }

  /** Made again where it was lost; how far the copy has come is read anew then, for the last page may have been stored all the same. */
  private async session(goOn: boolean): Promise<pg.Client> {
    if (this.client !== undefined) return this.client;
    const client = await openSession(this.url, PATIENCE_MS);
    try {
      await claim(client, this.options);
      const { rows } = await client.query<LogRow>('select id, copying, head, events from log.identity, log.writer');
      const [log] = rows;
      if (log === undefined) throw new Error('this database holds no log');
      if (log.head !== 0n && !(log.id === this.logId && (log.copying || goOn))) throw new LogNotEmptyError();
      const { rows: raised } = await client.query<{ epoch: bigint }>(
        `with named as (update log.identity set id = $1, copying = true)
         update log.writer set epoch = epoch + 1 returning epoch`,
        [this.logId],
      );
      this.epoch = (raised[0] as { epoch: bigint }).epoch;
      this.done = { position: log.head, events: log.events };
    } catch (error) {
      await client.end().catch(() => undefined);
      throw error;
    }
    client.on('error', () => this.abandon(client));
    client.on('end', () => this.abandon(client));
    this.client = client;
    return client;
  }

  private abandon(client: pg.Client): void {
    if (this.client === client) this.client = undefined;
    void client.end().catch(() => undefined);
  }

  private async preparePartitions(client: pg.Client): Promise<void> {
    const positions = PARTITION_EVENTS * BigInt(Math.max(1, Math.ceil(this.options.positionsPerEvent ?? 1)));
    if (this.done.position + positions / 2n < this.partitionsUpTo) return;
    this.partitionsUpTo = await makePartitions(client, positions);
  }
}

/** @throws RangeError where a revision does not follow the one before it */
async function advanceStreams(
  client: pg.Client,
  events: readonly RecordedEvent[],
): Promise<ReadonlyMap<string, StreamState>> {
  const names = [...new Set(events.map(({ stream }) => stream))];
  const { rows } = await client.query<{ id: number; name: string; revision: bigint }>(
    `with made as (
         insert into log.stream (name, revision) select name, -1 from unnest($1::text[]) as w(name)
         on conflict (name) do nothing returning id, name, revision)
       select id, name, revision from made
       union all select id, name, revision from log.stream where name = any ($1)`,
    [names],
  );
  const streams = new Map(rows.map(({ id, name, revision }) => [name, { id, revision }]));
  for (const { stream, revision } of events) {
    const state = streams.get(stream) as StreamState;
    if (revision !== state.revision + 1n) throw new RangeError(`revisions of ${stream} do not follow each other`);
    state.revision = revision;
  }
  const states = [...streams.values()];
  await client.query(
    `update log.stream s set revision = w.revision from unnest($1::int4[], $2::int8[]) as w(id, revision) where s.id = w.id`,
    [states.map(({ id }) => id), states.map(({ revision }) => revision)],
  );
  return streams;
}

/** An append batch is what bears one stamp; what has none is one batch with what came with it. */
function* rowsOf(
  events: readonly RecordedEvent[],
  streams: ReadonlyMap<string, StreamState>,
): Generator<readonly unknown[]> {
  let batch = 0n;
  let stamp: string | undefined;
  for (const { position, stream, revision, id, type, metadata, data } of events) {
    const own = stampOf(metadata);
    if (batch === 0n || own !== stamp) batch = position;
    stamp = own;
    yield [position, batch, (streams.get(stream) as StreamState).id, revision, id, type, metadata, data];
  }
}

function stampOf(metadata: Buffer): string {
  const from = metadata.length - STAMP_BYTES;
  const field = metadata.toString('latin1', Math.max(0, from - STAMP_FIELD.length), Math.max(0, from));
  return field === STAMP_FIELD ? metadata.toString('latin1', from) : '';
}
