/** A hub of its own processes is killed in the middle of `replay --all`, again and again. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { openClient } from '../../src/database/database.js';
import type { MessageReplayed } from '../../src/log/decisions.js';
import { EVENT_TYPES } from '../../src/log/envelope.js';
import { openPostgresLogReader } from '../../src/log/postgres/index.js';
import {
  graphql,
  pidOfRole,
  startHubProcess,
  temporaryDataDir,
  until,
  untilCaughtUp,
  type HubProcess,
} from '../support/hub-process.js';

const FULL = process.env['ANAMNESIS_TEST_SCALE'] === 'full';
const PATIENTS = FULL ? 24 : 4;
/** Behind each letter: more than are replayed together. */
const WAITING = FULL ? 400 : 150;
const VICTIMS = ['ingest', 'supervisor', 'project'];
const KILLS = FULL ? 21 : 3;

let hub: HubProcess;
let folder: { dataDir: string; remove: () => Promise<void> };

beforeAll(async () => {
  folder = await temporaryDataDir();
  hub = await startHubProcess(folder.dataDir);
});
afterAll(async () => {
  await hub.stop();
  await folder.remove();
});

interface Posted {
  readonly id: string;
  readonly status: string;
  /** It was sent once before, and refused for now. */
  readonly again: boolean;
}

/** A message is the n-th about its patient: sent, effective and to be known in this order. */
function message(patient: number, n: number, ts = new Date(Date.UTC(2026, 2, 1) + n * 60_000).toISOString()): string {
  return JSON.stringify({
    eventId: `${patient}-${n}`,
    type: 'patient.attributes',
    ts,
    patient: { identifiers: [{ authority: 'MERCY', value: `K${patient}`, type: 'MR' }] },
    data: { favoriteColor: `colour-${n}` },
  });
}

/** Many messages in order, as a sender does: from the first that was refused for now on they come again. */
async function post(messages: readonly string[]): Promise<Posted[]> {
  const posted: Posted[] = [];
  let sent = 0;
  while (posted.length < messages.length) {
    const from = posted.length;
    const taken = await postOnce(messages.slice(from));
    const refused = taken.findIndex(({ status }) => status === 'refused');
    const settled = refused < 0 ? taken : taken.slice(0, refused);
    posted.push(...settled.map((answer, index) => ({ ...answer, again: from + index < sent })));
    sent = messages.length;
  }
  return posted;
}

async function postOnce(messages: readonly string[]): Promise<Omit<Posted, 'again'>[]> {
  const response = await fetch(`${hub.run.http}/events/batch`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-ndjson' },
    body: messages.join('\n'),
  });
  const text = await response.text();
  // Refused for now before the first of them was taken.
  if (response.status === 503) return messages.map(() => ({ id: '', status: 'refused' }));
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Omit<Posted, 'again'>);
}

/** What was ever learned of the patient's colour: [value, id of the message], in the order in which it became known. */
async function learned(patient: number): Promise<(readonly [unknown, string])[]> {
  const { at } = await graphql<Learned>(
    hub.run.http,
    `
      query ($value: String!) {
        at {
          patientByIdentifier(authority: "MERCY", value: $value) {
            isBehind
            history(first: 1000) {
              nodes {
                changes {
                  path
                  after
                }
                meta {
                  position
                  message {
                    id
                  }
                }
              }
            }
          }
        }
      }
    `,
    { value: `K${patient}` },
  );
  const found = at.patientByIdentifier;
  if (found === null) throw new Error('no such patient');
  expect(found.isBehind).toBe(false);
  return found.history.nodes.flatMap(({ changes, meta }) =>
    changes
      .filter(({ after }) => typeof after === 'string' && after.startsWith('colour-'))
      .map(({ after }) => [after, meta.message.id] as const),
  );
}

interface Learned {
  at: {
    patientByIdentifier: {
      isBehind: boolean;
      history: {
        nodes: {
          changes: { path: string; after: unknown }[];
          meta: { position: string; message: { id: string } };
        }[];
      };
    } | null;
  };
}

/** Rows of the hub's own database. */
async function rows<Row extends object>(sql: string): Promise<Row[]> {
  const client = await openClient(hub.run.postgres);
  try {
    return (await client.query<Row>(sql)).rows;
  } finally {
    await client.end();
  }
}

/** Every replay in the log. */
async function replays(): Promise<MessageReplayed[]> {
  const reader = await openPostgresLogReader(hub.run.postgres);
  try {
    const events = await reader.readPage({ types: [EVENT_TYPES.replayed], limit: 100_000 });
    return events.map((event) => JSON.parse(event.data.toString('utf8')) as MessageReplayed);
  } finally {
    await reader.close();
  }
}

/** Waits until so many replays stand in the log. @returns how many do */
async function replayed(least: number): Promise<number> {
  const client = await openClient(hub.run.postgres);
  try {
    for (;;) {
      const { rows: found } = await client.query<{ n: bigint }>(
        `select count(*) as n from log.event where type = '${EVENT_TYPES.replayed}'`,
      );
      const count = Number(found[0]?.n ?? 0n);
      if (count >= least) return count;
    }
  } finally {
    await client.end();
  }
}

