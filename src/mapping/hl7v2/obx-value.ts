/** OBX-5 by OBX-2, with the units and the range of OBX-6 and OBX-7 → Observation.value[x] (v2-to-FHIR maps OBX[Observation], OBX[Observation-Component]). */
import type { Hl7Segment } from '../../inbound/hl7/message.js';
import { parseHl7Time } from '../../time/parse.js';
import { ORIGINAL_TEXT_URL, putDateTime, type JsonObject } from '../fhir-time.js';
import { codeableConcept, codingSystem, number, pl } from './datatypes.js';
import type { Reading } from './reading.js';

/** Base64 of an embedded document beyond this stays in the message alone; the fact points to it. */
export const INLINE_ATTACHMENT_CHARACTERS = 4096;

/** R5's Observation.value as an attachment, in R4 an extension (v2-to-FHIR, OBX-5 with OBX-2 ED and RP). */
const ATTACHMENT_URL = 'http://hl7.org/fhir/5.0/StructureDefinition/extension-Observation.value';
const TEXT_TYPES = new Set(['ST', 'TX', 'FT', 'VR', '']);
const CODED_TYPES = new Set(['CE', 'CWE', 'CNE', 'CF', 'IS', 'ID']);
const TIME_TYPES = new Set(['DT', 'DTM', 'TS']);

/** OBX-5 by OBX-2. Several values of one result are components, lines of text one text. */
export function putValue(resource: JsonObject, obx: Hl7Segment, code: JsonObject, reading: Reading): void {
  const count = obx.repetitions(5);
  if (count === 0 || obx.isNull(5)) return;
  const type = obx.text(2).toUpperCase();
  if (TEXT_TYPES.has(type)) {
    const lines: string[] = [];
    for (let repetition = 1; repetition <= count; repetition += 1) lines.push(wholeText(obx, repetition));
    const text = lines.join('\n');
    if (text !== '') resource['valueString'] = text;
    reading.unused(obx, 6);
    return;
  }
  if (count === 1 || type === 'NA') {
    Object.assign(resource, valueOf(obx, 1, type, reading));
    return;
  }
  const components: JsonObject[] = [];
  const range = referenceRange(obx);
  for (let repetition = 1; repetition <= count; repetition += 1) {
    const value = valueOf(obx, repetition, type, reading);
    if (Object.keys(value).length > 0)
      components.push({ code, ...value, ...(range === undefined ? {} : { referenceRange: [range] }) });
  }
  if (components.length > 0) resource['component'] = components;
}

/** One value, as the element `value[x]` it belongs in. What its type does not allow is kept as text. */
function valueOf(obx: Hl7Segment, repetition: number, type: string, reading: Reading): JsonObject {
  const text = obx.text(5, repetition, 1);
  if (type === 'NM' || type === 'SN') {
    const quantity = type === 'NM' ? plainQuantity(text, obx) : structuredNumeric(obx, repetition);
    if (quantity !== undefined) return quantity;
    const whole = type === 'NM' ? wholeText(obx, repetition) : structuredText(obx, repetition);
    return whole === '' ? {} : { valueString: whole };
  }
  if (CODED_TYPES.has(type)) {
    const concept = codeableConcept(obx, 5, repetition);
    return concept === undefined ? {} : { valueCodeableConcept: concept };
  }
  if (TIME_TYPES.has(type)) {
    const parsed = parseHl7Time(text, reading.context);
    if (parsed === undefined) return text === '' ? {} : { valueString: wholeText(obx, repetition) };
    const value: JsonObject = {};
    putDateTime(value, 'valueDateTime', parsed);
    return value;
  }
  if (type === 'TM') return timeOfDay(text);
  if (type === 'DR') return period(obx, repetition, reading);
  if (type === 'NR') {
    const range = rangeOf(obx, number(obx.text(5, repetition, 1)), number(obx.text(5, repetition, 2)));
    return range === undefined ? {} : { valueRange: range };
  }
  if (type === 'CQ') {
    const value = number(text);
    if (value === undefined) return text === '' ? {} : { valueString: wholeText(obx, repetition) };
    return { valueQuantity: { value, ...(obx.text(5, repetition, 2, 1) && { unit: obx.text(5, repetition, 2, 1) }) } };
  }
  if (type === 'ED' || type === 'RP') {
    const value = attachmentOf(obx, repetition, type, reading);
    return value === undefined ? {} : { extension: [{ url: ATTACHMENT_URL, valueAttachment: value }] };
  }
  if (type === 'XCN' || type === 'XPN' || type === 'XON') {
    const display = type === 'XON' ? obx.text(5, repetition, 1) : nameText(obx, repetition, type);
    return display === '' ? {} : { valueString: display };
  }
  if (type === 'PL') {
    const place = pl(obx, 5)?.['location'] as JsonObject | undefined;
    return place === undefined ? {} : { valueString: place['display']! };
  }
  const whole = wholeText(obx, repetition);
  return whole === '' ? {} : { valueString: whole };
}

