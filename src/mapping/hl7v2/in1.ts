/** IN1 with its IN2 → Coverage (v2-to-FHIR map IN1[Coverage]). */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import type { ValidTime } from '../../time/valid-time.js';
import { conceptDisplay } from '../concepts.js';
import type { JsonObject } from '../fhir-time.js';
import { nameText } from '../summarise.js';
import {
  codeableConcept,
  cx,
  identifier,
  mappedCode,
  mappedConcept,
  number,
  reference,
  xon,
  xpn,
} from './datatypes.js';
import {
  addresses,
  concept,
  contactPoints,
  identifiers,
  named,
  organization,
  organizationWith,
  plainId,
  positive,
  present,
  time,
  v2Table,
} from './readers.js';
import type { Reading } from './reading.js';
import type { SegmentMap } from './segment-map.js';
import type { SlotReader, Slots } from './slots.js';
import { RELATIONSHIP, SUBSCRIBER_RELATIONSHIP } from './tables.js';

const CLASS = 'http://terminology.hl7.org/CodeSystem/coverage-class';
const RELATION = 'http://terminology.hl7.org/CodeSystem/subscriber-relationship';

/** One entry of Coverage.class: its value in one field, its name in another. */
function coverageClass(kind: 'group' | 'plan', nameField?: number): SlotReader {
  return (segment, field) => {
    const value = segment.text(field, 1, 1);
    const name = nameField === undefined ? segment.text(field, 1, 2) : segment.text(nameField, 1, 1);
    if (value === '' && name === '') return undefined;
    return [
      {
        type: { coding: [{ system: CLASS, code: kind }] },
        value: value === '' ? name : value,
        ...(name !== '' && { name }),
      },
    ];
  };
}

const payor: SlotReader = (segment, field, reading, slots) => {
  const company = cx(segment, 3);
  const name = xon(segment, field);
  const one = reference(
    (name?.['display'] as string | undefined) ?? '',
    (name?.['identifier'] as JsonObject | undefined) ?? company,
  );
  const contact = contactOf(segment, reading, slots);
  const whole = organizationWith(one, {
    ...present('address', addresses(segment, 5, reading, slots)),
    ...(contact && { contact: [contact] }),
  });
  return whole && [whole];
};

/** IN1-6 and IN1-7: whom to call at the company. */
function contactOf(segment: Hl7Segment, reading: Reading, slots: Slots): JsonObject | undefined {
  const name = xpn(segment, 6);
  const telecom = contactPoints('work')(segment, 7, reading, slots);
  if (name === undefined && telecom === undefined) return undefined;
  return { ...(name && { name }), ...present('telecom', telecom) };
}

/** The insured: the patient where IN1-17 says so, else somebody by name. */
const subscriber: SlotReader = (segment, field) => {
  const name = xpn(segment, field);
  return name && named(nameText(name));
};

const relationship: SlotReader = (segment, field) => {
  const sent = mappedConcept(segment, field, RELATIONSHIP, v2Table('0063'));
  const known = mappedCode(SUBSCRIBER_RELATIONSHIP, segment.text(field));
  if (known === undefined || sent === undefined) return sent;
  return {
    ...sent,
    coding: [{ system: RELATION, code: known }, ...((sent['coding'] as JsonObject[] | undefined) ?? [])],
  };
};

