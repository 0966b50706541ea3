import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { microsecondsOf } from '../../src/database/binary-copy.js';
import { instantOfMicroseconds } from '../../src/query/basis/instant.js';
import { until } from '../support/hub-process.js';
import { adt, hl7Time, person, TestHub, type Message, type Sent } from './support.js';

const FULL = process.env['ANAMNESIS_TEST_SCALE'] === 'full';
const RUN_MS = FULL ? 3_600_000 : 900_000;

let hub: TestHub;
beforeAll(async () => {
  hub = await TestHub.start();
});
afterAll(async () => {
  await hub.stop();
});

function at(time: string): string {
  return `2026-11-10T${time}Z`;
}

interface Point {
  readonly position?: bigint;
  readonly knownAt?: string;
  readonly validAt?: string;
}

const AT = 'query ($id: ID!, $position: Position, $knownAt: DateTime, $validAt: DateTime)';
const POINT = 'at(position: $position, knownAt: $knownAt, validAt: $validAt)';

interface Chart {
  readonly at: {
    readonly patient: null | {
      readonly names: readonly { family: string }[];
      readonly telecoms: readonly { value: string }[];
      readonly sex: string | null;
      readonly encounters: {
        readonly nodes: readonly { status: string; location: string | null; class: string | null }[];
      };
      readonly observations: { readonly nodes: readonly { value: unknown; status: string; effective: string }[] };
      readonly attributes: readonly { name: string; value: unknown }[];
    };
  };
}

async function chart(patient: string, point: Point = {}): Promise<Chart['at']['patient']> {
  const { at: answer } = await hub.data<Chart>(
    `${AT} { ${POINT} { patient(id: $id) { names { family } telecoms { value } sex attributes { name value }
       encounters { nodes { status location class } } observations { nodes { value status effective } } } } }`,
    { id: patient, ...point, ...(point.position === undefined ? {} : { position: point.position.toString() }) },
  );
  return answer.patient;
}

async function place(patient: string, point: Point = {}): Promise<string | null | undefined> {
  return (await chart(patient, point))?.encounters.nodes[0]?.location;
}

function oru(mrn: string, value: string, status: string, when: string): string[] {
  return [
    `MSH|^~\\&|LAB|MERCY|HUB|HUB|${hl7Time(when)}||ORU^R01|L${Math.random()}|P|2.5.1`,
    `PID|1||${mrn}^^^MERCY^MR||DOE^JANE`,
    `OBR|1|P1|F1^LAB|2345-7^Glucose^LN|||${hl7Time(when)}`,
    `OBX|1|NM|2345-7^Glucose^LN||${value}|mg/dL|||||${status}|||${hl7Time(when)}`,
  ];
}

/** Every order of some things. */
function permutations<Item>(items: readonly Item[]): Item[][] {
  if (items.length < 2) return [[...items]];
  return items.flatMap((item, index) => permutations(items.toSpliced(index, 1)).map((rest) => [item, ...rest]));
}

