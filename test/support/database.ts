/** Databases for tests: a fresh one each time, copied from a migrated template. */
import { randomBytes } from 'node:crypto';
import type pg from 'pg';
import { openClient, openPool } from '../../src/database/database.js';
import { migrate } from '../../src/database/migrate.js';

export interface TestDatabase {
  readonly url: string;
  readonly pool: pg.Pool;
  /** Drops the database; open connections are cut. */
  drop(): Promise<void>;
}

function serverUrl(): string {
  const url = process.env['ANAMNESIS_TEST_POSTGRES'];
  if (url === undefined) throw new Error('no PostgreSQL for tests: run through jest with test/support/global-setup.ts');
  return url;
}

function urlOf(database: string): string {
  const url = new URL(serverUrl());
  url.pathname = `/${database}`;
  return url.href;
}

/** A database with every migration applied (or, with `empty`, none). */
export async function createTestDatabase(options: { empty?: boolean } = {}): Promise<TestDatabase> {
  const name = `t_${randomBytes(8).toString('hex')}`;
  const admin = await openClient(serverUrl());
  await admin.query(`create database ${name}`);
  await admin.end();
  const url = urlOf(name);
  if (options.empty !== true) await migrate(url);
  const pool = openPool(url, { max: 10 });
  return {
    url,
    pool,
    async drop() {
      await pool.end();
      const client = await openClient(serverUrl());
      await client.query(`drop database if exists ${name} with (force)`);
      await client.end();
    },
  };
}
