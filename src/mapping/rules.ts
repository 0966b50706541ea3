/** Which rule wrote which path: tables of what the mapping does, for those who ask why a field is what it is. */
import type { MessageContent } from './content.js';
import type { Fact, FactKind } from './fact.js';
import { rulesOfSlot as slotRule } from './hl7v2/segment-maps.js';

export type Paths = Readonly<Record<string, string>>;

/** Patient: slot → path → rule. */
export const HL7_PATIENT: Readonly<Record<string, Paths>> = {
  identifier: {
    identifier: 'PID-3',
    'identifier.value': 'PID-3.1',
    'identifier.assigner': 'PID-3.4',
    'identifier.system': 'PID-3.4.2',
    'identifier.type': 'PID-3.5',
  },
  'identifier:external': { 'identifier:external': 'PID-2' },
  'identifier:alternate': { 'identifier:alternate': 'PID-4' },
  'identifier:ssn': { 'identifier:ssn': 'PID-19' },
  'identifier:driver': { 'identifier:driver': 'PID-20' },
  name: {
    name: 'PID-5',
    'name.family': 'PID-5.1',
    'name.given': 'PID-5.2, PID-5.3',
    'name.suffix': 'PID-5.4, PID-5.6',
    'name.prefix': 'PID-5.5',
    'name.use': 'PID-5.7 by NameType',
  },
  'name:alias': { 'name:alias': 'PID-9' },
  mothersMaidenName: { mothersMaidenName: 'PID-6.1' },
  birthDate: { birthDate: 'PID-7' },
  gender: { gender: 'PID-8 by AdministrativeSex' },
  race: { race: 'PID-10' },
  address: {
    address: 'PID-11',
    'address.line': 'PID-11.1, PID-11.2',
    'address.city': 'PID-11.3',
    'address.state': 'PID-11.4',
    'address.postalCode': 'PID-11.5',
    'address.country': 'PID-11.6',
    'address.use': 'PID-11.7 by AddressType[Use]',
    'address.district': 'PID-11.9, PID-12',
  },
  telecom: { telecom: 'PID-13' },
  'telecom:work': { 'telecom:work': 'PID-14' },
  'telecom:other': { 'telecom:other': 'PID-40' },
  communication: { communication: 'PID-15 by PrimaryLanguage' },
  maritalStatus: { maritalStatus: 'PID-16 by MaritalStatus' },
  religion: { religion: 'PID-17 by Religion' },
  ethnicity: { ethnicity: 'PID-22' },
  birthPlace: { birthPlace: 'PID-23' },
  'multipleBirth:indicator': { 'multipleBirth:indicator': 'PID-24' },
  multipleBirth: { multipleBirth: 'PID-25' },
  citizenship: { citizenship: 'PID-26' },
  nationality: { nationality: 'PID-28' },
  deceased: { deceased: 'PID-29' },
  'deceased:indicator': { 'deceased:indicator': 'PID-30' },
  species: { species: 'PID-35' },
  breed: { breed: 'PID-36' },
  'citizenship:tribal': { 'citizenship:tribal': 'PID-39' },
  importance: { importance: 'PV1-16' },
  active: { active: 'MSH-9.2 (A29)' },
  generalPractitioner: { generalPractitioner: 'PD1-4' },
  'generalPractitioner:organization': { 'generalPractitioner:organization': 'PD1-3' },
  'generalPractitioner:role': {
    'generalPractitioner:role':
      'ROL-3, ROL-4, ROL-5, ROL-6, ROL-11, ROL-12, ROL-13, ROL-14, PRT-4, PRT-5, PRT-8, PRT-9, PRT-11, PRT-12, PRT-14, PRT-15',
  },
  note: { note: 'NTE-3, NTE-4, NTE-5, NTE-6' },
  disability: { disability: 'PD1-6' },
  congregation: { congregation: 'PD1-14' },
  contact: {
    contact: 'NK1',
    'contact.name': 'NK1-2',
    'contact.relationship': 'NK1-3, NK1-7 by Relationship',
    'contact.address': 'NK1-4',
    'contact.telecom': 'NK1-5, NK1-6, NK1-40, NK1-41',
    'contact.gender': 'NK1-15',
    'contact.period': 'NK1-8, NK1-9',
    'contact.organization': 'NK1-13',
  },
};

