/**
 * What of a person exists in the anonymized model, and how coarse: an allow-list. What is not listed here does not exist there.
 * docs/anonymization.md is this declaration in words.
 */
import { isObject, objectsIn as listIn } from '../../src/mapping/concepts.js';
import type { FactKind, Json } from '../../src/mapping/fact.js';
import { foldText } from '../../src/text/names.js';
import {
  conditionGroup,
  CONDITION_SYSTEMS,
  departmentType,
  encounterClass,
  isAbnormal,
  listedCode,
  listedUnit,
  OBSERVATION_SYSTEMS,
  OTHER_CODE,
  VACCINE_SYSTEMS,
  type ListedCode,
} from './codes.js';

export type FieldName =
  | 'favoriteColor'
  | 'birthYear'
  | 'sex'
  | 'zip3'
  | 'race'
  | 'ethnicity'
  | 'encounter.class'
  | 'encounter.start'
  | 'encounter.end'
  | 'encounter.status'
  | 'encounter.departmentType'
  | 'observation'
  | 'condition'
  | 'immunization';

export interface AnonymizedField {
  /** As stored; append only. */
  readonly number: number;
  readonly name: FieldName;
  /** The fact field it is made from. */
  readonly kind: FactKind;
  readonly slot: string;
  /** The coarse value; undefined where the value says nothing that may be shown. */
  generalize(value: Json): string | undefined;
  /** For the table of docs/anonymization.md: where it stands in messages, what becomes of it, and why it may be there. */
  readonly from: string;
  readonly becomes: string;
  readonly reason: string;
}

/** Colours that are shown by name: common enough in any population to single out nobody. Everything else is `other`. In the order of their codes in a snapshot: append only. */
export const COLORS = [
  'beige',
  'black',
  'blue',
  'brown',
  'coral',
  'cyan',
  'gold',
  'gray',
  'green',
  'indigo',
  'lavender',
  'magenta',
  'maroon',
  'navy',
  'olive',
  'orange',
  'pink',
  'purple',
  'red',
  'silver',
  'teal',
  'turquoise',
  'violet',
  'white',
  'yellow',
  OTHER_CODE,
];

function color(value: Json): string {
  const name = typeof value === 'string' ? foldText(value) : '';
  if (name === 'grey') return 'gray';
  return COLORS.includes(name) ? name : OTHER_CODE;
}

/** The year of a birth date, whatever its precision. */
function birthYear(value: Json): string | undefined {
  const match = typeof value === 'string' ? /^(\d{4})(?:-|$)/.exec(value) : null;
  return match?.[1] === '0000' ? undefined : match?.[1];
}

/** FHIR's administrative gender, in the order of its codes in a snapshot: append only. */
export const SEXES = ['FEMALE', 'MALE', 'OTHER', 'UNKNOWN'];

function sex(value: Json): string | undefined {
  return typeof value === 'string' && SEXES.includes(value.toUpperCase()) ? value.toUpperCase() : undefined;
}

/**
 * Three-digit ZIP areas of 20,000 people or fewer by the 2010 Census, all shown as 000: U.S. Department of Health and Human Services,
 * Guidance Regarding Methods for De-identification of Protected Health Information in Accordance with the HIPAA Privacy Rule
 * (26 November 2012), section 3.2, with the list as brought up to the 2010 Census ZCTA populations (45 CFR 164.514(b)(2)(i)(B)).
 */
const SMALL_ZIP3 = new Set([
  '036',
  '059',
  '102',
  '203',
  '205',
  '369',
  '556',
  '692',
  '821',
  '823',
  '878',
  '879',
  '884',
  '890',
  '893',
]);

const UNITED_STATES = new Set(['', 'us', 'usa', 'united states', 'united states of america', 'u s', 'u s a', '840']);

/** The first three digits of the postal code of where the person lives now; only of the United States, since the list is. */
function zip3(value: Json): string | undefined {
  const address = homeAddress(value);
  const country = textAt(address, 'country');
  if (address === undefined || !UNITED_STATES.has(foldText(country))) return undefined;
  const match = /^(\d{3})\d{2}(?:[- ]?\d{4})?$/.exec(textAt(address, 'postalCode').trim());
  if (match?.[1] === undefined) return undefined;
  return SMALL_ZIP3.has(match[1]) ? '000' : match[1];
}

type JsonObject = Readonly<Record<string, Json>>;

