/**
 * `npm run crash -- --target network [--log postgres|eventstore] --kills <n> --seed <n>`: a whole hub behind a bad network. Proxies stand between all its roles and
 * its PostgreSQL, and between them and the log where that is another server: at random instants they delay, swallow in both directions or answers
 * alone, half-open, refuse and cut, also in the middle of rebuilds, while senders send. Once the network is good again the hub must come back by itself; at
 * the end the log, the charts and every projection are held against the ledger as in run.ts.
 *
 * Last line: `faults N, acknowledged N, lost N, doubled N, mismatches N`.
 */
import path from 'node:path';
import type { LogPlace } from '../../src/log/open-log.js';
import { startEmbeddedPostgres } from '../../src/supervisor/embedded-postgres.js';
import { SERVE_SETTINGS } from '../../src/supervisor/postgres-settings.js';
import { Random } from '../../src/simulator/random.js';
import { startEventStoreDouble } from '../support/eventstore-double/double.js';
import { FAULTS, startFaultProxy, type FaultProxy } from '../support/fault-proxy.js';
import { graphql, startHubProcess, temporaryDataDir, until, untilCaughtUp } from '../support/hub-process.js';
import { compare, digestOf } from './comparison.js';
import { batchSender, eventSender, fhirSender, type SenderContext } from './http-senders.js';
import { repeatingSender } from './hl7-senders.js';
import { pipeliningSender } from './mllp-senders.js';
import { askForRebuild, verifyEverything } from './rebuilds.js';

export interface NetworkOptions {
  readonly faults: number;
  readonly seed: number;
  readonly log?: 'postgres' | 'eventstore';
  readonly print?: (line: string) => void;
}

export interface NetworkResult {
  readonly faults: number;
  readonly acknowledged: number;
  readonly lost: number;
  readonly doubled: number;
  readonly mismatches: number;
  readonly rebuilds: number;
}

const KINDS = [...FAULTS, 'cut'] as const;
const SENDERS = [eventSender, batchSender, fhirSender, pipeliningSender, repeatingSender];
const PATIENTS = 12;
/** Each sender rests so long before a message on average. */
const PACE_MS = 20;
const LONGEST_DELAY_MS = 30;
/** Longer than a connection may be silent (src/database/database.ts) only at full scale. */
const LONGEST_FAULT_MS = process.env['ANAMNESIS_TEST_SCALE'] === 'full' ? 25_000 : 600;
const LONGEST_CALM_MS = 300;
const REBUILD_EVERY = 3;
const PROJECTIONS = ['master', 'anonymized', 'search', 'volume'];
const BACK_AGAIN_MS = 300_000;
const CAUGHT_UP_MS = 1_200_000;

/** Runs it; everything it starts is its own, and is removed. */
export async function runNetworkFaults(options: NetworkOptions): Promise<NetworkResult> {
  const { seed, print = () => undefined } = options;
  const random = new Random(seed);
  const closing: (() => Promise<unknown>)[] = [];
  const ledger = {
    acknowledged: new Set<string>(),
    sent: new Map<string, { readonly patient: number; readonly order: string }>(),
  };
  let finishing = false;
  let abandoned = false;
  try {
    const { dataDir, remove } = await temporaryDataDir();
    closing.push(remove);
    const postgres = await startEmbeddedPostgres({
      folder: path.join(path.dirname(dataDir), 'postgres'),
      settings: [...SERVE_SETTINGS],
    });
    closing.push(() => postgres.stop());
    const proxies: FaultProxy[] = [];
    const behind = async (host: string, port: number): Promise<FaultProxy> => {
      const proxy = await startFaultProxy({
        target: { host, port },
        random: () => random.fraction(),
        delayMs: LONGEST_DELAY_MS,
      });
      closing.push(() => proxy.close());
      proxies.push(proxy);
      return proxy;
    };
    const database = new URL(postgres.url);
    database.port = String((await behind(database.hostname, Number(database.port))).port);
    const env: Record<string, string> = { ANAMNESIS_DATABASE_URL: database.href };
    let log: LogPlace = { eventLog: 'postgres', databaseUrl: postgres.url };
    if (options.log === 'eventstore') {
      const double = await startEventStoreDouble();
      closing.push(() => double.destroy());
      log = { ...log, eventLog: double.url };
      const proxy = await behind('127.0.0.1', double.port);
      env['ANAMNESIS_EVENT_LOG'] = `esdb://127.0.0.1:${proxy.port}?tls=false`;
    }
    const hub = await startHubProcess(dataDir, env);
    closing.push(() => hub.stop());
    const { http, mllp } = hub.run;

    const contextOf = (sender: number): SenderContext & { readonly mllp: () => string } => ({
      seed,
      sender,
      patients: PATIENTS,
      http: () => http,
      mllp: () => mllp,
      finishing: () => finishing,
      pace: () => new Promise((resolve) => setTimeout(resolve, 2 * PACE_MS * random.fraction())),
      abandoned: () => abandoned,
      sending: ({ bytes, patient, order }) => ledger.sent.set(digestOf(bytes), { patient, order }),
      acknowledged: ({ bytes }) => ledger.acknowledged.add(digestOf(bytes)),
    });
    const senders = SENDERS.map((send, index) => send(contextOf(index)));
    closing.push(() => Promise.allSettled(senders));
    // One that fails before it is awaited at the end is told of there.
    const sent = Promise.all(senders);
    sent.catch(() => undefined);

    // One is under way from the beginning.
    await until(
      () => askForRebuild(http, 'master'),
      (taken) => taken,
    );
    let rebuilds = 1;
    for (let number = 1; number <= options.faults; number += 1) {
      await pause(random.fraction() * LONGEST_CALM_MS);
      const rebuilt = PROJECTIONS[random.between(0, PROJECTIONS.length * REBUILD_EVERY - 1)];
      if (rebuilt !== undefined && (await askForRebuild(http, rebuilt))) rebuilds += 1;
      // Every kind in turn, so that also a short run has all of them.
      const kind = KINDS[(number + seed) % KINDS.length] as (typeof KINDS)[number];
      const hit = proxies[random.between(0, proxies.length - 1)] as FaultProxy;
      if (kind === 'cut') hit.cut();
      else {
        hit.set(kind);
        await pause(random.fraction() * LONGEST_FAULT_MS);
        hit.set('pass');
      }
      const acknowledged = ledger.acknowledged.size;
      const mended = performance.now();
      // Back by itself: what is sent is acknowledged again, and questions are answered.
      await until(
        () => graphql<{ log: { head: string } }>(http, '{ log { head } }'),
        () => ledger.acknowledged.size > acknowledged,
        BACK_AGAIN_MS,
      );
      print(
        `fault ${number}/${options.faults}: ${kind}; back after ${Math.round(performance.now() - mended)} ms, acknowledged so far ${ledger.acknowledged.size}, rebuilds ${rebuilds}`,
      );
    }
    finishing = true;
    await sent;
    await untilCaughtUp(http, CAUGHT_UP_MS);
    const wrong = await verifyEverything(http, print);
    const identifierOf = (patient: number): string => `P${seed}-${patient}`;
    const compared = await compare(ledger, { http, identifierOf, log, print });
    return {
      faults: options.faults,
      acknowledged: ledger.acknowledged.size,
      ...compared,
      mismatches: compared.mismatches + wrong,
      rebuilds,
    };
  } finally {
    finishing = true;
    abandoned = true;
    for (const close of closing.reverse()) await close();
  }
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
