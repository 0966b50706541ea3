/** What the graph, the timeline and search show of a thing, from its folded fields. */
import { birthDateText, elementList, encounterFields, identifierAuthority, type Fields } from './assemble.js';
import { codingsOf, conceptCode, conceptDisplay, isObject, objectsIn, textOf } from './concepts.js';
import { elementsOf } from './elements.js';
import type { FactKind, Json } from './fact.js';
import { sentTime, timeText, type JsonObject } from './fhir-time.js';
import { locationDisplay } from './locations.js';

export interface Summary {
  /** One line of the timeline. */
  readonly title: string;
  readonly code?: string;
  /** URI of the code's system. */
  readonly system?: string;
  readonly display?: string;
  readonly status?: string;
  /** Number, text, boolean or words of what was found. */
  readonly value?: Json;
  readonly unit?: string;
  /** Codes of the categories, for filters. */
  readonly categories: readonly string[];
  /** Clinical time as precise as sent. */
  readonly effective?: string;
  /** Of a visit: the class's code (`IMP`), the place (`4E 12 1`), begin and end as sent. */
  readonly class?: string;
  readonly location?: string;
  readonly start?: string;
  readonly end?: string;
  /** Words for full-text search. */
  readonly text: string;
  /** Codes and numbers for exact search. */
  readonly terms: readonly string[];
}

export function summarise(kind: FactKind, fields: Fields): Summary {
  switch (kind) {
    case 'PATIENT':
      return summarisePatient(fields);
    case 'ENCOUNTER':
      return summariseEncounter(encounterFields(fields));
    default:
      return summariseResource(kind, fields);
  }
}

/** Without what was not found. */
function compact(summary: { [Key in keyof Summary]: Summary[Key] | undefined }): Summary {
  const found: Record<string, Json | readonly string[]> = {};
  for (const [name, value] of Object.entries(summary)) if (value !== undefined && value !== '') found[name] = value;
  return found as unknown as Summary;
}

/** A name as it is read: prefix, given, family, suffix; its own text where it has one. */
export function nameText(name: JsonObject): string {
  const text = textOf(name, 'text');
  if (text !== '') return text;
  const list = (member: string): string[] =>
    Array.isArray(name[member]) ? name[member].filter((part): part is string => typeof part === 'string') : [];
  return [...list('prefix'), ...list('given'), textOf(name, 'family'), ...list('suffix')]
    .filter((part) => part !== '')
    .join(' ');
}

function summarisePatient(fields: Fields): Summary {
  const names = elementList(fields, 'name').map(nameText);
  const identifiers = elementList(fields, 'identifier');
  const born = birthDateText(fields);
  return compact({
    title: 'Demographics',
    display: names[0],
    effective: undefined,
    categories: [],
    text: names.join(' '),
    terms: [
      ...identifiers.map((identifier) => textOf(identifier, 'value')),
      ...identifiers.map((identifier) => identifierAuthority(identifier) ?? ''),
      born ?? '',
    ].filter((term) => term !== ''),
  });
}

function summariseEncounter(fields: Fields): Summary {
  const status = typeof fields['status'] === 'string' ? fields['status'] : undefined;
  const klass = fields['class'];
  const code = conceptCode(klass) || textOf(klass, 'display');
  const words = conceptDisplay(klass);
  const places = listOf(fields['location']).map(locationDisplay);
  const location = places.find((place) => place !== '');
  const types = [fields['type'], fields['serviceType'], fields['reasonCode']].flatMap(listOf).map(conceptDisplay);
  const people = elementList(fields, 'participant').map((participant) => textOf(participant['individual'], 'display'));
  const visit = elementList(fields, 'identifier').map((identifier) => textOf(identifier, 'value'));
  return compact({
    title: ['Encounter', [words, location ?? '', status ?? ''].filter((part) => part !== '').join(', ')]
      .filter((part) => part !== '')
      .join(': '),
    code,
    display: words,
    status,
    class: code,
    location,
    start: timeText(fields['start']),
    end: timeText(fields['end']),
    effective: timeText(fields['start']),
    categories: code === '' ? [] : [code],
    text: [words, ...places, ...types, ...people].filter((part) => part !== '').join(' '),
    terms: [code, ...visit].filter((term) => term !== ''),
  });
}