function objectsIn(value: Json | undefined): JsonObject[] {
  const list: readonly (Json | undefined)[] = Array.isArray(value) ? value : [value];
  return list.filter((one): one is JsonObject => one !== null && typeof one === 'object' && !Array.isArray(one));
}

function textAt(object: JsonObject | undefined, name: string): string {
  const value = object?.[name];
  return typeof value === 'string' ? value : '';
}

function homeAddress(value: Json): JsonObject | undefined {
  const addresses = objectsIn(value);
  const current = addresses.filter((address) => !['old', 'temp', 'work', 'billing'].includes(textAt(address, 'use')));
  return current.find((address) => textAt(address, 'use') === 'home') ?? current[0];
}

/**
 * Race by the five groups of OMB (Statistical Policy Directive 15, 1997) that the CDC's code set (2.16.840.1.113883.6.238, HL7 table
 * 0005) rolls up to: its codes are numbered by group, so the number in front of the check digit tells.
 */
const RACE_GROUPS: readonly { readonly from: number; readonly to: number; readonly name: string }[] = [
  { from: 1002, to: 2027, name: 'American Indian or Alaska Native' },
  { from: 2028, to: 2053, name: 'Asian' },
  { from: 2054, to: 2075, name: 'Black or African American' },
  { from: 2076, to: 2105, name: 'Native Hawaiian or Other Pacific Islander' },
  { from: 2500, to: 2500, name: 'Native Hawaiian or Other Pacific Islander' },
  { from: 2106, to: 2130, name: 'White' },
  { from: 2131, to: 2131, name: 'Other Race' },
];
const SEVERAL_RACES = 'Two or More Races';
/** In the order of their codes in a snapshot: append only. */
export const RACES: readonly string[] = [...new Set([...RACE_GROUPS.map(({ name }) => name), SEVERAL_RACES])];

const HISPANIC = 'Hispanic or Latino';
const NOT_HISPANIC = 'Not Hispanic or Latino';
/** OMB's two ethnicities, in the order of their codes in a snapshot: append only. */
export const ETHNICITIES: readonly string[] = [HISPANIC, NOT_HISPANIC];

/** Every code of a value: of CodeableConcepts, Codings, or US Core's extension. No text. */
function codesIn(value: Json): string[] {
  const codes: string[] = [];
  const look = (one: Json | undefined): void => {
    for (const object of objectsIn(one)) {
      codes.push(textAt(object, 'code').toUpperCase());
      for (const member of ['coding', 'valueCoding', 'valueCodeableConcept', 'extension']) look(object[member]);
    }
  };
  look(value);
  return codes;
}

/** 2135-2 and what it rolls up (2137-8 … 2184-0), 2186-5; HL7 table 0189's H and N. */
function ethnicity(value: Json): string | undefined {
  for (const code of codesIn(value)) {
    const number = Number(/^(\d{4})-\d$/.exec(code)?.[1]);
    if (code === 'H' || (number >= 2135 && number <= 2184)) return HISPANIC;
    if (code === 'N' || number === 2186) return NOT_HISPANIC;
  }
  return undefined;
}

/** Every code counts, no text does. */
function race(value: Json): string | undefined {
  const groups = new Set<string>();
  for (const code of codesIn(value)) {
    const number = Number(/^(\d{4})-\d$/.exec(code)?.[1]);
    const group = RACE_GROUPS.find(({ from, to }) => number >= from && number <= to);
    if (group !== undefined) groups.add(group.name);
  }
  if (groups.size > 1) return SEVERAL_RACES;
  return [...groups][0];
}

/** The day of a time slot; undefined where no day was said. */
function day(value: Json): string | undefined {
  const text = typeof value === 'string' ? value : textAt(isObject(value) ? value : undefined, 'dateTime');
  const date = /^(\d{4}-\d\d-\d\d)(?:T|$)/.exec(text)?.[1];
  return date === undefined || Number.isNaN(Date.parse(`${date}T00:00:00Z`)) ? undefined : date;
}

/** A visit that did not happen is none. */
function encounterStatus(value: Json): string | undefined {
  if (typeof value !== 'string') return undefined;
  return ['cancelled', 'entered-in-error', 'planned'].includes(value) ? VOID : HELD;
}
export const VOID = 'void';
const HELD = 'held';

/** Between the parts of a stored value; stands in no listed code or unit. */
export const PART = '|';

