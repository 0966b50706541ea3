/**
 * `npm run crash -- [--transport all|mllp|http|files] --kills <n> --seed <n>` (the log alone: log-target.ts): a hub under load is killed at random instants; senders send again
 * what was not acknowledged, as real ones do. At the end the log and the chart are held against a ledger of what was acknowledged.
 * Everything is looked at from outside: sockets, HTTP, GraphQL.
 *
 * Last line: `kills N, acknowledged N, lost N, doubled N, mismatches N`.
 */
import { createHash } from 'node:crypto';
import { batchSender, eventSender, fhirSender, fileSender, folderSender, type SenderContext } from './http-senders.js';
import { frameBatchSender, pipeliningSender, type MllpSenderContext } from './mllp-senders.js';
import { answerCode, MllpClient } from '../support/mllp-client.js';
import {
  graphql,
  pidOfRole,
  startHubProcess,
  temporaryDataDir,
  until,
  untilCaughtUp,
  type HubProcess,
} from '../support/hub-process.js';

export const TRANSPORTS = ['all', 'mllp', 'http', 'files'] as const;
export type Transport = (typeof TRANSPORTS)[number];

export interface CrashOptions {
  readonly kills: number;
  readonly seed: number;
  /** Which senders there are; default all. */
  readonly transport?: Transport;
  readonly print?: (line: string) => void;
}

export interface CrashResult {
  readonly kills: number;
  readonly acknowledged: number;
  /** Acknowledged and not in the log. */
  readonly lost: number;
  /** In the log more than once. */
  readonly doubled: number;
  /** Patients whose chart is not what their messages say, and messages in the log that nobody sent. */
  readonly mismatches: number;
}

const MLLP_SENDERS = 6;
const HTTP_SENDERS = 2;
/** Beside HL7 over HTTP, one of each; and of files. Their numbers follow on those of the others. */
const HTTP_KINDS = [eventSender, batchSender, fhirSender];
const FILE_KINDS = [fileSender, folderSender];
/** Numbers of the senders of mllp-senders.ts, apart from all others. */
const MLLP_CONTEXTS_FROM = 100;
const PATIENTS = 40;
const LONGEST_LIFE_MS = 1_500;
/** A hub of which a part was killed answers again within this, on a machine that has much else to do too. */
const BACK_AGAIN_MS = 300_000;
const CAUGHT_UP_MS = 1_200_000;

/** Small deterministic generator (mulberry32): which instant and which victim, not what the machine makes of it. */
function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

interface Ledger {
  /** Acknowledged messages by SHA-256 of their bytes. */
  readonly acknowledged: Set<string>;
  /** Everything that was ever sent, with what it should leave on the chart. */
  readonly sent: Map<string, { readonly patient: number; readonly order: string }>;
}

function hl7Message(sender: number, count: number, patient: number, seed: number): { bytes: Buffer; order: string } {
  const order = `O${seed}-${sender}-${count}`;
  const at = `2026030${1 + (count % 9)}10${String(count % 60).padStart(2, '0')}00`;
  const text = [
    `MSH|^~\\&|CRASH|WARD|HUB|HUB|${at}||ORU^R01|C${seed}-${sender}-${count}|P|2.5.1`,
    `PID|1||P${seed}-${patient}^^^CRASH^MR||Kill${patient}^Test||19700${1 + (patient % 9)}1${patient % 10}|F`,
    `OBR|1||${order}|K^Potassium^L|||${at}`,
    `OBX|1|NM|K^Potassium^L||${(3 + (count % 30) / 10).toFixed(1)}|mmol/L|||||F|||${at}`,
    '',
  ].join('\r');
  return { bytes: Buffer.from(text, 'utf8'), order };
}

