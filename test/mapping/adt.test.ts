import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { foldThing, type FoldRow } from '../../projections/master/fold.js';
import type { Fact, Json, Mapped } from '../../src/mapping/fact.js';
import { factOf, factsOf, hl7, map, MSH, OTHER_RECORD, PID, RECORD, segment } from './support.js';

const EVN = (code: string, occurred = '202611201000', recorded = '202611201015', planned = ''): string =>
  `EVN|${code}|${recorded}|${planned}|||${occurred}`;
/** PV1 with class, location, visit V1, admission and discharge time. */
const PV1 = (
  options: { class?: string; location?: string; visit?: string; admit?: string; discharge?: string } = {},
): string => {
  const fields = new Array<string>(51).fill('');
  fields[1] = '1';
  fields[2] = options.class ?? 'I';
  fields[3] = options.location ?? '4E^12^1';
  fields[19] = options.visit ?? 'V1^^^MERCY^VN';
  fields[44] = options.admit ?? '';
  fields[45] = options.discharge ?? '';
  return ['PV1', ...fields.slice(1)].join('|').replace(/\|+$/, '');
};
const adt = (code: string, ...segments: string[]): Mapped => map(hl7(MSH(`ADT^${code}`), ...segments));

/** Rows of what several messages said about one kind, in order of arrival. */
function rowsOf(kind: Fact['kind'], ...messages: Mapped[]): FoldRow[] {
  const rows = messages.flatMap((mapped, index) =>
    factsOf(mapped, kind).map((fact) => ({
      validFrom: fact.valid.instant,
      pos: BigInt(index + 1),
      body: {
        ...(fact.assert && { a: fact.assert }),
        ...(fact.end && { e: fact.end }),
        ...(fact.retract && { r: fact.retract }),
      },
    })),
  );
  return rows.sort((a, b) => (a.validFrom < b.validFrom ? -1 : a.validFrom > b.validFrom ? 1 : Number(a.pos - b.pos)));
}

function standing(kind: Fact['kind'], validAt: string, ...messages: Mapped[]): Record<string, Json | undefined> {
  const folded = foldThing(rowsOf(kind, ...messages), { position: 1000n, validAt });
  return Object.fromEntries(
    [...folded].filter(([, version]) => version.value !== undefined).map(([field, version]) => [field, version.value]),
  );
}

describe('when an ADT message became true', () => {
  it.each([
    ['A01', EVN('A01'), PV1({ admit: '202611200900' }), 'EVN-6', '2026-11-20T10:00'],
    ['A01', EVN('A01', ''), PV1({ admit: '202611200900' }), 'PV1-44', '2026-11-20T09:00'],
    ['A04', EVN('A04', ''), PV1({ admit: '202611200900' }), 'PV1-44', '2026-11-20T09:00'],
    ['A03', EVN('A03', ''), PV1({ admit: '202611200900', discharge: '20261122' }), 'PV1-45', '2026-11-22'],
    ['A02', EVN('A02', ''), PV1({ admit: '202611200900' }), 'EVN-2', '2026-11-20T10:15'],
    ['A08', EVN('A08', '', ''), PV1(), 'MSH-7', '2026-11-20T10:15:00'],
  ])('%s: %s', (code, evn, pv1, field, text) => {
    const mapped = adt(code, evn, PID, pv1);
    expect(factOf(mapped, 'PATIENT').valid).toMatchObject({ field, text });
  });

  it('is the arrival where nothing else is a time, and says which fields were none', () => {
    const message = hl7('MSH|^~\\&|A|B|C|D|yesterday||ADT^A08|1|P|2.5', 'EVN|A08|soon||||2026-99-99', PID);
    const mapped = map(message);
    expect(factOf(mapped, 'PATIENT').valid).toEqual({
      instant: '2026-11-20T12:00:00.000000Z',
      text: '2026-11-20T12:00:00.000000Z',
      field: 'ARRIVAL',
      flags: ['ARRIVAL'],
    });
    expect(mapped.unmapped).toEqual(expect.arrayContaining(['EVN-6', 'EVN-2', 'MSH-7']));
  });

  it('reads times without offset in the zone of the source', () => {
    const message = hl7(MSH('ADT^A08'), EVN('A08', '202607011000'), PID);
    const mapped = map(message, { timeZone: 'America/New_York' });
    expect(factOf(mapped, 'PATIENT').valid).toMatchObject({
      instant: '2026-07-01T14:00:00.000000Z',
      flags: ['NO_OFFSET', 'PARTIAL'],
    });
  });
});

