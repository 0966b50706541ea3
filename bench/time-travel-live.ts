/**
 * Bench `time-travel-live`: a whole hub at work. FHIR transactions of a Patient (conditional create), an Encounter and five Observations, as
 * resources a second until the last answer; reads of these people over FHIR, through the public port; then the point as-of of bench `time-travel` through GraphQL while messages flow in over MLLP at a rate
 * that the senders keep.
 *
 *   npm run bench -- time-travel-live [--bundles n] [--fhir-connections n] [--rate n] [--seconds n] [--connections n]
 *
 * The senders and the reader share the machine with the hub.
 */
import http from 'node:http';
import {
  graphql,
  pidOfRole,
  startHubProcess,
  temporaryDataDir,
  untilCaughtUp,
  type HubProcess,
} from '../test/support/hub-process.js';
import { measure } from './mllp.js';
import { cpuPerMessage, cpuSecondsOf, numberArgument, secondsOf, type Figures } from './support.js';

const OBSERVATIONS = 5;
const RESOURCES_PER_BUNDLE = 2 + OBSERVATIONS;
/** People that are asked for while messages about them and others come. */
const ASKED_PEOPLE = 500;
const WARM_UP_MESSAGES = 1_000;

const QUERY = `query ($id: ID!, $knownAt: DateTime, $validAt: DateTime) { at(knownAt: $knownAt, validAt: $validAt) { basis { position }
  patient(id: $id) { names { family given } birthDate sex encounters(first: 1) { nodes { status class location } } } } }`;

export async function run(args: readonly string[]): Promise<Figures> {
  const bundles = numberArgument(args, 'bundles', 300);
  const fhirConnections = numberArgument(args, 'fhir-connections', 8);
  const rate = numberArgument(args, 'rate', 500);
  const seconds = numberArgument(args, 'seconds', 5);
  const connections = numberArgument(args, 'connections', 64);
  const { dataDir, remove } = await temporaryDataDir();
  const hub = await startHubProcess(dataDir);
  try {
    const warmed = Math.ceil(bundles / 10);
    await sendBundles(hub, 'warm', warmed, fhirConnections);
    const {
      result: bundleSeconds,
      ingestUs,
      postgresUs,
    } = await cpuPerMessage(hub, bundles * RESOURCES_PER_BUNDLE, () =>
      secondsOf(() => sendBundles(hub, 'run', bundles, fhirConnections)),
    );
    await untilCaughtUp(hub.run.http);
    const created = await count(hub.run.http, 'Patient?_summary=count');
    if (created !== bundles + warmed) throw new Error(`${created} people instead of ${bundles + warmed}`);
    const reads = await readPeople(hub, numberArgument(args, 'reads', 2_000), fhirConnections);
    const flow = { address: hub.run.mllp, connections };
    await measure({ ...flow, rate, seconds: WARM_UP_MESSAGES / rate, seed: 'warm' });
    await untilCaughtUp(hub.run.http);
    const points = await pointsWhile(hub, measure({ ...flow, rate, seconds, seed: 'run' }));
    return {
      fhirResourcesPerSecond: {
        values: [(bundles * RESOURCES_PER_BUNDLE) / bundleSeconds],
        unit: '1/s',
        goal: '≥ 5,000',
      },
      fhirResourceIngestCpuUs: { values: [ingestUs], unit: 'µs/resource', goal: '' },
      fhirResourcePostgresCpuUs: { values: [postgresUs], unit: 'µs/resource', goal: '' },
      fhirReadsPerSecond: { values: [reads.perSecond], unit: '1/s', goal: '≥ 2,000' },
      fhirReadP50Ms: { values: [reads.p50Ms], unit: 'ms', goal: '≤ 1' },
      fhirReadIngestCpuUs: { values: [reads.ingestUs], unit: 'µs/read', goal: '' },
      fhirReadQueryCpuUs: { values: [reads.queryUs], unit: 'µs/read', goal: '' },
      fhirReadPostgresCpuUs: { values: [reads.postgresUs], unit: 'µs/read', goal: '' },
      pointWhileFlowingP50Ms: { values: [points.p50Ms], unit: 'ms', goal: '' },
      pointWhileFlowingP99Ms: { values: [points.p99Ms], unit: 'ms', goal: rate >= 5_000 ? '≤ 5' : '' },
      pointsWhileFlowing: { values: [points.asked], unit: 'questions', goal: '' },
      messagesPerSecondWhileAsked: { values: [points.messagesPerSecond], unit: '1/s', goal: '' },
    };
  } finally {
    await hub.stop();
    await remove();
  }
}

