/**
 * FHIR resources as sets of facts: `path=value`, without indexes and ids, so that two converters of HL7 v2 can be compared by what they say
 * instead of by bytes. What two converters may write differently without saying anything else is folded here, and only here.
 */
import { isObject, objectsIn, textOf } from '../../src/mapping/concepts.js';
import type { Json } from '../../src/mapping/fact.js';
import type { JsonObject } from '../../src/mapping/fhir-time.js';

export interface Fact {
  /** `name.family` */
  readonly path: string;
  readonly value: string;
}

export interface FactSet {
  readonly type: string;
  readonly facts: ReadonlyMap<string, Fact>;
}

/** Types that are facts about a person. What other resources say counts where one of these refers to them. */
export const CLINICAL_TYPES: ReadonlySet<string> = new Set([
  'Account',
  'AllergyIntolerance',
  'Appointment',
  'ChargeItem',
  'Condition',
  'Coverage',
  'DiagnosticReport',
  'DocumentReference',
  'Encounter',
  'FamilyMemberHistory',
  'Immunization',
  'MedicationAdministration',
  'MedicationDispense',
  'MedicationRequest',
  'MedicationStatement',
  'Observation',
  'Patient',
  'Procedure',
  'RelatedPerson',
  'ServiceRequest',
  'Specimen',
]);

const SKIPPED = new Set(['resourceType', 'id', 'meta', 'text', 'contained', 'implicitRules', 'language']);

/** The clinical resources of a bundle. `source` is the text of the message: wording that is not in it is the converter's own. */
export function flattenBundle(bundle: JsonObject, source: string): FactSet[] {
  const entries = objectsIn(bundle, 'entry');
  const index = new Map<string, JsonObject>();
  const resources: JsonObject[] = [];
  for (const entry of entries) {
    const resource = entry['resource'];
    if (!isObject(resource)) continue;
    resources.push(resource);
    index.set(`${textOf(resource, 'resourceType')}/${textOf(resource, 'id')}`, resource);
    const fullUrl = textOf(entry, 'fullUrl');
    if (fullUrl !== '') index.set(fullUrl, resource);
  }
  return resources
    .filter((resource) => CLINICAL_TYPES.has(textOf(resource, 'resourceType')))
    .map((resource) => flatten(resource, index, source));
}

export function flatten(resource: JsonObject, index: ReadonlyMap<string, JsonObject>, source: string): FactSet {
  const facts = new Map<string, Fact>();
  const add = (path: string, value: string): void => {
    const text = value.replace(/\s+/g, ' ').trim();
    if (text !== '') facts.set(`${path}=${text}`, { path, value: text });
  };
  const contained = objectsIn(resource, 'contained').map((one) => [`#${textOf(one, 'id')}`, one] as const);
  const known = contained.length === 0 ? index : new Map([...index, ...contained]);
  const scope: Walk = { add, index: known, source: componentsOf(source), depth: 0 };
  for (const [name, value] of Object.entries(resource)) {
    if (name === 'extension') extensions('', value, scope);
    else if (!SKIPPED.has(name)) walk(name, value, scope);
  }
  return { type: textOf(resource, 'resourceType'), facts };
}

function componentsOf(source: string): ReadonlySet<string> {
  return new Set(
    source
      .toLowerCase()
      .split(/[|^~&\r\n]/)
      .map((part) => part.trim()),
  );
}

interface Walk {
  readonly add: (path: string, value: string) => void;
  readonly index: ReadonlyMap<string, JsonObject>;
  /** Every component of the message, in lower case. */
  readonly source: ReadonlySet<string>;
  readonly depth: number;
}

function walk(path: string, value: Json, scope: Walk): void {
  if (value === null) return;
  if (Array.isArray(value)) {
    for (const one of value) walk(path, one, scope);
    return;
  }
  if (!isObject(value)) {
    // One note of several lines, or a note for each line: who wrote the same says the same.
    if (typeof value === 'string' && path.endsWith('note.text'))
      for (const line of value.split('\n')) scope.add(path, line);
    else scope.add(path, plain(path, value));
    return;
  }
  const name = path.slice(path.lastIndexOf('.') + 1);
  if (name.startsWith('_')) return;
  if (typeof value['reference'] === 'string' || isLogicalReference(value)) {
    reference(path, value, scope);
    return;
  }
  if (/[iI]dentifier$/.test(name)) {
    identifier(path, value, scope);
    return;
  }
  for (const [member, inner] of Object.entries(value)) {
    if (member === 'id' || member.startsWith('_')) continue;
    if (member === 'extension') extensions(path, inner, scope);
    else if (member === 'display') displayed(`${path}.display`, inner, scope);
    else walk(`${path}.${member}`, inner, scope);
  }
}