describe('admissions, transfers and discharges', () => {
  const admit = adt('A01', EVN('A01', '202611201000'), PID, PV1({ admit: '202611201000' }));
  const transfer = adt('A02', EVN('A02', '202611210900'), PID, PV1({ location: '5W^3^2', admit: '202611201000' }));
  const discharge = adt(
    'A03',
    EVN('A03', '202611221200'),
    PID,
    PV1({ location: '5W^3^2', admit: '202611201000', discharge: '202611221200' }),
  );

  it('make one visit, whatever the order they arrive in', () => {
    const orders = [
      [admit, transfer, discharge],
      [discharge, transfer, admit],
      [transfer, discharge, admit],
      [admit, discharge, transfer],
    ];
    for (const order of orders) {
      expect(standing('ENCOUNTER', '2026-11-20T12:00:00.000000Z', ...order)).toMatchObject({
        status: 'in-progress',
        location: [{ location: { display: '4E 12 1' } }],
      });
      expect(standing('ENCOUNTER', '2026-11-21T12:00:00.000000Z', ...order)).toMatchObject({
        status: 'in-progress',
        location: [{ location: { display: '5W 3 2' } }],
      });
      const after = standing('ENCOUNTER', '2026-11-23T00:00:00.000000Z', ...order);
      expect(after).toMatchObject({ status: 'finished', end: { text: '2026-11-22T12:00' } });
    }
    expect(new Set([admit, transfer, discharge].map((mapped) => factOf(mapped, 'ENCOUNTER').key))).toEqual(
      new Set(['visit|MERCY|V1']),
    );
  });

  it('cancel a discharge (A13) at the time of the discharge, also before it arrives', () => {
    const cancel = adt('A13', EVN('A13', '202611221200', '202611221300'), PID, PV1({ admit: '202611201000' }));
    expect(factOf(cancel, 'ENCOUNTER')).toEqual({
      kind: 'ENCOUNTER',
      sourceRecordId: RECORD,
      key: 'visit|MERCY|V1',
      valid: expect.objectContaining({ field: 'EVN-6', instant: '2026-11-22T12:00:00.000000Z' }) as unknown,
      retract: '*',
    });
    for (const order of [
      [admit, discharge, cancel],
      [admit, cancel, discharge],
    ])
      expect(standing('ENCOUNTER', '2026-11-23T00:00:00.000000Z', ...order)).toMatchObject({ status: 'in-progress' });
  });

  it('cancel a transfer (A12) and go back to the place before', () => {
    const cancel = adt('A12', EVN('A12', '202611210900'), PID, PV1({ location: '4E^12^1' }));
    expect(standing('ENCOUNTER', '2026-11-21T12:00:00.000000Z', admit, transfer, cancel)).toMatchObject({
      location: [{ location: { display: '4E 12 1' } }],
    });
  });

  it('cancel an admission (A11): of the only row nothing is left', () => {
    const cancel = adt('A11', EVN('A11', ''), PID, PV1({ admit: '202611201000' }));
    expect(factOf(cancel, 'ENCOUNTER').valid.field).toBe('PV1-44');
    expect(standing('ENCOUNTER', '2026-11-23T00:00:00.000000Z', admit, cancel)).toEqual({});
  });

  it('take back nothing where no field says when it was, but tell how the visit stands since then, and say so', () => {
    const stated = {
      A11: { status: 'cancelled' },
      A12: { location: [{}] },
      A13: { status: 'in-progress' },
      A32: undefined,
    };
    for (const [code, assert] of Object.entries(stated)) {
      const mapped = adt(code, EVN(code, ''), PID, PV1());
      expect(mapped.unmapped).toContain('EVN-6');
      const facts = factsOf(mapped, 'ENCOUNTER');
      expect(facts).toHaveLength(assert === undefined ? 0 : 1);
      for (const fact of facts) {
        expect(fact).toMatchObject({ assert, valid: { field: 'EVN-2' } });
        expect(fact).not.toHaveProperty('retract');
      }
    }
    // A cancel that overtook what it cancels is not undone by it.
    const cancelled = adt('A11', EVN('A11', ''), PID, PV1());
    for (const order of [
      [admit, cancelled],
      [cancelled, admit],
    ])
      expect(standing('ENCOUNTER', '2026-11-23T00:00:00.000000Z', ...order)).toMatchObject({ status: 'cancelled' });
  });

  it('assert the demographics of a cancel when it was recorded, not at the time of what it cancels', () => {
    const mapped = adt('A13', EVN('A13', '202611221200', '202611221300'), PID, PV1());
    expect(factOf(mapped, 'PATIENT').valid).toMatchObject({ field: 'EVN-2', text: '2026-11-22T13:00' });
  });

  it('finish the visit at PV1-45 where another message than A03 carries it', () => {
    const update = adt('A08', EVN('A08', '202611230900'), PID, PV1({ discharge: '202611221200' }));
    expect(factsOf(update, 'ENCOUNTER').map(({ valid, assert }) => [valid.field, assert!['status']])).toEqual([
      ['PV1-45', 'finished'],
      ['EVN-6', undefined],
    ]);
  });

  it('do not let an update (A08) say anything about the status', () => {
    const update = adt('A08', EVN('A08', '202611230900'), PID, PV1({ location: '5W^3^2' }));
    expect(standing('ENCOUNTER', '2026-11-24T00:00:00.000000Z', admit, discharge, update)).toMatchObject({
      status: 'finished',
    });
  });
});