/** Runs it; the data directory is a temporary one. */
export async function runCrash(options: CrashOptions): Promise<CrashResult> {
  const print = options.print ?? (() => undefined);
  const next = random(options.seed);
  const { dataDir, remove } = await temporaryDataDir();
  const ledger: Ledger = { acknowledged: new Set(), sent: new Map() };
  let hub: HubProcess = await startHubProcess(dataDir);
  let finishing = false;
  /** The run has failed: nobody waits for answers any more. */
  let abandoned = false;
  const { transport = 'all' } = options;
  const begin: Record<Exclude<Transport, 'all'>, () => Promise<void>[]> = {
    mllp: () => [
      ...Array.from({ length: MLLP_SENDERS }, (_, sender) => mllpSender(sender)),
      ...[pipeliningSender, frameBatchSender].map((send, index) => send(mllpContext(MLLP_CONTEXTS_FROM + index))),
    ],
    http: () => [
      ...Array.from({ length: HTTP_SENDERS }, (_, sender) => httpSender(MLLP_SENDERS + sender)),
      ...HTTP_KINDS.map((send, index) => send(contextOf(MLLP_SENDERS + HTTP_SENDERS + index))),
    ],
    files: () =>
      FILE_KINDS.map((send, index) => send(contextOf(MLLP_SENDERS + HTTP_SENDERS + HTTP_KINDS.length + index))),
  };
  const senders = transport === 'all' ? Object.values(begin).flatMap((start) => start()) : begin[transport]();

  function mllpContext(sender: number): MllpSenderContext {
    return { ...contextOf(sender), mllp: () => hub.run.mllp };
  }

  function contextOf(sender: number): SenderContext {
    const digestOf = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('base64url');
    return {
      seed: options.seed,
      sender,
      patients: PATIENTS,
      http: () => hub.run.http,
      finishing: () => finishing,
      abandoned: () => abandoned,
      sending: ({ bytes, patient, order }) => ledger.sent.set(digestOf(bytes), { patient, order }),
      acknowledged: ({ bytes }) => ledger.acknowledged.add(digestOf(bytes)),
    };
  }

  async function eachMessage(sender: number, send: (bytes: Buffer) => Promise<boolean>): Promise<void> {
    for (let count = 0; !finishing; count += 1) {
      const patient = (sender * 7 + count) % PATIENTS;
      const { bytes, order } = hl7Message(sender, count, patient, options.seed);
      const digest = createHash('sha256').update(bytes).digest('base64url');
      ledger.sent.set(digest, { patient, order });
      for (let acknowledged = false; !acknowledged;) {
        if (abandoned) return;
        try {
          acknowledged = await send(bytes);
        } catch {
          acknowledged = false; // No answer: a real sender sends the same bytes again.
        }
        if (!acknowledged) await new Promise((resolve) => setTimeout(resolve, 30));
      }
      ledger.acknowledged.add(digest);
    }
  }

  function mllpSender(sender: number): Promise<void> {
    const client = new MllpClient(hub.run.mllp, 5_000);
    return eachMessage(sender, async (bytes) => {
      client.moveTo(hub.run.mllp);
      return answerCode(await client.send(bytes)) === 'AA';
    }).finally(() => client.close());
  }

  function httpSender(sender: number): Promise<void> {
    return eachMessage(sender, async (bytes) => {
      const response = await fetch(`${hub.run.http}/hl7`, {
        method: 'POST',
        headers: { 'content-type': 'x-application/hl7-v2+er7', 'x-anamnesis-source': 'mllp' },
        body: new Uint8Array(bytes),
        signal: AbortSignal.timeout(5_000),
      });
      return response.ok && answerCode(Buffer.from(await response.arrayBuffer())) === 'AA';
    });
  }

  try {
    for (let kill = 1; kill <= options.kills; kill += 1) {
      await new Promise((resolve) => setTimeout(resolve, 50 + next() * LONGEST_LIFE_MS));
      const victim = await killSomething(hub, next());
      if (victim === 'supervisor') {
        hub = await startHubProcess(dataDir);
      } else {
        const { http } = hub.run;
        await until(
          () => graphql<{ log: { head: string } }>(http, '{ log { head } }'),
          () => true,
          BACK_AGAIN_MS,
        );
      }
      print(`kill ${kill}/${options.kills}: ${victim}; acknowledged so far ${ledger.acknowledged.size}`);
    }
    finishing = true;
    await Promise.all(senders);
    await untilCaughtUp(hub.run.http, CAUGHT_UP_MS);
    const result = await compare(hub, ledger, options);
    return { kills: options.kills, acknowledged: ledger.acknowledged.size, ...result };
  } catch (error) {
    abandoned = true;
    throw error;
  } finally {
    finishing = true;
    await hub.stop();
    await Promise.allSettled(senders);
    await remove();
  }
}