/** Every connection sends its share, one transaction after the other. */
async function sendBundles(hub: HubProcess, seed: string, bundles: number, connections: number): Promise<void> {
  const agent = new http.Agent({ keepAlive: true, maxSockets: connections });
  const bodies = Array.from({ length: bundles }, (_, index) => Buffer.from(JSON.stringify(bundle(`${seed}-${index}`))));
  try {
    await Promise.all(
      Array.from({ length: connections }, async (_, connection) => {
        for (let index = connection; index < bundles; index += connections) {
          const { status } = await exchange(agent, 'POST', `${hub.run.http}/fhir`, {
            type: 'application/fhir+json',
            body: bodies[index]!,
          });
          if (status !== 200) throw new Error(`a transaction was answered ${status}`);
        }
      }),
    );
  } finally {
    agent.destroy();
  }
}

function bundle(name: string): object {
  const minute = (offset: number): string => `2026-03-01T10:${String(offset).padStart(2, '0')}:00Z`;
  const patient = { reference: 'urn:uuid:00000000-0000-4000-8000-000000000001' };
  const visit = { reference: 'urn:uuid:00000000-0000-4000-8000-000000000002' };
  return {
    resourceType: 'Bundle',
    type: 'transaction',
    entry: [
      {
        fullUrl: patient.reference,
        request: { method: 'POST', url: 'Patient', ifNoneExist: `identifier=urn:oid:2.999.1|${name}` },
        resource: {
          resourceType: 'Patient',
          identifier: [{ system: 'urn:oid:2.999.1', value: name }],
          name: [{ family: `Family${name}`, given: ['Ada'] }],
          birthDate: '1984-02-29',
          gender: 'female',
        },
      },
      {
        fullUrl: visit.reference,
        request: { method: 'POST', url: 'Encounter' },
        resource: {
          resourceType: 'Encounter',
          identifier: [{ system: 'urn:oid:2.999.2', value: `V${name}` }],
          status: 'in-progress',
          class: { system: 'http://terminology.hl7.org/CodeSystem/v3-ActCode', code: 'IMP' },
          subject: patient,
          period: { start: minute(0) },
        },
      },
      ...Array.from({ length: OBSERVATIONS }, (_, index) => ({
        fullUrl: `urn:uuid:00000000-0000-4000-8000-00000000001${index}`,
        request: { method: 'POST', url: 'Observation' },
        resource: {
          resourceType: 'Observation',
          identifier: [{ system: 'urn:oid:2.999.3', value: `O${name}-${index}` }],
          status: 'final',
          code: { coding: [{ system: 'http://loinc.org', code: `${2823 + index}-3` }] },
          subject: patient,
          encounter: visit,
          effectiveDateTime: minute(10 + index),
          valueQuantity: { value: 4 + index / 10, unit: 'mmol/L' },
        },
      })),
    ],
  };
}

interface Reads {
  readonly perSecond: number;
  /** One after the other. */
  readonly p50Ms: number;
  readonly ingestUs: number;
  readonly queryUs: number;
  readonly postgresUs: number;
}