export const IN1: SegmentMap = {
  map: 'IN1[Coverage]',
  segment: 'IN1',
  kind: 'COVERAGE',
  rules: [
    [2, 'class:plan', coverageClass('plan')],
    [4, 'payor', payor],
    [8, 'class:group', coverageClass('group', 9)],
    [10, 'policyHolder.identifier', groupNumber],
    [11, 'policyHolder', organization],
    [12, 'period.start', time],
    [13, 'period.end', time],
    [15, 'type', concept('http://terminology.hl7.org/CodeSystem/v2-0086'), 'PlanId'],
    [16, 'subscriber', subscriber],
    [17, 'relationship', relationship, 'Relationship'],
    [22, 'order', positive],
    [35, 'network', (segment, field) => conceptDisplay(codeableConcept(segment, field)) || undefined],
    [36, 'identifier:policy', plainId('PLN')],
    [37, 'costToBeneficiary', costs],
    [46, 'identifier:prior', plainId('PRI')],
    [49, 'subscriberId', (segment, field) => segment.text(field, 1, 1) || undefined],
  ],
  also: {
    1: 'set id',
    3: 'payor.identifier, key',
    5: 'payor, its address',
    6: 'payor, its contact.name',
    7: 'payor, its contact.telecom',
    9: 'class.name of the group',
  },
};

/** IN1-10: the number of the group or employer that holds the policy. */
function groupNumber(segment: Hl7Segment, field: number): JsonObject | undefined {
  return cx(segment, field);
}

function costs(segment: Hl7Segment, field: number): JsonObject[] | undefined {
  const value = number(segment.text(field, 1, 1, 1));
  if (value === undefined) return undefined;
  const currency = segment.text(field, 1, 1, 2);
  const type = segment.text(field, 1, 2);
  return [
    {
      ...(type !== '' && {
        type: { coding: [{ system: 'http://terminology.hl7.org/CodeSystem/v2-0205', code: type }] },
      }),
      valueMoney: { value, ...(currency !== '' && { currency }) },
    },
  ];
}

/** IN2-6, by its system in FHIR. */
const medicare: SlotReader = (segment, field, reading, slots) =>
  (plainId('MC')(segment, field, reading, slots) as JsonObject[] | undefined)?.map((id) => ({
    ...id,
    system: 'http://hl7.org/fhir/sid/us-medicare',
  }));

/** IN2 says more of the insured: numbers of theirs with public programmes, and the member. */
export const IN2: SegmentMap = {
  map: 'IN2[Coverage] (no map in the guide)',
  segment: 'IN2',
  kind: 'COVERAGE',
  rules: [
    [2, 'identifier:insured', plainId('SS')],
    [6, 'identifier:medicare', medicare],
    [8, 'identifier:medicaid', plainId('MA')],
    [61, 'identifier:member', identifiers('MB')],
  ],
  also: {},
};

export interface CoverageGroup {
  readonly in1: Hl7Segment;
  readonly in2?: Hl7Segment;
}

/**
 * One cover, keyed by company, plan and policy (else member) number. Its fields are true since the event; when it covers is `period`.
 * @returns a logical reference to it, for the account it pays
 */
export function readIn1(
  { in1, in2 }: CoverageGroup,
  sourceRecordId: string,
  event: ValidTime,
  reading: Reading,
): JsonObject | undefined {
  reading.read.add(in1);
  if (in2 !== undefined) reading.read.add(in2);
  const company = in1.text(3, 1, 1) || in1.text(4, 1, 1);
  const plan = in1.text(2, 1, 1) || in1.text(2, 1, 2);
  const number = in1.text(36) || in1.text(49, 1, 1);
  if (company === '' && plan === '' && number === '') {
    reading.problem('IN1-2');
    return undefined;
  }
  const slots = reading.slots();
  slots.assert['status'] = 'active';
  slots.fields(in1, IN1.rules);
  const payer = in1.rawField(4) === '' && company !== '' ? payor(in1, 4, reading, slots) : undefined;
  if (payer !== undefined) slots.assert['payor'] = payer;
  if (in1.rawField(8) === '' && in1.text(9) !== '')
    slots.assert['class:group'] = coverageClass('group')(in1, 9, reading, slots)!;
  if (in2 !== undefined) slots.fields(in2, IN2.rules);
  reading.add({ kind: 'COVERAGE', sourceRecordId, key: `${company}|${plan}|${number}`, valid: event }, slots);
  return reference(conceptDisplay(codeableConcept(in1, 2)), identifier(number, { namespace: company }));
}
