/** What the hub makes of one message, as FHIR resources. */
import { readHl7 } from '../../src/inbound/hl7/reader.js';
import { assembleResource } from '../../src/mapping/assemble.js';
import type { Fact, FactKind, Json } from '../../src/mapping/fact.js';
import type { JsonObject } from '../../src/mapping/fhir-time.js';
import { mapMessage, type MappingContext } from '../../src/mapping/map.js';
import { flatten, type FactSet } from './flatten.js';

/** Records for every person a message may name. */
const RECORDS = Object.fromEntries(
  Array.from({ length: 20 }, (_, index) => [
    `PID[${index + 1}]`,
    `00000000-0000-4000-8000-${String(index).padStart(12, '0')}`,
  ]),
);

export const CONTEXT: MappingContext = {
  sourceRecordId: RECORDS['PID[1]']!,
  records: RECORDS,
  timeZone: 'UTC',
  recordedAt: '2026-11-20T12:00:00.000000Z',
  messageId: '33333333-3333-8333-8333-333333333333',
  defaultAuthority: 'scorer',
};

/** The fields of each thing after the message: later valid times last, as the master store folds them. */
export function resourcesOf(facts: readonly Fact[]): JsonObject[] {
  const things = new Map<string, { kind: FactKind; fields: Record<string, Json> }>();
  const ordered = [...facts].sort((left, right) =>
    left.valid.instant < right.valid.instant ? -1 : left.valid.instant > right.valid.instant ? 1 : 0,
  );
  for (const { kind, sourceRecordId, key, assert, end } of ordered) {
    const name = `${kind}|${sourceRecordId}|${key}`;
    const thing = things.get(name) ?? { kind, fields: {} };
    for (const field of end ?? []) delete thing.fields[field];
    Object.assign(thing.fields, assert);
    things.set(name, thing);
  }
  return [...things.values()]
    .filter(({ fields }) => Object.keys(fields).length > 0)
    .map(({ kind, fields }) => assembleResource(kind, { id: 'x', patientId: 'x' }, fields) as JsonObject);
}

export function factSetsOf(bytes: Buffer): { readonly sets: FactSet[]; readonly unmapped: readonly string[] } {
  const mapped = mapMessage({ kind: 'hl7v2', message: readHl7(bytes) }, CONTEXT);
  const source = bytes.toString('utf8');
  return {
    sets: resourcesOf(mapped.facts).map((resource) => flatten(resource, new Map(), source)),
    unmapped: mapped.unmapped,
  };
}

/** The kinds of the facts of a message, one for each fact. */
export function kindsOf(bytes: Buffer): FactKind[] {
  return mapMessage({ kind: 'hl7v2', message: readHl7(bytes) }, CONTEXT).facts.map(({ kind }) => kind);
}
