/**
 * Code tables: HL7 v2 codes and what they are in FHIR R4. Each follows the concept map of HL7's v2-to-FHIR implementation
 * guide named beside it; where the map leaves a code open, the comment says what was chosen and why.
 */

export type CodeTable = Readonly<Record<string, string>>;
export type CodingTable = Readonly<Record<string, readonly [code: string, display: string, system?: string]>>;

/** Concept map AdministrativeSex (HL70001 → administrative-gender), and FHIR's own codes, which senders write in its place. */
export const GENDER: CodeTable = {
  A: 'other',
  F: 'female',
  FEMALE: 'female',
  M: 'male',
  MALE: 'male',
  N: 'other',
  O: 'other',
  OTHER: 'other',
  U: 'unknown',
  UNKNOWN: 'unknown',
};

const V3_MARITAL = 'http://terminology.hl7.org/CodeSystem/v3-MaritalStatus';
const V3_NULL = 'http://terminology.hl7.org/CodeSystem/v3-NullFlavor';

/** Concept map MaritalStatus (HL70002 → v3-MaritalStatus). */
export const MARITAL_STATUS: CodingTable = {
  A: ['L', 'Legally Separated', V3_MARITAL],
  B: ['U', 'unmarried', V3_MARITAL],
  C: ['C', 'Common Law', V3_MARITAL],
  D: ['D', 'Divorced', V3_MARITAL],
  E: ['L', 'Legally Separated', V3_MARITAL],
  G: ['T', 'Domestic partner', V3_MARITAL],
  I: ['I', 'Interlocutory', V3_MARITAL],
  M: ['M', 'Married', V3_MARITAL],
  N: ['A', 'Annulled', V3_MARITAL],
  O: ['OTH', 'Other', V3_NULL],
  P: ['T', 'Domestic partner', V3_MARITAL],
  R: ['T', 'Domestic partner', V3_MARITAL],
  S: ['S', 'Never Married', V3_MARITAL],
  T: ['NAVU', 'Not available', V3_NULL],
  U: ['UNK', 'Unknown', V3_NULL],
  W: ['W', 'Widowed', V3_MARITAL],
};

const ACT_CODE = 'http://terminology.hl7.org/CodeSystem/v3-ActCode';
const PATIENT_CLASS_V2 = 'http://terminology.hl7.org/CodeSystem/v2-0004';

/** Concept map PatientClass[EncounterClass] (HL70004 → v3-ActCode, else v2-0004). */
export const ENCOUNTER_CLASS: CodingTable = {
  B: ['B', 'Obstetrics', PATIENT_CLASS_V2],
  C: ['C', 'Commercial Account', PATIENT_CLASS_V2],
  E: ['EMER', 'emergency', ACT_CODE],
  I: ['IMP', 'inpatient encounter', ACT_CODE],
  N: ['N', 'Not Applicable', PATIENT_CLASS_V2],
  O: ['AMB', 'ambulatory', ACT_CODE],
  P: ['PRENC', 'pre-admission', ACT_CODE],
  R: ['R', 'Recurring patient', PATIENT_CLASS_V2],
  U: ['U', 'Unknown', PATIENT_CLASS_V2],
};

/** Concept map InterpretationCodes (HL70078 → v3-ObservationInterpretation): the code stays, only its name is added. */
export const INTERPRETATION: CodeTable = {
  '<': 'Off scale low',
  '>': 'Off scale high',
  A: 'Abnormal',
  AA: 'Critical abnormal',
  B: 'Better',
  CAR: 'Carrier',
  D: 'Significant change down',
  DET: 'Detected',
  E: 'Equivocal',
  EX: 'outside threshold',
  EXP: 'Expected',
  H: 'High',
  HH: 'Critical high',
  HU: 'Significantly high',
  I: 'Intermediate',
  IE: 'Insufficient evidence',
  IND: 'Indeterminate',
  L: 'Low',
  LL: 'Critical low',
  LU: 'Significantly low',
  MS: 'moderately susceptible',
  N: 'Normal',
  NCL: 'No CLSI defined breakpoint',
  ND: 'Not detected',
  NEG: 'Negative',
  NR: 'Non-reactive',
  NS: 'Non-susceptible',
  POS: 'Positive',
  R: 'Resistant',
  RR: 'Reactive',
  S: 'Susceptible',
  SDD: 'Susceptible-dose dependent',
  'SYN-R': 'Synergy - resistant',
  'SYN-S': 'Synergy - susceptible',
  U: 'Significant change up',
  UNE: 'Unexpected',
  VS: 'very susceptible',
  W: 'Worse',
  WR: 'Weakly reactive',
};