const LABELS: Readonly<Partial<Record<FactKind, string>>> = {
  ACCOUNT: 'Account',
  ALLERGY_INTOLERANCE: 'Allergy',
  APPOINTMENT: 'Appointment',
  CHARGE_ITEM: 'Charge',
  CONDITION: 'Condition',
  COVERAGE: 'Coverage',
  DIAGNOSTIC_REPORT: 'Report',
  DOCUMENT_REFERENCE: 'Document',
  FAMILY_MEMBER_HISTORY: 'Family history',
  IMMUNIZATION: 'Immunization',
  MEDICATION_ADMINISTRATION: 'Medication given',
  MEDICATION_DISPENSE: 'Medication dispensed',
  MEDICATION_REQUEST: 'Medication order',
  MEDICATION_STATEMENT: 'Medication taken',
  PROCEDURE: 'Procedure',
  RELATED_PERSON: 'Related person',
  SERVICE_REQUEST: 'Order',
  SPECIMEN: 'Specimen',
};

/** Elements that say what a resource is about, and when, in the order they are looked for. */
const CODE_ELEMENTS = [
  'code',
  'vaccineCode',
  'medicationCodeableConcept',
  'type',
  'serviceType',
  'relationship',
] as const;
const TIME_ELEMENTS = [
  'effectiveDateTime',
  'effectiveInstant',
  'onsetDateTime',
  'occurrenceDateTime',
  'performedDateTime',
  'authoredOn',
  'date',
  'start',
  'recordedDate',
  'issued',
] as const;
const PERIOD_ELEMENTS = ['effectivePeriod', 'onsetPeriod', 'occurrencePeriod', 'performedPeriod', 'period'] as const;

/** Value and clinical time of a thing that is neither patient nor visit, as {@link summarise} gives them. */
export function valueAndTime(
  kind: FactKind,
  fields: Fields,
): { value: Json | undefined; effective: string | undefined } {
  const resource = elementsOf(fields);
  return {
    value: kind === 'OBSERVATION' ? observationValue(resource).value : undefined,
    effective: effectiveOf(resource),
  };
}

function summariseResource(kind: FactKind, fields: Fields): Summary {
  const resource = elementsOf(fields);
  const concept = CODE_ELEMENTS.map((element) => firstOf(resource[element])).find((value) => value !== undefined);
  const display = conceptDisplay(concept);
  const code = conceptCode(concept);
  const coded = codingsOf(concept).find((coding) => textOf(coding, 'code') !== '');
  const { value, unit } = kind === 'OBSERVATION' ? observationValue(resource) : {};
  const status = statusOf(resource);
  const flags = objectsIn(resource, 'interpretation')
    .map(conceptCode)
    .filter((flag) => flag !== '');
  const shown = value === undefined || value === null ? '' : shownValue(value, unit);
  const label = kind === 'OBSERVATION' ? '' : (LABELS[kind] ?? textOf(resource, 'resourceType'));
  const what = [display, shown].filter((part) => part !== '').join(' ');
  const flagged = flags.length === 0 || flags.every((flag) => flag === 'N') ? '' : ` (${flags.join(', ')})`;
  const named =
    label === '' ? `${what}${flagged}` : [label, `${what}${flagged}`].filter((part) => part !== '').join(': ');
  const notes = objectsIn(resource, 'note').map((note) => textOf(note, 'text'));
  const reactions = objectsIn(resource, 'reaction').flatMap((reaction) =>
    objectsIn(reaction, 'manifestation').map(conceptDisplay),
  );
  return compact({
    title: named === '' ? 'Observation' : named,
    code,
    system: textOf(coded, 'system'),
    display,
    status,
    value,
    unit,
    categories: categoriesOf(resource),
    effective: effectiveOf(resource),
    text: [
      ...codingsOf(concept).map((coding) => textOf(coding, 'display')),
      textOf(concept, 'text'),
      typeof value === 'string' ? value : '',
      ...reactions,
      ...notes,
    ]
      .filter((part, index, parts) => part !== '' && parts.indexOf(part) === index)
      .join(' '),
    terms: [
      ...codingsOf(concept).map((coding) => textOf(coding, 'code')),
      ...objectsIn(resource, 'identifier').map((identifier) => textOf(identifier, 'value')),
      textOf(resource, 'lotNumber'),
    ].filter((term) => term !== ''),
  });
}

