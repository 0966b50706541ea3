/**
 * `npm run crash -- [--transport all|mllp|http|files] [--pace <ms>] [--beside] --kills <n> --seed <n>` (the log alone: log-target.ts): a hub under load is killed at random instants, also in the
 * middle of rebuilds; senders send again what was not acknowledged, as real ones do, some twice at once, out of order or long after. At the end the
 * log and the chart are held against a ledger of what was acknowledged, and every projection against the log by its own fold.
 * Everything is looked at from outside: sockets, HTTP, GraphQL.
 *
 * Last line: `kills N, acknowledged N, lost N, doubled N, mismatches N`.
 */
import path from 'node:path';
import { compare, digestOf } from './comparison.js';
import { batchSender, eventSender, fhirSender, fileSender, folderSender, type SenderContext } from './http-senders.js';
import { hl7HttpSender, mllpSender, repeatingSender } from './hl7-senders.js';
import { frameBatchSender, pipeliningSender, type MllpSenderContext } from './mllp-senders.js';
import {
  graphql,
  startHubProcess,
  temporaryDataDir,
  until,
  untilCaughtUp,
  type HubProcess,
} from '../support/hub-process.js';
import { askForRebuild, verifyEverything } from './rebuilds.js';
import { LEASE_MS } from '../../src/projecting/shares.js';
import { kill, summary, VICTIMS, type Kill, type Victim } from './victims.js';

export const TRANSPORTS = ['all', 'mllp', 'http', 'files'] as const;
export type Transport = (typeof TRANSPORTS)[number];

export interface CrashOptions {
  readonly kills: number;
  readonly seed: number;
  /** Which senders there are; default all. */
  readonly transport?: Transport;
  /** Milliseconds, on average, that each sender rests before each message: where machine time is short, more kills and rebuilds in it. Default none. */
  readonly paceMs?: number;
  /** A second process projects beside the hub (`serve --roles project`), so that what one that is killed or held still had a lease of goes on in the other. */
  readonly beside?: boolean;
  readonly print?: (line: string) => void;
}

export interface CrashResult {
  readonly kills: number;
  readonly acknowledged: number;
  /** Acknowledged and not in the log. */
  readonly lost: number;
  /** In the log more than once. */
  readonly doubled: number;
  /** Patients whose chart is not what their messages say, messages in the log that nobody sent, and builds that differ from the log. */
  readonly mismatches: number;
}

/** Of a whole hub. */
export interface HubCrashResult extends CrashResult {
  /** Kills that were not seen to have happened. */
  readonly unaccounted: number;
  /** Rebuilds that were begun while processes were killed. */
  readonly rebuilds: number;
}

const MLLP_SENDERS = 6;
const HTTP_SENDERS = 2;
/** Beside HL7 over HTTP, one of each; and of files. Their numbers follow on those of the others. */
const HTTP_KINDS = [eventSender, batchSender, fhirSender];
const FILE_KINDS = [fileSender, folderSender];
/** Numbers of the senders of mllp-senders.ts, apart from all others. */
const MLLP_CONTEXTS_FROM = 100;
const REPEATING_SENDERS = 2;
const REPEATING_FROM = 50;
const PATIENTS = 40;
const LONGEST_LIFE_MS = 1_500;
/** A hub of which a part was killed answers again within this, on a machine that has much else to do too. */
const BACK_AGAIN_MS = 300_000;
const CAUGHT_UP_MS = 1_200_000;
/** About one kill in so many finds a rebuild that was asked for just before. */
const REBUILD_EVERY = 3;
const PROJECTIONS = ['master', 'anonymized', 'search', 'volume'];
const FROZEN_MS = process.env['ANAMNESIS_TEST_SCALE'] === 'full' ? 20_000 : 2_500;
/** Longer than a lease, so that somebody else goes on with what the frozen process had in hand. */
const FROZEN_LEASE_MS = LEASE_MS * 1.6;

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

interface Beside {
  readonly hub: HubProcess;
  /** Kills it and removes what it had on the disk; the hub's data are elsewhere. */
  readonly end: () => Promise<void>;
}

/** A process that projects only, with the hub's database and key. */
async function startBeside(hub: HubProcess): Promise<Beside> {
  const { dataDir, remove } = await temporaryDataDir();
  const own = await startHubProcess(
    dataDir,
    {
      ANAMNESIS_DATABASE_URL: hub.run.postgres,
      ANAMNESIS_MASTER_KEY_FILE: path.join(hub.dataDir, 'master.key'),
      ANAMNESIS_BLOBS: path.join(hub.dataDir, 'blobs'),
    },
    ['--roles', 'project'],
  );
  return {
    hub: own,
    end: async () => {
      await own.kill();
      await remove();
    },
  };
}

interface Ledger {
  /** Acknowledged messages by SHA-256 of their bytes. */
  readonly acknowledged: Set<string>;
  /** Everything that was ever sent, with what it should leave on the chart. */
  readonly sent: Map<string, { readonly patient: number; readonly order: string }>;
  readonly kills: Kill[];
}

