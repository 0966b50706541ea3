/**
 * What of a person exists in the anonymized model, and how coarse: an allow-list. What is not listed here does not exist there.
 * docs/anonymization.md is this declaration in words.
 */
import type { FactKind, Json } from '../../src/mapping/fact.js';
import { foldText } from '../../src/text/names.js';

export interface AnonymizedField {
  /** As stored; append only. */
  readonly number: number;
  readonly name: 'favoriteColor' | 'birthYear' | 'sex' | 'zip3' | 'race';
  /** The fact field it is made from. */
  readonly kind: FactKind;
  readonly slot: string;
  /** The coarse value; undefined where the value says nothing that may be shown. */
  generalize(value: Json): string | undefined;
}

/** Colours that are shown by name: common enough in any population to single out nobody. Everything else is `other`. */
const COLORS = new Set([
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
]);
const OTHER_COLOR = 'other';

function color(value: Json): string {
  const name = typeof value === 'string' ? foldText(value) : '';
  if (name === 'grey') return 'gray';
  return COLORS.has(name) ? name : OTHER_COLOR;
}

/** The year of a birth date, whatever its precision. */
function birthYear(value: Json): string | undefined {
  const match = typeof value === 'string' ? /^(\d{4})(?:-|$)/.exec(value) : null;
  return match?.[1] === '0000' ? undefined : match?.[1];
}

const SEXES = new Map([
  ['female', 'FEMALE'],
  ['male', 'MALE'],
  ['other', 'OTHER'],
  ['unknown', 'UNKNOWN'],
]);

/** FHIR's administrative gender. */
function sex(value: Json): string | undefined {
  return typeof value === 'string' ? SEXES.get(value.toLowerCase()) : undefined;
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

/** CodeableConcepts, Codings, or US Core's race extension: every code in them counts, no text does. */
function race(value: Json): string | undefined {
  const groups = new Set<string>();
  const look = (one: Json | undefined): void => {
    for (const object of objectsIn(one)) {
      const code = /^(\d{4})-\d$/.exec(textAt(object, 'code'));
      const number = Number(code?.[1]);
      const group = RACE_GROUPS.find(({ from, to }) => number >= from && number <= to);
      if (group !== undefined) groups.add(group.name);
      for (const member of ['coding', 'valueCoding', 'valueCodeableConcept', 'extension']) look(object[member]);
    }
  };
  look(value);
  if (groups.size > 1) return SEVERAL_RACES;
  return [...groups][0];
}

export const ANONYMIZED_FIELDS: readonly AnonymizedField[] = [
  { number: 1, name: 'favoriteColor', kind: 'PATIENT', slot: 'attribute:favoriteColor', generalize: color },
  { number: 2, name: 'birthYear', kind: 'PATIENT', slot: 'birthDate', generalize: birthYear },
  { number: 3, name: 'sex', kind: 'PATIENT', slot: 'gender', generalize: sex },
  { number: 4, name: 'zip3', kind: 'PATIENT', slot: 'address', generalize: zip3 },
  { number: 5, name: 'race', kind: 'PATIENT', slot: 'race', generalize: race },
];
