/** RXO, RXE, RXR and TQ1 → MedicationRequest; RXD → MedicationDispense; RXA → MedicationAdministration (v2-to-FHIR maps RXO[MedicationRequest], RXR[MedicationRequest], TQ1[MedicationRequest], ORC[MedicationAdministration]; the guide has none for RXE and RXD). */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import { timeValue } from '../fhir-time.js';
import { codeableConcept, mappedCode, mappedConcept, number, organizationOf } from './datatypes.js';
import {
  addresses,
  asOrganization,
  byMap,
  code,
  compositeQuantity,
  concept,
  concepts,
  contactPoints,
  doers,
  entityIds,
  lines,
  only,
  person,
  plainId,
  quantityIn,
  quantityOf,
  cq,
  text,
  time,
  v2Table,
} from './readers.js';
import { besideOf, ORDERED_BY, securityOf } from './orc.js';
import type { SegmentMap } from './segment-map.js';
import type { SlotReader, SlotRule, Slots } from './slots.js';
import { ADMINISTRATION_METHOD, bodySiteSystem, REQUEST_PRIORITY, ROUTE } from './tables.js';
import type { Reading } from './reading.js';
import { patternOf, readTiming, TIMING_FIELDS } from './timing.js';

const DOSE = 'dosageInstruction[]';
const RATE = `${DOSE}.doseAndRate[]`;

const substitution: SlotReader = (segment, field) => codeableConcept(segment, field, 1, v2Table('0161'));
const count: SlotReader = (segment, field) => {
  const value = number(segment.text(field));
  return value !== undefined && Number.isInteger(value) && value >= 0 ? value : undefined;
};
const days =
  (system: string): SlotReader =>
  (segment, field) => {
    const value = number(segment.text(field));
    return value === undefined ? undefined : { value, unit: 'd', system, code: 'd' };
  };
const UCUM = 'http://unitsofmeasure.org';
const note: SlotReader = (segment, field, reading, slots) => {
  const words = lines(segment, field, reading, slots);
  return words === undefined ? undefined : [{ text: words }];
};

/** A pharmacy (CWE), its address and its telephones. */
function pharmacy(name: number, address: number, telecom: number): SlotRule[] {
  const performer = 'dispenseRequest.performer';
  return [
    [name, performer, (segment, field) => asOrganization(organizationOf(segment, field))],
    [address, `${performer}.address`, besideOf(name, addresses)],
    [telecom, `${performer}.telecom`, besideOf(name, contactPoints('work'))],
  ];
}

export const ORC_MEDICATION: SegmentMap = {
  map: 'ORC[MedicationRequest] (as ORC[ServiceRequest])',
  segment: 'ORC',
  kind: 'MEDICATION_REQUEST',
  rules: [
    [2, 'identifier:placer', entityIds('PLAC')],
    [3, 'identifier:filler', entityIds('FILL')],
    [
      4,
      'groupIdentifier',
      (segment, field, reading, slots) =>
        (entityIds('PGN')(segment, field, reading, slots) as never[] | undefined)?.[0],
    ],
    [10, 'recorder', person],
    [12, 'requester', person],
    [16, 'statusReason', concept()],
    ...ORDERED_BY,
  ],
  also: {
    1: 'status',
    5: 'status by OrderStatus',
    9: 'authoredOn, valid time',
    15: 'valid time of the order that a cancel takes back',
  },
};

export const RXO: SegmentMap = {
  map: 'RXO[MedicationRequest]',
  segment: 'RXO',
  kind: 'MEDICATION_REQUEST',
  rules: [
    [1, 'medicationCodeableConcept', concept()],
    [5, 'extension:form', form()],
    [6, `${DOSE}.text`, lines],
    [7, `${DOSE}.patientInstruction`, lines],
    [9, 'substitution.allowedCodeableConcept', substitution, 'AllowSubstitution'],
    [11, 'dispenseRequest.quantity', quantityIn(12)],
    [13, 'dispenseRequest.numberOfRepeatsAllowed', count],
    [14, 'requester', person],
    [20, 'reasonCode', concepts()],
    [21, `${RATE}.rateQuantity`, quantityIn(22)],
    [23, `${DOSE}.maxDosePerPeriod.numerator`, compositeQuantity],
    [28, 'dispenseRequest.dispenseInterval', days(UCUM)],
    ...pharmacy(32, 33, 36),
  ],
  also: {
    2: 'doseQuantity, doseRange.low',
    3: 'doseRange.high',
    4: 'units of RXO-2 and RXO-3',
    12: 'units of RXO-11',
    18: 'contained.ingredient.strength',
    19: 'units of RXO-18',
    22: 'units of RXO-21',
    25: 'contained.ingredient.strength',
    26: 'units of RXO-25',
  },
};

/**
 * What an RXO still says where an RXE under the same ORC encodes it: who asked and why. Drug, dose, route and supply are those of the RXE alone
 * (HL7 v2.9 §4A.4.4): put together, the instructions for one drug would stand at another.
 */
export const RXO_BESIDE_RXE: readonly SlotRule[] = RXO.rules.filter(
  ([, slot]) => slot === 'requester' || slot === 'reasonCode',
);