async function killSomething(hub: HubProcess, chance: number): Promise<string> {
  const victims = ['supervisor', 'ingest', 'project', 'query', 'postgres'];
  const victim = victims[Math.floor(chance * victims.length)] as string;
  if (victim === 'supervisor') {
    await hub.kill();
    return victim;
  }
  const pid = await pidOfRole(hub, victim);
  if (pid === undefined) {
    await hub.kill();
    return 'supervisor';
  }
  process.kill(pid, 'SIGKILL');
  return victim;
}

interface MessagePage {
  messages: {
    nodes: { id: string; status: string; body: { base64: string } | null }[];
    pageInfo: { hasNextPage: boolean; endCursor: string | null };
  };
}

async function compare(
  hub: HubProcess,
  ledger: Ledger,
  options: CrashOptions,
): Promise<Omit<CrashResult, 'kills' | 'acknowledged'>> {
  const seen = new Map<string, number>();
  let mismatches = 0;
  for (let after: string | null = null; ;) {
    const page: MessagePage = await graphql<MessagePage>(
      hub.run.http,
      'query ($after: String) { messages(first: 500, after: $after) { nodes { id status body { base64 } } pageInfo { hasNextPage endCursor } } }',
      { after },
    );
    for (const node of page.messages.nodes) {
      const digest = createHash('sha256')
        .update(Buffer.from(node.body?.base64 ?? '', 'base64'))
        .digest('base64url');
      seen.set(digest, (seen.get(digest) ?? 0) + 1);
      if (!ledger.sent.has(digest) || node.status !== 'APPLIED') mismatches += 1;
    }
    if (!page.messages.pageInfo.hasNextPage) break;
    after = page.messages.pageInfo.endCursor;
  }
  let lost = 0;
  for (const digest of ledger.acknowledged) if (!seen.has(digest)) lost += 1;
  let doubled = 0;
  for (const count of seen.values()) doubled += count - 1;

  const expected = new Map<number, number>();
  for (const [digest, { patient }] of ledger.sent)
    if (seen.has(digest)) expected.set(patient, (expected.get(patient) ?? 0) + 1);
  for (const [patient, count] of expected)
    if ((await observationsOf(hub.run.http, `P${options.seed}-${patient}`)) !== count) mismatches += 1;
  const people = await graphql<{ at: { population: { count: number }[] } }>(
    hub.run.http,
    '{ at { population(by: []) { count } } }',
  );
  if (people.at.population.reduce((sum, { count }) => sum + count, 0) !== expected.size) mismatches += 1;
  return { lost, doubled, mismatches };
}

interface ObservationPage {
  at: {
    patientByIdentifier: {
      observations: { nodes: { id: string }[]; pageInfo: { hasNextPage: boolean; endCursor: string | null } };
    } | null;
  };
}

/** Number of different results on the patient's chart; -1 where there is no such patient. */
async function observationsOf(http: string, identifier: string): Promise<number> {
  const ids = new Set<string>();
  for (let after: string | null = null; ;) {
    const answer: ObservationPage = await graphql<ObservationPage>(
      http,
      `
        query ($value: String!, $after: String) {
          at {
            patientByIdentifier(authority: "CRASH", value: $value) {
              observations(first: 1000, after: $after) {
                nodes {
                  id
                }
                pageInfo {
                  hasNextPage
                  endCursor
                }
              }
            }
          }
        }
      `,
      { value: identifier, after },
    );
    const patient = answer.at.patientByIdentifier;
    if (patient === null) return -1;
    for (const { id } of patient.observations.nodes) ids.add(id);
    if (!patient.observations.pageInfo.hasNextPage) return ids.size;
    after = patient.observations.pageInfo.endCursor;
  }
}
