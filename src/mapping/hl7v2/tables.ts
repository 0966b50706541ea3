/**
 * Code tables: HL7 v2 codes and what they are in FHIR R4. Each follows the concept map of HL7's v2-to-FHIR implementation
 * guide named beside it; where the map leaves a code open, the comment says what was chosen and why.
 */

export type CodeTable = Readonly<Record<string, string>>;
export type CodingTable = Readonly<Record<string, readonly [code: string, display: string, system?: string]>>;

/** Concept map AdministrativeSex (HL70001 → administrative-gender). */
export const GENDER: CodeTable = { F: 'female', M: 'male', O: 'other', U: 'unknown', A: 'other', N: 'other' };

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

/** Concept map AllergySeverity[AllergyIntolerance.criticality] (HL70128). */
export const ALLERGY_CRITICALITY: CodeTable = { SV: 'high', MI: 'low' };

/** Concept map AllergySeverity[AllergyIntolerance.reaction.severity] (HL70128). */
export const REACTION_SEVERITY: CodeTable = { SV: 'severe', MO: 'moderate', MI: 'mild' };

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