export const RXE: SegmentMap = {
  map: 'RXE[MedicationRequest] (no map in the guide)',
  segment: 'RXE',
  kind: 'MEDICATION_REQUEST',
  rules: [
    [2, 'medicationCodeableConcept', concept()],
    [6, 'extension:form', form()],
    [7, `${DOSE}.additionalInstruction`, instructions()],
    [9, 'substitution.allowedCodeableConcept', substitution, 'AllowSubstitution'],
    [10, 'dispenseRequest.quantity', quantityIn(11)],
    [12, 'dispenseRequest.numberOfRepeatsAllowed', count],
    [13, 'requester', person],
    [15, 'identifier:prescription', plainId('PRN')],
    [19, `${DOSE}.maxDosePerPeriod.numerator`, compositeQuantity],
    [21, `${DOSE}.patientInstruction`, lines],
    [23, `${RATE}.rateQuantity`, quantityIn(24)],
    [27, 'reasonCode', concepts()],
    [28, 'dispenseRequest.expectedSupplyDuration', days(UCUM)],
    [32, 'authoredOn', time],
    [39, 'dispenseRequest.initialFill.quantity', quantityIn(11)],
    ...pharmacy(40, 41, 45),
  ],
  also: {
    1: 'when and how urgently (TQ.4, TQ.5, TQ.6; withdrawn)',
    3: 'doseQuantity, doseRange.low',
    4: 'doseRange.high',
    5: 'units of RXE-3 and RXE-4',
    11: 'units of RXE-10',
    24: 'units of RXE-23',
    25: 'contained.ingredient.strength',
    26: 'units of RXE-25',
    33: 'contained.ingredient.strength',
    34: 'units of RXE-33',
  },
};

export const RXR_DOSE: SegmentMap = {
  map: 'RXR[MedicationRequest]',
  segment: 'RXR',
  kind: 'MEDICATION_REQUEST',
  rules: [
    [1, `${DOSE}.route`, byMap(ROUTE, v2Table('0162')), 'RouteOfAdministration'],
    [
      2,
      `${DOSE}.site`,
      (segment, field) => codeableConcept(segment, field, 1, bodySiteSystem(segment.text(field))),
      'BodyParts',
    ],
    [4, `${DOSE}.method`, byMap(ADMINISTRATION_METHOD, v2Table('0165')), 'AdministrationMethod'],
    [5, `${DOSE}.additionalInstruction:routing`, concepts(), 'RoutingInstruction'],
  ],
  also: {},
};

export const TQ1_DOSE: SegmentMap = {
  map: 'TQ1[MedicationRequest]',
  segment: 'TQ1',
  kind: 'MEDICATION_REQUEST',
  rules: [
    [9, 'priority', code(REQUEST_PRIORITY), 'ExtendedPriorityCodes'],
    [10, `${DOSE}.additionalInstruction:condition`, only((segment, field) => ({ text: segment.text(field) }))],
    [11, `${DOSE}.text`, text],
  ],
  also: {
    1: 'set id',
    2: 'doseQuantity, where the order says none',
    ...TIMING_FIELDS,
  },
};

export const RXC: SegmentMap = {
  map: 'RXC[Medication.ingredient] (no map in the guide)',
  segment: 'RXC',
  kind: 'MEDICATION_REQUEST',
  rules: [],
  also: { 1: 'role', 2: 'ingredient', 3: 'strength', 4: 'units of RXC-3', 5: 'strength', 6: 'units of RXC-5' },
};

export const RXG: SegmentMap = {
  map: 'RXG[MedicationRequest] (no map in the guide)',
  segment: 'RXG',
  kind: 'MEDICATION_REQUEST',
  rules: [
    [4, 'medicationCodeableConcept', concept()],
    [8, 'extension:form', form()],
    [9, 'note', note],
    [13, `${DOSE}.additionalInstruction`, instructions()],
    [15, `${RATE}.rateQuantity`, quantityIn(16)],
    [22, 'reasonCode', concepts()],
  ],
  also: {
    1: 'key',
    3: 'when and how urgently (TQ.4, TQ.5, TQ.6; withdrawn)',
    5: 'doseQuantity, doseRange.low',
    6: 'doseRange.high',
    7: 'units of RXG-5 and RXG-6',
    16: 'units of RXG-15',
    17: 'contained.ingredient.strength',
    18: 'units of RXG-17',
    23: 'contained.ingredient.strength',
    24: 'units of RXG-23',
  },
};

export const RXD: SegmentMap = {
  map: 'RXD[MedicationDispense] (no map in the guide)',
  segment: 'RXD',
  kind: 'MEDICATION_DISPENSE',
  rules: [
    [2, 'medicationCodeableConcept', concept()],
    [3, 'whenHandedOver', time],
    [4, 'quantity', quantityIn(5)],
    [
      7,
      'authorizingPrescription',
      only((segment, field) => ({
        type: 'MedicationRequest',
        identifier: { type: { coding: [{ system: v2Table('0203'), code: 'PRN' }] }, value: segment.text(field) },
      })),
    ],
    [9, 'note', note],
    [10, 'performer', doersOf()],
    [11, 'substitution.type', concept(v2Table('0167'))],
    [12, `${DOSE}.maxDosePerPeriod.numerator`, compositeQuantity],
    [33, 'type', concept(v2Table('0484'))],
  ],
  also: { 1: 'key', 5: 'units of RXD-4', 6: 'extension (form)', 13: 'location, where the RXD names none elsewhere' },
};

