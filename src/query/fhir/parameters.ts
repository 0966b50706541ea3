/** Search parameters by resource type, as data: name, type and where in the resource (FHIR R4, the "Search Parameters" section of each type). */
import { RESOURCE_TYPES } from '../../mapping/assemble.js';
import { FACT_KINDS, type FactKind } from '../../mapping/fact.js';

export type ParameterType = 'string' | 'token' | 'date' | 'reference' | 'quantity' | 'patient' | 'id' | 'updated';

export interface SearchParameter {
  readonly name: string;
  readonly type: ParameterType;
  /** Paths of elements; lists on the way are gone through. */
  readonly paths: readonly string[];
  /** Of a ContactPoint: only those of this system. */
  readonly system?: string;
}

/** `code token code` or `date date effectiveDateTime,effectivePeriod`, one a line. */
function read(lines: string): SearchParameter[] {
  return lines
    .trim()
    .split('\n')
    .map((line) => {
      const [name = '', type = '', paths = '', system] = line.trim().split(' ');
      return {
        name,
        type: type as ParameterType,
        paths: paths.split(',').filter((path) => path !== ''),
        ...(system === undefined ? {} : { system }),
      };
    });
}

/** Every type has these. */
const COMMON = read(`
  _id id
  _lastUpdated updated`);

const ABOUT_SUBJECT = `
  patient patient
  subject patient
  identifier token identifier`;
const ABOUT_PATIENT = `
  patient patient
  identifier token identifier`;

const BY_TYPE: Readonly<Record<string, string>> = {
  Account: `${ABOUT_SUBJECT}
    status token status
    type token type
    name string name`,
  AllergyIntolerance: `${ABOUT_PATIENT}
    category token category
    clinical-status token clinicalStatus
    code token code,reaction.substance
    criticality token criticality
    date date recordedDate
    onset date reaction.onset
    severity token reaction.severity
    type token type
    verification-status token verificationStatus`,
  Appointment: `${ABOUT_PATIENT}
    appointment-type token appointmentType
    date date start
    reason-code token reasonCode
    service-category token serviceCategory
    service-type token serviceType
    specialty token specialty
    status token status`,
  ChargeItem: `${ABOUT_SUBJECT}
    code token code
    entered-date date enteredDate
    occurrence date occurrenceDateTime,occurrencePeriod`,
  Condition: `${ABOUT_SUBJECT}
    abatement-date date abatementDateTime,abatementPeriod
    body-site token bodySite
    category token category
    clinical-status token clinicalStatus
    code token code
    encounter reference encounter
    onset-date date onsetDateTime,onsetPeriod
    recorded-date date recordedDate
    severity token severity
    verification-status token verificationStatus`,
  Coverage: `${ABOUT_PATIENT}
    beneficiary patient
    status token status
    type token type`,
  DiagnosticReport: `${ABOUT_SUBJECT}
    category token category
    code token code
    conclusion token conclusionCode
    date date effectiveDateTime,effectivePeriod
    encounter reference encounter
    issued date issued
    result reference result
    status token status`,
  DocumentReference: `${ABOUT_SUBJECT}
    category token category
    contenttype token content.attachment.contentType
    date date date
    description string description
    encounter reference context.encounter
    period date context.period
    status token status
    type token type`,
  Encounter: `${ABOUT_SUBJECT}
    class token class
    date date period
    reason-code token reasonCode
    status token status
    type token type`,
  FamilyMemberHistory: `${ABOUT_PATIENT}
    code token condition.code
    date date date
    relationship token relationship
    sex token sex
    status token status`,
  Immunization: `${ABOUT_PATIENT}
    date date occurrenceDateTime
    lot-number string lotNumber
    reason-code token reasonCode
    status token status
    status-reason token statusReason
    vaccine-code token vaccineCode`,
  MedicationAdministration: `${ABOUT_SUBJECT}
    code token medicationCodeableConcept
    effective-time date effectiveDateTime,effectivePeriod
    status token status`,
  MedicationDispense: `${ABOUT_SUBJECT}
    code token medicationCodeableConcept
    status token status
    type token type
    whenhandedover date whenHandedOver
    whenprepared date whenPrepared`,
  MedicationRequest: `${ABOUT_SUBJECT}
    authoredon date authoredOn
    category token category
    code token medicationCodeableConcept
    encounter reference encounter
    intent token intent
    priority token priority
    status token status`,
  Observation: `${ABOUT_SUBJECT}
    category token category
    code token code
    date date effectiveDateTime,effectivePeriod,effectiveInstant
    encounter reference encounter
    method token method
    status token status
    value-concept token valueCodeableConcept
    value-date date valueDateTime,valuePeriod
    value-quantity quantity valueQuantity
    value-string string valueString,valueCodeableConcept.text`,
  Patient: `
    active token active
    address string address
    address-city string address.city
    address-country string address.country
    address-postalcode string address.postalCode
    address-state string address.state
    birthdate date birthDate
    death-date date deceasedDateTime
    email token telecom email
    family string name.family
    gender token gender
    given string name.given
    identifier token identifier
    language token communication.language
    name string name
    phone token telecom phone
    telecom token telecom`,
  Procedure: `${ABOUT_SUBJECT}
    category token category
    code token code
    date date performedDateTime,performedPeriod
    encounter reference encounter
    reason-code token reasonCode
    status token status`,
  RelatedPerson: `${ABOUT_PATIENT}
    active token active
    birthdate date birthDate
    gender token gender
    name string name
    phone token telecom phone
    relationship token relationship
    telecom token telecom`,
  ServiceRequest: `${ABOUT_SUBJECT}
    authored date authoredOn
    category token category
    code token code
    encounter reference encounter
    intent token intent
    occurrence date occurrenceDateTime,occurrencePeriod
    priority token priority
    requisition token requisition
    status token status`,
  Specimen: `${ABOUT_SUBJECT}
    accession token accessionIdentifier
    collected date collection.collectedDateTime,collection.collectedPeriod
    status token status
    type token type`,
};

const PARAMETERS = new Map(
  Object.entries(BY_TYPE).map(([type, lines]) => {
    const parameters = [...COMMON, ...read(lines)];
    return [type, new Map(parameters.map((parameter) => [parameter.name, parameter]))] as const;
  }),
);

/** Types that can be searched, in order of name. */
export const SEARCHED_TYPES: readonly string[] = [...PARAMETERS.keys()].sort();

/** Parameters of a type by their names; undefined where the type cannot be searched. */
export function parametersOf(type: string): ReadonlyMap<string, SearchParameter> | undefined {
  return PARAMETERS.get(type);
}

/** Kind under which the store has resources of a type: its own, else the one for all others. */
export function kindOfType(type: string): FactKind {
  return FACT_KINDS.find((kind) => RESOURCE_TYPES[kind] === type) ?? 'OTHER';
}
