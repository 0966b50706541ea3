/**
 * Codes that may be shown, and what rare ones roll up to. A code is taken only from a listed system and only in that system's own form: what
 * stands in a coded field and is no code (a name, a number of the house) is nothing, so no text of a sender's comes through here.
 */
import type { Json } from '../../src/mapping/fact.js';
import { codingsOf, textOf } from '../../src/mapping/concepts.js';

/** What a code is without its code: its system is none that is listed, or too few have it. */
export const OTHER_CODE = 'other';

export interface CodeSystem {
  /** As it is shown. */
  readonly name: string;
  readonly uris: readonly string[];
  /** Whole codes only. */
  isCode(code: string): boolean;
  /** One way to write it. */
  write?(code: string): string;
}

/** The check digit of a SNOMED CT identifier (Verhoeff; SNOMED CT Release File Specification §5.5). */
function hasVerhoeffDigit(digits: string): boolean {
  let check = 0;
  for (let place = 0; place < digits.length; place += 1) {
    const digit = Number(digits[digits.length - 1 - place]);
    check = DIHEDRAL[check]![PERMUTATION[place % 8]![digit]!]!;
  }
  return check === 0;
}

const DIHEDRAL = [
  [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
  [1, 2, 3, 4, 0, 6, 7, 8, 9, 5],
  [2, 3, 4, 0, 1, 7, 8, 9, 5, 6],
  [3, 4, 0, 1, 2, 8, 9, 5, 6, 7],
  [4, 0, 1, 2, 3, 9, 5, 6, 7, 8],
  [5, 9, 8, 7, 6, 0, 4, 3, 2, 1],
  [6, 5, 9, 8, 7, 1, 0, 4, 3, 2],
  [7, 6, 5, 9, 8, 2, 1, 0, 4, 3],
  [8, 7, 6, 5, 9, 3, 2, 1, 0, 4],
  [9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
] as const;
const PERMUTATION = [
  [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
  [1, 5, 7, 6, 2, 8, 3, 0, 9, 4],
  [5, 8, 0, 3, 7, 9, 6, 1, 4, 2],
  [8, 9, 1, 6, 0, 4, 3, 5, 2, 7],
  [9, 4, 5, 3, 1, 2, 6, 8, 7, 0],
  [4, 2, 8, 6, 5, 7, 3, 9, 0, 1],
  [2, 7, 9, 3, 8, 0, 6, 4, 1, 5],
  [7, 0, 4, 6, 9, 1, 3, 2, 5, 8],
] as const;

/** The check digit of a LOINC code (Luhn, mod 10; LOINC Users' Guide, appendix C). */
function hasLuhnDigit(code: string): boolean {
  const digits = code.replace('-', '');
  let sum = 0;
  for (let place = 0; place < digits.length; place += 1) {
    const digit = Number(digits[digits.length - 1 - place]);
    const doubled = place % 2 === 1 ? digit * 2 : digit;
    sum += doubled > 9 ? doubled - 9 : doubled;
  }
  return sum % 10 === 0;
}

const LOINC: CodeSystem = {
  name: 'LOINC',
  uris: ['http://loinc.org'],
  isCode: (code) => /^\d{1,7}-\d$/.test(code) && hasLuhnDigit(code),
};
const SNOMED: CodeSystem = {
  name: 'SNOMED',
  uris: ['http://snomed.info/sct'],
  // The last digits but one of a concept: 00 in the international release, 10 in a national extension.
  isCode: (code) => /^[1-9]\d{3,15}[01]0\d$/.test(code) && hasVerhoeffDigit(code),
};
const ICD10: CodeSystem = {
  name: 'ICD10',
  uris: ['http://hl7.org/fhir/sid/icd-10', 'http://hl7.org/fhir/sid/icd-10-cm'],
  isCode: (code) => /^[A-Z]\d[0-9A-Z](?:\.?[0-9A-Z]{1,4})?$/.test(code),
  write: (code) => code.replace('.', '').replace(/^(...)(.+)$/, '$1.$2'),
};
const ICD9: CodeSystem = {
  name: 'ICD9',
  uris: ['http://hl7.org/fhir/sid/icd-9-cm'],
  isCode: (code) => /^(?:\d{3}(?:\.\d{1,2})?|V\d\d(?:\.\d{1,2})?|E\d{3}(?:\.\d)?)$/.test(code),
};
const CVX: CodeSystem = {
  name: 'CVX',
  uris: ['http://hl7.org/fhir/sid/cvx'],
  isCode: (code) => /^\d{2,3}$/.test(code),
};

export const OBSERVATION_SYSTEMS = [LOINC, SNOMED];
export const CONDITION_SYSTEMS = [ICD10, SNOMED, ICD9];
export const VACCINE_SYSTEMS = [CVX];

export interface ListedCode {
  readonly system: string;
  readonly code: string;
}

/** The first coding of a concept that is a code of one of the systems; in order of the systems. */
export function listedCode(concept: Json | undefined, systems: readonly CodeSystem[]): ListedCode | undefined {
  const codings = codingsOf(concept);
  for (const system of systems) {
    for (const coding of codings) {
      const code = textOf(coding, 'code').toUpperCase();
      if (system.uris.includes(textOf(coding, 'system')) && system.isCode(code)) {
        return { system: system.name, code: system.write?.(code) ?? code };
      }
    }
  }
  return undefined;
}

/** Chapters of ICD-10-CM by their first codes (WHO ICD-10 2019, volume 1), and what codes of other systems are in. */
const CHAPTERS: readonly (readonly [from: string, to: string])[] = [
  ['A00', 'B99'],
  ['C00', 'D49'],
  ['D50', 'D89'],
  ['E00', 'E89'],
  ['F01', 'F99'],
  ['G00', 'G99'],
  ['H00', 'H59'],
  ['H60', 'H95'],
  ['I00', 'I99'],
  ['J00', 'J99'],
  ['K00', 'K95'],
  ['L00', 'L99'],
  ['M00', 'M99'],
  ['N00', 'N99'],
  ['O00', 'O9A'],
  ['P00', 'P96'],
  ['Q00', 'Q99'],
  ['R00', 'R99'],
  ['S00', 'T88'],
  ['U00', 'U99'],
  ['V00', 'Y99'],
  ['Z00', 'Z99'],
];

/**
 * Chapters of ICD-9-CM by three-digit categories (001–139, 140–239, …) beside the chapter of ICD-10 that took them over; its chapter of nervous
 * system and sense organs (320–389) by its sections, since ICD-10 has a chapter each for eyes and ears. The bounds were held against published lists
 * of ICD-9's 17 chapters and of 320–359 and 360–389; the one between eyes and ears was not.
 */
const ICD9_CHAPTERS: readonly (readonly [from: number, to: number, chapter: string])[] = [
  [1, 139, 'A00-B99'],
  [140, 239, 'C00-D49'],
  [240, 279, 'E00-E89'],
  [280, 289, 'D50-D89'],
  [290, 319, 'F01-F99'],
  [320, 359, 'G00-G99'],
  [360, 379, 'H00-H59'],
  [380, 389, 'H60-H95'],
  [390, 459, 'I00-I99'],
  [460, 519, 'J00-J99'],
  [520, 579, 'K00-K95'],
  [580, 629, 'N00-N99'],
  [630, 679, 'O00-O9A'],
  [680, 709, 'L00-L99'],
  [710, 739, 'M00-M99'],
  [740, 759, 'Q00-Q99'],
  [760, 779, 'P00-P96'],
  [780, 799, 'R00-R99'],
  [800, 999, 'S00-T88'],
];

/** Values of the dimension CONDITION_GROUP, in the order of their bits in a snapshot: append only. */
export const CONDITION_GROUPS: readonly string[] = [...CHAPTERS.map(([from, to]) => `${from}-${to}`), OTHER_CODE];

/** The chapter a diagnosis belongs to; codes without chapters (SNOMED CT) are `other`. */
export function conditionGroup(listed: ListedCode | undefined): string {
  if (listed?.system === 'ICD10') {
    const category = listed.code.slice(0, 3);
    const chapter = CHAPTERS.find(([from, to]) => category >= from && category <= to);
    if (chapter !== undefined) return `${chapter[0]}-${chapter[1]}`;
  }
  if (listed?.system === 'ICD9') {
    if (listed.code.startsWith('V')) return 'Z00-Z99';
    if (listed.code.startsWith('E')) return 'V00-Y99';
    const category = Number(listed.code.slice(0, 3));
    return ICD9_CHAPTERS.find(([from, to]) => category >= from && category <= to)?.[2] ?? OTHER_CODE;
  }
  return OTHER_CODE;
}

/** Classes of FHIR's ActEncounterCode and of HL7 table 0004 that are shown by name; the order is that of the bits in a snapshot: append only. */
export const ENCOUNTER_CLASSES: readonly string[] = [
  'IMP',
  'EMER',
  'AMB',
  'ACUTE',
  'NONAC',
  'OBSENC',
  'PRENC',
  'SS',
  'HH',
  'VR',
  'OBSTETRICS',
  OTHER_CODE,
];

/** Obstetrics is a letter of its own in table 0004. */
export function encounterClass(value: Json): string {
  for (const coding of codingsOf(value)) {
    const code = textOf(coding, 'code').toUpperCase();
    if (code === 'B') return 'OBSTETRICS';
    if (ENCOUNTER_CLASSES.includes(code)) return code;
  }
  return OTHER_CODE;
}

/** Services of HL7 table 0069 (PV1-10) and the names that FHIR's service-type gives them: a kind of department, never its name. */
const DEPARTMENTS: Readonly<Record<string, string>> = {
  MED: 'MEDICINE',
  SUR: 'SURGERY',
  URO: 'UROLOGY',
  PUL: 'PULMONARY',
  CAR: 'CARDIOLOGY',
  ONC: 'ONCOLOGY',
  PED: 'PEDIATRICS',
  OBS: 'OBSTETRICS',
  OBG: 'OBSTETRICS',
  GYN: 'GYNECOLOGY',
  NEU: 'NEUROLOGY',
  ORT: 'ORTHOPEDICS',
  PSY: 'PSYCHIATRY',
  ICU: 'INTENSIVE_CARE',
  EMR: 'EMERGENCY',
  EMERGENCY: 'EMERGENCY',
  ER: 'EMERGENCY',
};

export function departmentType(value: Json): string {
  for (const coding of codingsOf(value)) {
    const code = textOf(coding, 'code').toUpperCase();
    if (Object.hasOwn(DEPARTMENTS, code)) return DEPARTMENTS[code]!;
  }
  return OTHER_CODE;
}

/**
 * Units in common laboratory and bedside use, as UCUM spells them; others are not shown. Each was held against UCUM's published definitions, as the
 * National Library of Medicine's validator (ucum-lhc 7.1.9) has them.
 */
const UNITS = new Set(
  (
    '% /uL 10*3/uL 10*6/uL 10*9/L 10*12/L 10*3/mm3 Cel [degF] U/L U/mL kU/L [IU]/L [IU]/mL m[IU]/L m[IU]/mL u[IU]/mL k[IU]/L /min ' +
    'cm m mm [in_i] kg g mg ug ng pg [lb_av] kg/m2 g/dL g/L mg/dL mg/L ug/dL ug/L ug/mL ng/dL ng/mL ng/L pg/mL fL mL L mL/min ' +
    'mL/min/{1.73_m2} L/min mmol/L umol/L nmol/L pmol/L mmol/mol meq/L mosm/kg mm[Hg] kPa s min h d a mm/h {ratio} 1 {INR} mg/g ug/g g/d'
  ).split(' '),
);

/** The same units as version 2 senders write them. Shown as UCUM has them: the spelling would tell the sender (and UCUM's K is a kelvin). */
const SPELLED: Readonly<Record<string, string>> = {
  'K/uL': '10*3/uL',
  'M/uL': '10*6/uL',
  'IU/L': '[IU]/L',
  'mIU/L': 'm[IU]/L',
  'uIU/mL': 'u[IU]/mL',
  'mIU/mL': 'm[IU]/mL',
  'IU/mL': '[IU]/mL',
  bpm: '/min',
  'breaths/min': '/min',
  in: '[in_i]',
  'mL/min/1.73m2': 'mL/min/{1.73_m2}',
  'mEq/L': 'meq/L',
  mmHg: 'mm[Hg]',
  ratio: '{ratio}',
  'g/24h': 'g/d',
};

/** A listed unit as UCUM spells it; nothing for any other text. */
export function listedUnit(unit: string): string {
  const known = Object.hasOwn(SPELLED, unit) ? (SPELLED[unit] as string) : unit;
  return UNITS.has(known) ? known : '';
}

/** Interpretations (HL7 table 0078, v3-ObservationInterpretation) that say "outside of what is normal". */
const ABNORMAL = new Set(['A', 'AA', 'H', 'HH', 'HU', 'L', 'LL', 'LU', '<', '>', 'POS', 'DET', 'R', 'E', 'CAR']);
const NORMAL = new Set(['N', 'NEG', 'ND', 'S', 'NR', 'EXP']);

/** @returns undefined where it is not said in a listed code */
export function isAbnormal(interpretations: readonly Json[]): boolean | undefined {
  const codes = interpretations.flatMap((one) => codingsOf(one).map((coding) => textOf(coding, 'code').toUpperCase()));
  if (codes.some((code) => ABNORMAL.has(code))) return true;
  return codes.some((code) => NORMAL.has(code)) ? false : undefined;
}