describe('a planned admission (A05)', () => {
  const plan = adt('A05', EVN('A05', '202611181000'), PID, PV1({ class: 'P' }), 'PV2||||||||202611201400');
  const admit = adt('A01', EVN('A01', '202611200900'), PID, PV1({ admit: '202611200900' }));

  it('shows from the planned time on, and its demographics at once', () => {
    expect(factOf(plan, 'ENCOUNTER').valid).toMatchObject({ field: 'PV2-8', instant: '2026-11-20T14:00:00.000000Z' });
    expect(factOf(plan, 'PATIENT').valid).toMatchObject({ field: 'EVN-6', instant: '2026-11-18T10:00:00.000000Z' });
  });

  it('takes EVN-3 where PV2-8 is empty', () => {
    const mapped = adt('A05', EVN('A05', '', '202611181000', '202611201500'), PID, PV1({ class: 'P' }));
    expect(factOf(mapped, 'ENCOUNTER').valid.field).toBe('EVN-3');
  });

  it('never turns a patient who came early back into a planned one', () => {
    for (const order of [
      [plan, admit],
      [admit, plan],
    ])
      expect(standing('ENCOUNTER', '2026-11-20T15:00:00.000000Z', ...order)).toMatchObject({
        status: 'in-progress',
        class: { code: 'IMP' },
      });
  });

  it('is cancelled (A38) at the planned time', () => {
    const cancel = adt('A38', EVN('A38', '202611181000'), PID, PV1({ class: 'P' }), 'PV2||||||||202611201400');
    expect(standing('ENCOUNTER', '2026-11-21T00:00:00.000000Z', plan, cancel)).toEqual({});
  });
});

describe('which visit a PV1 speaks of', () => {
  it.each([
    ['its number and authority', PV1({ visit: 'V1^^^MERCY^VN' }), 'visit|MERCY|V1'],
    ['its number under the source where no authority is named', PV1({ visit: 'V1' }), 'visit|mllp|V1'],
    ['the alternate id', `${PV1({ visit: '', admit: '2026' })}||||||A9^^^MERCY`, 'alternate|MERCY|A9'],
    ['the admission time as sent', PV1({ visit: '', admit: '202611201000' }), 'admitted|202611201000'],
    ['the one running visit', PV1({ visit: '' }), ''],
  ])('is said by %s', (_name, pv1, key) => {
    expect(factOf(adt('A02', EVN('A02'), PID, pv1), 'ENCOUNTER').key).toBe(key);
  });

  it('is none where the PV1 is there for form only', () => {
    expect(factsOf(adt('A31', EVN('A31'), PID, 'PV1|1|N'), 'ENCOUNTER')).toEqual([]);
    expect(factsOf(adt('A28', EVN('A28'), PID, PV1({ visit: '' })), 'ENCOUNTER')).toEqual([]);
  });
});

describe('a merge (A40)', () => {
  const mapped = adt('A40', EVN('A40'), PID, 'MRG|999^^^MERCY^MR');

  it('asserts the survivor’s demographics and is a line of the timeline', () => {
    expect(factOf(mapped, 'PATIENT').sourceRecordId).toBe(RECORD);
    expect(mapped.notes).toEqual([
      expect.objectContaining({ sourceRecordId: RECORD, title: 'Merged with another record: 999 (MERCY)' }),
    ]);
  });
});

