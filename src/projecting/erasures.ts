/**
 * Erasures, carried into what was derived: rows and documents of an erased person go at once, not with the next rebuild. A worker may hold events
 * in hand that it opened before the keys were destroyed, and write them afterwards; so they are removed at once, and once more when every build
 * has come past the end that the log had when no key could be in use any more.
 */
import type pg from 'pg';
import { inTransaction } from '../database/database.js';
import type { EventLogReader, Position } from '../log/event-log.js';
import { Listener } from '../log/postgres/listener.js';
import { ERASURE_CHANNEL, KEY_LEASE_MS } from '../sealing/key-store.js';
import { errorWord } from './errors.js';
import type { Build, ProjectionDefinition } from './projection.js';
import type { RuntimeLog } from './runner.js';

export interface ErasuresOptions {
  readonly databaseUrl: string;
  readonly pool: pg.Pool;
  readonly reader: Pick<EventLogReader, 'head'>;
  readonly definitions: readonly ProjectionDefinition[];
  readonly log: RuntimeLog;
}

/** Notices can be lost; nothing else depends on this. */
const LOOK_MS = 30_000;
/** While something is left to do. */
const LOOK_AGAIN_MS = 1_000;
/** Records of one statement or request. */
const RECORDS_AT_ONCE = 1_000;
/** A table that is not there: of a build that was dropped, or is in another engine. */
const UNDEFINED_TABLE = '42P01';

interface Erased {
  readonly epoch: bigint;
  readonly owners: readonly string[];
}

export class Erasures {
  private readonly closing = new AbortController();
  private readonly listener: Listener;
  private running: Promise<void> | undefined;
  /** Up to this one nothing is left to do, nor can come back. */
  private settled = 0n;
  /** Removed once; may come back while events that were read before are under way. */
  private removed = 0n;
  private waiting: { readonly upTo: bigint; readonly since: number; readonly end?: Position } | undefined;

  constructor(private readonly options: ErasuresOptions) {
    this.listener = new Listener(options.databaseUrl, [ERASURE_CHANNEL]);
  }

  /** Carries out what is there already, and whatever comes, until it is stopped. */
  start(): void {
    this.running ??= this.follow();
  }

  async stop(): Promise<void> {
    this.closing.abort();
    await this.running;
    await this.listener.close();
  }

  private async follow(): Promise<void> {
    const { signal } = this.closing;
    const notices = this.listener.wait(signal);
    while (!signal.aborted) {
      notices.reset();
      let left = true;
      try {
        left = await this.look();
      } catch (error) {
        this.options.log.warn(
          { err: errorWord(error) },
          'what was derived of erased persons could not be removed yet; it goes on trying',
        );
      }
      await notices.next(left ? LOOK_AGAIN_MS : LOOK_MS);
    }
    notices.done();
  }

  /** @returns whether something is left to do */
  private async look(): Promise<boolean> {
    const { pool, reader } = this.options;
    const { rows } = await pool.query<Erased>('select epoch, owners from sealing.erasure where epoch > $1', [
      this.settled,
    ]);
    if (rows.length === 0) return false;
    const last = rows.reduce((most, { epoch }) => (epoch > most ? epoch : most), 0n);
    const owners = [...new Set(rows.flatMap((row) => row.owners))];
    if (last > this.removed) {
      await this.remove(owners);
      this.removed = last;
      this.waiting = { upTo: last, since: performance.now() };
      return true;
    }
    if (this.waiting === undefined) return true;
    if (this.waiting.end === undefined) {
      if (performance.now() - this.waiting.since < KEY_LEASE_MS) return true;
      this.waiting = { ...this.waiting, end: await reader.head() };
    }
    const end = this.waiting.end as Position;
    const { rows: behind } = await pool.query(
      `select from hub.checkpoint c join hub.projection p on p.name = c.projection and p.version = c.version
        where c.position < $1 and (p.state in ('building', 'built', 'live') or p.worker = 'running') limit 1`,
      [end],
    );
    if (behind.length > 0) return true;
    await this.remove(owners);
    this.settled = this.waiting.upTo;
    this.waiting = undefined;
    return false;
  }

  /** Everywhere it can: one store that is away keeps nothing in the others. @throws the first that failed */
  private async remove(records: readonly string[]): Promise<void> {
    const failures: unknown[] = [];
    for (const definition of this.options.definitions) {
      const { rows } = await this.options.pool.query<{ version: Build }>(
        'select version from hub.projection where name = $1',
        [definition.name],
      );
      for (const { version } of rows) {
        for (let at = 0; at < records.length; at += RECORDS_AT_ONCE) {
          const some = records.slice(at, at + RECORDS_AT_ONCE);
          await this.removeRows(definition, version, some).catch((error: unknown) => failures.push(error));
          await definition.outside?.erase(some, version).catch((error: unknown) => failures.push(error));
        }
      }
    }
    if (failures.length > 0) throw failures[0];
  }

  private async removeRows(definition: ProjectionDefinition, build: Build, records: readonly string[]): Promise<void> {
    try {
      await inTransaction(this.options.pool, async (client) => {
        for (const statement of definition.erase?.(build) ?? [])
          await client.query(statement, statement.includes('$1') ? [records] : undefined);
      });
    } catch (error) {
      if ((error as { code?: string }).code !== UNDEFINED_TABLE) throw error;
    }
  }
}
