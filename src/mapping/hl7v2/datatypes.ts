/** HL7 v2 data types as FHIR R4 JSON. Each function reads one repetition of a field and gives undefined where it holds nothing. */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import { parseHl7Time, type ParsedTime } from '../../time/parse.js';
import { fhirDateTime, type JsonObject } from '../fhir-time.js';
import {
  ADDRESS_TYPE,
  ADDRESS_USE,
  CODING_SYSTEM,
  NAME_USE,
  TELECOM_SYSTEM,
  TELECOM_USE,
  type CodeTable,
  type CodingTable,
} from './tables.js';

const V2_TABLE = /^HL7(\d{4})$/;
const URI = /^[a-z][a-z0-9+.-]*:/i;

/** Concept map 0396: the URI of a coding system by its HL7 name. `undefined` where none was stated. */
export function codingSystem(name: string): string | undefined {
  if (name === '') return undefined;
  const known = CODING_SYSTEM[name.toUpperCase()];
  if (known !== undefined) return known;
  const table = V2_TABLE.exec(name.toUpperCase());
  if (table !== null) return `http://terminology.hl7.org/CodeSystem/v2-${table[1]}`;
  if (URI.test(name)) return name;
  return `urn:anamnesis:coding-system:${name}`;
}

/** A `Coding`, or undefined where neither code nor display was said. */
export function coding(
  code: string,
  display: string,
  system: string | undefined,
  version = '',
): JsonObject | undefined {
  if (code === '' && display === '') return undefined;
  const result: JsonObject = {};
  if (system !== undefined) result['system'] = system;
  if (version !== '') result['version'] = version;
  if (code !== '') result['code'] = code;
  if (display !== '') result['display'] = display;
  return result;
}

/** Data type map CWE[CodeableConcept]; CE, CNE, CF, IS, ID and ST are its first components. `system` is that of an unnamed coding system. */
export function codeableConcept(
  segment: Hl7Segment,
  field: number,
  repetition = 1,
  system?: string,
): JsonObject | undefined {
  if (segment.rawField(field) === '') return undefined;
  const count = segment.components(field, repetition);
  if (count === 0) return undefined;
  const text = (component: number): string => (component > count ? '' : segment.text(field, repetition, component));
  const codings: JsonObject[] = [];
  const first = coding(text(1), text(2), systemOf(text(3), text(14)) ?? system, text(7));
  if (first !== undefined) codings.push(first);
  if (count > 3) {
    const second = coding(text(4), text(5), systemOf(text(6), text(17)), text(8));
    if (second !== undefined) codings.push(second);
    const third = count > 9 ? coding(text(10), text(11), systemOf(text(12), text(20)), text(13)) : undefined;
    if (third !== undefined) codings.push(third);
  }
  const original = text(9);
  if (codings.length === 0 && original === '') return undefined;
  const concept: JsonObject = {};
  // Words without any code are what was said; CWE.2 is a display too.
  if (codings.length === 1 && first?.['code'] === undefined && first !== undefined) {
    concept['coding'] = codings;
    concept['text'] = original === '' ? first['display']! : original;
    return concept;
  }
  if (codings.length > 0) concept['coding'] = codings;
  if (original !== '') concept['text'] = original;
  return concept;
}

/** The name of the system wins; a bare OID (CWE.14, .17, .20) stands in for a name that is local. */
function systemOf(name: string, oid: string): string | undefined {
  if (oid !== '' && (name === '' || CODING_SYSTEM[name.toUpperCase()] === undefined)) return `urn:oid:${oid}`;
  return codingSystem(name);
}

/**
 * A coded field whose table has a concept map: FHIR's codings first, then those that were sent. The map holds for each of the codes of the field
 * (CWE.1, CWE.4, CWE.10) that is of its table.
 */
