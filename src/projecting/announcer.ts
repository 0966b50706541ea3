/**
 * Tells the log of parkings that workers found. A parking is durable with the checkpoint that passed it; the decision reaches the log as soon
 * as the writer is there, and its id is the same however often it is sent.
 */
import type pg from 'pg';
import type { Json } from '../mapping/fact.js';
import type { EventLogReader, Position } from '../log/event-log.js';
import { envelopeOf } from './decode.js';
import { errorWord } from './errors.js';
import { EVERY_PROJECTION } from './parkings.js';
import type { RuntimeLog } from './runner.js';
import { backOff, pause } from './worker.js';

/** The client side of the writer's mailbox (src/log/writer-mailbox.ts). */
export interface Mailbox {
  request(kind: string, payload: Json, options?: { timeoutMs?: number }): Promise<Json>;
}

/** Mailbox kind of {@link ParkRequest}. */
export const PARK_REQUEST = 'park';

/** What the writer is asked to append as `message.parked`, to the message's own stream. */
export interface ParkRequest {
  readonly messageId: string;
  readonly position: string;
  /** Absent where no projection can take it. */
  readonly projection?: string;
  readonly sourceRecordId?: string;
  /** All records that wait, where there are others than `sourceRecordId`. */
  readonly records?: string[];
  readonly code: string;
  readonly path?: string;
  readonly byteOffset?: number;
  readonly attempt: number;
  readonly stream: string;
  /** Of the message, for the decision's envelope. */
  readonly tenant: string;
  readonly source: string;
  readonly sourceVersion: number;
  readonly patientId?: string;
}

const REQUEST_TIMEOUT_MS = 5_000;
const PAGE_ROWS = 100;

interface Row {
  message_id: string;
  scope: string;
  position: Position;
  records: string[];
  code: string;
  path: string | null;
  byte_offset: bigint | null;
  attempt: number;
}

export class Announcer {
  private readonly abort = new AbortController();
  private running: Promise<void> | undefined;
  private wake = (): void => undefined;
  private wanted = true;

  constructor(
    private readonly options: {
      readonly pool: pg.Pool;
      readonly reader: Pick<EventLogReader, 'readPage'>;
      readonly mailbox: Mailbox;
      readonly log: RuntimeLog;
    },
  ) {}

  /** Sends what an earlier run left, and from then on whatever {@link notice} is called for. */
  start(): void {
    this.running = this.run();
  }

  notice(): void {
    this.wanted = true;
    this.wake();
  }

  async stop(): Promise<void> {
    this.abort.abort();
    this.wake();
    await this.running;
  }

  private async run(): Promise<void> {
    for (let attempt = 1; !this.abort.signal.aborted;) {
      if (!this.wanted) {
        await new Promise<void>((resolve) => {
          this.wake = resolve;
          if (this.wanted || this.abort.signal.aborted) resolve();
        });
        continue;
      }
      this.wanted = false;
      try {
        while (await this.announceSome()) attempt = 1;
        attempt = 1;
      } catch (error) {
        // The writer or the database is away; the rows stay until it is back.
        this.wanted = true;
        if (attempt === 4 || attempt % 50 === 0) {
          this.options.log.warn({ code: errorWord(error), attempt }, 'parkings wait for the writer');
        }
        await pause(backOff(attempt), this.abort.signal);
        attempt += 1;
      }
    }
  }

  /** @returns whether there may be more */
  private async announceSome(): Promise<boolean> {
    const { rows } = await this.options.pool.query<Row>(
      `select message_id, scope, position, records, code, path, byte_offset, attempt
       from hub.parking where not announced order by position, message_id, attempt limit ${PAGE_ROWS}`,
    );
    for (const row of rows) {
      if (this.abort.signal.aborted) return false;
      await this.announce(row);
    }
    return rows.length === PAGE_ROWS;
  }

  private async announce(row: Row): Promise<void> {
    const [event] = await this.options.reader.readPage({ after: row.position - 1n, limit: 1 });
    if (event === undefined || event.id !== row.message_id) {
      // The log lost its end after an unclean stop of a copy: what is parked again there announces itself.
      this.options.log.warn({ position: row.position.toString() }, 'a parked message is not in the log');
      await this.done(row);
      return;
    }
    const envelope = envelopeOf(event);
    const request: ParkRequest = {
      messageId: row.message_id,
      position: row.position.toString(),
      ...(row.scope === EVERY_PROJECTION ? {} : { projection: row.scope }),
      ...(row.records[0] === undefined ? {} : { sourceRecordId: row.records[0] }),
      ...(row.records.length < 2 ? {} : { records: row.records }),
      code: row.code,
      ...(row.path === null ? {} : { path: row.path }),
      ...(row.byte_offset === null ? {} : { byteOffset: Number(row.byte_offset) }),
      attempt: row.attempt,
      stream: event.stream,
      tenant: envelope.tenant,
      source: envelope.source,
      sourceVersion: envelope.sourceVersion,
      ...(envelope.patientId === undefined ? {} : { patientId: envelope.patientId }),
    };
    await this.options.mailbox.request(PARK_REQUEST, { ...request }, { timeoutMs: REQUEST_TIMEOUT_MS });
    await this.done(row);
  }

  private async done(row: Row): Promise<void> {
    await this.options.pool.query(
      'update hub.parking set announced = true where message_id = $1 and scope = $2 and attempt = $3',
      [row.message_id, row.scope, row.attempt],
    );
  }
}