async function killed(victim: string): Promise<void> {
  const pid = victim === 'supervisor' ? undefined : await pidOfRole(hub, victim);
  if (pid !== undefined) {
    process.kill(pid, 'SIGKILL');
    return;
  }
  await hub.kill();
  hub = await startHubProcess(folder.dataDir);
}

/**
 * The writer ends when it has replayed letters that no projection has seen yet, and the one after it is asked for the same: the tables say that they
 * are parked still, only the log knows better.
 */
async function killedBeforeItIsProjected(): Promise<void> {
  const [project, ingest] = [await pidOfRole(hub, 'project'), await pidOfRole(hub, 'ingest')];
  if (project === undefined || ingest === undefined) throw new Error('a role is not running');
  const ask = (): Promise<string> =>
    graphql(hub.run.http, 'mutation { replayDeadLetters(all: true) { id } }').then(
      () => 'answered',
      (error: unknown) => String(error),
    );
  process.kill(project, 'SIGSTOP');
  try {
    const asked = ask();
    await replayed(1);
    process.kill(ingest, 'SIGKILL');
    await asked;
    // The next writer knows from the log that the tables are behind, and says so.
    await until(ask, (answer) => answer === 'answered' || answer.includes('have not taken in'));
  } finally {
    process.kill(project, 'SIGCONT');
  }
}

test('killed again and again while all letters are replayed: every one is settled once, and all that waited is applied once and in order', async () => {
  const sent = new Map<number, Posted[]>();
  await Promise.all(
    Array.from({ length: PATIENTS }, async (_, patient) => {
      const lines = Array.from({ length: 2 + WAITING }, (_, n) =>
        message(patient, n, n === 1 ? 'yesterday' : undefined),
      );
      const posted = await post(lines);
      // One that came again may have been taken the first time.
      for (const [n, { status, again }] of posted.entries())
        expect([n === 1 ? 'parked' : 'accepted', ...(again ? ['duplicate'] : [])]).toContain(status);
      sent.set(patient, posted);
    }),
  );
  await untilCaughtUp(hub.run.http);
  const letters = [...sent.values()].map((posted) => (posted[1] as Posted).id);
  for (const [patient, posted] of sent) {
    await graphql(
      hub.run.http,
      'mutation ($id: ID!, $body: String!) { correctDeadLetter(id: $id, body: $body) { status } }',
      {
        id: (posted[1] as Posted).id,
        body: message(patient, 1),
      },
    );
  }
  const held = await rows<{ n: bigint }>("select count(*) as n from hub.held where projection = 'master'");
  expect(held[0]?.n).toBe(BigInt(PATIENTS * (WAITING + 1)));

  await killedBeforeItIsProjected();

  const middles: number[] = [];
  for (let kill = 0; kill < KILLS; kill += 1) {
    // Nobody waits for its answer: the hub is killed once so much is replayed.
    const asked = graphql(hub.run.http, 'mutation { replayDeadLetters(all: true) { id } }').catch(() => undefined);
    middles.push(await replayed(((PATIENTS * WAITING) / KILLS) * (kill + Math.random() / 2)));
    await killed(VICTIMS[kill % VICTIMS.length] as string);
    await asked;
  }
  expect(Math.min(...middles)).toBeLessThan(PATIENTS * (WAITING + 1));
  await until(
    () => graphql<{ all: unknown[] }>(hub.run.http, 'mutation { all: replayDeadLetters(all: true) { id } }'),
    ({ all }) => all.length === 0,
  );
  await until(
    () => rows<{ n: bigint }>('select count(*) as n from hub.held'),
    ([left]) => left?.n === 0n,
  );
  await untilCaughtUp(hub.run.http);

  const settled = await rows<{ message_id: string; status: string }>('select message_id, status from hub.dead_letter');
  expect(settled.map((letter) => letter.message_id).toSorted()).toEqual(letters.toSorted());
  expect(new Set(settled.map((letter) => letter.status))).toEqual(new Set(['REPLAYED']));
  // In the log each letter, and each message behind one, is replayed exactly once.
  const causes = (await replays()).map(({ messageId }) => messageId);
  expect(causes.toSorted()).toEqual(
    [...sent.values()].flatMap((posted) => posted.slice(1).map(({ id }) => id)).toSorted(),
  );
  for (const [patient, posted] of sent) {
    expect(await learned(patient)).toEqual(posted.map(({ id }, n) => [`colour-${n}`, id]));
  }

  await graphql(hub.run.http, 'mutation { rebuildProjection(name: "master", verify: true) { name } }');
  const rebuilt = await until(
    () =>
      rows<{ state: string; verified: boolean | null; last_error: string | null }>(
        "select state, verified, last_error from hub.projection where name = 'master' order by version desc limit 1",
      ),
    ([last]) => last?.state === 'live' || last?.state === 'failed',
  );
  expect(rebuilt).toMatchObject([{ state: 'live', verified: true, last_error: null }]);
  for (const [patient, posted] of sent) {
    expect(await learned(patient)).toEqual(posted.map(({ id }, n) => [`colour-${n}`, id]));
  }
});
