/**
 * As-of: a simulated week goes through the built hub, and an oracle that reads the same messages by itself, and folds them slowly and obviously, agrees
 * with GraphQL at every boundary: for knownAt, for validAt and for both.
 */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { microsecondsOf } from '../../src/database/binary-copy.js';
import { instantOfMicroseconds } from '../../src/query/basis/instant.js';
import { simulate, type SimulatedMessage } from '../../src/simulator/simulate.js';
import { HospitalOracle, type OracleChart } from '../oracle/hospital-oracle.js';
import { graphql, startHubProcess, temporaryDataDir, untilCaughtUp, type HubProcess } from '../support/hub-process.js';

const FULL = process.env['ANAMNESIS_TEST_SCALE'] === 'full';
const PATIENTS = FULL ? 60 : 10;
const MESSAGES = FULL ? 6_000 : 320;
/** Points asked for of each kind. */
const POINTS = FULL ? 5_000 : 90;
const SEED = 20_261_121;
const RUN_MS = FULL ? 3_600_000 : 900_000;

interface Stored {
  readonly id: string;
  readonly position: bigint;
  readonly recordedAt: string;
}

interface Shown {
  readonly basis: { readonly position: string; readonly validAt: string };
  readonly patients: {
    readonly nodes: readonly {
      readonly sourceRecords: readonly { id: string; authority: string | null; value: string | null }[];
      readonly names: readonly { family: string; given: string[] }[];
      readonly birthDate: string | null;
      readonly sex: string | null;
      readonly telecoms: readonly { value: string }[];
      readonly attributes: readonly { name: string; value: string }[];
      readonly encounters: {
        readonly nodes: readonly {
          status: string | null;
          class: string | null;
          location: string | null;
          resource: { identifier: { value: string }[] };
        }[];
      };
      readonly observations: { readonly nodes: readonly { code: string; value: number; status: string }[] };
      readonly conditions: { readonly nodes: readonly { code: string }[] };
      readonly allergies: { readonly nodes: readonly { code: string }[] };
      readonly immunizations: { readonly nodes: readonly { code: string }[] };
    }[];
  };
}

const QUERY = `query ($knownAt: DateTime, $validAt: DateTime) { at(knownAt: $knownAt, validAt: $validAt) { basis { position validAt }
  patients(first: ${PATIENTS * 4}) { nodes { sourceRecords { id authority value } names { family given } birthDate sex telecoms { value } attributes { name value }
    encounters(first: 40) { nodes { status class location resource } } observations(first: 200) { nodes { code value status } }
    conditions(first: 40) { nodes { code } } allergies(first: 20) { nodes { code } } immunizations(first: 20) { nodes { code } } } } } }`;

describe(`a simulated week of ${PATIENTS} people and ${MESSAGES} messages (seed ${SEED})`, () => {
  let hub: HubProcess;
  let folder: Awaited<ReturnType<typeof temporaryDataDir>>;
  const oracle = new HospitalOracle();
  let stored: Stored[] = [];
  let sent: SimulatedMessage[] = [];
  /** Record of the hub → record of the oracle. */
  const records = new Map<string, string>();
  const merges: { readonly kept: string; readonly ended: string; readonly position: bigint }[] = [];

  beforeAll(async () => {
    folder = await temporaryDataDir();
    hub = await startHubProcess(folder.dataDir);
    const week = [
      ...simulate({ patients: PATIENTS, messages: MESSAGES, seed: SEED, start: '2026-03-02T06:00:00.000000Z' }),
    ];
    for (const message of week) await send(hub.run.http, message);
    await untilCaughtUp(hub.run.http);
    stored = await allMessages(hub.run.http);
    // The same bytes again are no message of their own.
    const seen = new Set<string>();
    sent = week.filter(({ bytes }) => {
      const text = bytes.toString('latin1');
      if (seen.has(text)) return false;
      seen.add(text);
      return true;
    });
    sent.forEach((message, index) => {
      const { position } = stored[index] as Stored;
      oracle.read({ kind: message.kind, text: message.bytes.toString('utf8'), position });
      const { mergedIdentifier, identifier } = message.truth;
      if (mergedIdentifier !== undefined) {
        merges.push({
          kept: HospitalOracle.record(identifier.authority, identifier.value),
          ended: HospitalOracle.record(mergedIdentifier.authority, mergedIdentifier.value),
          position,
        });
      }
    });
    const { at } = await graphql<{ at: Shown }>(hub.run.http, QUERY);
    for (const { sourceRecords } of at.patients.nodes) {
      for (const { id, authority, value } of sourceRecords)
        records.set(id, HospitalOracle.record(authority ?? '', value ?? ''));
    }
  }, RUN_MS);
  afterAll(async () => {
    expect(await hub.stop()).toBe(0);
    await folder.remove();
  });

  it('is in the log once, message by message, and holds what is out of the ordinary', () => {
    expect(stored).toHaveLength(sent.length);
    expect(sent.length).toBeLessThan(MESSAGES);
    expect(new Set(sent.map(({ truth }) => truth.quirk))).toEqual(
      new Set([undefined, 'late', 'correction', 'cancel', 'merge', 'conflict']),
    );
    expect([...records.values()].sort()).toEqual([...oracle.firstSeen.keys()].sort());
  });

  /** Asks the hub at a point and compares every chart; nobody may be missing, nobody too many. */
  async function compare(point: { knownAt?: string; validAt?: string }): Promise<void> {
    const { at } = await graphql<{ at: Shown }>(hub.run.http, QUERY, point);
    const known = BigInt(at.basis.position);
    const valid = at.basis.validAt;
    const shown = new Set<string>();
    for (const node of at.patients.nodes) {
      const own = node.sourceRecords.map(({ id }) => records.get(id) as string);
      for (const record of own) {
        expect(shown.has(record)).toBe(false);
        shown.add(record);
      }
      expect({ point, chart: chartOf(node) }).toEqual({ point, chart: oracle.chart(own, known, valid) });
    }
    for (const [record, position] of oracle.firstSeen) {
      if (!shown.has(record))
        expect({ point, chart: position <= known ? oracle.chart([record], known, valid) : undefined }).toEqual({
          point,
          chart: undefined,
        });
    }
    for (const { kept, ended, position } of merges) {
      if (!shown.has(kept) || !shown.has(ended)) continue;
      const together = at.patients.nodes.some(({ sourceRecords }) => {
        const own = sourceRecords.map(({ id }) => records.get(id));
        return own.includes(kept) && own.includes(ended);
      });
      if (position <= known) expect({ point, together }).toEqual({ point, together: true });
    }
  }

  it(
    'agrees for knownAt at every boundary',
    async () => {
      const stamps = [...new Set(stored.map(({ recordedAt }) => recordedAt))];
      for (const knownAt of sample(boundaries(stamps).slice(1), POINTS)) await compare({ knownAt });
    },
    RUN_MS,
  );

  it(
    'agrees for validAt at every boundary',
    async () => {
      for (const validAt of sample(boundaries(oracle.validTimes()), POINTS)) await compare({ validAt });
    },
    RUN_MS,
  );

  it(
    'agrees for both',
    async () => {
      const known = sample(boundaries(stored.map(({ recordedAt }) => recordedAt)).slice(1), POINTS);
      const valid = sample(boundaries(oracle.validTimes()), POINTS);
      for (const [index, knownAt] of known.entries()) {
        // Each K with valid times from before, about and after what was told then.
        await compare({ knownAt, validAt: valid[(index * 37) % valid.length] });
      }
    },
    RUN_MS,
  );
});

