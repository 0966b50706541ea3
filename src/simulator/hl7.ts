/** Writes HL7 v2.5.1 as the simulated senders do: UTF-8, stated in MSH-18, every time with its offset. */
import type { Instant } from '../time/valid-time.js';
import type { Address, Person } from './people.js';
import { NOTE_WORDS, type Measure } from './vocabulary.js';
import type { Random } from './random.js';

/** Demographics as they stand at the moment. */
export interface Demographics {
  readonly person: Person;
  readonly mrn: string;
  readonly family: string;
  readonly given: readonly string[];
  readonly address: Address;
  readonly phone: string;
}

export interface VisitState {
  readonly number: string;
  readonly patientClass: 'I' | 'O' | 'E';
  readonly location: string;
  readonly admitted: Instant;
  readonly discharged?: Instant;
}

export interface WrittenResult {
  readonly measure: Measure;
  readonly value: number;
  readonly status: string;
  readonly at: Instant;
}

const ESCAPES: Readonly<Record<string, string>> = {
  '|': '\\F\\',
  '^': '\\S\\',
  '&': '\\T\\',
  '~': '\\R\\',
  '\\': '\\E\\',
};

/** Escapes the separators (HL7 v2.9 §2.7). */
export function escaped(text: string): string {
  return text.replace(/[|^&~\\]/g, (separator) => ESCAPES[separator] as string);
}

/** `2026-03-01T10:15:30.000000Z` → `20260301101530+0000` */
export function hl7Time(instant: Instant): string {
  const text = instant.slice(0, 19).replace(/[-:T]/g, '');
  const fraction = instant.slice(20, 24);
  return fraction === '0000' ? `${text}+0000` : `${text}.${fraction}+0000`;
}

/** Joins fields given by number: `segment('PV1', { 2: 'I' })`. Empty fields at the end are left out. */
export function segment(name: string, fields: Readonly<Record<number, string>>): string {
  let text = name;
  let last = 0;
  // Members with whole numbers as names come in ascending order (ECMA-262 §10.1.11).
  for (const field in fields) {
    const value = fields[field] as string;
    if (value === '') continue;
    text += '|'.repeat(Number(field) - last) + value;
    last = Number(field);
  }
  return text;
}

export function hl7Message(
  head: { application: string; facility: string; at: Instant; type: string; structure: string; controlId: string },
  segments: readonly string[],
): string {
  const msh = `MSH|^~\\&|${head.application}|${head.facility}|ANAMNESIS|HUB|${hl7Time(head.at)}||${head.type}^${head.structure}|${head.controlId}|P|2.5.1|||AL|NE||UNICODE UTF-8`;
  return `${[msh, ...segments].join('\r')}\r`;
}

export function evn(trigger: string, sent: Instant, occurred: Instant): string {
  return segment('EVN', { 1: trigger, 2: hl7Time(sent), 6: hl7Time(occurred) });
}

export function pid(who: Demographics): string {
  const { person, address } = who;
  const [given = '', middle = ''] = who.given;
  return segment('PID', {
    1: '1',
    3: `${who.mrn}^^^${person.hospital.authority}^MR${person.ssn === undefined ? '' : `~${person.ssn}^^^SSA^SS`}`,
    5: `${escaped(who.family)}^${escaped(given)}^${escaped(middle)}^^^^L`,
    7: person.birthDate.replaceAll('-', ''),
    8: person.sex,
    10: `${person.race[0]}^${person.race[1]}^CDCREC`,
    11: `${escaped(address.line)}^^${address.city}^${address.state}^${address.zip}^USA^H`,
    13: `^PRN^PH^^1^${who.phone.slice(0, 3)}^${who.phone.slice(3)}`,
  });
}

export function nk1(family: string, given: string): string {
  return segment('NK1', { 1: '1', 2: `${escaped(family)}^${escaped(given)}`, 3: 'SPO^Spouse^HL70063' });
}

export function pv1(visit: VisitState, authority: string): string {
  return segment('PV1', {
    1: '1',
    2: visit.patientClass,
    3: `${visit.location}^${authority}`,
    4: visit.patientClass === 'E' ? 'E' : 'R',
    7: '4410^Abernathy^Quill^^^Dr',
    10: 'MED',
    19: `${visit.number}^^^${authority}^VN`,
    44: hl7Time(visit.admitted),
    45: visit.discharged === undefined ? '' : hl7Time(visit.discharged),
  });
}

export function obr(
  order: string,
  code: string,
  display: string,
  at: Instant,
  reported: Instant,
  status: string,
): string {
  return segment('OBR', {
    1: '1',
    2: `P${order}^WARDS`,
    3: `F${order}^LAB`,
    4: `${code}^${escaped(display)}^LN`,
    7: hl7Time(at),
    22: hl7Time(reported),
    25: status,
  });
}

export function obx(index: number, { measure, value, status, at }: WrittenResult): string {
  const flag = value < measure.low ? 'L' : value > measure.high ? 'H' : 'N';
  return segment('OBX', {
    1: String(index),
    2: 'NM',
    3: `${measure.code}^${escaped(measure.display)}^LN`,
    5: value.toFixed(measure.decimals),
    6: `${measure.unit.replace('^', '\\S\\')}^^UCUM`,
    7: `${measure.low}-${measure.high}`,
    8: flag,
    11: status,
    14: hl7Time(at),
  });
}

const NOTE_LINE_BYTES = 200;

/** Lines of NTE until about `bytes` are there: it says nothing that any projection keeps, and compresses as notes do. */
export function notes(random: Random, bytes: number): string[] {
  const lines: string[] = [];
  for (let rest = bytes; rest > 0;) {
    const line = segment('NTE', { 1: String(lines.length + 1), 3: noteText(random, Math.min(rest, NOTE_LINE_BYTES)) });
    lines.push(line);
    rest -= line.length + 1;
  }
  return lines;
}

/** Words, at least `bytes` long. */
export function noteText(random: Random, bytes: number): string {
  let text = random.pick(NOTE_WORDS);
  while (text.length < bytes) text += ` ${random.pick(NOTE_WORDS)}`;
  return text;
}
