/** A PostgreSQL cluster as it is before its first use: to make one takes longer than the rest of a hub's start, so a run of tests makes one only. */
import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Gives a data directory a copy of the cluster that global-setup.mjs made; outside of jest none, and the hub makes its own. */
export async function giveCluster(dataDir: string): Promise<void> {
  const cluster = process.env['ANAMNESIS_TEST_CLUSTER'];
  if (cluster === undefined) return;
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  const own = path.join(dataDir, 'postgres');
  // Owners and modes as they are: PostgreSQL refuses a folder that others may enter.
  await run('cp', ['-a', cluster, own]);
  await run('cp', ['-a', `${cluster}.password`, `${own}.password`]);
}