function codeParts(listed: ListedCode | undefined): readonly [system: string, code: string] {
  return listed === undefined ? [OTHER_CODE, OTHER_CODE] : [listed.system, listed.code];
}

function wasEnteredInError(resource: JsonObject): boolean {
  const { verificationStatus } = resource;
  return (
    ['entered-in-error', 'cancelled', 'not-done'].includes(textAt(resource, 'status')) ||
    codesIn(verificationStatus ?? null).some((code) => code === 'ENTERED-IN-ERROR' || code === 'REFUTED')
  );
}

/** Digits a measured value is rounded to: enough for medicine, too few for a number that names somebody. */
const SIGNIFICANT_DIGITS = 3;
const MOST_MEASURED = 1e6;

function measured(resource: JsonObject): readonly [value: string, unit: string] {
  const quantity = resource['valueQuantity'];
  const value = isObject(quantity) ? quantity['value'] : resource['valueInteger'];
  if (typeof value !== 'number' || !Number.isFinite(value) || Math.abs(value) >= MOST_MEASURED) return ['', ''];
  const unit = isObject(quantity) ? listedUnit(textAt(quantity, 'code')) || listedUnit(textAt(quantity, 'unit')) : '';
  return [String(Number(value.toPrecision(SIGNIFICANT_DIGITS))), unit];
}

/** `system|code|value|unit|abnormal|system of a coded value|its code` */
function observation(value: Json): string | undefined {
  if (!isObject(value) || wasEnteredInError(value)) return undefined;
  const code = listedCode(value['code'], OBSERVATION_SYSTEMS);
  const abnormal = isAbnormal(listIn(value, 'interpretation'));
  const said = value['valueCodeableConcept'];
  const coded = said === undefined ? undefined : listedCode(said, OBSERVATION_SYSTEMS);
  // Of a code that says nothing the value says nothing either.
  const [number, unit] = code === undefined ? ['', ''] : measured(value);
  const valueParts = code === undefined || coded === undefined ? ['', ''] : [coded.system, coded.code];
  const flag = abnormal === undefined ? '' : abnormal ? 'A' : 'N';
  return [...codeParts(code), number, unit, flag, ...valueParts].join(PART);
}

/** `group|system|code` */
function condition(value: Json): string | undefined {
  if (!isObject(value) || wasEnteredInError(value)) return undefined;
  const code = listedCode(value['code'], CONDITION_SYSTEMS);
  return [conditionGroup(code), ...codeParts(code)].join(PART);
}

/** `system|code` */
function immunization(value: Json): string | undefined {
  if (!isObject(value) || wasEnteredInError(value)) return undefined;
  return codeParts(listedCode(value['vaccineCode'], VACCINE_SYSTEMS)).join(PART);
}

const SAFE_HARBOR = '45 CFR 164.514(b)(2)(i)';