async function send(http: string, { kind, bytes }: SimulatedMessage): Promise<void> {
  const [path, type] = {
    hl7: ['/hl7', 'x-application/hl7-v2+er7; charset=utf-8'],
    event: ['/events', 'application/json'],
    fhir: ['/fhir', 'application/fhir+json'],
  }[kind] as [string, string];
  const response = await fetch(`${http}${path}`, {
    method: 'POST',
    headers: { 'content-type': type },
    body: new Uint8Array(bytes),
  });
  const text = await response.text();
  if (!response.ok || (kind === 'hl7' && !/MSA\|[AC]A\|/.test(text)))
    throw new Error(`${path} answered ${response.status}`);
}

async function allMessages(http: string): Promise<Stored[]> {
  const found: Stored[] = [];
  let after: string | null = null;
  for (;;) {
    const {
      messages,
    }: {
      messages: {
        nodes: { id: string; position: string; recordedAt: string }[];
        pageInfo: { hasNextPage: boolean; endCursor: string };
      };
    } = await graphql(
      http,
      'query ($after: String) { messages(first: 1000, after: $after) { nodes { id position recordedAt } pageInfo { hasNextPage endCursor } } }',
      {
        after,
      },
    );
    found.push(
      ...messages.nodes.map(({ id, position, recordedAt }) => ({ id, recordedAt, position: BigInt(position) })),
    );
    if (!messages.pageInfo.hasNextPage) return found;
    after = messages.pageInfo.endCursor;
  }
}

/** Each instant, and the microseconds on either side of it. */
function boundaries(instants: readonly string[]): string[] {
  return [
    ...new Set(
      instants.flatMap((instant) => [-1n, 0n, 1n].map((step) => instantOfMicroseconds(microsecondsOf(instant) + step))),
    ),
  ].sort();
}

/** So many of a list, evenly spread; all of it where there are no more. The first and last are always among them. */
function sample<Item>(list: readonly Item[], most: number): Item[] {
  if (list.length <= most) return [...list];
  return Array.from({ length: most }, (_, index) => list[Math.round((index * (list.length - 1)) / (most - 1))] as Item);
}

function chartOf(node: Shown['patients']['nodes'][number]): OracleChart {
  const [name] = node.names;
  return {
    name: name === undefined ? null : { family: name.family, given: name.given },
    birthDate: node.birthDate,
    sex: node.sex,
    phone: node.telecoms[0]?.value ?? null,
    color: node.attributes.find((attribute) => attribute.name === 'favoriteColor')?.value ?? null,
    visits: node.encounters.nodes
      .map(({ status, class: code, location, resource }) =>
        [resource.identifier[0]?.value, status, code, location].join(' '),
      )
      .sort(),
    results: node.observations.nodes.map(({ code, value, status }) => `${code} ${value} ${status}`).sort(),
    conditions: node.conditions.nodes.map(({ code }) => code).sort(),
    allergies: node.allergies.nodes.map(({ code }) => code).sort(),
    vaccines: node.immunizations.nodes.map(({ code }) => code).sort(),
  };
}