export const HL7_ENCOUNTER: Readonly<Record<string, Paths>> = {
  status: { status: 'MSH-9.2 by Event[EncounterStatus], PV1-45' },
  planned: { planned: 'PV1 of a planned event' },
  class: { class: 'PV1-2 by PatientClass[EncounterClass]' },
  location: { location: 'PV1-3' },
  'location:prior': { 'location:prior': 'PV1-6' },
  'location:temporary': { 'location:temporary': 'PV1-11' },
  'location:pending': { 'location:pending': 'PV1-42' },
  'location:priorPending': { 'location:priorPending': 'PV2-1' },
  type: { type: 'PV1-4' },
  'participant:ATND': { 'participant:ATND': 'PV1-7' },
  'participant:REF': { 'participant:REF': 'PV1-8' },
  'participant:CON': { 'participant:CON': 'PV1-9' },
  'participant:ADM': { 'participant:ADM': 'PV1-17' },
  serviceType: { serviceType: 'PV1-10 by HospitalService' },
  identifier: { identifier: 'PV1-19' },
  'identifier:alternate': { 'identifier:alternate': 'PV1-50' },
  'hospitalization.preAdmissionIdentifier': { 'hospitalization.preAdmissionIdentifier': 'PV1-5' },
  'hospitalization.reAdmission': { 'hospitalization.reAdmission': 'PV1-13' },
  'hospitalization.admitSource': { 'hospitalization.admitSource': 'PV1-14' },
  'hospitalization.specialArrangement': { 'hospitalization.specialArrangement': 'PV1-15 by AmbulatoryStatus' },
  'hospitalization.specialCourtesy': { 'hospitalization.specialCourtesy': 'PV1-16' },
  'hospitalization.dischargeDisposition': { 'hospitalization.dischargeDisposition': 'PV1-36' },
  'hospitalization.destination': { 'hospitalization.destination': 'PV1-37' },
  'hospitalization.dietPreference': { 'hospitalization.dietPreference': 'PV1-38' },
  serviceProvider: { serviceProvider: 'PV1-39' },
  account: { account: 'PID-18' },
  start: { start: 'PV1-44, EVN-6' },
  end: { end: 'PV1-45, EVN-6' },
  reasonCode: { reasonCode: 'PV2-3' },
  length: { length: 'PV2-11' },
  priority: { priority: 'PV2-25 by EncounterPriority' },
  'participant:PART': { 'participant:PART': 'PV1-52' },
  'participant:REF2': { 'participant:REF2': 'PV2-13' },
  'participant:role': {
    'participant:role':
      'ROL-3, ROL-4, ROL-5, ROL-6, ROL-11, ROL-12, ROL-13, ROL-14, PRT-4, PRT-5, PRT-8, PRT-9, PRT-11, PRT-12, PRT-14, PRT-15 by ProviderRole',
  },
  diagnosis: { diagnosis: 'DG1-3, DG1-6, DG1-15 by DiagnosisType' },
  episodeOfCare: { episodeOfCare: 'PV1-54, PV1-53' },
  text: { text: 'PV2-12' },
  meta: { meta: 'PV2-22' },
  'extension:plannedStart': { 'extension:plannedStart': 'PV2-8' },
  'extension:plannedEnd': { 'extension:plannedEnd': 'PV2-9' },
  'extension:financialClass': { 'extension:financialClass': 'PV1-20' },
  'extension:arrival': { 'extension:arrival': 'PV2-38' },
  'extension:note': { 'extension:note': 'NTE-3, NTE-4, NTE-5, NTE-6' },
};