/** Wording of a code that does not stand in the message comes from the converter's own tables. */
function displayed(path: string, value: Json, scope: Walk): void {
  if (typeof value === 'string' && scope.source.has(value.trim().toLowerCase())) scope.add(path, value);
}

function isLogicalReference(value: JsonObject): boolean {
  const members = Object.keys(value).filter((member) => member !== 'type' && member !== 'extension');
  return (
    members.length > 0 &&
    members.every((member) => member === 'display' || (member === 'identifier' && isObject(value[member])))
  );
}

/** Extensions of HL7's; those of a converter's own are its business. */
function extensions(path: string, list: Json, scope: Walk): void {
  if (!Array.isArray(list)) return;
  for (const extension of list.filter(isObject)) {
    const url = textOf(extension, 'url');
    if (!url.startsWith('http://hl7.org/') && !url.startsWith('https://hl7.org/') && url.includes(':')) continue;
    if (url.endsWith('/originalText')) continue;
    const at = `${path === '' ? '' : `${path}.`}extension(${url.slice(url.lastIndexOf('/') + 1)})`;
    for (const [member, inner] of Object.entries(extension)) {
      if (member === 'url') continue;
      if (member === 'extension') extensions(at, inner, scope);
      else walk(at, inner, scope);
    }
  }
}

/** Value, type and authority; an authority is one whether it stands in `system` or as the assigner's name. */
function identifier(path: string, value: JsonObject, scope: Walk): void {
  scope.add(`${path}.value`, textOf(value, 'value'));
  for (const coding of objectsIn(value['type'], 'coding')) scope.add(`${path}.type`, textOf(coding, 'code'));
  for (const authority of authorities(value, scope)) scope.add(`${path}.authority`, authority);
  for (const [member, inner] of Object.entries(value))
    if (member === 'period' || member === 'use') walk(`${path}.${member}`, inner, scope);
}

function authorities(value: JsonObject, scope: Walk): string[] {
  const found = [system(textOf(value, 'system'))];
  const assigner = value['assigner'];
  if (isObject(assigner)) {
    const target = scope.index.get(textOf(assigner, 'reference'));
    if (target === undefined) found.push(textOf(assigner, 'display').toLowerCase());
  }
  return [...new Set(found)].filter((one) => one !== '');
}

/** What a converter calls a system that has no URI is its own affair: nothing is said by it. */
const OWN_SYSTEM =
  /^http:\/\/example\.com\/|^urn:anamnesis:|^urn:id:|v2-0396\.html|^https?:\/\/reportstream\.cdc\.gov|^[a-z0-9]{1,12}$/;

/** A system by one name. */
export function system(uri: string): string {
  if (uri === '') return '';
  const lower = uri
    .toLowerCase()
    .replace('https://', 'http://')
    .replace(/^urn:oid:/, '')
    .replace(/\/$/, '');
  if (OWN_SYSTEM.test(lower)) return '';
  const table = /v2-(\d{4})/.exec(lower);
  if (table !== null && lower.includes('terminology.hl7.org')) return `v2-${table[1]}`;
  return SAME_SYSTEM[lower] ?? lower;
}

const SAME_SYSTEM: Readonly<Record<string, string>> = {
  '2.16.840.1.113883.6.238': 'cdcrec',
  'http://terminology.hl7.org/codesystem/cptcode': 'http://www.ama-assn.org/go/cpt',
  'http://hl7.org/fhir/sid/icd-9': 'http://hl7.org/fhir/sid/icd-9-cm',
  'http://hl7.org/fhir/sid/icd-9-cm/diagnosis': 'http://hl7.org/fhir/sid/icd-9-cm',
  'http://hl7.org/fhir/sid/icd-10': 'http://hl7.org/fhir/sid/icd-10-cm',
  'http://terminology.hl7.org/codesystem/icd-o-3': 'http://terminology.hl7.org/codesystem/icd-o',
  'http://terminology.hl7.org/codesystem/icd9cm': 'http://hl7.org/fhir/sid/icd-9-cm',
  'v2-0005': 'cdcrec',
};