/**
 * Concept map ObservationResultStatusCodesInterpretation (HL70085 → observation-status). The map leaves B, I, N, O, R, S, U and V open:
 * appended and verified keep the value of a final result (`amended`, `final`), pending ones are `registered`,
 * unverified and partial ones `preliminary`, one not asked for is `cancelled` with the reason `not-asked` (map OBX[Observation], OBX-11).
 */
export const OBSERVATION_STATUS: CodeTable = {
  A: 'amended',
  B: 'amended',
  C: 'corrected',
  D: 'entered-in-error',
  F: 'final',
  I: 'registered',
  N: 'cancelled',
  O: 'registered',
  P: 'preliminary',
  R: 'preliminary',
  S: 'preliminary',
  U: 'final',
  V: 'final',
  W: 'entered-in-error',
  X: 'cancelled',
};

/** Concept map ResultStatus[Non-Queries] (HL70123 → diagnostic-report-status). Left open there: A, M, N, Y, Z. */
export const REPORT_STATUS: CodeTable = {
  A: 'partial',
  C: 'corrected',
  F: 'final',
  I: 'registered',
  M: 'amended',
  N: 'registered',
  O: 'registered',
  P: 'preliminary',
  R: 'partial',
  S: 'registered',
  X: 'cancelled',
};

/** Concept map AllergenType[AllergyIntoleranceCategory] (HL70127). */
export const ALLERGY_CATEGORY: CodeTable = {
  AA: 'biologic',
  DA: 'medication',
  EA: 'environment',
  FA: 'food',
  LA: 'environment',
  PA: 'environment',
};

/** Concept map AllergyType (HL70127): all but MC (miscellaneous contraindication) are allergies. */
export const ALLERGY_TYPE: CodeTable = {
  AA: 'allergy',
  DA: 'allergy',
  EA: 'allergy',
  FA: 'allergy',
  LA: 'allergy',
  MA: 'allergy',
  PA: 'allergy',
};

/** Concept map AllergySeverity[AllergyIntolerance.criticality] (HL70128), and the words for its codes and FHIR's, which senders write. */
export const ALLERGY_CRITICALITY: CodeTable = {
  HIGH: 'high',
  LOW: 'low',
  MI: 'low',
  MILD: 'low',
  SEVERE: 'high',
  SV: 'high',
};

/** Concept map AllergySeverity[AllergyIntolerance.reaction.severity] (HL70128). */
export const REACTION_SEVERITY: CodeTable = {
  MI: 'mild',
  MILD: 'mild',
  MO: 'moderate',
  MODERATE: 'moderate',
  SEVERE: 'severe',
  SV: 'severe',
};

/** Concept map CompletionStatus (HL70322 → event-status). */
export const IMMUNIZATION_STATUS: CodeTable = { CP: 'completed', PA: 'completed', NA: 'not-done', RE: 'not-done' };

/** Concept map NameType (HL70200 → name-use). B (birth name) is left open there; FHIR's `maiden` would narrow it, so it has no use code. */
export const NAME_USE: CodeTable = {
  BAD: 'old',
  D: 'usual',
  L: 'official',
  M: 'maiden',
  MSK: 'anonymous',
  N: 'nickname',
  NAV: 'temp',
  NOUSE: 'old',
  R: 'official',
  TEMP: 'temp',
};

/** Concept map AddressType[Use] (HL70190 → address-use). */
export const ADDRESS_USE: CodeTable = { B: 'work', BA: 'old', BI: 'billing', C: 'temp', H: 'home', O: 'work' };

/** Concept map AddressType[Type] (HL70190 → address-type). */
export const ADDRESS_TYPE: CodeTable = { M: 'postal', SH: 'postal' };

/** Concept map TelecommunicationEquipmentType (HL70202 → contact-point-system). */
export const TELECOM_SYSTEM: CodeTable = {
  BP: 'pager',
  CP: 'phone',
  FX: 'fax',
  INTERNET: 'email',
  MD: 'other',
  PH: 'phone',
  SAT: 'other',
  TDD: 'other',
  TTY: 'other',
  'X.400': 'email',
};

/** Concept map TelecommunicationUseCode (HL70201 → contact-point-use). */
export const TELECOM_USE: CodeTable = { PRN: 'home', PRS: 'mobile', WPN: 'work' };

/**
 * Code systems by the name that HL7 table 0396 gives them. A name that is not here (`L`, `99ABC`, any local one) becomes
 * `urn:anamnesis:coding-system:<name>`, so that two local systems never look like one.
 */