export const ANONYMIZED_FIELDS: readonly AnonymizedField[] = [
  {
    number: 1,
    name: 'favoriteColor',
    kind: 'PATIENT',
    slot: 'attribute:favoriteColor',
    generalize: color,
    from: 'attribute `favoriteColor` of a clinical event',
    becomes: `one of ${COLORS.length - 1} listed colours (case and accents folded, grey = gray); anything else is \`other\``,
    reason: 'none of the 18; a closed list, so no text',
  },
  {
    number: 2,
    name: 'birthYear',
    kind: 'PATIENT',
    slot: 'birthDate',
    generalize: birthYear,
    from: '`birthDate` (PID-7, FHIR `Patient.birthDate`)',
    becomes: 'the year; shown only as an age in years, 90 and over as one',
    reason: `${SAFE_HARBOR}(C): the year may stay, ages over 89 are one category`,
  },
  {
    number: 3,
    name: 'sex',
    kind: 'PATIENT',
    slot: 'gender',
    generalize: sex,
    from: '`gender` (PID-8, FHIR `Patient.gender`)',
    becomes: '`FEMALE`, `MALE`, `OTHER`, `UNKNOWN`; any other text is nothing',
    reason: 'none of the 18',
  },
  {
    number: 4,
    name: 'zip3',
    kind: 'PATIENT',
    slot: 'address',
    generalize: zip3,
    from: '`address` (PID-11, FHIR `Patient.address`): the current home address, if it is in the United States',
    becomes: 'the first three digits; `000` for the areas listed below',
    reason: `${SAFE_HARBOR}(B): the first three digits, areas of 20,000 people or fewer as 000`,
  },
  {
    number: 5,
    name: 'race',
    kind: 'PATIENT',
    slot: 'race',
    generalize: race,
    from: '`race` (PID-10, US Core race): codes of the CDC only (HL7 table 0005)',
    becomes: 'the OMB group that a code rolls up to, `Two or More Races` for several',
    reason: 'none of the 18',
  },
  {
    number: 6,
    name: 'ethnicity',
    kind: 'PATIENT',
    slot: 'ethnicity',
    generalize: ethnicity,
    from: '`ethnicity` (PID-22, US Core ethnicity): codes of the CDC or HL7 table 0189',
    becomes: '`Hispanic or Latino`, `Not Hispanic or Latino`',
    reason: 'none of the 18',
  },
  {
    number: 10,
    name: 'encounter.class',
    kind: 'ENCOUNTER',
    slot: 'class',
    generalize: encounterClass,
    from: '`class` (PV1-2, FHIR `Encounter.class`)',
    becomes: 'one of 11 classes; anything else is `other`',
    reason: 'none of the 18; a closed list',
  },
  {
    number: 11,
    name: 'encounter.start',
    kind: 'ENCOUNTER',
    slot: 'start',
    generalize: day,
    from: '`start` (PV1-44, EVN-6, FHIR `Encounter.period.start`)',
    becomes: 'a day, shifted by the offset of the subject; kept unshifted where only the hub can read it',
    reason: `${SAFE_HARBOR}(C) by date shifting: no date of the person is shown; shown only from the year after`,
  },
  {
    number: 12,
    name: 'encounter.end',
    kind: 'ENCOUNTER',
    slot: 'end',
    generalize: day,
    from: '`end` (PV1-45, EVN-6, FHIR `Encounter.period.end`)',
    becomes: 'never a date: the length of stay in days, at most 365',
    reason: 'a length is no date',
  },
  {
    number: 13,
    name: 'encounter.status',
    kind: 'ENCOUNTER',
    slot: 'status',
    generalize: encounterStatus,
    from: '`status` (the trigger event, FHIR `Encounter.status`)',
    becomes: 'whether it took place; not shown itself',
    reason: 'none of the 18',
  },
  {
    number: 14,
    name: 'encounter.departmentType',
    kind: 'ENCOUNTER',
    slot: 'serviceType',
    generalize: departmentType,
    from: '`serviceType` (PV1-10, FHIR `Encounter.serviceType`)',
    becomes: 'one of the listed kinds of department; anything else is `other`. No ward, no room',
    reason: 'none of the 18; a closed list, and no place smaller than a State',
  },
  {
    number: 20,
    name: 'observation',
    kind: 'OBSERVATION',
    slot: 'resource',
    generalize: observation,
    from: 'the result (OBX-3, -5, -6, -8, FHIR `Observation.code`, `.value[x]`, `.interpretation`)',
    becomes:
      'code (LOINC, SNOMED CT; its form and check digit right), number to 3 digits below 1,000,000, listed unit, coded value, abnormal or not; the day shifted. No text, no range, no method, no time of day',
    reason: `${SAFE_HARBOR}(C) for the day; codes and measures are none of the 18`,
  },
  {
    number: 21,
    name: 'condition',
    kind: 'CONDITION',
    slot: 'resource',
    generalize: condition,
    from: 'the diagnosis (DG1-3, FHIR `Condition.code`)',
    becomes: 'code (ICD-10, ICD-9, SNOMED CT) or what it rolls up to, and its chapter; the day shifted. No text',
    reason: `${SAFE_HARBOR}(C) for the day; codes are none of the 18`,
  },
  {
    number: 22,
    name: 'immunization',
    kind: 'IMMUNIZATION',
    slot: 'resource',
    generalize: immunization,
    from: 'the vaccination (RXA-5, FHIR `Immunization.vaccineCode`)',
    becomes: 'code (CVX) or `other`; the day shifted. No lot, no maker, no place',
    reason: `${SAFE_HARBOR}(C) for the day; codes are none of the 18`,
  },
];

/** Number of a field, for SQL. */
export function fieldNumber(name: FieldName): number {
  const field = ANONYMIZED_FIELDS.find((one) => one.name === name);
  if (field === undefined) throw new RangeError('not a declared field');
  return field.number;
}
