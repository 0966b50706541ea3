// Starts one real PostgreSQL for the whole test run; each test file makes databases of its own in it
// (test/support/database.ts), copied from one that is migrated here. Uses the built hub, as `npm test` builds first.
import { mkdtempSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { migrate } from '../../dist/src/database/migrate.js';
import { startEmbeddedPostgres } from '../../dist/src/supervisor/embedded-postgres.js';

export default async function globalSetup() {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'anamnesis-test-'));
  const server = await startEmbeddedPostgres({
    folder: path.join(folder, 'postgres'),
    database: 'template_anamnesis',
    settings: ['fsync=off', 'max_connections=200'],
  });
  await migrate(server.url);
  globalThis.anamnesisTestPostgres = { server, folder };
  process.env.ANAMNESIS_TEST_POSTGRES = server.url;
}