export const CODING_SYSTEM: CodeTable = {
  C4: 'http://www.ama-assn.org/go/cpt',
  CPT: 'http://www.ama-assn.org/go/cpt',
  CVX: 'http://hl7.org/fhir/sid/cvx',
  CDCREC: 'urn:oid:2.16.840.1.113883.6.238',
  I10: 'http://hl7.org/fhir/sid/icd-10',
  I10C: 'http://hl7.org/fhir/sid/icd-10-cm',
  I10P: 'http://www.cms.gov/Medicare/Coding/ICD10',
  'ICD-10': 'http://hl7.org/fhir/sid/icd-10',
  'ICD-10-CM': 'http://hl7.org/fhir/sid/icd-10-cm',
  ICD10: 'http://hl7.org/fhir/sid/icd-10',
  ICD10CM: 'http://hl7.org/fhir/sid/icd-10-cm',
  ICDO: 'http://terminology.hl7.org/CodeSystem/icd-o-3',
  ICDO3: 'http://terminology.hl7.org/CodeSystem/icd-o-3',
  I9: 'http://hl7.org/fhir/sid/icd-9-cm',
  I9C: 'http://hl7.org/fhir/sid/icd-9-cm',
  I9CDX: 'http://hl7.org/fhir/sid/icd-9-cm',
  ICD9: 'http://hl7.org/fhir/sid/icd-9-cm',
  ISO3166_1: 'urn:iso:std:iso:3166',
  'ISO639-2': 'urn:iso:std:iso:639:-2',
  ISO639: 'urn:ietf:bcp:47',
  ISO6392: 'urn:iso:std:iso:639:-2',
  LN: 'http://loinc.org',
  LOINC: 'http://loinc.org',
  MVX: 'http://hl7.org/fhir/sid/mvx',
  NCIT: 'http://ncimeta.nci.nih.gov',
  NDC: 'http://hl7.org/fhir/sid/ndc',
  NPI: 'http://hl7.org/fhir/sid/us-npi',
  RXNORM: 'http://www.nlm.nih.gov/research/umls/rxnorm',
  SCT: 'http://snomed.info/sct',
  SNM: 'http://snomed.info/sct',
  SNOMED: 'http://snomed.info/sct',
  'SNOMED-CT': 'http://snomed.info/sct',
  UCUM: 'http://unitsofmeasure.org',
  UNII: 'http://fdasis.nlm.nih.gov',
};

/** HL7 v2 table 0074 (diagnostic service section) by what FHIR's observation-category knows of it. */
export const OBSERVATION_CATEGORY: CodeTable = {
  BG: 'laboratory',
  BLB: 'laboratory',
  CG: 'laboratory',
  CH: 'laboratory',
  CP: 'laboratory',
  CT: 'imaging',
  CUS: 'imaging',
  GE: 'laboratory',
  HM: 'laboratory',
  IMG: 'imaging',
  IMM: 'laboratory',
  LAB: 'laboratory',
  MB: 'laboratory',
  MCB: 'laboratory',
  MYC: 'laboratory',
  NMR: 'imaging',
  NMS: 'imaging',
  NUC: 'imaging',
  OUS: 'imaging',
  PF: 'procedure',
  RAD: 'imaging',
  RUS: 'imaging',
  RX: 'imaging',
  SP: 'laboratory',
  TX: 'laboratory',
  URN: 'laboratory',
  VR: 'laboratory',
  VUS: 'imaging',
  XRC: 'imaging',
};

/** Concept map OrderControlCode[ServiceRequest.status] (HL70119 → request-status). CA is left `active` there; an order that is cancelled is `revoked` here (DESIGN: ORC CA cancels). */
export const ORDER_CONTROL_STATUS: CodeTable = {
  AF: 'active',
  CA: 'revoked',
  CR: 'revoked',
  DC: 'revoked',
  DF: 'revoked',
  DR: 'revoked',
  FU: 'completed',
  HD: 'active',
  HR: 'on-hold',
  NW: 'active',
  OC: 'revoked',
  OD: 'revoked',
  OH: 'on-hold',
  OK: 'active',
  PR: 'active',
  PY: 'active',
  RL: 'active',
  RO: 'active',
  RQ: 'active',
};

/** Concept map OrderStatus (HL70038 → request-status). A (some, not all results available) is left open there. */
export const ORDER_STATUS: CodeTable = {
  A: 'active',
  CA: 'revoked',
  CM: 'completed',
  DC: 'revoked',
  ER: 'entered-in-error',
  HD: 'on-hold',
  IP: 'active',
  RP: 'revoked',
  SC: 'active',
};

