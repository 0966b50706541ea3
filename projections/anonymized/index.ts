/**
 * The anonymized projection: of each person only what `declaration.ts` lists, as coarse as it says, under random subjects. The rows are
 * private; analysts see snapshots of them (src/analytics/snapshots.ts).
 */
import type { Fact, FactKind } from '../../src/mapping/fact.js';
import type { DecodedEvent, ProjectionDefinition, TableRows } from '../../src/projecting/projection.js';
import type { KeyedHashes } from '../../src/sealing/hashes.js';
import { ANONYMIZED_FIELDS, type AnonymizedField } from './declaration.js';
import { loadSubjects, type LoadedSubjects } from './subjects.js';
import {
  anonymizedTables,
  ASSERTS,
  ENDS,
  eraseAnonymized,
  indexAnonymized,
  installAnonymized,
  prepareAnonymized,
  RETRACTS,
  uninstallAnonymized,
} from './tables.js';
import { verifyAnonymized } from './verify.js';

export const ANONYMIZED = 'anonymized';
/** Raise with every change of the tables, of the declaration, or of the fields the mappings give it. */
export const ANONYMIZED_VERSION = 8;

const FACT_COLUMNS = ['record', 'entity', 'field', 'valid_from', 'pos', 'recorded_at', 'op', 'value'] as const;
const FACT_TYPES = ['uuid', 'int8', 'int2', 'timestamptz', 'int8', 'timestamptz', 'int2', 'text'] as const;
const LINK_COLUMNS = ['record', 'pos', 'patient', 'subject', 'recorded_at'] as const;
const LINK_TYPES = ['uuid', 'int8', 'uuid', 'uuid', 'timestamptz'] as const;

const FIELDS_OF = new Map<FactKind, readonly AnonymizedField[]>(
  ANONYMIZED_FIELDS.map(({ kind }) => [kind, ANONYMIZED_FIELDS.filter((field) => field.kind === kind)]),
);

type ThingIds = Pick<KeyedHashes, 'thing'>;

/** The person itself among the things of a record. */
const PERSON = 0n;

/** What an event says of one field of one thing at one valid time. */
interface Statement {
  readonly record: string;
  readonly entity: bigint;
  readonly field: AnonymizedField;
  readonly validFrom: string;
  op: number;
  value: string | undefined;
}

/** What an event has said so far of one thing at one valid time. */
interface Spoken extends Pick<Statement, 'record' | 'entity'> {
  readonly kind: FactKind;
  readonly statements: Statement[];
}

/** What a fact says of a listed field: bits and value; nothing where it does not speak of it. */
function stated(fact: Fact, field: AnonymizedField): { op: number; value: string | undefined } | undefined {
  let op = fact.retract === '*' || (fact.retract?.includes(field.slot) ?? false) ? RETRACTS : 0;
  let value: string | undefined;
  if (fact.assert !== undefined && Object.hasOwn(fact.assert, field.slot)) {
    value = field.generalize(fact.assert[field.slot] ?? null);
    op |= value === undefined ? ENDS : ASSERTS;
  } else if (fact.whole === true || (fact.end?.includes(field.slot) ?? false)) {
    op |= ENDS;
  }
  return op === 0 ? undefined : { op, value };
}

/** Of several facts of one event about one field at one valid time the later word counts; a retraction takes back the earlier. */
function statementsOf(event: DecodedEvent, ids: ThingIds): Statement[] {
  const statements: Statement[] = [];
  /** By valid time and key of the thing: there are few things of both. */
  const earlierOf = new Map<string, Map<string, Spoken[]>>();
  for (const fact of event.mapped.facts) {
    const fields = FIELDS_OF.get(fact.kind);
    if (fields === undefined) continue;
    const { kind, sourceRecordId: record, key } = fact;
    const validFrom = fact.valid.instant;
    let ofTime = earlierOf.get(validFrom);
    if (ofTime === undefined) earlierOf.set(validFrom, (ofTime = new Map<string, Spoken[]>()));
    let spoken = ofTime.get(key)?.find((one) => one.kind === kind && one.record === record);
    for (const field of fields) {
      const said = stated(fact, field);
      if (said === undefined) continue;
      const earlier = spoken?.statements.find((one) => one.field === field);
      if (earlier === undefined) {
        if (spoken === undefined) {
          const entity = kind === 'PATIENT' ? PERSON : ids.thing(record, kind, key);
          spoken = { kind, record, entity, statements: [] };
          const others = ofTime.get(key);
          if (others === undefined) ofTime.set(key, [spoken]);
          else others.push(spoken);
        }
        const { entity } = spoken;
        const statement = { record, entity, field, validFrom, op: said.op, value: said.value };
        spoken.statements.push(statement);
        statements.push(statement);
      } else if ((said.op & (ASSERTS | ENDS)) !== 0) {
        earlier.op = said.op | (earlier.op & RETRACTS);
        earlier.value = said.value;
      } else {
        earlier.op = RETRACTS;
        earlier.value = undefined;
      }
    }
  }
  return statements;
}

/** @param options.hashes the hub's keyed hashes: ids of things are made from them */
export function createAnonymizedProjection(options: {
  readonly hashes: ThingIds;
}): ProjectionDefinition<LoadedSubjects> {
  return {
    name: ANONYMIZED,
    version: ANONYMIZED_VERSION,
    install: installAnonymized,
    bulk: { prepare: prepareAnonymized, finish: indexAnonymized },
    uninstall: uninstallAnonymized,
    erase: eraseAnonymized,
    tables: (version) => Object.values(anonymizedTables(version)),
    load: loadSubjects,
    apply(batch, { loaded }, version): readonly TableRows[] {
      const tables = anonymizedTables(version);
      const links: unknown[][] = [];
      const facts: unknown[][] = [];
      let head: bigint | undefined;
      for (const event of batch) {
        const { recordedAt } = event.envelope;
        const begun = loaded.links.get(event.id) ?? [];
        const statements = statementsOf(event, options.hashes);
        if (begun.length === 0 && statements.length === 0) continue;
        head = event.position;
        for (const { record, patient, subject } of begun) links.push([record, head, patient, subject, recordedAt]);
        for (const { record, entity, field, validFrom, op, value } of statements)
          facts.push([record, entity, field.number, validFrom, head, recordedAt, op, value ?? null]);
      }
      if (head === undefined) return [];
      return [
        { table: tables.link, columns: LINK_COLUMNS, types: LINK_TYPES, rows: links },
        { table: tables.fact, columns: FACT_COLUMNS, types: FACT_TYPES, rows: facts },
        {
          table: tables.state,
          columns: ['single', 'head'],
          types: ['bool', 'int8'],
          rows: [[true, head]],
          onConflict: { update: 'on conflict (single) do update set head = excluded.head' },
        },
      ];
    },
    verify: verifyAnonymized(options.hashes),
  };
}
