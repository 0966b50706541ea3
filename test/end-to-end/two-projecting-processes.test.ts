/** `serve --roles project` beside a whole hub, as processes: both project, one is killed, then the other, and everything is applied once. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import path from 'node:path';
import type pg from 'pg';
import { openPool } from '../../src/database/database.js';
import {
  pidOfRole,
  startHubProcess,
  temporaryDataDir,
  untilCaughtUp,
  type HubProcess,
} from '../support/hub-process.js';

const folders: { remove: () => Promise<void> }[] = [];
let hub: HubProcess;
let beside: HubProcess | undefined;
let pool: pg.Pool;

async function startBeside(): Promise<HubProcess> {
  const folder = await temporaryDataDir();
  folders.push(folder);
  return startHubProcess(
    folder.dataDir,
    { ANAMNESIS_DATABASE_URL: hub.run.postgres, ANAMNESIS_MASTER_KEY_FILE: path.join(hub.dataDir, 'master.key') },
    ['--roles', 'project'],
  );
}

beforeAll(async () => {
  const folder = await temporaryDataDir();
  folders.push(folder);
  hub = await startHubProcess(folder.dataDir);
  pool = openPool(hub.run.postgres);
});
afterAll(async () => {
  await beside?.stop();
  await pool.end();
  await hub.stop();
  for (const folder of folders) await folder.remove();
});

let sent = 0;
async function send(count: number): Promise<void> {
  const lines = Array.from({ length: count }, () => {
    sent += 1;
    const patient = { identifiers: [{ authority: 'MERCY', value: `M${sent % 7}`, type: 'MR' }] };
    return JSON.stringify({
      eventId: `e${sent}`,
      type: 'patient.attributes',
      ts: '2026-03-01T10:00:00Z',
      patient,
      data: { favouriteColour: 'green' },
    });
  });
  const response = await fetch(`${hub.run.http}/events/batch`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-ndjson' },
    body: lines.join('\n'),
  });
  expect(response.status).toBeLessThan(300);
  await response.text();
}

/** Units by who has them, as sets of names. */
async function shares(): Promise<string[][]> {
  const { rows } = await pool.query<{ units: string[] }>(
    'select array_agg(unit order by unit) as units from hub.lease where expires_at > clock_timestamp() group by holder order by min(unit)',
  );
  return rows.map(({ units }) => units);
}

async function until(look: () => Promise<boolean>): Promise<void> {
  while (!(await look())) await pool.query('select pg_sleep(0.02)');
}

async function everythingOnce(): Promise<void> {
  await untilCaughtUp(hub.run.http);
  const { rows } = await pool.query(
    `select (select count(*)::int4 from master.message_v1) as messages, (select count(distinct event_id)::int4 from master.message_v1) as distinct,
       (select sum(messages)::int4 from volume.day_v1) as counted, (select count(distinct record)::int4 from search.document_v1) as found,
       (select count(*)::int4 from hub.projection where last_error is not null) as failed`,
  );
  expect(rows).toEqual([{ messages: sent, distinct: sent, counted: sent, found: Math.min(7, sent), failed: 0 }]);
}

test('both project; what a killed one carried goes on in the other, whichever it is, and everything is applied once', async () => {
  const [all] = await shares();
  expect(all).toContain('master');
  beside = await startBeside();
  await until(async () => (await shares()).length === 2);
  await send(60);
  await everythingOnce();
  // Each was given some, none is given to both.
  const two = await shares();
  expect(two.flat().sort()).toEqual(all);

  const sending = send(200);
  await beside.kill();
  await sending;
  await everythingOnce();
  expect(await shares()).toEqual([all]);

  beside = await startBeside();
  await until(async () => (await shares()).length === 2);
  const role = await pidOfRole(hub, 'project');
  const more = send(200);
  process.kill(role as number, 'SIGKILL');
  await more;
  await everythingOnce();
});