/** Reads random people through the hub's public port: one after the other, then over some connections at once. */
async function readPeople(hub: HubProcess, reads: number, connections: number): Promise<Reads> {
  const { at } = await graphql<{ at: { patients: { nodes: { id: string }[] } } }>(
    hub.run.http,
    `{ at { patients(first: ${ASKED_PEOPLE}) { nodes { id } } } }`,
  );
  const { nodes } = at.patients;
  const agent = new http.Agent({ keepAlive: true, maxSockets: connections });
  let index = 0;
  const read = async (): Promise<void> => {
    index += 1;
    const { id } = nodes[(index * 7_919) % nodes.length] as { id: string };
    const { status } = await exchange(agent, 'GET', `${hub.run.http}/fhir/Patient/${id}`);
    if (status !== 200) throw new Error(`a read was answered ${status}`);
  };
  try {
    const latencies: number[] = [];
    for (let count = 0; count < reads / 4; count += 1) {
      const started = performance.now();
      await read();
      latencies.push(performance.now() - started);
    }
    latencies.sort((left, right) => left - right);
    const query = (await pidOfRole(hub, 'query')) ?? Number.NaN;
    const before = await cpuSecondsOf(query);
    const { result, ingestUs, postgresUs } = await cpuPerMessage(hub, reads, () =>
      secondsOf(() =>
        Promise.all(
          Array.from({ length: connections }, async () => {
            for (let count = 0; count < reads / connections; count += 1) await read();
          }),
        ),
      ),
    );
    const queryUs = ((await cpuSecondsOf(query)) - before) * (1e6 / reads);
    return { perSecond: reads / result, p50Ms: latencies[latencies.length >> 1] ?? 0, ingestUs, queryUs, postgresUs };
  } finally {
    agent.destroy();
  }
}

async function count(url: string, search: string): Promise<number> {
  const response = await fetch(`${url}/fhir/${search}`);
  return ((await response.json()) as { total: number }).total;
}

/** Asks for one random person after the other, at random moments known and valid, for as long as the flow lasts. */
async function pointsWhile(
  hub: HubProcess,
  flow: ReturnType<typeof measure>,
): Promise<{ p50Ms: number; p99Ms: number; asked: number; messagesPerSecond: number }> {
  const { at } = await graphql<{ at: { basis: { knownAt: string }; patients: { nodes: { id: string }[] } } }>(
    hub.run.http,
    `{ at { basis { knownAt } patients(first: ${ASKED_PEOPLE}) { nodes { id } } } }`,
  );
  const known = Date.parse(at.basis.knownAt);
  const ids = at.patients.nodes.map(({ id }) => id);
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const latencies: number[] = [];
  let flowing = true;
  const sent = flow.finally(() => (flowing = false));
  let state = 1;
  const random = (below: number): number => {
    state = (state * 48_271) % 2_147_483_647;
    return state % below;
  };
  try {
    while (flowing) {
      const variables = {
        id: ids[random(ids.length)],
        knownAt: new Date(known - random(1_000)).toISOString(),
        validAt: new Date(known - random(3_600_000)).toISOString(),
      };
      const body = Buffer.from(JSON.stringify({ query: QUERY, variables }));
      const started = performance.now();
      const { text } = await exchange(agent, 'POST', `${hub.run.http}/graphql`, { type: 'application/json', body });
      latencies.push(performance.now() - started);
      if (text.includes('"errors"')) throw new Error(text);
    }
  } finally {
    agent.destroy();
  }
  const { answersPerSecond, refused, why } = await sent;
  if (refused > 0) throw new Error(`${refused} messages were not accepted: ${why}`);
  latencies.sort((left, right) => left - right);
  const quantile = (share: number): number => latencies[Math.ceil(latencies.length * share) - 1] ?? 0;
  return { p50Ms: quantile(0.5), p99Ms: quantile(0.99), asked: latencies.length, messagesPerSecond: answersPerSecond };
}

function exchange(
  agent: http.Agent,
  method: string,
  url: string,
  content?: { readonly type: string; readonly body: Buffer },
): Promise<{ readonly status: number | undefined; readonly text: string }> {
  return new Promise((resolve, reject) => {
    const headers =
      content === undefined ? {} : { 'content-type': content.type, 'content-length': content.body.length };
    const request = http.request(url, { method, agent, headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => resolve({ status: response.statusCode, text: Buffer.concat(chunks).toString('utf8') }));
    });
    request.on('error', reject);
    request.end(content?.body);
  });
}
