/**
 * A process that projects a log that is there already: the one that shares.test.ts stops and wakes. Started with the database's URL, the lease and
 * the time between its renewals in milliseconds, and the names of the projections.
 */
import { openPool } from '../../src/database/database.js';
import { openPostgresLogReader } from '../../src/log/postgres/index.js';
import { Projections } from '../../src/projecting/projections.js';
import { quiet, testDecoder, testProjection } from './support.js';

const [url, leaseMs, renewEveryMs, ...names] = process.argv.slice(2) as [string, string, string, ...string[]];
const reader = await openPostgresLogReader(url);
const projections = new Projections({
  databaseUrl: url,
  pool: openPool(url, { max: 4 }),
  reader,
  decoder: testDecoder(reader),
  mailbox: { request: () => Promise.reject(new Error('nothing is parked here')) },
  definitions: names.map((name) => testProjection({ name })),
  log: quiet,
  leaseMs: Number(leaseMs),
  renewEveryMs: Number(renewEveryMs),
});
process.on('disconnect', () => process.exit(0));
await projections.start();
/** What it carries and whether any of it failed, whenever it is asked. */
process.on('message', () => process.send?.(projections.counters()));
process.send?.('ready');