/** Runs it; the data directory is a temporary one. */
export async function runCrash(options: CrashOptions): Promise<HubCrashResult> {
  const print = options.print ?? (() => undefined);
  const next = random(options.seed);
  const { dataDir, remove } = await temporaryDataDir();
  const ledger: Ledger = { acknowledged: new Set(), sent: new Map(), kills: [] };
  let hub: HubProcess = await startHubProcess(dataDir);
  let finishing = false;
  /** The run has failed: nobody waits for answers any more. */
  let abandoned = false;
  const { transport = 'all', paceMs = 0 } = options;
  let beside = options.beside === true ? await startBeside(hub) : undefined;
  /** Apart from the kills' own random numbers: which victim when does not depend on how many messages were sent. */
  const rests = random(options.seed + 1);
  const pace = async (): Promise<void> => {
    if (paceMs > 0 && !finishing) await new Promise((resolve) => setTimeout(resolve, 2 * paceMs * rests()));
  };
  const begin: Record<Exclude<Transport, 'all'>, () => Promise<void>[]> = {
    mllp: () => [
      ...Array.from({ length: MLLP_SENDERS }, (_, sender) => mllpSender(mllpContext(sender))),
      ...[pipeliningSender, frameBatchSender].map((send, index) => send(mllpContext(MLLP_CONTEXTS_FROM + index))),
    ],
    http: () => [
      ...Array.from({ length: HTTP_SENDERS }, (_, sender) => hl7HttpSender(contextOf(MLLP_SENDERS + sender))),
      ...Array.from({ length: REPEATING_SENDERS }, (_, sender) => repeatingSender(contextOf(REPEATING_FROM + sender))),
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
    return {
      seed: options.seed,
      sender,
      patients: PATIENTS,
      http: () => hub.run.http,
      finishing: () => finishing,
      pace,
      abandoned: () => abandoned,
      sending: ({ bytes, patient, order }) => ledger.sent.set(digestOf(bytes), { patient, order }),
      acknowledged: ({ bytes }) => ledger.acknowledged.add(digestOf(bytes)),
    };
  }

  // One that fails before it is awaited at the end is told of there.
  const sent = Promise.all(senders);
  sent.catch(() => undefined);
  try {
    // One is under way from the beginning.
    await until(
      () => askForRebuild(hub.run.http, 'master'),
      (taken) => taken,
    );
    let rebuilds = 1;
    for (let number = 1; number <= options.kills; number += 1) {
      await new Promise((resolve) => setTimeout(resolve, 50 + next() * LONGEST_LIFE_MS));
      const rebuilt = PROJECTIONS[Math.floor(next() * PROJECTIONS.length * REBUILD_EVERY)];
      if (rebuilt !== undefined && (await askForRebuild(hub.run.http, rebuilt))) rebuilds += 1;
      const victim = VICTIMS[Math.floor(next() * VICTIMS.length)] as Victim;
      const frozenMs = beside === undefined ? FROZEN_MS : FROZEN_LEASE_MS;
      const other = beside !== undefined && victim.startsWith('project') && next() < 0.5 ? beside : undefined;
      const entry = await kill(other?.hub ?? hub, { number, victim, frozenMs });
      ledger.kills.push(entry);
      const killedAt = performance.now();
      if (entry.victim === 'supervisor') {
        // The one beside it knows the database by the address that it had.
        await beside?.end();
        hub = await startHubProcess(dataDir);
        if (beside !== undefined) beside = await startBeside(hub);
      } else {
        const { http } = hub.run;
        await until(
          () => graphql<{ log: { head: string } }>(http, '{ log { head } }'),
          () => true,
          BACK_AGAIN_MS,
        );
      }
      entry.backAfterMs = performance.now() - killedAt;
      print(
        `kill ${number}/${options.kills}: ${entry.victim} (${entry.pid}); acknowledged so far ${ledger.acknowledged.size}, rebuilds ${rebuilds}`,
      );
    }
    finishing = true;
    await sent;
    await untilCaughtUp(hub.run.http, CAUGHT_UP_MS);
    const wrong = await verifyEverything(hub.run.http, print);
    const { mismatches, ...result } = await compare(ledger, {
      http: hub.run.http,
      identifierOf: (patient) => `P${options.seed}-${patient}`,
      log: { eventLog: 'postgres', databaseUrl: hub.run.postgres },
      print,
    });
    for (const line of summary(ledger.kills)) print(line);
    return {
      kills: ledger.kills.length,
      unaccounted: ledger.kills.filter(({ confirmed }) => !confirmed).length,
      rebuilds,
      acknowledged: ledger.acknowledged.size,
      ...result,
      mismatches: mismatches + wrong,
    };
  } catch (error) {
    abandoned = true;
    throw error;
  } finally {
    finishing = true;
    await beside?.end();
    await hub.stop();
    await Promise.allSettled(senders);
    await remove();
  }
}