/** What an element refers to where the reference itself does not say it. */
const TARGETS: Readonly<Record<string, string>> = {
  subject: 'Patient',
  patient: 'Patient',
  beneficiary: 'Patient',
  encounter: 'Encounter',
  context: 'Encounter',
  basedOn: 'ServiceRequest',
  account: 'Account',
  specimen: 'Specimen',
  result: 'Observation',
  authorizingPrescription: 'MedicationRequest',
  request: 'ServiceRequest',
};

/**
 * People, places and organisations count by name and number, clinical resources by the kind of thing they are.
 * One who says who it was has said enough: whether the number of a person stands beside the name is counted, the address of an organisation is not.
 */
function reference(path: string, value: JsonObject, scope: Walk): void {
  const target = scope.index.get(textOf(value, 'reference'));
  const name = path.slice(path.lastIndexOf('.') + 1);
  const stated =
    target === undefined
      ? (/^([A-Z][A-Za-z]+)\//.exec(textOf(value, 'reference'))?.[1] ?? TARGETS[name])
      : textOf(target, 'resourceType');
  if (stated !== undefined && CLINICAL_TYPES.has(stated) && stated !== 'RelatedPerson') {
    scope.add(path, `→${stated}`);
    return;
  }
  if (target === undefined && /[lL]ocation(Reference)?$|actor$|destination$/.test(name)) {
    const parts = isObject(value['identifier']) ? textOf(value['identifier'], 'value').split('^') : [];
    for (const part of [...parts, textOf(value, 'display')]) scope.add(`${path}→place`, words(part));
  }
  if (target === undefined) {
    scope.add(`${path}→name`, words(textOf(value, 'display')));
    if (isObject(value['identifier'])) scope.add(`${path}→identifier`, textOf(value['identifier'], 'value'));
    return;
  }
  described(path, target, scope);
}

function described(path: string, target: JsonObject, scope: Walk): void {
  const type = textOf(target, 'resourceType');
  if (type === 'Medication') {
    const element = path.replace(/Reference$/, 'CodeableConcept');
    for (const [member, inner] of Object.entries(target)) if (member === 'code') walk(element, inner, scope);
    return;
  }
  if (type === 'PractitionerRole') {
    if (scope.depth > 2) return;
    for (const member of ['practitioner', 'organization']) {
      const inner = target[member];
      if (isObject(inner)) reference(path, inner, { ...scope, depth: scope.depth + 1 });
    }
    return;
  }
  if (type === 'Location') {
    const place = textOf(target, 'name') || textOf(objectsIn(target, 'identifier')[0], 'value');
    scope.add(`${path}→place`, words(place));
    return;
  }
  for (const one of objectsIn(target, 'identifier')) {
    const number = textOf(one, 'value');
    if (number !== '' && !number.startsWith('urn:')) scope.add(`${path}→identifier`, number);
  }
  const name = target['name'];
  if (typeof name === 'string') scope.add(`${path}→name`, words(name));
  else for (const one of objectsIn(target, 'name')) scope.add(`${path}→name`, humanName(one));
}

function humanName(name: JsonObject): string {
  const list = (member: string): string[] => (Array.isArray(name[member]) ? (name[member] as string[]) : []);
  const parts = [...list('prefix'), ...list('given'), textOf(name, 'family'), ...list('suffix')].filter(
    (part) => part !== '',
  );
  return words(parts.length > 0 ? parts.join(' ') : textOf(name, 'text'));
}

/** Words in no order: `Dr Walt Disney` and `Disney, Walt (Dr)` name the same. */
function words(text: string): string {
  return [
    ...new Set(
      text
        .toLowerCase()
        .split(/[\s,.()]+/)
        .filter((word) => word !== ''),
    ),
  ]
    .sort()
    .join(' ');
}

const DATE_TIME = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}/;

function plain(path: string, value: boolean | number | string): string {
  if (typeof value !== 'string') return String(value);
  if (path.endsWith('.system')) return system(value);
  if (DATE_TIME.test(value)) {
    const at = new Date(/(?:Z|[+-]\d{2}:\d{2})$/.test(value) ? value : `${value}Z`);
    return Number.isNaN(at.getTime()) ? value : at.toISOString();
  }
  return value;
}