/** request-status → medicationrequest-status. */
export const MEDICATION_STATUS: CodeTable = {
  ACTIVE: 'active',
  COMPLETED: 'completed',
  'ENTERED-IN-ERROR': 'entered-in-error',
  'ON-HOLD': 'on-hold',
  REVOKED: 'cancelled',
};

/** Concept map ExtendedPriorityCodes (HL70485 → request-priority), with the codes of TQ.6 and OBR-5 (HL70027) before it. */
export const REQUEST_PRIORITY: CodeTable = {
  A: 'asap',
  R: 'routine',
  S: 'stat',
  STAT: 'stat',
  ASAP: 'asap',
  ROUTINE: 'routine',
};

/** Concept map FillerStatusCodes[Appointment] (HL70278 → appointmentstatus). Left open there: Blocked, Discontinued, Overbook. */
export const APPOINTMENT_STATUS: CodeTable = {
  ARRIVED: 'arrived',
  BOOKED: 'booked',
  CANCELLED: 'cancelled',
  COMPLETE: 'fulfilled',
  DELETED: 'entered-in-error',
  DISCONTINUED: 'cancelled',
  NOSHOW: 'noshow',
  OVERBOOK: 'booked',
  PENDING: 'pending',
  PROPOSED: 'proposed',
  STARTED: 'checked-in',
  WAITLIST: 'waitlist',
};

/** HL7 table 0271 (document completion status) → composition-status. */
export const DOCUMENT_STATUS: CodeTable = {
  AU: 'preliminary',
  DI: 'preliminary',
  DO: 'preliminary',
  IN: 'preliminary',
  IP: 'preliminary',
  LA: 'final',
  PA: 'preliminary',
};

const V3_ROLE = 'http://terminology.hl7.org/CodeSystem/v3-RoleCode';
const V2_CONTACT_ROLE = 'http://terminology.hl7.org/CodeSystem/v2-0131';

/** Concept map Relationship (HL70063 → v3-RoleCode, else v2-0131). Codes that stay what they are in HL70063 are not listed. */
export const RELATIONSHIP: CodingTable = {
  BRO: ['BRO', 'Brother', V3_ROLE],
  CHD: ['CHILD', 'child', V3_ROLE],
  DOM: ['SIGOTHR', 'significant other', V3_ROLE],
  EMC: ['C', 'Emergency Contact', V2_CONTACT_ROLE],
  EMR: ['E', 'Employer', V2_CONTACT_ROLE],
  EXF: ['EXT', 'extended family member', V3_ROLE],
  FCH: ['CHLDFOST', 'foster child', V3_ROLE],
  FND: ['FRND', 'unrelated friend', V3_ROLE],
  FTH: ['FTH', 'father', V3_ROLE],
  GCH: ['GRNDCHILD', 'grandchild', V3_ROLE],
  GRP: ['GRPRN', 'grandparent', V3_ROLE],
  MTH: ['MTH', 'mother', V3_ROLE],
  NCH: ['NCHILD', 'natural child', V3_ROLE],
  OTH: ['O', 'Other', V2_CONTACT_ROLE],
  PAR: ['PRN', 'parent', V3_ROLE],
  SCH: ['STPCHLD', 'step child', V3_ROLE],
  SEL: ['ONESELF', 'self', V3_ROLE],
  SIB: ['SIB', 'sibling', V3_ROLE],
  SIS: ['SIS', 'sister', V3_ROLE],
  SPO: ['SPS', 'spouse', V3_ROLE],
  UNK: ['U', 'Unknown', V2_CONTACT_ROLE],
};

/** Concept map Relationship, to the codes that Coverage.relationship has (subscriber-relationship), and those codes themselves. */
export const SUBSCRIBER_RELATIONSHIP: CodeTable = {
  CHD: 'child',
  CHILD: 'child',
  DOM: 'common',
  FCH: 'child',
  NCH: 'child',
  OTH: 'other',
  OTHER: 'other',
  PAR: 'parent',
  PARENT: 'parent',
  SCH: 'child',
  SEL: 'self',
  SELF: 'self',
  SPO: 'spouse',
  SPOUSE: 'spouse',
};

/** What senders write for the patient in a field of HL70063: its code, FHIR's, the word, and 18 of ASC X12's table 1069. */
export const ONESELF: ReadonlySet<string> = new Set(['18', 'ONESELF', 'SEL', 'SELF', 'SLF']);

