/** A database that goes away under load and comes back: nothing is parked, nothing acknowledged is lost, nothing is doubled, and nobody helps. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { freePort } from '../support/free-port.js';
import {
  graphql,
  startHubProcess,
  temporaryDataDir,
  until,
  untilCaughtUp,
  type HubProcess,
} from '../support/hub-process.js';

let hub: HubProcess;
let folder: { dataDir: string; remove: () => Promise<void> };

beforeAll(async () => {
  folder = await temporaryDataDir();
  // A role that starts again takes any free port where it was told no other.
  hub = await startHubProcess(folder.dataDir, {
    ANAMNESIS_LOG_LEVEL: 'fatal',
    ANAMNESIS_HTTP_PORT: String(await freePort()),
  });
});
afterAll(async () => {
  await hub.stop();
  await folder.remove();
});

async function postgresPid(): Promise<number> {
  const file = await readFile(path.join(folder.dataDir, 'postgres', 'postmaster.pid'), 'utf8');
  return Number(file.split('\n')[0]);
}

/** As a real sender: again until it is acknowledged. Whether it is refused meanwhile or waits is the hub's affair. */
async function send(patient: number, n: number): Promise<void> {
  const body = JSON.stringify({
    eventId: `p${patient}-${n}`,
    type: 'patient.attributes',
    ts: '2026-03-01T10:00:00Z',
    patient: { identifiers: [{ authority: 'MERCY', value: `m${patient}`, type: 'MR' }] },
    data: { favoriteColor: `c${n}` },
  });
  for (;;) {
    try {
      const response = await fetch(`${hub.run.http}/events`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body,
      });
      const answer = (await response.json()) as { status?: string };
      if (response.status === 202) {
        expect(['accepted', 'duplicate']).toContain(answer.status);
        return;
      }
      expect(response.status).toBe(503);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

test('a database that is stopped twice under load costs time and nothing else', async () => {
  const outages = 2;
  let going = true;
  const sent = [0, 0, 0, 0];
  const senders = sent.map(async (_, patient) => {
    for (let n = 1; going; n += 1) {
      await send(patient, n);
      sent[patient] = n;
    }
  });
  for (let stopped = 0; stopped < outages; stopped += 1) {
    const before = [...sent];
    await until(
      async () => sent,
      (now) => now.every((count, index) => count > (before[index] ?? 0) + 5),
    );
    process.kill(await postgresPid(), 'SIGKILL');
  }
  const before = [...sent];
  await until(
    async () => sent,
    (now) => now.every((count, index) => count > (before[index] ?? 0) + 5),
  );
  going = false;
  await Promise.all(senders);

  await untilCaughtUp(hub.run.http);
  const total = sent.reduce((sum, count) => sum + count, 0);
  const ids = new Set<string>();
  const types = new Set<string>();
  for (let after: string | null = null; ;) {
    const { messages }: Page = await graphql<Page>(
      hub.run.http,
      'query ($after: String) { messages(first: 1000, after: $after) { nodes { controlId status } pageInfo { hasNextPage endCursor } } }',
      { after },
    );
    for (const { controlId, status } of messages.nodes) {
      expect(ids.has(controlId)).toBe(false);
      ids.add(controlId);
      types.add(status);
    }
    if (!messages.pageInfo.hasNextPage) break;
    after = messages.pageInfo.endCursor;
  }
  expect(ids.size).toBe(total);
  expect([...types]).toEqual(['APPLIED']);
  const { deadLetters } = await graphql<{ deadLetters: { nodes: unknown[] } }>(
    hub.run.http,
    '{ deadLetters { nodes { id } } }',
  );
  expect(deadLetters.nodes).toEqual([]);
});

interface Page {
  readonly messages: {
    readonly nodes: readonly { controlId: string; status: string }[];
    readonly pageInfo: { readonly hasNextPage: boolean; readonly endCursor: string | null };
  };
}
