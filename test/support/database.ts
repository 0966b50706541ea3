/** Databases for tests: a fresh one each time, copied from a migrated template. */
import { randomBytes } from 'node:crypto';
import type pg from 'pg';
import { MIGRATIONS } from '../../migrations/index.js';
import { openClient, openPool } from '../../src/database/database.js';

export interface TestDatabase {
  readonly url: string;
  readonly pool: pg.Pool;
  /** Drops the database; open connections are cut. */
  drop(): Promise<void>;
}

/** The migrated database that global-setup.mjs made; nobody is ever connected to it, so it can be copied at any time. */
const TEMPLATE = 'template_anamnesis';

function urlOf(database: string): string {
  const server = process.env['ANAMNESIS_TEST_POSTGRES'];
  if (server === undefined) {
    throw new Error('no PostgreSQL for tests: run through jest with test/support/global-setup.mjs');
  }
  const url = new URL(server);
  url.pathname = `/${database}`;
  return url.href;
}

/** A database with every migration applied (or, with `empty`, none). */
export async function createTestDatabase(options: { empty?: boolean } = {}): Promise<TestDatabase> {
  const name = `t_${randomBytes(8).toString('hex')}`;
  const admin = await openClient(urlOf('postgres'));
  // Hundreds of times in a run: the files as they are, without their pages going through the write-ahead log one by one.
  await admin.query(
    `create database ${name} template ${options.empty === true ? 'template1' : TEMPLATE} strategy file_copy`,
  );
  await admin.end();
  const url = urlOf(name);
  if (options.empty !== true) await (checked ??= checkMigrations(url));
  const pool = openPool(url, { max: 10 });
  return {
    url,
    pool,
    async drop() {
      await pool.end();
      const client = await openClient(urlOf('postgres'));
      await client.query(`drop database if exists ${name} with (force)`);
      await client.end();
    },
  };
}

let checked: Promise<void> | undefined;

/** The template is made by what was built: a migration that was written since shows here rather than as a missing table. */
async function checkMigrations(url: string): Promise<void> {
  const client = await openClient(url);
  try {
    const { rows } = await client.query<{ name: string }>('select name from anamnesis_migration');
    const missing = MIGRATIONS.map(({ name }) => name).filter((name) => !rows.some((row) => row.name === name));
    if (missing.length > 0)
      throw new Error(`build first (npm run build): the tests' database lacks ${missing.join(', ')}`);
  } finally {
    await client.end();
  }
}