describe('time, through GraphQL', () => {
  it('1: a late message shows between its neighbours from its own position on, and masks nothing newer', async () => {
    const { record, patient, mrn } = person();
    const base = { record, patient };
    await hub.send({
      ...base,
      content: adt({ trigger: 'A01', mrn, name: 'DOE^JANE', at: at('10:00:00'), location: 'A^1^1' }),
    });
    const second = await hub.send({
      ...base,
      content: adt({ trigger: 'A02', mrn, at: at('12:00:00'), location: 'C^3^1' }),
    });
    const late = await hub.send({
      ...base,
      content: adt({ trigger: 'A02', mrn, at: at('11:00:00'), location: 'B^2^1' }),
    });
    expect(await place(patient, { position: second.position, validAt: at('11:30:00') })).toBe('A 1 1');
    expect(await place(patient, { position: late.position, validAt: at('11:30:00') })).toBe('B 2 1');
    expect(await place(patient, { position: second.position, validAt: at('13:00:00') })).toBe('C 3 1');
    expect(await place(patient, { position: late.position, validAt: at('13:00:00') })).toBe('C 3 1');
  });

  it('2: the same messages in every order of arrival give one chart, and every prefix stays reproducible', async () => {
    const contents = (mrn: string): string[][] => [
      adt({ trigger: 'A01', mrn, name: 'OLD^JANE', phone: '1', at: at('10:00:00'), location: 'A^1^1' }),
      adt({ trigger: 'A08', mrn, name: 'NEW^JANE', at: at('12:00:00'), location: 'C^3^1' }),
      adt({ trigger: 'A08', mrn, phone: '""', sex: 'F', at: at('11:00:00'), location: 'B^2^1' }),
    ];
    const orders = [
      [0, 1, 2],
      [0, 2, 1],
      [1, 0, 2],
      [1, 2, 0],
      [2, 0, 1],
      [2, 1, 0],
    ];
    const finals: unknown[] = [];
    for (const order of orders) {
      const { record, patient, mrn } = person();
      const made = contents(mrn);
      const prefixes: [Sent, unknown][] = [];
      for (const index of order) {
        const sent = await hub.send({ record, patient, content: made[index] as string[] });
        prefixes.push([sent, await chart(patient, { position: sent.position, validAt: at('20:00:00') })]);
      }
      for (const [{ position }, seen] of prefixes) {
        expect(await chart(patient, { position, validAt: at('20:00:00') })).toEqual(seen);
      }
      finals.push(prefixes.at(-1)?.[1]);
    }
    expect(finals[0]).toMatchObject({ names: [{ family: 'NEW' }], sex: 'FEMALE', telecoms: [] });
    for (const final of finals) expect(final).toEqual(finals[0]);
  });

  it('2: cancels and a merge too: in every order of arrival they give one chart', async () => {
    const finals: unknown[] = [];
    for (const order of permutations([0, 1, 2, 3])) {
      const [one, other] = [person(), person()];
      const visit = { mrn: one.mrn, visit: 'V7', name: 'ONE^A' };
      let isMerged = false;
      const sends: (() => Promise<Sent>)[] = [
        () =>
          hub.send({
            record: one.record,
            patient: one.patient,
            content: adt({ ...visit, trigger: 'A02', at: at('11:00:00'), location: 'B^2^1' }),
          }),
        // Takes the transfer back, also before it arrives.
        () =>
          hub.send({
            record: one.record,
            patient: one.patient,
            content: adt({ ...visit, trigger: 'A12', at: at('11:00:00'), location: 'A^1^1' }),
          }),
        () => {
          isMerged = true;
          return hub.send({
            record: one.record,
            patient: one.patient,
            links: [
              { sourceRecordId: one.record, patientId: one.patient, reason: 'first' },
              { sourceRecordId: other.record, patientId: one.patient, reason: 'merge' },
            ],
            content: adt({ trigger: 'A40', mrn: one.mrn, merged: other.mrn, name: 'ONE^A', at: at('12:00:00') }),
          });
        },
        // Comes under the merged number, before or after the merge, and is about an earlier time.
        () =>
          hub.send({
            record: other.record,
            patient: isMerged ? one.patient : other.patient,
            content: adt({ trigger: 'A08', mrn: other.mrn, sex: 'F', phone: '7', at: at('09:00:00') }),
          }),
      ];
      await hub.send({
        record: one.record,
        patient: one.patient,
        content: adt({ ...visit, trigger: 'A01', at: at('10:00:00'), location: 'A^1^1' }),
      });
      for (const index of order) await (sends[index] as () => Promise<Sent>)();
      finals.push(await chart(one.patient, { validAt: at('20:00:00') }));
      expect(await place(one.patient, { validAt: at('11:30:00') })).toBe('A 1 1');
    }
    expect(finals).toHaveLength(24);
    expect(finals[0]).toMatchObject({ names: [{ family: 'ONE' }], sex: 'FEMALE' });
    for (const final of finals) expect(final).toEqual(finals[0]);
  });

  it(
    '2: random messages about two people who are merged and parted again: any order of arrival gives the two charts',
    async () => {
      const minute = (value: number): string =>
        at(`${10 + Math.floor(value / 60)}:${String(value % 60).padStart(2, '0')}:00`);
      const said = fc.record({
        who: fc.constantFrom('one' as const, 'other' as const),
        does: fc.constantFrom<string>('A01', 'A02', 'A03', 'A08', 'A12', 'A13', 'ORU'),
        minute: fc.integer({ min: 0, max: 500 }),
        name: fc.constantFrom<string>('NEW^A', 'OLD^A', ''),
        phone: fc.constantFrom<string>('1', '2', '""', ''),
        ward: fc.constantFrom<string>('3W^1^1', '4E^2^1'),
      });
      // Valid times differ within each slot; a cancel finds nothing at its own, and must hide nothing else.
      const sets = fc
        .uniqueArray(said, { minLength: 3, maxLength: 6, selector: ({ who, minute: when }) => `${who}${when}` })
        .chain((set) => fc.tuple(fc.constant(set), fc.shuffledSubarray([...set.keys()], { minLength: set.length })));
      await fc.assert(
        fc.asyncProperty(sets, fc.nat(), fc.nat(), async ([set, shuffled], mergedAfter, partedAfter) => {
          const finals: unknown[] = [];
          for (const order of [[...set.keys()], shuffled]) {
            const people = { one: person(), other: person() };
            const { one, other } = people;
            let holder = other.patient;
            const send = async ({
              who,
              does,
              minute: value,
              name,
              phone,
              ward,
            }: (typeof set)[number]): Promise<void> => {
              const { record, mrn } = people[who];
              const when = minute(value);
              await hub.send({
                record,
                patient: who === 'one' ? one.patient : holder,
                content:
                  does === 'ORU'
                    ? oru(mrn, String(value), 'F', when)
                    : adt({ trigger: does, mrn, name, phone, at: when, location: ward }),
              });
            };
            const link = async (trigger: 'A40' | 'A37', reason: 'merge' | 'unmerge'): Promise<void> => {
              holder = reason === 'merge' ? one.patient : other.patient;
              await hub.send({
                record: one.record,
                patient: one.patient,
                links: [{ sourceRecordId: other.record, patientId: holder, reason }],
                content: adt({ trigger, mrn: one.mrn, merged: other.mrn, at: minute(550) }),
              });
            };
            // Both are known first, so that there is somebody to merge.
            for (const who of ['one', 'other'] as const)
              await send({ who, does: 'A08', minute: 520, name: 'FIRST^A', phone: '9', ward: '5N^1^1' });
            const merge = mergedAfter % (set.length + 1);
            const part = merge + (partedAfter % (set.length + 1 - merge));
            for (let step = 0; step <= set.length; step += 1) {
              if (step === merge) await link('A40', 'merge');
              if (step === part) await link('A37', 'unmerge');
              if (step < set.length) await send(set[order[step]!]!);
            }
            const charts: unknown[] = [];
            for (const { patient } of [one, other])
              for (const validAt of [minute(250), minute(510), minute(700)])
                charts.push(await chart(patient, { validAt }));
            finals.push(charts);
          }
          expect(finals[1]).toEqual(finals[0]);
        }),
        { numRuns: FULL ? 200 : 3, seed: 20_261_121 },
      );
    },
    RUN_MS,
  );

  it('3: every correction of a correction is still what its own K shows', async () => {
    const { record, patient, mrn } = person();
    const seen: Sent[] = [];
    for (const [value, status] of [
      ['90', 'F'],
      ['95', 'C'],
      ['99', 'C'],
    ] as const) {
      seen.push(await hub.send({ record, patient, content: oru(mrn, value, status, at('09:00:00')) }));
    }
    const values = await Promise.all(
      seen.map(
        async ({ position }) => (await chart(patient, { position, validAt: at('09:00:00') }))?.observations.nodes,
      ),
    );
    expect(values.map((nodes) => nodes?.map(({ value }) => value))).toEqual([[90], [95], [99]]);
  });

  it('5: a cancelled discharge that overtook its discharge is not undone by it', async () => {
    const { record, patient, mrn } = person();
    const base = { record, patient };
    await hub.send({
      ...base,
      content: adt({ trigger: 'A01', mrn, name: 'DOE^JANE', at: at('10:00:00'), location: 'A^1^1' }),
    });
    await hub.send({ ...base, content: adt({ trigger: 'A13', mrn, at: at('15:00:00'), location: 'A^1^1' }) });
    await hub.send({ ...base, content: adt({ trigger: 'A03', mrn, at: at('15:00:00'), location: 'A^1^1' }) });
    expect((await chart(patient, { validAt: at('16:00:00') }))?.encounters.nodes[0]?.status).toBe('in-progress');
  });

  it('5: a visit whose only message is cancelled is absent', async () => {
    const { record, patient, mrn } = person();
    const base = { record, patient };
    const admitted = await hub.send({
      ...base,
      content: adt({ trigger: 'A01', mrn, name: 'DOE^JANE', at: at('10:00:00'), location: 'A^1^1' }),
    });
    await hub.send({ ...base, content: adt({ trigger: 'A11', mrn, at: at('10:00:00'), location: 'A^1^1' }) });
    expect(
      (await chart(patient, { position: admitted.position, validAt: at('11:00:00') }))?.encounters.nodes,
    ).toHaveLength(1);
    const now = await chart(patient, { validAt: at('11:00:00') });
    const under = now?.encounters.nodes.filter(({ status }) => status === 'in-progress');
    expect(under).toEqual([]);
  });

  it('6: a message with the control id of another and other bytes stands beside it and names it', async () => {
    const { record, patient, mrn } = person();
    const first = await hub.send({
      record,
      patient,
      controlId: 'SAME',
      content: adt({ trigger: 'A28', mrn, name: 'ONE^A', at: at('10:00:00') }),
    });
    const second = await hub.send({
      record,
      patient,
      controlId: 'SAME',
      duplicateOf: first.id,
      content: adt({ trigger: 'A08', mrn, name: 'TWO^A', at: at('11:00:00') }),
    });
    const { messages } = await hub.data<{ messages: { nodes: unknown[] } }>(
      '{ messages(filter: { controlId: "SAME" }) { nodes { id controlId duplicateOf { id } status } } }',
    );
    expect(messages.nodes).toEqual([
      { id: first.id, controlId: 'SAME', duplicateOf: null, status: 'APPLIED' },
      { id: second.id, controlId: 'SAME', duplicateOf: { id: first.id }, status: 'APPLIED' },
    ]);
  });

  it('7: a snapshot older than what stands does not overwrite it', async () => {
    const { record, patient, mrn } = person();
    await hub.send({ record, patient, content: adt({ trigger: 'A08', mrn, name: 'NEW^A', at: at('12:00:00') }) });
    await hub.send({
      record,
      patient,
      content: adt({ trigger: 'A08', mrn, name: 'OLD^A', phone: '7', at: at('11:00:00') }),
    });
    expect(await chart(patient, { validAt: at('13:00:00') })).toMatchObject({
      names: [{ family: 'NEW' }],
      telecoms: [{ value: '7' }],
    });
  });

  it('8: a delete is a version, an empty field is none', async () => {
    const { record, patient, mrn } = person();
    await hub.send({
      record,
      patient,
      content: adt({ trigger: 'A28', mrn, name: 'DOE^A', phone: '7', at: at('10:00:00') }),
    });
    await hub.send({ record, patient, content: adt({ trigger: 'A08', mrn, at: at('11:00:00') }) });
    expect((await chart(patient, { validAt: at('11:30:00') }))?.telecoms).toEqual([{ value: '7' }]);
    await hub.send({ record, patient, content: adt({ trigger: 'A08', mrn, phone: '""', at: at('12:00:00') }) });
    expect((await chart(patient, { validAt: at('12:30:00') }))?.telecoms).toEqual([]);
    const { at: answer } = await hub.data<{
      at: {
        patient: {
          history: { nodes: { operation: string; changes: { path: string; before: unknown; after: unknown }[] }[] };
        };
      };
    }>(
      `query ($id: ID!) { at(validAt: "${at('20:00:00')}") { patient(id: $id) { history { nodes { operation changes { path before after } } } } } }`,
      {
        id: patient,
      },
    );
    const versions = answer.patient.history.nodes;
    // The message in the middle changed nothing, and so is no version.
    expect(versions.map(({ operation }) => operation)).toEqual(['ASSERTED', 'ENDED']);
    expect(versions[1]?.changes).toContainEqual({ path: 'telecom[0].value', before: '7', after: null });
  });

  it('9: what is dated ahead appears at its time, with no new message', async () => {
    const { record, patient, mrn } = person();
    const sent = await hub.send({
      record,
      patient,
      content: {
        eventId: 'future',
        type: 'patient.attributes',
        ts: '2126-01-01T00:00:00Z',
        patient: { identifiers: [{ authority: 'MERCY', value: mrn }] },
        data: { favoriteColor: 'teal' },
      },
    });
    expect(await chart(patient, { position: sent.position })).toBeNull();
    expect(await chart(patient, { position: sent.position, validAt: '2125-12-31T23:59:59.999999Z' })).toBeNull();
    expect((await chart(patient, { position: sent.position, validAt: '2126-01-01T00:00:00Z' }))?.attributes).toEqual([
      { name: 'favoriteColor', value: 'teal' },
    ]);
  });

  it('11: at no position is a message half applied', async () => {
    const { record, patient, mrn } = person();
    const sent = await hub.send({
      record,
      patient,
      content: adt({
        trigger: 'A01',
        mrn,
        name: 'WHOLE^A',
        phone: '7',
        sex: 'M',
        at: at('10:00:00'),
        location: 'A^1^1',
      }),
    });
    expect(await chart(patient, { position: sent.position - 1n, validAt: at('11:00:00') })).toBeNull();
    expect(await chart(patient, { position: sent.position, validAt: at('11:00:00') })).toMatchObject({
      names: [{ family: 'WHOLE' }],
      telecoms: [{ value: '7' }],
      sex: 'MALE',
      encounters: { nodes: [{ location: 'A 1 1' }] },
    });
  });

  it('10, 21, 20: to the microsecond, a time is inside where it begins, and of equal times the later position counts', async () => {
    const { record, patient, mrn } = person();
    const color = (favoriteColor: string, ts: string): Message => ({
      record,
      patient,
      content: {
        eventId: `${favoriteColor}-${ts}`,
        type: 'patient.attributes',
        ts,
        patient: { identifiers: [{ authority: 'MERCY', value: mrn }] },
        data: { favoriteColor },
      },
    });
    const shown = async (point: Point): Promise<unknown> => (await chart(patient, point))?.attributes[0]?.value;
    const first = await hub.send(color('red', at('10:00:00.123456')));
    expect(await shown({ validAt: at('10:00:00.123455') })).toBeUndefined();
    expect(await shown({ validAt: at('10:00:00.123456') })).toBe('red');
    await hub.send(color('blue', at('10:00:00.123456')));
    expect(await shown({ validAt: at('10:00:00.123456') })).toBe('blue');
    expect(await shown({ position: first.position, validAt: at('10:00:00.123456') })).toBe('red');
    await hub.send(color('green', at('10:00:00.123457')));
    expect(await shown({ validAt: at('10:00:00.123456') })).toBe('blue');
    expect(await shown({ validAt: at('10:00:00.123457') })).toBe('green');
  });

  it('21: knownAt of an append batch takes all of it in, a microsecond less none of it', async () => {
    const people = [person(), person(), person()];
    const sent = await hub.append(
      people.map(({ record, patient, mrn }) => ({
        record,
        patient,
        content: adt({ trigger: 'A28', mrn, name: 'DOE^A', at: at('10:00:00') }),
      })),
    );
    await hub.project(1);
    const recordedAt = sent[0]?.recordedAt as string;
    expect(new Set(sent.map((one) => one.recordedAt)).size).toBe(1);
    const before = instantOfMicroseconds(microsecondsOf(recordedAt) - 1n);
    for (const { patient } of people) {
      expect(await chart(patient, { knownAt: recordedAt })).not.toBeNull();
      expect(await chart(patient, { knownAt: before })).toBeNull();
    }
  });
});

