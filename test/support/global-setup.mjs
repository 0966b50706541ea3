// Starts one real PostgreSQL for the whole test run; each test file makes databases of its own in it
// (test/support/database.ts), copied from one that is migrated here. Uses the built hub, as `npm test` builds first.
import { execFileSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { migrate } from '../../dist/src/database/migrate.js';
import { startEmbeddedPostgres } from '../../dist/src/supervisor/embedded-postgres.js';

export default async function globalSetup() {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'anamnesis-test-'));
  // The same cluster, before its first use, is what hubs in tests begin with (test/support/cluster.ts).
  const cluster = path.join(folder, 'cluster');
  const unused = await startEmbeddedPostgres({ folder: cluster, settings: ['fsync=off'] });
  await unused.stop();
  const own = path.join(folder, 'postgres');
  for (const suffix of ['', '.password']) execFileSync('cp', ['-a', `${cluster}${suffix}`, `${own}${suffix}`]);
  const server = await startEmbeddedPostgres({
    folder: own,
    database: 'template_anamnesis',
    settings: ['fsync=off', 'max_connections=200'],
  });
  await migrate(server.url);
  globalThis.anamnesisTestPostgres = { server, folder };
  // Hubs and commands are started hundreds of times: what is compiled of them is kept meanwhile.
  process.env.NODE_COMPILE_CACHE ??= path.join(folder, 'compiled');
  process.env.ANAMNESIS_TEST_CLUSTER = cluster;
  process.env.ANAMNESIS_TEST_POSTGRES = server.url;
}