function nameText(obx: Hl7Segment, repetition: number, type: 'XCN' | 'XPN'): string {
  const shift = type === 'XCN' ? 1 : 0;
  return [obx.text(5, repetition, 2 + shift), obx.text(5, repetition, 1 + shift)]
    .filter((part) => part !== '')
    .join(' ');
}

/** All components of a value as one text, as a reader of the message would see it. */
function wholeText(obx: Hl7Segment, repetition: number): string {
  const components = obx.components(5, repetition);
  if (components <= 1) return obx.text(5, repetition, 1);
  const parts: string[] = [];
  for (let component = 1; component <= components; component += 1) parts.push(obx.text(5, repetition, component));
  return parts.join('^');
}

const COMPARED = /^(<=?|>=?|≤|≥)\s*(.+)$/;
const COMPARATOR: Readonly<Record<string, string>> = {
  '<': '<',
  '<=': '<=',
  '>': '>',
  '>=': '>=',
  '≤': '<=',
  '≥': '>=',
};

/** NM; numbers with a comparator, which NM does not allow and laboratories send, are read too. */
function plainQuantity(text: string, obx: Hl7Segment): JsonObject | undefined {
  const compared = COMPARED.exec(text.trim());
  const digits = compared === null ? text : compared[2]!;
  const value = number(digits);
  if (value === undefined) return undefined;
  return {
    valueQuantity: quantity(value, digits.trim(), obx, compared === null ? undefined : COMPARATOR[compared[1]!]),
  };
}

/** A Quantity in the units of OBX-6. Zeros that a JSON number cannot hold (`7.0`) stay beside it. */
function quantity(value: number, sent: string, obx: Hl7Segment, comparator?: string): JsonObject {
  const result: JsonObject = { value };
  if (String(value) !== sent.replace(/^\+/, ''))
    result['_value'] = { extension: [{ url: ORIGINAL_TEXT_URL, valueString: sent }] };
  if (comparator !== undefined) result['comparator'] = comparator;
  const code = obx.text(6, 1, 1);
  const words = obx.text(6, 1, 2);
  const unit = words === '' ? code : words;
  if (unit === '') return result;
  result['unit'] = unit;
  const system = codingSystem(obx.text(6, 1, 3));
  if (code !== '' && system !== undefined) {
    result['system'] = system;
    result['code'] = code;
  }
  return result;
}

/** SN: comparator, number, separator, number (HL7 v2.9 §2.A.71): quantity, range or ratio. */
function structuredNumeric(obx: Hl7Segment, repetition: number): JsonObject | undefined {
  const comparator = obx.text(5, repetition, 1);
  const [firstText, separator, secondText] = [2, 3, 4].map((component) =>
    obx.text(5, repetition, component).trim(),
  ) as [string, string, string];
  const first = number(firstText);
  const second = number(secondText);
  if (comparator === '<>') return undefined;
  if (first === undefined) return firstText === '' ? plainQuantity(comparator, obx) : undefined;
  if (separator === '-' && second !== undefined) return { valueRange: rangeOf(obx, first, second)! };
  const compared = comparator === '' || comparator === '=' ? undefined : COMPARATOR[comparator];
  if ((separator === ':' || separator === '/') && second !== undefined)
    return {
      valueRatio: {
        numerator: quantity(first, firstText, obx, compared),
        denominator: quantity(second, secondText, obx),
      },
    };
  if (comparator !== '' && comparator !== '=' && compared === undefined) return undefined;
  if (separator === '' && secondText === '') return { valueQuantity: quantity(first, firstText, obx, compared) };
  return undefined;
}

function structuredText(obx: Hl7Segment, repetition: number): string {
  return [1, 2, 3, 4]
    .map((component) => obx.text(5, repetition, component))
    .filter((part) => part !== '')
    .join(' ');
}

function rangeOf(obx: Hl7Segment, low: number | undefined, high: number | undefined): JsonObject | undefined {
  if (low === undefined && high === undefined) return undefined;
  return {
    ...(low !== undefined && { low: quantity(low, String(low), obx) }),
    ...(high !== undefined && { high: quantity(high, String(high), obx) }),
  };
}