export const RXA_GIVEN: SegmentMap = {
  map: 'RXA[MedicationAdministration] (ORC[MedicationAdministration])',
  segment: 'RXA',
  kind: 'MEDICATION_ADMINISTRATION',
  rules: [
    [5, 'medicationCodeableConcept', concept()],
    [6, 'dosage.dose', quantityIn(7)],
    [9, 'note', note],
    [10, 'performer', doersOf()],
    [18, 'statusReason', concepts()],
    [19, 'reasonCode', concepts()],
  ],
  also: {
    1: 'key',
    2: 'key',
    3: 'effectiveDateTime, effectivePeriod.start, valid time',
    4: 'effectivePeriod.end',
    7: 'units of RXA-6',
    12: 'dosage.rateQuantity',
    20: 'status by CompletionStatus',
    21: 'D takes it back',
  },
};

export const ORC_GIVEN: SegmentMap = {
  map: 'ORC[MedicationAdministration]',
  segment: 'ORC',
  kind: 'MEDICATION_ADMINISTRATION',
  rules: [
    [2, 'identifier:placer', entityIds('PLAC')],
    [3, 'identifier:filler', entityIds('FILL')],
    [28, 'meta.security', securityOf, 'ConfidentialityCode'],
  ],
  also: {},
};

function doersOf(): SlotReader {
  return doers({ system: v2Table('0443'), code: 'AP', display: 'Administering Provider' });
}

/** A dosage form: R4 keeps it with the Medication, which a request names only by code. */
function form(): SlotReader {
  return only((segment, field) => {
    const value = codeableConcept(segment, field);
    return value && { url: 'urn:anamnesis:dosage-form', valueCodeableConcept: value };
  });
}

function instructions(): SlotReader {
  return concepts();
}

/** A dose: one amount, or a range where a second one is stated. */
export function readDose(
  segment: Hl7Segment,
  fields: { readonly low: number; readonly high: number; readonly units: number },
  slots: Slots,
): void {
  const low = quantityOf(segment, fields.low, fields.units);
  const high = quantityOf(segment, fields.high, fields.units);
  if (low === undefined) return;
  if (high === undefined || high['value'] === low['value']) slots.assert[`${RATE}.doseQuantity`] = low;
  else slots.assert[`${RATE}.doseRange`] = { low, high };
}

/** The route of an order or a dispense; further RXR are routes to choose from (HL7 v2.9 §4A.4.2), each an instruction of its own. */
export function readRoutes([rxr, ...others]: readonly Hl7Segment[], slots: Slots): void {
  if (rxr === undefined) return;
  slots.fields(rxr, RXR_DOSE.rules);
  const further = others.flatMap((other) => {
    const route = mappedConcept(other, 1, ROUTE, v2Table('0162'));
    const site = codeableConcept(other, 2, 1, bodySiteSystem(other.text(2)));
    const method = mappedConcept(other, 4, ADMINISTRATION_METHOD, v2Table('0165'));
    const found = { ...(site && { site }), ...(route && { route }), ...(method && { method }) };
    return Object.keys(found).length === 0 ? [] : [found];
  });
  if (further.length > 0) slots.assert['dosageInstruction:further'] = further;
}

export function readTq1(tq1: Hl7Segment, slots: Slots, reading: Reading): void {
  slots.fields(tq1, TQ1_DOSE.rules);
  readTiming(tq1, `${DOSE}.timing`, slots, reading);
  const amount = slots.assert[`${RATE}.doseQuantity`] === undefined && slots.assert[`${RATE}.doseRange`] === undefined;
  const dose = amount ? cq(tq1, 2) : undefined;
  if (dose !== undefined) slots.assert[`${RATE}.doseQuantity`] = dose;
}

/** TQ in RXE-1 and ORC-7 (withdrawn from v2.7 on): the same as TQ1. */
export function readTq(segment: Hl7Segment, field: number, slots: Slots, reading: Reading): void {
  const start = reading.time(segment, field, 1, 4);
  const end = reading.time(segment, field, 1, 5);
  if (start !== undefined) slots.assert[`${DOSE}.timing.repeat.boundsPeriod.start`] ??= timeValue(start);
  if (end !== undefined) slots.assert[`${DOSE}.timing.repeat.boundsPeriod.end`] ??= timeValue(end);
  const pattern = patternOf({ code: segment.text(field, 1, 2, 1), display: '' });
  if (pattern !== undefined) slots.assert[`${DOSE}.timing.code`] ??= pattern;
  const priority = mappedCode(REQUEST_PRIORITY, segment.text(field, 1, 6));
  if (priority !== undefined) slots.assert['priority'] ??= priority;
}