/** Kinds whose one slot is the resource. */
export const HL7_RESOURCE: Readonly<Partial<Record<FactKind, Paths>>> = {
  OBSERVATION: {
    resource: 'OBX',
    identifier: 'OBX-21',
    status: 'OBX-11 by ObservationResultStatusCodesInterpretation',
    category: 'OBR-24, OBX-29',
    code: 'OBX-3',
    effectiveDateTime: 'OBX-14, OBR-7',
    effectivePeriod: 'OBR-7, OBR-8',
    issued: 'OBR-22',
    valueQuantity: 'OBX-5, OBX-6 by OBX-2',
    valueString: 'OBX-5 by OBX-2',
    valueCodeableConcept: 'OBX-5 by OBX-2; PDA-1; PD1-7',
    valueBoolean: 'PDA-3',
    valueDateTime: 'OBX-5 by OBX-2',
    valueTime: 'OBX-5 by OBX-2',
    valueRange: 'OBX-5, OBX-6 by OBX-2',
    valueRatio: 'OBX-5 by OBX-2',
    valuePeriod: 'OBX-5 by OBX-2',
    component: 'OBX-5 by OBX-2, each repetition',
    dataAbsentReason: 'OBX-32, OBX-11',
    interpretation: 'OBX-8 by InterpretationCodes',
    referenceRange: 'OBX-7',
    method: 'OBX-17',
    bodySite: 'OBX-20',
    device: 'OBX-18, PRT-10',
    performer: 'OBX-16, OBX-23, OBX-24, OBX-15, OBX-25, PRT-5, PRT-8',
    focus: 'SPM-2',
    partOf: 'ORC-2, ORC-3, RXA-5',
    specimen: 'OBX-33, SPM-2',
    note: 'NTE-3, NTE-4, NTE-5, NTE-6',
    extension: 'OBX-4, OBX-5, OBX-10, OBX-19, OBX-30, PRT-9',
    encounter: 'PV1-19',
  },
  DIAGNOSTIC_REPORT: {
    resource: 'OBR',
    identifier: 'OBR-2, OBR-3, ORC-2, ORC-3, ORC-4',
    status: 'OBR-25 by ResultStatus',
    category: 'OBR-24',
    code: 'OBR-4',
    effectiveDateTime: 'OBR-7',
    effectivePeriod: 'OBR-7, OBR-8',
    issued: 'OBR-22',
    performer: 'OBR-34, OBR-35, PRT-5',
    resultsInterpreter: 'OBR-32, PRT-5',
    basedOn: 'ORC-2, ORC-3',
    specimen: 'SPM-2',
    result: 'OBX-3, OBX-21',
    'meta.security': 'ORC-28 by ConfidentialityCode',
    extension: 'NTE-3, NTE-4, NTE-5, NTE-6, ORC-16',
    encounter: 'PV1-19',
  },
  ALLERGY_INTOLERANCE: {
    resource: 'AL1, IAM',
    identifier: 'IAM-7',
    clinicalStatus: 'AL1, IAM-17',
    verificationStatus: 'IAM-17',
    type: 'AL1-2, IAM-2 by AllergyType',
    category: 'AL1-2, IAM-2 by AllergenType[AllergyIntoleranceCategory]',
    code: 'AL1-3, IAM-3, IAM-27',
    criticality: 'AL1-4, IAM-4 by AllergySeverity[AllergyIntolerance.criticality]',
    reaction: 'AL1-5, AL1-4, IAM-5, IAM-4 by AllergySeverity[AllergyIntolerance.reaction.severity]',
    onsetDateTime: 'AL1-6, IAM-11',
    onsetString: 'IAM-12',
    recordedDate: 'IAM-13',
    recorder: 'IAM-14, IAM-15 by Relationship',
  },
  CONDITION: {
    resource: 'DG1',
    identifier: 'DG1-20',
    category: 'DG1-6',
    code: 'DG1-3, DG1-4',
    onsetDateTime: 'DG1-5',
    recordedDate: 'DG1-19',
    asserter: 'DG1-16',
    extension: 'DG1-19, DG1-22',
    encounter: 'PV1-19',
  },
  IMMUNIZATION: {
    resource: 'RXA',
    identifier: 'ORC-2, ORC-3, ORC-4',
    status: 'RXA-20 by CompletionStatus',
    statusReason: 'RXA-18',
    vaccineCode: 'RXA-5',
    occurrenceDateTime: 'RXA-3',
    recorded: 'RXA-22, ORC-9',
    primarySource: 'RXA-9',
    reportOrigin: 'RXA-9',
    location: 'RXA-11, RXA-27, RXA-28',
    manufacturer: 'RXA-17',
    lotNumber: 'RXA-15',
    expirationDate: 'RXA-16',
    site: 'RXR-2',
    route: 'RXR-1 by RouteOfAdministration',
    doseQuantity: 'RXA-6, RXA-7',
    performer: 'RXA-10, ORC-12, PRT-5',
    reasonCode: 'RXA-19',
    'meta.security': 'ORC-28 by ConfidentialityCode',
    note: 'NTE-3, RXA-9',
    encounter: 'PV1-19',
  },
  PROCEDURE: {
    resource: 'PDA',
    status: 'PDA-6',
    performedPeriod: 'PDA-7',
    performer: 'PDA-8',
  },
};