/** Concept map EncounterPriority (HL70217 → v3-ActPriority). */
export const ENCOUNTER_PRIORITY: CodingTable = {
  1: ['EM', 'emergency', 'http://terminology.hl7.org/CodeSystem/v3-ActPriority'],
  2: ['UR', 'urgent', 'http://terminology.hl7.org/CodeSystem/v3-ActPriority'],
  3: ['EL', 'elective', 'http://terminology.hl7.org/CodeSystem/v3-ActPriority'],
};

/** Concept map OrderType (HL70482 → RoleCode). */
export const ORDER_TYPE: CodingTable = {
  I: ['HOSP', 'Hospital', V3_ROLE],
  O: ['OF', 'Outpatient facility', V3_ROLE],
};

const CONFIDENTIALITY_V3 = 'http://terminology.hl7.org/CodeSystem/v3-Confidentiality';

/** Concept map ConfidentialityCode (HL70177 → v3-Confidentiality, v3-ActCode). Codes that stay what they are in HL70177 are not listed. */
export const CONFIDENTIALITY: CodingTable = {
  AID: ['HIV', 'HIV related', CONFIDENTIALITY_V3],
  EMP: ['EMP', 'employee information sensitivity', ACT_CODE],
  ETH: ['ETHUD', 'alcohol use disorder information sensitivity', ACT_CODE],
  HIV: ['HIV', 'HIV related', CONFIDENTIALITY_V3],
  PSY: ['PSY', 'psychiatry relate', CONFIDENTIALITY_V3],
  R: ['R', 'restricted', CONFIDENTIALITY_V3],
  V: ['V', 'very restricted', CONFIDENTIALITY_V3],
};

const V3_PARTICIPATION = 'http://terminology.hl7.org/CodeSystem/v3-ParticipationType';
const SNOMED = 'http://snomed.info/sct';

/** Concept map ProviderRole (HL70443 → v3-ParticipationType, SNOMED CT). Codes that stay what they are in HL70443 are not listed. */
export const PROVIDER_ROLE: CodingTable = {
  AD: ['ADM', 'admitter', V3_PARTICIPATION],
  AT: ['ATND', 'attender', V3_PARTICIPATION],
  CP: ['CON', 'consultant', V3_PARTICIPATION],
  PI: ['40570005', 'Interpreter', SNOMED],
  PP: ['446050000', 'PCP - Primary care physician', SNOMED],
  RP: ['REF', 'referrer', V3_PARTICIPATION],
};

/** Concept map Participation (HL70912 → practitioner-role), and what HL70912 has of ProviderRole's codes. Codes that it leaves open stay what they are. */
export const PARTICIPATION_ROLE: CodingTable = {
  ...PROVIDER_ROLE,
  PH: ['pharmacist', 'Pharmacist', 'http://terminology.hl7.org/CodeSystem/practitioner-role'],
};

/** HL7 table 0163, which RXR-2 and SPM-8 are of before v2.6 (concept map BodySite), but for what is in HL70550 too (concept map BodyParts). */
const BODY_SITES: ReadonlySet<string> = new Set(
  (
    'BE BN BU CT LA LAC LACF LD LE LEJ LF LG LH LIJ LLAQ LLFA LMFA LPC LSC LT LUA LUAQ LUFA LVG LVL NB OD OS OU PA RA RAC RACF RD RE REJ RF RG RH ' +
    'RIJ RLAQ RLFA RMFA RN RPC RSC RT RUA RUAQ RUFA RVG RVL'
  ).split(' '),
);

/** The table that a body site without a named system is of. */
export function bodySiteSystem(code: string): string {
  return `http://terminology.hl7.org/CodeSystem/v2-${BODY_SITES.has(code.toUpperCase()) ? '0163' : '0550'}`;
}

const V3_ROUTE = 'http://terminology.hl7.org/CodeSystem/v3-RouteOfAdministration';

/** Concept map RouteOfAdministration (HL70162 → v3-RouteOfAdministration). Codes that stay what they are in HL70162 are not listed. */
export const ROUTE: CodingTable = {
  ID: ['IDINJ', 'Injection, intradermal', V3_ROUTE],
  IM: ['IM', 'Injection, intramuscular', V3_ROUTE],
  IV: ['IVINJ', 'Injection, intravenous', V3_ROUTE],
  PO: ['PO', 'Swallow, oral', V3_ROUTE],
  SC: ['SQ', 'Injection, subcutaneous', V3_ROUTE],
  TD: ['TRNSDERM', 'Transdermal', V3_ROUTE],
};

/** Concept map AdministrationMethod (HL70165 → SNOMED CT). */
export const ADMINISTRATION_METHOD: CodingTable = {
  CH: ['419747000', 'Chew', SNOMED],
  DI: ['421682005', 'Dissolve', SNOMED],
  IS: ['421257003', 'Insert', SNOMED],
  SH: ['420606003', 'Shampoo', SNOMED],
  WA: ['422152000', 'Wash', SNOMED],
};