function firstOf(value: Json | undefined): JsonObject | undefined {
  const first = Array.isArray(value) ? value[0] : value;
  return isObject(first) ? first : undefined;
}

function listOf(value: Json | undefined): JsonObject[] {
  return Array.isArray(value) ? value.filter(isObject) : isObject(value) ? [value] : [];
}

/** `status`; of conditions and allergies the clinical status, or that it was entered in error. */
function statusOf(resource: JsonObject): string | undefined {
  const status = textOf(resource, 'status');
  if (status !== '') return status;
  const verification = conceptCode(resource['verificationStatus']);
  if (verification === 'entered-in-error' || verification === 'refuted') return verification;
  return conceptCode(resource['clinicalStatus']) || undefined;
}

function categoriesOf(resource: JsonObject): string[] {
  const { category } = resource;
  const list = Array.isArray(category) ? category : category === undefined ? [] : [category];
  return list.flatMap((one) =>
    typeof one === 'string'
      ? [one]
      : codingsOf(one)
          .map((coding) => textOf(coding, 'code'))
          .filter((code) => code !== ''),
  );
}

function effectiveOf(resource: JsonObject): string | undefined {
  for (const element of TIME_ELEMENTS) {
    const time = sentTime(resource, element);
    if (time !== undefined) return time;
    const period = PERIOD_ELEMENTS.find((name) => name.slice(0, 4) === element.slice(0, 4));
    const start = period === undefined || !isObject(resource[period]) ? undefined : sentTime(resource[period], 'start');
    if (start !== undefined) return start;
  }
  return isObject(resource['period']) ? sentTime(resource['period'], 'start') : undefined;
}

/** value[x] as one value and its unit: numbers stay numbers where nothing else belongs to them. */
function observationValue(resource: JsonObject): { value?: Json; unit?: string } {
  const quantity = resource['valueQuantity'];
  if (isObject(quantity)) {
    const unit = textOf(quantity, 'unit') || textOf(quantity, 'code') || undefined;
    const comparator = textOf(quantity, 'comparator');
    const number = quantity['value'];
    if (comparator !== '') return { value: `${comparator}${sentTime(quantity, 'value') ?? plain(number)}`, unit };
    return { value: number, unit };
  }
  if (isObject(resource['valueCodeableConcept'])) return { value: conceptDisplay(resource['valueCodeableConcept']) };
  for (const element of ['valueString', 'valueBoolean', 'valueInteger']) {
    if (resource[element] !== undefined) return { value: resource[element] };
  }
  for (const element of ['valueDateTime', 'valueTime']) {
    const time = sentTime(resource, element);
    if (time !== undefined) return { value: time };
  }
  const range = resource['valueRange'];
  if (isObject(range)) {
    const { low, high } = range;
    const unit = textOf(low, 'unit') || textOf(high, 'unit') || undefined;
    return { value: `${isObject(low) ? plain(low['value']) : ''}-${isObject(high) ? plain(high['value']) : ''}`, unit };
  }
  const ratio = resource['valueRatio'];
  if (isObject(ratio)) {
    const { numerator, denominator } = ratio;
    const comparator = textOf(numerator, 'comparator');
    return {
      value: `${comparator}${isObject(numerator) ? plain(numerator['value']) : ''}:${isObject(denominator) ? plain(denominator['value']) : ''}`,
    };
  }
  const period = resource['valuePeriod'];
  if (isObject(period)) return { value: `${sentTime(period, 'start') ?? ''}/${sentTime(period, 'end') ?? ''}` };
  const parts = objectsIn(resource, 'component').map((component) => {
    const { value, unit } = observationValue(component);
    return value === undefined ? '' : shownValue(value, unit);
  });
  if (parts.some((part) => part !== '')) return { value: parts.filter((part) => part !== '').join(', ') };
  return {};
}

function plain(value: Json | undefined): string {
  return typeof value === 'number' || typeof value === 'string' ? String(value) : '';
}

function shownValue(value: Json, unit: string | undefined): string {
  const text =
    typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? String(value) : '';
  const line = text.split('\n', 1)[0]!;
  const short = line.length > 80 ? `${line.slice(0, 79)}…` : line;
  return unit === undefined || short === '' ? short : `${short} ${unit}`;
}
