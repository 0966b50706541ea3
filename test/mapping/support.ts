/** What the mapping tests share: reading a message and finding what it said. */
import { readHl7 } from '../../src/inbound/hl7/reader.js';
import type { Fact, Json, Mapped } from '../../src/mapping/fact.js';
import { mapMessage, type MappingContext, type MappingOptions } from '../../src/mapping/map.js';

export const RECORD = '11111111-1111-4111-8111-111111111111';
export const OTHER_RECORD = '22222222-2222-4222-8222-222222222222';

export const CONTEXT: MappingContext = {
  sourceRecordId: RECORD,
  records: {},
  timeZone: 'UTC',
  recordedAt: '2026-11-20T12:00:00.000000Z',
  messageId: '33333333-3333-8333-8333-333333333333',
  defaultAuthority: 'mllp',
};

/** An HL7 v2 message from its segments, MSH first. */
export function hl7(...segments: string[]): Buffer {
  return Buffer.from(segments.join('\r') + '\r');
}

export function map(bytes: Buffer, context: Partial<MappingContext> = {}, options?: MappingOptions): Mapped {
  return mapMessage({ kind: 'hl7v2', message: readHl7(bytes) }, { ...CONTEXT, ...context }, options);
}

export function factsOf(mapped: Mapped, kind: Fact['kind']): Fact[] {
  return mapped.facts.filter((fact) => fact.kind === kind);
}

/** The one fact of that kind. */
export function factOf(mapped: Mapped, kind: Fact['kind']): Fact {
  const facts = factsOf(mapped, kind);
  if (facts.length !== 1) throw new Error(`${facts.length} facts of kind ${kind}`);
  return facts[0]!;
}

export function resourceOf(fact: Fact | undefined): { [name: string]: Json } {
  return fact?.assert?.['resource'] as { [name: string]: Json };
}

export const MSH = (type: string): string => `MSH|^~\\&|ADT|MERCY|HUB|HUB|20261120101500||${type}|1|P|2.5.1`;
export const PID = 'PID|1||12345^^^MERCY^MR||Okafor^Ada||19840229|F';

/** A segment by the numbers of its fields. */
export function segment(name: string, fields: Readonly<Record<number, string>>): string {
  const last = Math.max(...Object.keys(fields).map(Number));
  return [name, ...Array.from({ length: last }, (_, index) => fields[index + 1] ?? '')].join('|');
}