/** Concept map SpecimenCollectionMethod (HL70488 → SNOMED CT). Codes that stay what they are in HL70488 are not listed. */
export const COLLECTION_METHOD: CodingTable = {
  BIO: ['129314006', 'Biopsy - action', SNOMED],
  SCRAPS: ['129323009', 'Scraping - action', SNOMED],
};

/** Concept map AppointmentReasonCodes (HL70276 → SNOMED CT). */
export const APPOINTMENT_REASON: CodingTable = {
  CHECKUP: ['866149003', 'Annual visit (procedure)', SNOMED],
  EMERGENCY: ['373110003', 'Emergency procedure (procedure)', SNOMED],
  FOLLOWUP: ['185389009', 'Follow-up visit (procedure)', SNOMED],
  ROUTINE: ['3780001', 'Routine patient disposition, no follow-up planned', SNOMED],
};

/** Concept map HospitalService (HL70069 → service-type). Codes that stay what they are in HL70069 are not listed. */
export const HOSPITAL_SERVICE: CodingTable = {
  MED: ['382', 'Medical Services', 'http://terminology.hl7.org/CodeSystem/service-type'],
  URO: ['222', 'Urology', 'http://terminology.hl7.org/CodeSystem/service-type'],
};

/** Concept map AmbulatoryStatus (HL70009 → encounter-special-arrangements). Codes that stay what they are in HL70009 are not listed. */
export const AMBULATORY_STATUS: CodingTable = {
  A2: ['wheel', 'Wheelchair', 'http://terminology.hl7.org/CodeSystem/encounter-special-arrangements'],
};

const GTS_ABBREVIATION = 'http://terminology.hl7.org/CodeSystem/v3-GTSAbbreviation';

/** Concept map RepeatPattern (HL70335 → v3-GTSAbbreviation), with the intervals that it lists by number. Others stay what they are in HL70335. */
export const REPEAT_PATTERN: CodingTable = {
  BID: ['BID', 'BID', GTS_ABBREVIATION],
  Q1D: ['QD', 'QD', GTS_ABBREVIATION],
  Q1W: ['WK', 'weekly', GTS_ABBREVIATION],
  Q4H: ['Q4H', 'Q4H', GTS_ABBREVIATION],
  Q6H: ['Q6H', 'Q6H', GTS_ABBREVIATION],
  Q8H: ['Q8H', 'every 8 hours', GTS_ABBREVIATION],
  QID: ['QID', 'QID', GTS_ABBREVIATION],
  QOD: ['QOD', 'QOD', GTS_ABBREVIATION],
  TID: ['TID', 'TID', GTS_ABBREVIATION],
};

/** Concept map YesNoIndicator[AvailabilityStatus] (HL70136 → specimen-status). */
export const SPECIMEN_STATUS: CodeTable = { N: 'unavailable', Y: 'available' };

/** HL7 table 0206 (segment action code) and 0323: what is taken back. */
export const DELETES: ReadonlySet<string> = new Set(['D', 'DEL', 'DELETE']);

const RELIGIOUS_AFFILIATION = 'http://terminology.hl7.org/CodeSystem/v3-ReligiousAffiliation';