export function mappedConcept(
  segment: Hl7Segment,
  field: number,
  table: CodingTable,
  sentSystem: string,
  repetition = 1,
): JsonObject | undefined {
  const sent = codeableConcept(segment, field, repetition, sentSystem);
  if (sent === undefined) return undefined;
  const count = segment.components(field, repetition);
  const mapped: JsonObject[] = [];
  const replaced = new Set<string>();
  for (const component of [1, 4, 10]) {
    if (component > count) break;
    const code = segment.text(field, repetition, component).toUpperCase();
    const found = Object.hasOwn(table, code) ? table[code] : undefined;
    if (found === undefined || !ownTable(segment.text(field, repetition, component + 2), sentSystem)) continue;
    const [mappedCode, display, system = sentSystem] = found;
    if (!mapped.some((one) => one['code'] === mappedCode && one['system'] === system))
      mapped.push({ system, code: mappedCode, display });
    if (system === sentSystem) replaced.add(code);
  }
  if (mapped.length === 0) return sent;
  const others = ((sent['coding'] as JsonObject[] | undefined) ?? []).filter(
    ({ system, code }) => system !== sentSystem || typeof code !== 'string' || !replaced.has(code.toUpperCase()),
  );
  return { ...sent, coding: [...mapped, ...others] };
}

/** A code of a named foreign system is not looked up in a table of HL7's. */
function ownTable(name: string, system: string): boolean {
  return name === '' || codingSystem(name) === system;
}

/** A code by a table, in any case of letters; undefined where the table does not know it. */
export function mappedCode(table: CodeTable, code: string): string | undefined {
  return Object.hasOwn(table, code.toUpperCase()) ? table[code.toUpperCase()] : undefined;
}

/** Data type map HD[uri]: the universal id where it is one, undefined where only a namespace was sent. */
export function authoritySystem(universalId: string, universalIdType: string): string | undefined {
  if (universalId === '') return undefined;
  const type = universalIdType.toUpperCase();
  if (type === 'ISO') return `urn:oid:${universalId}`;
  if (type === 'UUID' || type === 'GUID') return `urn:uuid:${universalId.toLowerCase()}`;
  if (URI.test(universalId)) return universalId;
  if (/^[0-2](\.\d+)+$/.test(universalId)) return `urn:oid:${universalId}`;
  return undefined;
}

export const IDENTIFIER_TYPE_SYSTEM = 'http://terminology.hl7.org/CodeSystem/v2-0203';

/** An HD. */
interface Authority {
  readonly namespace: string;
  readonly universalId?: string;
  readonly universalIdType?: string;
}

/** An `Identifier`; its authority is `system` (a URI) and `assigner.display` (the namespace as sent). */
export function identifier(value: string, authority: Authority, type?: string): JsonObject | undefined {
  if (value === '') return undefined;
  const result: JsonObject = {};
  if (type !== undefined && type !== '') result['type'] = { coding: [{ system: IDENTIFIER_TYPE_SYSTEM, code: type }] };
  const system = authoritySystem(authority.universalId ?? '', authority.universalIdType ?? '');
  if (system !== undefined) result['system'] = system;
  result['value'] = value;
  const assigner = assignerOf(authority, system);
  if (assigner !== undefined) result['assigner'] = assigner;
  return result;
}

/** Data type map HD[Organization]: who gave the number, by the namespace, and by a universal id that is no URI (a CLIA number). */
function assignerOf(authority: Authority, system: string | undefined): JsonObject | undefined {
  const { namespace, universalId = '', universalIdType = '' } = authority;
  if (system !== undefined || universalId === '') return namespace === '' ? undefined : { display: namespace };
  if (namespace === '') return { display: universalId };
  const type =
    universalIdType === '' ? undefined : { coding: [{ system: UNIVERSAL_ID_TYPE_SYSTEM, code: universalIdType }] };
  return { identifier: { ...(type && { type }), value: universalId }, display: namespace };
}

const UNIVERSAL_ID_TYPE_SYSTEM = 'http://terminology.hl7.org/CodeSystem/v2-0301';