describe('a message about several persons', () => {
  const twins = hl7(
    MSH('ADT^A08'),
    EVN('A08'),
    PID,
    PV1(),
    'PID|2||777^^^MERCY^MR||Okafor^Ben',
    'AL1|1|DA|PEN^Penicillin',
  );

  it('never puts one person’s facts on another: without a record of their own they are unmapped', () => {
    const mapped = map(twins);
    expect(factsOf(mapped, 'ALLERGY_INTOLERANCE')).toEqual([]);
    expect(factsOf(mapped, 'PATIENT').length).toBe(1);
    expect(mapped.unmapped).toEqual(expect.arrayContaining(['PID[2]', 'AL1']));
  });

  it('hangs each on the record that identity gave them', () => {
    const mapped = map(twins, { records: { 'PID[1]': RECORD, 'PID[2]': OTHER_RECORD } });
    expect(factOf(mapped, 'ALLERGY_INTOLERANCE').sourceRecordId).toBe(OTHER_RECORD);
  });
});

describe('what has no mapping', () => {
  it('is named by path, never by content', () => {
    const mapped = adt(
      'A01',
      EVN('A01'),
      `${PID}${'|'.repeat(27)}secret`,
      `${PV1()}|||secret`,
      'ZPI|secret',
      'ZIN|1|secret',
    );
    expect(mapped.unmapped).toEqual(['PV1-22', 'ZPI', 'ZIN']);
    expect(JSON.stringify(mapped.unmapped)).not.toContain('secret');
  });

  it('is a line of the timeline where the message type is unknown', () => {
    const mapped = map(hl7(MSH('MFN^M02'), PID, 'ZZZ|1'));
    expect(mapped.facts).toEqual([]);
    expect(mapped.notes).toEqual([expect.objectContaining({ title: 'MFN^M02' })]);
    expect(mapped.unmapped).toEqual(['PID', 'ZZZ']);
  });

  it('is everything where nobody is known to be meant', () => {
    const mapped = map(hl7(MSH('ADT^A01'), EVN('A01'), PID, PV1()), { sourceRecordId: undefined });
    expect(mapped.facts).toEqual([]);
    expect(mapped.unmapped).toEqual(['PID', 'PV1']);
  });
});

describe('demographic updates in any order of arrival', () => {
  const update = (time: string, pid: string): Mapped => adt('A08', EVN('A08', time), pid);
  const messages = [
    update(
      '202611200900',
      'PID|1||12345^^^MERCY^MR||Okafor^Ada||19840229|F|||1 Elm^^Springfield^IL^62701||555-1|555-2',
    ),
    update('202611201000', 'PID|1||12345^^^MERCY^MR||Okafor-Smith^Ada|||||||||""'),
    update('202611201100', 'PID|1||12345^^^MERCY^MR||||19840301||||||555-9'),
    update('202611201200', 'PID|1||12345^^^MERCY^MR||Okafor^Ada||||||2 Oak^^Springfield^IL^62701'),
  ];

  it('fold to the same chart', () => {
    const reference = standing('PATIENT', '2026-11-21T00:00:00.000000Z', ...messages);
    expect(reference).toMatchObject({
      name: [{ family: 'Okafor', given: ['Ada'] }],
      birthDate: '1984-03-01',
      gender: 'female',
      telecom: [{ value: '555-9' }],
      address: [{ line: ['2 Oak'] }],
    });
    expect(reference).not.toHaveProperty('telecom:work');
    fc.assert(
      fc.property(fc.shuffledSubarray(messages, { minLength: 4, maxLength: 4 }), (order) => {
        expect(standing('PATIENT', '2026-11-21T00:00:00.000000Z', ...order)).toEqual(reference);
      }),
    );
  });
});

it('asserts every visit that an A45 moves, on the record it is moved to, and tells of each', () => {
  const mapped = map(
    hl7(
      MSH('ADT^A45'),
      'EVN|A45|20261120',
      PID,
      'MRG|777^^^MERCY^MR||||V77',
      segment('PV1', { 2: 'I', 3: '4E', 19: 'V77' }),
      'MRG|778^^^MERCY^MR||||V78',
      segment('PV1', { 2: 'O', 19: 'V78' }),
    ),
  );
  expect(factsOf(mapped, 'ENCOUNTER').map(({ key }) => key)).toEqual(['visit|mllp|V77', 'visit|mllp|V78']);
  expect(mapped.notes.map(({ title }) => title)).toEqual([
    'Visit moved from another record: 777 (MERCY)',
    'Visit moved from another record: 778 (MERCY)',
  ]);
  expect(mapped.unmapped).toEqual([]);
});