/** Members of a clinical event's `patient` and `data`. */
const EVENT_PATIENT: Readonly<Record<string, string>> = {
  identifier: 'patient.identifiers',
  name: 'patient.name',
  birthDate: 'patient.birthDate',
  gender: 'patient.sex',
};

/** @returns `kind|key|path` → rule, `PID-5.1 → name.family` */
export function rulesOf(content: MessageContent, facts: readonly Fact[]): ReadonlyMap<string, string> {
  const rules = new Map<string, string>();
  for (const fact of facts) {
    const prefix = `${fact.kind}|${fact.key}|`;
    for (const slot of [...Object.keys(fact.assert ?? {}), ...(fact.end ?? [])]) {
      for (const [path, from] of Object.entries(rulesOfSlot(content, fact, slot)))
        rules.set(prefix + path, `${from} → ${path}`);
    }
  }
  return rules;
}

function rulesOfSlot(content: MessageContent, fact: Fact, slot: string): Paths {
  switch (content.kind) {
    case 'hl7v2':
      if (fact.kind === 'PATIENT') return HL7_PATIENT[slot] ?? {};
      if (fact.kind === 'ENCOUNTER') return HL7_ENCOUNTER[slot] ?? {};
      if (slot === 'resource') return HL7_RESOURCE[fact.kind] ?? {};
      return { [slot]: slotRule(fact.kind, slot) ?? 'the message' };
    case 'event':
      if (slot.startsWith('attribute:')) return { [slot]: `data.${slot.slice('attribute:'.length)}` };
      if (fact.kind === 'PATIENT') return { [slot]: EVENT_PATIENT[slot] ?? `data.${slot}` };
      return { [slot]: 'data' };
    case 'fhir': {
      const type = fhirType(fact);
      return { [slot]: slot === 'resource' ? type : `${type}.${slot}` };
    }
    case 'other':
      return {};
  }
}

function fhirType(fact: Fact): string {
  if (fact.kind === 'PATIENT') return 'Patient';
  if (fact.kind === 'ENCOUNTER') return 'Encounter';
  const resource = fact.assert?.['resource'];
  if (resource !== null && typeof resource === 'object' && !Array.isArray(resource)) {
    const type = resource['resourceType'];
    if (typeof type === 'string') return type;
  }
  return fact.kind;
}