/** Data type map CX[Identifier]. `defaults` say what an identifier without authority or type is. */
export function cx(
  segment: Hl7Segment,
  field: number,
  repetition = 1,
  defaults: { readonly authority?: string; readonly type?: string } = {},
): JsonObject | undefined {
  if (segment.rawField(field) === '') return undefined;
  const value = segment.text(field, repetition, 1);
  if (value === '') return undefined;
  let namespace = segment.text(field, repetition, 4, 1);
  const universalId = segment.text(field, repetition, 4, 2);
  if (namespace === '' && universalId === '') namespace = defaults.authority ?? '';
  const type = segment.text(field, repetition, 5);
  const result = identifier(
    value,
    { namespace, universalId, universalIdType: segment.text(field, repetition, 4, 3) },
    type === '' ? defaults.type : type,
  )!;
  const period = periodOf(segment.text(field, repetition, 7), segment.text(field, repetition, 8));
  if (period !== undefined) result['period'] = period;
  return withCheckDigit(result, segment.text(field, repetition, 2), segment.text(field, repetition, 3));
}

/** The check digit of a number and how it is made (CX.2 and CX.3, XCN.11 and XCN.12, XON.4 and XON.5). */
function withCheckDigit(id: JsonObject, digit: string, scheme: string): JsonObject {
  const extension = extensionsFor([
    ['identifier-checkDigit', digit],
    ['namingsystem-checkDigit', scheme],
  ]);
  return extension === undefined ? id : { extension, ...id };
}

const FHIR_EXTENSION = 'http://hl7.org/fhir/StructureDefinition/';

/** What a component says that FHIR has an extension for, by its name; undefined where none says anything. */
function extensionsFor(
  parts: readonly (readonly [name: string, value: string])[],
  as: 'valueCode' | 'valueString' = 'valueString',
): JsonObject[] | undefined {
  let found: JsonObject[] | undefined;
  for (const [name, value] of parts) if (value !== '') (found ??= []).push({ url: FHIR_EXTENSION + name, [as]: value });
  return found;
}

/** An authority for keys: the namespace, else the universal id, else the source's default. */
export function authorityKey(
  segment: Hl7Segment,
  field: number,
  repetition: number,
  component: number,
  otherwise: string,
): string {
  const namespace = segment.text(field, repetition, component, 1);
  if (namespace !== '') return namespace;
  const universal = segment.text(field, repetition, component, 2);
  return universal === '' ? otherwise : universal;
}

/** Data type map EI: entity identifier, namespace, universal id, type. */
export function ei(segment: Hl7Segment, field: number, repetition = 1, type?: string): JsonObject | undefined {
  if (segment.rawField(field) === '') return undefined;
  return identifier(
    segment.text(field, repetition, 1),
    {
      namespace: segment.text(field, repetition, 2),
      universalId: segment.text(field, repetition, 3),
      universalIdType: segment.text(field, repetition, 4),
    },
    type,
  );
}

/** Data type map XPN[HumanName]; older messages have one plain component, which is the family name. */
export function xpn(segment: Hl7Segment, field: number, repetition = 1): JsonObject | undefined {
  if (segment.rawField(field) === '') return undefined;
  const name: JsonObject = {};
  const family = segment.text(field, repetition, 1, 1);
  const given = present(segment.text(field, repetition, 2), segment.text(field, repetition, 3));
  const prefix = present(segment.text(field, repetition, 5));
  const suffix = present(
    segment.text(field, repetition, 4),
    segment.text(field, repetition, 6),
    segment.text(field, repetition, 14),
  );
  if (family === '' && given.length === 0 && prefix.length === 0 && suffix.length === 0) return undefined;
  const use = mappedCode(NAME_USE, segment.text(field, repetition, 7));
  if (use !== undefined) name['use'] = use;
  if (family !== '') name['family'] = family;
  if (given.length > 0) name['given'] = given;
  if (prefix.length > 0) name['prefix'] = prefix;
  if (suffix.length > 0) name['suffix'] = suffix;
  const parts = familyParts(segment, field, repetition);
  if (parts !== undefined) name['_family'] = { extension: parts };
  const period =
    periodOf(segment.text(field, repetition, 12), segment.text(field, repetition, 13)) ??
    rangeOf(segment, field, repetition, 10);
  if (period !== undefined) name['period'] = period;
  const order = segment.components(field, repetition) < 11 ? '' : segment.text(field, repetition, 11);
  const extension = extensionsFor([['humanname-assembly-order', order]], 'valueCode');
  if (extension !== undefined) name['extension'] = extension;
  return name;
}

