import { PostgresLogReader } from '../../src/log/postgres/reader.js';
import { openPostgresLogWriter } from '../../src/log/postgres/index.js';
import { createTestDatabase } from '../support/database.js';
import { eventLogUnderFaults } from './faults.js';

eventLogUnderFaults('PostgreSQL', async () => {
  const database = await createTestDatabase();
  const url = new URL(database.url);
  const through = ({ host, port }: { host: string; port: number }): string => {
    const other = new URL(url);
    other.hostname = host;
    other.port = String(port);
    return other.href;
  };
  return {
    target: { host: url.hostname, port: Number(url.port) },
    pool: database.pool,
    lastRequest: 'notify',
    openWriter: (via, answerMs) => openPostgresLogWriter(through(via), { answerMs }),
    openReader: (via, answerMs) => PostgresLogReader.open(through(via), { answerMs }),
    destroy: () => database.drop(),
  };
});