/** Concept map Religion (HL70006 → v3-ReligiousAffiliation). Codes that it leaves open stay what they are. */
export const RELIGION: CodingTable = {
  A: ['1007', 'Atheism', RELIGIOUS_AFFILIATION],
  B: ['1009', 'Baptist', RELIGIOUS_AFFILIATION],
  E: ['1069', 'Episcopalian', RELIGIOUS_AFFILIATION],
  J: ['1026', 'Judaism', RELIGIOUS_AFFILIATION],
  L: ['1028', 'Lutheran', RELIGIOUS_AFFILIATION],
  M: ['1027', 'Latter Day Saints', RELIGIOUS_AFFILIATION],
  N: ['1020', 'Hinduism', RELIGIOUS_AFFILIATION],
  P: ['1077', 'Protestant', RELIGIOUS_AFFILIATION],
  AGN: ['1004', 'Agnosticism', RELIGIOUS_AFFILIATION],
  ATH: ['1007', 'Atheism', RELIGIOUS_AFFILIATION],
  BAH: ['1008', "Babi & Baha'I faiths", RELIGIOUS_AFFILIATION],
  BRE: ['1062', 'Brethren', RELIGIOUS_AFFILIATION],
  BMA: ['1029', 'Mahayana', RELIGIOUS_AFFILIATION],
  BTH: ['1051', 'Theravada', RELIGIOUS_AFFILIATION],
  CHR: ['1013', 'Christian (non-Catholic, non-specific)', RELIGIOUS_AFFILIATION],
  ANG: ['1005', 'Anglican', RELIGIOUS_AFFILIATION],
  AOG: ['1061', 'Assembly of God', RELIGIOUS_AFFILIATION],
  BAP: ['1009', 'Baptist', RELIGIOUS_AFFILIATION],
  CRR: ['1079', 'Reformed', RELIGIOUS_AFFILIATION],
  CHS: ['1063', 'Christian Scientist', RELIGIOUS_AFFILIATION],
  COC: ['1064', 'Church of Christ', RELIGIOUS_AFFILIATION],
  COG: ['1065', 'Church of God', RELIGIOUS_AFFILIATION],
  COL: ['1066', 'Congregational', RELIGIOUS_AFFILIATION],
  EOT: ['1068', 'Eastern Orthodox', RELIGIOUS_AFFILIATION],
  EPI: ['1069', 'Episcopalian', RELIGIOUS_AFFILIATION],
  FRQ: ['1071', 'Friends', RELIGIOUS_AFFILIATION],
  FUL: ['1072', 'Full Gospel', RELIGIOUS_AFFILIATION],
  JWN: ['1025', "Jehovah's Witnesses", RELIGIOUS_AFFILIATION],
  MOM: ['1027', 'Latter Day Saints', RELIGIOUS_AFFILIATION],
  LUT: ['1028', 'Lutheran', RELIGIOUS_AFFILIATION],
  MET: ['1073', 'Methodist', RELIGIOUS_AFFILIATION],
  NAZ: ['1075', 'Nazarene', RELIGIOUS_AFFILIATION],
  ORT: ['1036', 'Orthodox', RELIGIOUS_AFFILIATION],
  PEN: ['1038', 'Pentecostal', RELIGIOUS_AFFILIATION],
  PRE: ['1076', 'Presbyterian', RELIGIOUS_AFFILIATION],
  PRO: ['1077', 'Protestant', RELIGIOUS_AFFILIATION],
  PRC: ['1078', 'Protestant, No Denomination', RELIGIOUS_AFFILIATION],
  QUA: ['1071', 'Friends', RELIGIOUS_AFFILIATION],
  REC: ['1079', 'Reformed', RELIGIOUS_AFFILIATION],
  CAT: ['1041', 'Roman Catholic Church', RELIGIOUS_AFFILIATION],
  SAA: ['1080', 'Salvation Army', RELIGIOUS_AFFILIATION],
  SEV: ['1001', 'Adventist', RELIGIOUS_AFFILIATION],
  UCC: ['1082', 'United Church of Christ', RELIGIOUS_AFFILIATION],
  UNI: ['1052', 'Unitarian-Universalism', RELIGIOUS_AFFILIATION],
  UNU: ['1081', 'Unitarian Universalist', RELIGIOUS_AFFILIATION],
  CNF: ['1014', 'Confucianism', RELIGIOUS_AFFILIATION],
  DOC: ['1067', 'Disciples of Christ', RELIGIOUS_AFFILIATION],
  HSH: ['1020', 'Hinduism', RELIGIOUS_AFFILIATION],
  HVA: ['1020', 'Hinduism', RELIGIOUS_AFFILIATION],
  HOT: ['1020', 'Hinduism', RELIGIOUS_AFFILIATION],
  JAI: ['1024', 'Jainism', RELIGIOUS_AFFILIATION],
  MOS: ['1023', 'Islam', RELIGIOUS_AFFILIATION],
  MSH: ['1045', 'Shiite (Islam)', RELIGIOUS_AFFILIATION],
  MSU: ['1049', 'Sunni (Islam)', RELIGIOUS_AFFILIATION],
  NAM: ['1074', 'Native American', RELIGIOUS_AFFILIATION],
  SHN: ['1046', 'Shinto', RELIGIOUS_AFFILIATION],
  SIK: ['1047', 'Sikism', RELIGIOUS_AFFILIATION],
  SPI: ['1048', 'Spiritualism', RELIGIOUS_AFFILIATION],
};