describe('at', () => {
  interface BasisAnswer {
    readonly at: {
      readonly basis: { token: string; position: string; knownAt: string; validAt: string; revised: string | null };
    };
  }
  const BASIS = 'basis { token position knownAt validAt revised }';

  async function code(given: string): Promise<unknown> {
    return (await hub.ask(`{ at(${given}) { basis { token } } }`)).errors?.[0]?.extensions['code'];
  }

  it('refuses more than one of knownAt, position and basis, and a basis with validAt', async () => {
    const { at: now } = await hub.data<BasisAnswer>(`{ at { ${BASIS} } }`);
    const { token } = now.basis;
    expect(await code(`position: "1", knownAt: "${at('10:00:00')}"`)).toBe('BAD_USER_INPUT');
    expect(await code(`basis: "${token}", position: "1"`)).toBe('BAD_USER_INPUT');
    expect(await code(`basis: "${token}", validAt: "${at('10:00:00')}"`)).toBe('BAD_USER_INPUT');
    expect(await code(`basis: "${token}", validAt: null, position: null`)).toBeUndefined();
    expect(await code('position: "x"')).toBe('BAD_USER_INPUT');
    expect(await code('knownAt: "yesterday"')).toBe('BAD_USER_INPUT');
    expect(await code('knownAt: "2026-02-30T00:00:00Z"')).toBe('BAD_USER_INPUT');
  });

  it('knows no basis of another log or of another making', async () => {
    expect(await code('basis: "nonsense"')).toBe('UNKNOWN_BASIS');
    const { at: now } = await hub.data<BasisAnswer>(`{ at { ${BASIS} } }`);
    const bytes = Buffer.from(now.basis.token, 'base64url');
    bytes.writeUInt8(bytes.readUInt8(3) ^ 1, 3);
    expect(await code(`basis: "${bytes.toString('base64url')}"`)).toBe('UNKNOWN_BASIS');
  });

  it('says where the log begins and how far it is projected', async () => {
    expect(await code('knownAt: "1990-01-01T00:00:00Z"')).toBe('BEFORE_LOG');
    expect(await code('position: "0"')).toBe('BEFORE_LOG');
    const beyond = await hub.ask('{ at(position: "9000000000000000000") { basis { token } } }');
    const { at: now } = await hub.data<BasisAnswer>(`{ at { ${BASIS} } }`);
    expect(beyond.errors?.[0]?.extensions).toMatchObject({ code: 'BEYOND_WATERMARK', watermark: now.basis.position });
    expect(await code('knownAt: "2199-01-01T00:00:00Z"')).toBe('BEYOND_WATERMARK');
  });

  it('waits for a point that is not projected yet', async () => {
    const { record, patient, mrn } = person();
    const [sent] = await hub.append([
      { record, patient, content: adt({ trigger: 'A28', mrn, name: 'DOE^A', at: at('10:00:00') }) },
    ]);
    const position = (sent as Sent).position.toString();
    expect(await code(`position: "${position}"`)).toBe('BEYOND_WATERMARK');
    const waiting = hub.data<{ at: { patient: { id: string } } }>(
      `{ at(position: "${position}", wait: true) { patient(id: "${patient}") { id } } }`,
    );
    await hub.project();
    expect((await waiting).at.patient.id).toBe(patient);
  });

  it('echoes a knownAt that leads to the same state, for every way of asking', async () => {
    const { record, patient, mrn } = person();
    const sent = await hub.send({
      record,
      patient,
      content: adt({ trigger: 'A28', mrn, name: 'DOE^A', at: at('10:00:00') }),
    });
    for (const given of ['', '(validAt: null)', `(position: "${sent.position}")`, `(knownAt: "${sent.recordedAt}")`]) {
      const first = await hub.data<BasisAnswer>(`{ at${given} { ${BASIS} } }`);
      const again = await hub.data<BasisAnswer>(`{ at(knownAt: "${first.at.basis.knownAt}") { ${BASIS} } }`);
      expect(again.at.basis.position).toBe(first.at.basis.position);
      expect(again.at.basis).toEqual(first.at.basis);
    }
  });

  it('answers a time once answered again, though the log goes on and the store has not come so far', async () => {
    const before = person();
    const sent = await hub.send({
      record: before.record,
      patient: before.patient,
      content: adt({ trigger: 'A28', mrn: before.mrn, name: 'DOE^A', at: at('10:00:00') }),
    });
    const now = (): Promise<BasisAnswer> => hub.data<BasisAnswer>(`{ at { ${BASIS} } }`);
    // On a quiet hub the writer's clock mark is a later time with the same answer.
    const quiet = await until(now, ({ at: { basis } }) => basis.knownAt > sent.recordedAt);
    const next = person();
    const [unseen] = await hub.append([
      {
        record: next.record,
        patient: next.patient,
        content: adt({ trigger: 'A28', mrn: next.mrn, name: 'ROE^B', at: at('10:00:00') }),
      },
    ]);
    const marked = async (): Promise<bigint> =>
      (await hub.database.pool.query<{ head: bigint }>('select head from hub.clock_mark')).rows[0]!.head;
    await until(marked, (head) => head >= (unseen as Sent).position);
    const again = await hub.data<BasisAnswer>(`{ at(knownAt: "${quiet.at.basis.knownAt}") { ${BASIS} } }`);
    expect(again.at.basis).toEqual(quiet.at.basis);
    await hub.project();
  });

  it('fixes the other axis as described', async () => {
    const { record, patient, mrn } = person();
    const sent = await hub.send({
      record,
      patient,
      content: adt({ trigger: 'A28', mrn, name: 'DOE^A', at: at('10:00:00') }),
    });
    const byPosition = await hub.data<BasisAnswer>(`{ at(position: "${sent.position}") { ${BASIS} } }`);
    expect(byPosition.at.basis).toMatchObject({ knownAt: sent.recordedAt, validAt: sent.recordedAt });
    const byTime = await hub.data<BasisAnswer>(`{ at(knownAt: "${sent.recordedAt}") { ${BASIS} } }`);
    expect(byTime.at.basis.validAt).toBe(sent.recordedAt);
    const byValid = await hub.data<BasisAnswer>(`{ at(validAt: "${at('10:00:00')}") { ${BASIS} } }`);
    expect(BigInt(byValid.at.basis.position)).toBeGreaterThanOrEqual(sent.position);
    expect(byValid.at.basis.validAt).toBe(at('10:00:00.000000'));
  });

  it('23: gives the same bytes for the same basis while more arrives, and after the store was derived anew in other batches', async () => {
    const { record, patient, mrn } = person();
    await hub.send({
      record,
      patient,
      content: adt({ trigger: 'A01', mrn, name: 'DOE^A', at: at('10:00:00'), location: 'A^1^1' }),
    });
    const { at: now } = await hub.data<BasisAnswer>(`{ at { ${BASIS} } }`);
    const whole = `{ at(basis: "${now.basis.token}") { basis { token position knownAt validAt revised } patients(first: 100) { nodes { id names { family } resource meta { position message { id type patient { id } } }
      encounters(first: 5) { nodes { id resource history(first: 10) { nodes { operation changes { path before after } } } } } timeline { edges { cursor node { at title } } } } } } }`;
    const first = await hub.ask(whole);
    expect(first.errors).toBeUndefined();
    await hub.send({ record, patient, content: adt({ trigger: 'A02', mrn, at: at('09:00:00'), location: 'Z^1^1' }) });
    const second = await hub.ask(whole);
    expect(second.text).toBe(first.text);
    expect(second.headers.get('etag')).toBe(first.headers.get('etag'));
    await hub.deriveAnew(7);
    expect((await hub.ask(whole)).text).toBe(first.text);
  });
});
