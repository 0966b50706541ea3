import { openPostgresLogReader, openPostgresLogWriter } from '../../src/log/postgres/index.js';
import { createTestDatabase } from '../support/database.js';
import { eventLogModel } from './model.js';

const RUNS = process.env['ANAMNESIS_TEST_SCALE'] === 'full' ? 5_000 : 100;

eventLogModel(
  'PostgreSQL',
  async () => {
    const database = await createTestDatabase();
    return {
      openWriter: (options) => openPostgresLogWriter(database.url, { waitMs: 100, ...options }),
      openReader: () => openPostgresLogReader(database.url),
      cut: async () => {
        await database.pool.query(
          `select pg_terminate_backend(pid) from pg_stat_activity
           where datname = current_database() and application_name = 'anamnesis log writer'`,
        );
      },
      destroy: () => database.drop(),
    };
  },
  RUNS,
);