/** Data type map FN[HumanName]: what a family name is made of. */
function familyParts(segment: Hl7Segment, field: number, repetition: number): JsonObject[] | undefined {
  if (segment.subcomponents(field, repetition, 1) < 2) return undefined;
  const part = (subcomponent: number): string => segment.text(field, repetition, 1, subcomponent);
  return extensionsFor([
    ['humanname-own-prefix', part(2)],
    ['humanname-own-name', part(3)],
    ['humanname-partner-prefix', part(4)],
    ['humanname-partner-name', part(5)],
  ]);
}

/** Every name of a field, with the one somebody is called by (XPN.15) as a name of its own. */
export function xpnNames(segment: Hl7Segment, field: number): JsonObject[] | undefined {
  const found = list(segment, field, xpn);
  if (found === undefined) return undefined;
  for (let repetition = 1; repetition <= segment.repetitions(field); repetition += 1) {
    const calledBy = segment.components(field, repetition) < 15 ? '' : segment.text(field, repetition, 15);
    if (calledBy !== '') found.push({ use: 'nickname', given: [calledBy] });
  }
  return found;
}

/** Data type map XAD[Address]; AD is its first components. */
export function xad(segment: Hl7Segment, field: number, repetition = 1): JsonObject | undefined {
  if (segment.rawField(field) === '') return undefined;
  const count = segment.components(field, repetition);
  const text = (component: number, subcomponent = 1): string =>
    component > count ? '' : segment.text(field, repetition, component, subcomponent);
  const address: JsonObject = {};
  const use = mappedCode(ADDRESS_USE, text(7));
  if (use !== undefined) address['use'] = use;
  const type = mappedCode(ADDRESS_TYPE, text(7));
  if (type !== undefined) address['type'] = type;
  // SAD: without SAD.1, the whole as one line, dwelling number and street name are that line.
  const street = text(1) === '' ? [present(text(1, 3), text(1, 2)).join(' ')] : [text(1), text(1, 2), text(1, 3)];
  const line = present(...street, text(2), text(19));
  if (line.length > 0) address['line'] = line;
  if (text(3) !== '') address['city'] = text(3);
  // CWE[string]: the words, where there are any beside the code.
  const district = text(9, 2) || text(9);
  if (district !== '') address['district'] = district;
  if (text(4) !== '') address['state'] = text(4);
  if (text(5) !== '') address['postalCode'] = text(5);
  if (text(6) !== '') address['country'] = text(6);
  if (line.length === 0 && ['city', 'district', 'state', 'postalCode', 'country'].every((name) => !(name in address)))
    return undefined;
  const period = count < 12 ? undefined : (periodOf(text(13), text(14)) ?? rangeOf(segment, field, repetition, 12));
  if (period !== undefined) address['period'] = period;
  const extension = [
    ...(extensionsFor([['iso21090-ADXP-censusTract', text(10, 2) || text(10)]]) ?? []),
    ...(text(7).toUpperCase() === 'HV' ? extensionsFor([['iso21090-AD-use', 'HV']], 'valueCode')! : []),
  ];
  if (extension.length > 0) address['extension'] = extension;
  return address;
}

/**
 * Data type map XTN[ContactPoint]. `use` is what the field says where XTN.2 is empty (PID-13 home, PID-14 work); that it is a mobile telephone
 * (XTN.3 CP, concept map TelecommunicationEquipmentType) has no other place and stands there where neither says anything.
 */
