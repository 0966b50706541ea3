// Starts one real PostgreSQL for the whole test run; each test file makes databases of its own in it
// (test/support/database.ts), copied from one that is migrated here. Uses the built hub, as `npm test` builds first.
import { execFileSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { openClient } from '../../dist/src/database/database.js';
import { migrate } from '../../dist/src/database/migrate.js';
import { startEmbeddedPostgres } from '../../dist/src/supervisor/embedded-postgres.js';

/** A run logs in thousands of times, and each time both sides derive the key anew from a password that no test guesses. */
async function makeLoginsCheap(url) {
  const client = await openClient(url);
  await client.query('set scram_iterations = 1');
  await client.query(`alter role anamnesis password '${new URL(url).password}'`);
  await client.end();
}

export default async function globalSetup() {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'anamnesis-test-'));
  // The same cluster, before its first use, is what hubs in tests begin with (test/support/cluster.ts).
  const cluster = path.join(folder, 'cluster');
  const unused = await startEmbeddedPostgres({ folder: cluster, settings: ['fsync=off'] });
  await makeLoginsCheap(unused.url);
  await unused.stop();
  const own = path.join(folder, 'postgres');
  for (const suffix of ['', '.password']) execFileSync('cp', ['-a', `${cluster}${suffix}`, `${own}${suffix}`]);
  const server = await startEmbeddedPostgres({
    folder: own,
    database: 'template_anamnesis',
    // Nothing of it outlives the run: what is durable is tested on servers of its own.
    settings: ['fsync=off', 'full_page_writes=off', 'wal_level=minimal', 'max_wal_senders=0', 'max_connections=200'],
  });
  await migrate(server.url);
  globalThis.anamnesisTestPostgres = { server, folder };
  // Hubs and commands are started hundreds of times: what is compiled of them is kept meanwhile.
  process.env.NODE_COMPILE_CACHE ??= path.join(folder, 'compiled');
  process.env.ANAMNESIS_TEST_CLUSTER = cluster;
  process.env.ANAMNESIS_TEST_POSTGRES = server.url;
}