/** Concept map PrimaryLanguage (HL70296, ISO 639-2 → BCP 47): the languages that have a code of two letters. */
export const LANGUAGE: CodeTable = {
  AFR: 'af',
  ALB: 'sq',
  AMH: 'am',
  ARA: 'ar',
  ARM: 'hy',
  BAQ: 'eu',
  BEN: 'bn',
  BOS: 'bs',
  BUL: 'bg',
  BUR: 'my',
  CAT: 'ca',
  CHI: 'zh',
  CZE: 'cs',
  DAN: 'da',
  DEU: 'de',
  DUT: 'nl',
  ENG: 'en',
  EST: 'et',
  FIN: 'fi',
  FRA: 'fr',
  FRE: 'fr',
  GEO: 'ka',
  GER: 'de',
  GLE: 'ga',
  GRE: 'el',
  GUJ: 'gu',
  HAT: 'ht',
  HAU: 'ha',
  HEB: 'he',
  HIN: 'hi',
  HRV: 'hr',
  HUN: 'hu',
  IBO: 'ig',
  ICE: 'is',
  IND: 'id',
  ITA: 'it',
  JPN: 'ja',
  KAN: 'kn',
  KHM: 'km',
  KIN: 'rw',
  KOR: 'ko',
  KUR: 'ku',
  LAO: 'lo',
  LAV: 'lv',
  LIT: 'lt',
  MAC: 'mk',
  MAL: 'ml',
  MAR: 'mr',
  MAY: 'ms',
  MLT: 'mt',
  MON: 'mn',
  NEP: 'ne',
  NLD: 'nl',
  NOR: 'no',
  ORM: 'om',
  PAN: 'pa',
  PER: 'fa',
  POL: 'pl',
  POR: 'pt',
  PUS: 'ps',
  RON: 'ro',
  RUM: 'ro',
  RUS: 'ru',
  SIN: 'si',
  SLO: 'sk',
  SLV: 'sl',
  SOM: 'so',
  SPA: 'es',
  SRP: 'sr',
  SWA: 'sw',
  SWE: 'sv',
  TAM: 'ta',
  TEL: 'te',
  TGL: 'tl',
  THA: 'th',
  TIR: 'ti',
  TUR: 'tr',
  UKR: 'uk',
  URD: 'ur',
  VIE: 'vi',
  WEL: 'cy',
  YOR: 'yo',
  ZHO: 'zh',
  ZUL: 'zu',
};

/** Concept map PrimaryLanguage, its target: tags of BCP 47 with their names. */
export const LANGUAGE_NAME: CodeTable = {
  ar: 'Arabic',
  bn: 'Bengali',
  cs: 'Czech',
  da: 'Danish',
  de: 'German',
  'de-AT': 'German (Austria)',
  'de-CH': 'German (Switzerland)',
  'de-DE': 'German (Germany)',
  el: 'Greek',
  en: 'English',
  'en-AU': 'English (Australia)',
  'en-CA': 'English (Canada)',
  'en-GB': 'English (Great Britain)',
  'en-IN': 'English (India)',
  'en-NZ': 'English (New Zealand)',
  'en-SG': 'English (Singapore)',
  'en-US': 'English (United States)',
  es: 'Spanish',
  'es-AR': 'Spanish (Argentina)',
  'es-ES': 'Spanish (Spain)',
  'es-UY': 'Spanish (Uruguay)',
  fi: 'Finnish',
  fr: 'French',
  'fr-BE': 'French (Belgium)',
  'fr-CH': 'French (Switzerland)',
  'fr-FR': 'French (France)',
  fy: 'Frysian',
  'fy-NL': 'Frysian (Netherlands)',
  hi: 'Hindi',
  hr: 'Croatian',
  it: 'Italian',
  'it-CH': 'Italian (Switzerland)',
  'it-IT': 'Italian (Italy)',
  ja: 'Japanese',
  ko: 'Korean',
  nl: 'Dutch',
  'nl-BE': 'Dutch (Belgium)',
  'nl-NL': 'Dutch (Netherlands)',
  no: 'Norwegian',
  'no-NO': 'Norwegian (Norway)',
  pa: 'Punjabi',
  pl: 'Polish',
  pt: 'Portuguese',
  'pt-BR': 'Portuguese (Brazil)',
  ru: 'Russian',
  'ru-RU': 'Russian (Russia)',
  sr: 'Serbian',
  'sr-RS': 'Serbian (Serbia)',
  sv: 'Swedish',
  'sv-SE': 'Swedish (Sweden)',
  te: 'Telugu',
  zh: 'Chinese',
  'zh-CN': 'Chinese (China)',
  'zh-HK': 'Chinese (Hong Kong)',
  'zh-SG': 'Chinese (Singapore)',
  'zh-TW': 'Chinese (Taiwan)',
};

/** OBX-11 D (deleted), W (wrong) and X (no result can be obtained, the order cancelled): there is no such result. */
export const TAKEN_BACK: ReadonlySet<string> = new Set(['D', 'W', 'X']);