export function xtn(segment: Hl7Segment, field: number, repetition = 1, use?: string): JsonObject | undefined {
  if (segment.rawField(field) === '') return undefined;
  const count = segment.components(field, repetition);
  const text = (component: number): string => (component > count ? '' : segment.text(field, repetition, component));
  const equipment = text(3).toUpperCase();
  const electronic = equipment === 'INTERNET' || equipment === 'X.400' || text(2).toUpperCase() === 'NET';
  let value = electronic ? text(4) : text(12);
  if (value === '' && !electronic && text(7) !== '') {
    const country = text(5) === '' ? '' : `+${text(5).replace(/^\+/, '')} `;
    value = `${country}${text(6)} ${text(7)}`.trim() + (text(8) === '' ? '' : ` X${text(8)}`);
  }
  if (value === '') value = text(1);
  const mail = value === '' && text(4) !== '';
  if (mail) value = text(4);
  if (value === '') return undefined;
  const contact: JsonObject = {};
  const parts = electronic || mail || count < 5 ? undefined : telephoneParts(text);
  if (parts !== undefined) contact['extension'] = parts;
  const system = mail ? 'email' : (mappedCode(TELECOM_SYSTEM, equipment) ?? (electronic ? 'email' : undefined));
  if (system !== undefined) contact['system'] = system;
  else if (text(3) === '') contact['system'] = value.includes('@') ? 'email' : 'phone';
  contact['value'] = value;
  const sentUse = mappedCode(TELECOM_USE, text(2)) ?? (text(2) === '' ? use : undefined);
  if (sentUse !== undefined) contact['use'] = sentUse;
  else if (equipment === 'CP') contact['use'] = 'mobile';
  if (count > 12) {
    const rank = number(text(18));
    if (rank !== undefined && Number.isInteger(rank) && rank > 0) contact['rank'] = rank;
    const period = periodOf(text(13), text(14));
    if (period !== undefined) contact['period'] = period;
  }
  return contact;
}

/** Country, area, local number and extension of a telephone, each by itself. */
function telephoneParts(text: (component: number) => string): JsonObject[] | undefined {
  return extensionsFor([
    ['contactpoint-country', text(5)],
    ['contactpoint-area', text(6)],
    ['contactpoint-local', text(7)],
    ['contactpoint-extension', text(8)],
  ]);
}

/** Data type map XCN[Practitioner] as a reference by name and identifier: people of the staff are no resources of their own here. */
export function xcn(segment: Hl7Segment, field: number, repetition = 1): JsonObject | undefined {
  if (segment.rawField(field) === '') return undefined;
  const count = segment.components(field, repetition);
  const text = (component: number): string => (component > count ? '' : segment.text(field, repetition, component));
  const family = segment.text(field, repetition, 2, 1);
  const display = present(text(6), text(3), text(4), family, text(5), text(7), text(21)).join(' ');
  const id = identifier(
    text(1),
    {
      namespace: segment.text(field, repetition, 9, 1),
      universalId: segment.text(field, repetition, 9, 2),
      universalIdType: segment.text(field, repetition, 9, 3),
    },
    text(13),
  );
  return reference(display, id && withCheckDigit(id, text(11), text(12)));
}

/** Data type map XON[Organization] as a reference by name and identifier. */
export function xon(segment: Hl7Segment, field: number, repetition = 1): JsonObject | undefined {
  if (segment.rawField(field) === '') return undefined;
  const count = segment.components(field, repetition);
  const text = (component: number): string => (component > count ? '' : segment.text(field, repetition, component));
  const id = identifier(
    text(10) || text(3),
    {
      namespace: segment.text(field, repetition, 6, 1),
      universalId: segment.text(field, repetition, 6, 2),
      universalIdType: segment.text(field, repetition, 6, 3),
    },
    text(7),
  );
  return reference(text(1), id && withCheckDigit(id, text(4), text(5)));
}

/** Data type map CWE[Organization]: CWE.1 is its number, the words its name. */
export function organizationOf(segment: Hl7Segment, field: number): JsonObject | undefined {
  if (segment.rawField(field) === '') return undefined;
  const id = identifier(segment.text(field, 1, 1), { namespace: '' });
  const system = codingSystem(segment.text(field, 1, 3));
  return reference(
    segment.text(field, 1, 9) || segment.text(field, 1, 2),
    id && (system === undefined ? id : { system, ...id }),
  );
}

