/** Runs the TypeORM migrations of `migrations/` against a database. */
import { DataSource } from 'typeorm';
import { MIGRATIONS } from '../../migrations/index.js';

/**
 * Brings the operational schemas up to date. Safe to call from several processes: an advisory lock lets one at a time in.
 * @returns names of the migrations that ran
 */
export async function migrate(url: string): Promise<string[]> {
  const source = new DataSource({
    type: 'postgres',
    url,
    migrations: MIGRATIONS,
    migrationsTableName: 'anamnesis_migration',
    migrationsTransactionMode: 'each',
    applicationName: 'anamnesis migrate',
  });
  await source.initialize();
  const runner = source.createQueryRunner();
  try {
    await runner.query('select pg_advisory_lock($1)', [MIGRATION_LOCK]);
    const ran = await source.runMigrations();
    await runner.query('select pg_advisory_unlock($1)', [MIGRATION_LOCK]);
    return ran.map((migration) => migration.name);
  } finally {
    await runner.release();
    await source.destroy();
  }
}

/** Arbitrary, fixed: the key of the advisory lock that migrations run under. */
const MIGRATION_LOCK = 7_261_001;
