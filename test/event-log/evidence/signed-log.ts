/** A signed log in a real PostgreSQL that tests tamper with: it can be put back as it was. */
import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { FolderHeadStore } from '../../../src/log/evidence/head-store.js';
import { TreeKeeper, witnessed } from '../../../src/log/evidence/keeper.js';
import { verifyLog, type VerifyOptions, type VerifyReport } from '../../../src/log/evidence/verify.js';
import type { TreeHead } from '../../../src/log/evidence/tree-head.js';
import { parseHead } from '../../../src/log/evidence/tree-head.js';
import { openPostgresLogReader, openPostgresLogWriter } from '../../../src/log/postgres/index.js';
import { LogWriter } from '../../../src/log/writer.js';
import { createTestDatabase, type TestDatabase } from '../../support/database.js';
import { pendingEvent } from '../pending-event.js';

const TABLES = ['log.event', 'log.stream', 'log.writer', 'log.identity', 'evidence.tile', 'evidence.head'];

export class SignedLog {
  private constructor(
    readonly database: TestDatabase,
    /** The second place. */
    readonly folder: string,
    readonly key: KeyObject,
  ) {}

  get publicKey(): KeyObject {
    return createPublicKey(this.key);
  }

  get heads(): FolderHeadStore {
    return new FolderHeadStore(this.folder);
  }

  /** A log of 64 fences and rounds of so many events, with a head behind each round. */
  static async make(rounds: readonly number[], events = pendingEvent): Promise<SignedLog> {
    const database = await createTestDatabase();
    const folder = path.join(await mkdtemp(path.join(os.tmpdir(), 'anamnesis-evidence-')), 'heads');
    const log = new SignedLog(database, folder, generateKeyPairSync('ed25519').privateKey);
    await log.append(rounds, events);
    for (const table of TABLES) {
      await database.pool.query(`create table public.kept_${table.replace('.', '_')} as table ${table}`);
    }
    await cp(folder, `${folder}.kept`, { recursive: true });
    return log;
  }

  /** As a hub does: takes the log over, appends, signs behind every round. */
  async append(rounds: readonly number[], events = pendingEvent, appendedLast = 0): Promise<void> {
    const log = await openPostgresLogWriter(this.database.url);
    try {
      const keeper = await TreeKeeper.open({
        pool: this.database.pool,
        reader: log,
        heads: this.heads,
        key: this.key,
        signEveryMs: 3_600_000,
      });
      const writer = await LogWriter.open({ log: witnessed(log, keeper), pool: this.database.pool });
      for (const round of rounds) {
        await writer.submit(Array.from({ length: round }, (_, index) => events({ stream: `clinical-${index % 5}` })));
        await keeper.settle();
      }
      if (appendedLast > 0) {
        keeper.fenced();
        await writer.submit(Array.from({ length: appendedLast }, () => events()));
      }
      await writer.close();
      await keeper.close();
    } finally {
      await log.close();
    }
  }

  async sql(statement: string, values: readonly unknown[] = []): Promise<void> {
    await this.database.pool.query(statement, [...values]);
  }

  /** As a command does it: with a reader of its own. */
  async verify(options: Partial<VerifyOptions> = {}): Promise<VerifyReport> {
    const reader = await openPostgresLogReader(this.database.url);
    try {
      return await verifyLog({
        reader,
        heads: this.heads,
        publicKey: this.publicKey,
        pool: this.database.pool,
        ...options,
      });
    } finally {
      await reader.close();
    }
  }

  /** Every head in the second place, unchecked. */
  async signed(): Promise<TreeHead[]> {
    const heads: TreeHead[] = [];
    for await (const { signed } of this.heads.read()) heads.push(parseHead(signed.head));
    return heads;
  }

  /** Everything as it was after it was made. */
  async putBack(): Promise<void> {
    await this.sql(`truncate ${TABLES.join(', ')}`);
    for (const table of TABLES) {
      const kept = `public.kept_${table.replace('.', '_')}`;
      await this.sql(`insert into ${table} overriding system value select * from ${kept}`);
    }
    await rm(this.folder, { recursive: true, force: true });
    await cp(`${this.folder}.kept`, this.folder, { recursive: true });
  }

  async drop(): Promise<void> {
    await this.database.drop();
    await rm(path.dirname(this.folder), { recursive: true, force: true });
  }
}