/** A reference by display and logical identifier; undefined where there is neither. */
export function reference(display: string, id: JsonObject | undefined): JsonObject | undefined {
  if (display === '' && id === undefined) return undefined;
  const result: JsonObject = {};
  if (id !== undefined) result['identifier'] = id;
  if (display !== '') result['display'] = display;
  return result;
}

/**
 * Data type map PL[Location]: one location by display (`4E 12 1`) and its parts as sent
 * (point of care, room, bed, facility), `^` between them.
 */
export function pl(segment: Hl7Segment, field: number): JsonObject | undefined {
  if (segment.rawField(field) === '') return undefined;
  const part = (component: number): string => segment.text(field, 1, component, 1).replaceAll('^', ' ').trim();
  const parts = [part(1), part(2), part(3), part(4)];
  while (parts.length > 0 && parts.at(-1) === '') parts.pop();
  const display = [part(1), part(2), part(3)].filter((text) => text !== '').join(' ');
  const shown = display !== '' ? display : part(9) !== '' ? part(9) : present(part(7), part(8), part(4)).join(' ');
  if (shown === '') return undefined;
  const location: JsonObject = {};
  if (parts.length > 0) location['identifier'] = { value: parts.join('^') };
  location['display'] = shown;
  return { location };
}

/** Data type map DR[Period] over two texts; what is not a time is left out. */
export function periodOf(start: string, end: string): JsonObject | undefined {
  const period: JsonObject = {};
  // Validity of a name, address or number: days, and rarely an hour; no zone is at hand, so only what needs none is kept.
  const from = start === '' ? undefined : parseHl7Time(start, UTC);
  const to = end === '' ? undefined : parseHl7Time(end, UTC);
  if (from !== undefined) period['start'] = dayOrOffset(from);
  if (to !== undefined) period['end'] = dayOrOffset(to);
  return from === undefined && to === undefined ? undefined : period;
}

/** A validity range (DR) in the subcomponents of a component. */
function rangeOf(segment: Hl7Segment, field: number, repetition: number, component: number): JsonObject | undefined {
  if (segment.components(field, repetition) < component) return undefined;
  return periodOf(segment.text(field, repetition, component, 1), segment.text(field, repetition, component, 2));
}

const UTC = { timeZone: 'UTC' } as const;

function dayOrOffset(parsed: ParsedTime): string {
  return parsed.hasOffset ? fhirDateTime(parsed) : parsed.text.slice(0, 10);
}

/** HL7 v2.9 §2.A.44 NM: optional sign, digits, optional fraction. */
const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)$/;

/** The number of an NM; undefined where the text is none. */
export function number(text: string): number | undefined {
  const trimmed = text.trim();
  if (!NUMBER.test(trimmed)) return undefined;
  const value = Number(trimmed);
  return Number.isFinite(value) ? value : undefined;
}

/** Concept map YesNoIndicator (HL70136). */
export function yesNo(text: string): boolean | undefined {
  const code = text.trim().toUpperCase();
  if (code === 'Y' || code === 'YES' || code === 'T' || code === '1') return true;
  if (code === 'N' || code === 'NO' || code === 'F' || code === '0') return false;
  return undefined;
}

/** Every repetition that holds something; undefined where none does. */
export function list(
  segment: Hl7Segment,
  field: number,
  read: (segment: Hl7Segment, field: number, repetition: number) => JsonObject | undefined,
): JsonObject[] | undefined {
  if (segment.rawField(field) === '') return undefined;
  const count = segment.repetitions(field);
  const values: JsonObject[] = [];
  for (let repetition = 1; repetition <= count; repetition += 1) {
    const value = read(segment, field, repetition);
    if (value !== undefined) values.push(value);
  }
  return values.length === 0 ? undefined : values;
}

function present(...texts: readonly string[]): string[] {
  return texts.filter((text) => text !== '');
}
