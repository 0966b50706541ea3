/** A book of sources over a real log. */
import { randomUUID } from 'node:crypto';
import { SourceBook, type SourceBookParts } from '../../../src/inbound/sources/book.js';
import type { SourceAction, SourceRequest } from '../../../src/inbound/sources/decide.js';
import type { EventLogWriter } from '../../../src/log/event-log.js';
import { openPostgresLogWriter } from '../../../src/log/postgres/index.js';
import { LogWriter } from '../../../src/log/writer.js';
import { KeyedHashes } from '../../../src/sealing/hashes.js';
import { createTestDatabase, type TestDatabase } from '../../support/database.js';

export const testHashes = new KeyedHashes(Buffer.alloc(32, 7));

export class SourcesHub {
  private constructor(
    readonly database: TestDatabase,
    readonly log: EventLogWriter,
    readonly writer: LogWriter,
    readonly book: SourceBook,
    readonly trouble: unknown[],
  ) {}

  static async start(change: Partial<SourceBookParts> = {}, existing?: TestDatabase): Promise<SourcesHub> {
    const database = existing ?? (await createTestDatabase());
    const log = await openPostgresLogWriter(database.url, { takeOver: true });
    const writer = await LogWriter.open({ log, pool: database.pool });
    const trouble: unknown[] = [];
    const book = await SourceBook.open({
      pool: database.pool,
      reader: log,
      writer,
      hashes: testHashes,
      tenant: 'main',
      defaults: { timeZone: 'UTC', mllp: { host: '127.0.0.1', port: 2575 } },
      file: {},
      onTrouble: (error) => trouble.push(error),
      ...change,
    });
    return new SourcesHub(database, log, writer, book, trouble);
  }

  /** Ends the process's share; the database stays. */
  async stop(): Promise<TestDatabase> {
    await this.book.close();
    await this.writer.close();
    await this.log.close();
    return this.database;
  }

  async restart(change: Partial<SourceBookParts> = {}): Promise<SourcesHub> {
    return SourcesHub.start(change, await this.stop());
  }

  async end(): Promise<void> {
    await this.stop();
    await this.database.drop();
  }
}

export function request(sourceId: string, action: SourceAction, more: Partial<SourceRequest> = {}): SourceRequest {
  return { id: randomUUID(), sourceId, action, requestedBy: 'loopback', ...more };
}

export function set(sourceId: string, settings: object, more: Partial<SourceRequest> = {}): SourceRequest {
  return request(sourceId, { kind: 'set', settings }, more);
}
