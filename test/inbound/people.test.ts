import { describe, expect, it } from '@jest/globals';
import { readHl7 } from '../../src/inbound/hl7/reader.js';
import { peopleOfEvent, peopleOfHl7 } from '../../src/inbound/people.js';
import { builtInSource } from '../../src/inbound/source.js';

const source = builtInSource('mllp');

function people(type: string, ...segments: string[]) {
  return peopleOfHl7(
    readHl7(Buffer.from([`MSH|^~\\&|A|B|||20260101||${type}|1|P|2.5.1`, ...segments].join('\r'))),
    source,
  );
}

describe('people of an HL7 v2 message', () => {
  it('are told with everything that identity looks at', () => {
    const { groups, references } = people(
      'ADT^A01',
      'PID|1|EXT9|77^^^MERCY^MR~111223333^^^SSA^SS~8^^^&2.16.1&ISO^PI|ALT|SMITH&VAN^ANN^B C^JR^DR^^M~LEGAL^ANN^^^^^L||19840229|F|||||||||||555-66-7777|||||Y|2',
    );
    expect(references).toEqual([['PID[1]']]);
    expect(groups).toEqual([
      {
        namesOthers: false,
        persons: [
          {
            identifiers: [
              { authority: 'MERCY', value: '77', type: 'MR', trusted: true },
              { authority: '2.16.1', value: '8', type: 'PI', trusted: true },
              { authority: 'SSA', value: '111223333', type: 'SS', trusted: false },
              { authority: 'mllp', value: 'EXT9', type: 'U', trusted: false },
              { authority: 'mllp', value: 'ALT', type: 'U', trusted: false },
            ],
            name: { family: 'LEGAL', given: ['ANN'] },
            birthDate: '19840229',
            sex: 'F',
            ssn: '555-66-7777',
            birthOrder: 2,
          },
        ],
      },
    ]);
  });

  it('are known by PID-2 in an old message without PID-3, as MR of the source', () => {
    expect(people('ADT^A01', 'PID||4711').groups[0]?.persons[0]?.identifiers).toEqual([
      { authority: 'mllp', value: '4711', type: 'MR', trusted: true },
    ]);
  });

  it('have their SSN from PID-3 where PID-19 is silent', () => {
    expect(people('ADT^A01', 'PID|||1^^^A^MR~222334444^^^SSA^SS').groups[0]?.persons[0]?.ssn).toBe('222334444');
  });

  it('are nobody where there is no PID', () => {
    expect(people('MFN^M02', 'MFI|x').groups).toEqual([]);
  });

  it.each([
    ['A18', 'merge'],
    ['A30', 'merge'],
    ['A34', 'merge'],
    ['A36', 'merge'],
    ['A39', 'merge'],
    ['A40', 'merge'],
    ['A43', 'move'],
    ['A47', 'change'],
  ])('are brought together by %s as MRG-1 says', (trigger, kind) => {
    const { groups } = people(`ADT^${trigger}`, 'PID|||1^^^A^MR', 'MRG|2^^^A^MR~3^^^B^MR');
    expect(groups[0]?.merge).toEqual({
      kind,
      prior: [
        {
          identifiers: [
            { authority: 'A', value: '2', type: 'MR', trusted: true },
            { authority: 'B', value: '3', type: 'MR', trusted: true },
          ],
        },
      ],
    });
  });

  it.each(['A01', 'A31', 'A35', 'A41', 'A44', 'A49', 'A50'])(
    'are left apart by %s, which is not about persons',
    (trigger) => {
      expect(people(`ADT^${trigger}`, 'PID|||1^^^A^MR', 'MRG|2^^^A^MR').groups[0]?.merge).toBeUndefined();
    },
  );

  it.each([
    ['A24', 'merge'],
    ['A37', 'unmerge'],
  ])('stand in two PIDs of %s', (trigger, kind) => {
    const { groups, references } = people(`ADT^${trigger}`, 'PID|||1^^^A^MR', 'PID|||2^^^A^MR');
    expect(groups[0]?.persons.length).toBe(2);
    expect(groups[0]?.merge).toEqual({
      kind,
      prior: [{ identifiers: [{ authority: 'A', value: '2', type: 'MR', trusted: true }] }],
    });
    expect(references).toEqual([['PID[1]'], ['PID[2]']]);
  });

  it('are one group per PID where an A40 merges several', () => {
    const { groups } = people('ADT^A40', 'PID|||1^^^A^MR', 'MRG|2^^^A^MR', 'PID|||3^^^A^MR', 'MRG|4^^^A^MR');
    expect(
      groups.map(({ persons, merge }) => [persons[0]?.identifiers[0]?.value, merge?.prior[0]?.identifiers[0]?.value]),
    ).toEqual([
      ['1', '2'],
      ['3', '4'],
    ]);
  });

  it('are one where several PIDs state the same identifiers', () => {
    const { groups, references } = people(
      'ORU^R01',
      'PID|||1^^^A^MR||X',
      'OBR|1',
      'PID|||1^^^A^MR',
      'OBR|2',
      'PID|||2^^^A^MR',
    );
    expect(groups[0]?.persons.length).toBe(2);
    expect(references).toEqual([['PID[1]', 'PID[2]'], ['PID[3]']]);
  });

  it('are more than the patient where a relative has a record number', () => {
    expect(people('ADT^A01', 'PID|||1^^^A^MR', 'NK1|1|MUM^A').groups[0]?.namesOthers).toBe(false);
    expect(people('ADT^A01', 'PID|||1^^^A^MR', `NK1|1|MUM^A${'|'.repeat(31)}99^^^A^MR`).groups[0]?.namesOthers).toBe(
      true,
    );
    expect(people('ADT^A01', `PID|||1^^^A^MR${'|'.repeat(18)}99^^^A^MR`).groups[0]?.namesOthers).toBe(true);
  });
});

describe('people of a clinical event', () => {
  const event = { eventId: '1', type: 't', ts: '2026-01-01T00:00:00Z', data: {} };
  it('are its patient, or the sender’s id', () => {
    expect(peopleOfEvent({ ...event, patientId: 'p' }, source).groups).toEqual([
      { persons: [{ identifiers: [], senderPatientId: 'p' }] },
    ]);
    expect(
      peopleOfEvent(
        {
          ...event,
          patient: { identifiers: [{ value: '1' }], name: { family: 'A', given: ['B'] }, birthDate: '1990-01-01' },
        },
        source,
      ).groups[0]?.persons[0],
    ).toEqual({
      identifiers: [{ authority: 'mllp', value: '1', type: 'MR', trusted: true }],
      name: { family: 'A', given: ['B'] },
      birthDate: '1990-01-01',
    });
    expect(peopleOfEvent(event, source).groups).toEqual([]);
  });
});

it('an alias says what an authority of the source is called here, and only trusted authorities name anybody for certain', () => {
  const message = readHl7(
    Buffer.from(
      'MSH|^~\\&|A|M|H|H|2026||ADT^A01|1|P|2.5\rPID|1||12^^^GENERAL&1.2&ISO^MR~34^^^OTHER^MR~56^^^^MR',
      'latin1',
    ),
  );
  const own = { ...source, authorityAliases: { GENERAL: 'MERCY' }, trustedAuthorities: ['MERCY'] };
  const [group] = peopleOfHl7(message, own).groups;
  expect(group?.persons[0]?.identifiers).toEqual([
    { authority: 'MERCY', value: '12', type: 'MR', trusted: true },
    { authority: 'OTHER', value: '34', type: 'MR', trusted: false },
    { authority: source.defaultAuthority, value: '56', type: 'MR', trusted: false },
  ]);
});