/** TM → `time`, which wants seconds and knows no offset; what it cannot say is kept as text. */
function timeOfDay(text: string): JsonObject {
  const match = /^(\d{2})(\d{2})(?:(\d{2})(\.\d+)?)?$/.exec(text);
  if (match === null || Number(match[1]) > 23 || Number(match[2]) > 59 || Number(match[3] ?? 0) > 59)
    return text === '' ? {} : { valueString: text };
  const value: JsonObject = { valueTime: `${match[1]}:${match[2]}:${match[3] ?? '00'}${match[4] ?? ''}` };
  if (match[3] === undefined)
    value['_valueTime'] = { extension: [{ url: ORIGINAL_TEXT_URL, valueString: `${match[1]}:${match[2]}` }] };
  return value;
}

function period(obx: Hl7Segment, repetition: number, reading: Reading): JsonObject {
  const start = parseHl7Time(obx.text(5, repetition, 1), reading.context);
  const end = parseHl7Time(obx.text(5, repetition, 2), reading.context);
  if (start === undefined && end === undefined) {
    const text = wholeText(obx, repetition);
    return text === '' ? {} : { valueString: text };
  }
  const result: JsonObject = {};
  putDateTime(result, 'start', start);
  putDateTime(result, 'end', end);
  return { valuePeriod: result };
}

/**
 * ED and RP. A document's bytes stand in the message, which is kept byte for byte: the attachment says where
 * (`urn:uuid:<message>#OBX[index]-5`), what and how long; short ones are carried along.
 */
export function attachmentOf(
  obx: Hl7Segment,
  repetition: number,
  type: 'ED' | 'RP',
  reading: Reading,
): JsonObject | undefined {
  const value: JsonObject = {};
  if (type === 'RP') {
    const pointer = obx.text(5, repetition, 1);
    if (pointer === '') return undefined;
    value['url'] = pointer;
    const contentType = mediaType(obx.text(5, repetition, 3), obx.text(5, repetition, 4));
    if (contentType !== undefined) value['contentType'] = contentType;
  } else {
    const data = obx.text(5, repetition, 5);
    const contentType = mediaType(obx.text(5, repetition, 2), obx.text(5, repetition, 3));
    if (contentType !== undefined) value['contentType'] = contentType;
    if (data !== '') {
      const base64 = obx.text(5, repetition, 4).toUpperCase() === 'BASE64';
      const size = base64 ? Math.floor((data.replace(/[=\s]+$/, '').length * 3) / 4) : Buffer.byteLength(data);
      if (data.length <= INLINE_ATTACHMENT_CHARACTERS)
        value['data'] = base64 ? data.replace(/\s+/g, '') : Buffer.from(data).toString('base64');
      value['url'] = `urn:uuid:${reading.context.messageId}#OBX[${obx.index}]-5`;
      value['size'] = size;
    }
    if (Object.keys(value).length === 0) return undefined;
  }
  return value;
}

const TOP_LEVEL_TYPES: Readonly<Record<string, string>> = {
  AP: 'application',
  APPLICATION: 'application',
  AU: 'audio',
  AUDIO: 'audio',
  IM: 'image',
  IMAGE: 'image',
  TEXT: 'text',
  TX: 'text',
  FT: 'text',
  VIDEO: 'video',
};

/** ED.2 and ED.3 (tables 0191 and 0291) as a media type. */
function mediaType(type: string, subtype: string): string | undefined {
  if (type.includes('/')) return type;
  if (subtype.includes('/')) return subtype;
  const sub = subtype.toLowerCase();
  if (sub === 'pdf') return 'application/pdf';
  const top = TOP_LEVEL_TYPES[type.toUpperCase()];
  if (sub !== '') return `${top ?? 'application'}/${sub}`;
  return top === 'text' ? 'text/plain' : undefined;
}

const RANGE = /^\s*([+-]?\d+(?:\.\d+)?)\s*-\s*([+-]?\d+(?:\.\d+)?)\s*$/;

/** OBX-7: the text as sent, and low and high where it is plainly `low-high`. */
export function referenceRange(obx: Hl7Segment): JsonObject | undefined {
  const text = obx.text(7);
  if (text === '') return undefined;
  const match = RANGE.exec(text);
  if (match === null) return { text };
  const unit = obx.text(6, 1, 2) || obx.text(6, 1, 1);
  const end = (value: string): JsonObject => ({ value: Number(value), ...(unit && { unit }) });
  return { low: end(match[1]!), high: end(match[2]!), text };
}
