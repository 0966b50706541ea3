/**
 * The anonymized projection: of each person only what `declaration.ts` lists, as coarse as it says, under random subjects. The exact rows are
 * private; the views beside them show months and order in place of times and positions, and no id of the clinical side.
 */
import type { Fact } from '../../src/mapping/fact.js';
import type { DecodedEvent, ProjectionDefinition, TableRows } from '../../src/projecting/projection.js';
import { ANONYMIZED_FIELDS, type AnonymizedField } from './declaration.js';
import { loadSubjects, type LoadedSubjects } from './subjects.js';
import { anonymizedTables, ASSERTS, ENDS, installAnonymized, RETRACTS, uninstallAnonymized } from './tables.js';
import { verifyAnonymized } from './verify.js';

export const ANONYMIZED = 'anonymized';
/** Raise with every change of the tables, of the declaration, or of the fields the mappings give it. */
export const ANONYMIZED_VERSION = 1;

const FACT_COLUMNS = ['record', 'field', 'valid_from', 'pos', 'recorded_at', 'number', 'op', 'value'] as const;
const FACT_TYPES = ['uuid', 'int2', 'timestamptz', 'int8', 'timestamptz', 'int8', 'int2', 'text'] as const;
const LINK_COLUMNS = ['record', 'pos', 'patient', 'subject', 'recorded_at', 'number'] as const;
const LINK_TYPES = ['uuid', 'int8', 'uuid', 'uuid', 'timestamptz', 'int8'] as const;

/** What an event says of one field at one valid time. */
interface Statement {
  readonly record: string;
  readonly field: AnonymizedField;
  readonly validFrom: string;
  op: number;
  value: string | undefined;
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
function statementsOf(event: DecodedEvent): Statement[] {
  const statements = new Map<string, Statement>();
  for (const fact of event.mapped.facts) {
    for (const field of ANONYMIZED_FIELDS) {
      if (field.kind !== fact.kind) continue;
      const said = stated(fact, field);
      if (said === undefined) continue;
      const key = `${fact.sourceRecordId}|${field.number}|${fact.valid.instant}`;
      const earlier = statements.get(key);
      if (earlier === undefined) {
        statements.set(key, { record: fact.sourceRecordId, field, validFrom: fact.valid.instant, ...said });
      } else if ((said.op & (ASSERTS | ENDS)) !== 0) {
        earlier.op = said.op | (earlier.op & RETRACTS);
        earlier.value = said.value;
      } else {
        earlier.op = RETRACTS;
        earlier.value = undefined;
      }
    }
  }
  return [...statements.values()];
}

export const anonymizedProjection: ProjectionDefinition<LoadedSubjects> = {
  name: ANONYMIZED,
  version: ANONYMIZED_VERSION,
  install: installAnonymized,
  uninstall: uninstallAnonymized,
  tables: (version) => Object.values(anonymizedTables(version)),
  load: loadSubjects,
  apply(batch, { loaded }, version): readonly TableRows[] {
    const tables = anonymizedTables(version);
    const links: unknown[][] = [];
    const facts: unknown[][] = [];
    let number = loaded.number;
    for (const event of batch) {
      const { recordedAt } = event.envelope;
      const begun = loaded.links.get(event.id) ?? [];
      const statements = statementsOf(event);
      if (begun.length === 0 && statements.length === 0) continue;
      number += 1n;
      for (const { record, patient, subject } of begun)
        links.push([record, event.position, patient, subject, recordedAt, number]);
      for (const { record, field, validFrom, op, value } of statements) {
        facts.push([record, field.number, validFrom, event.position, recordedAt, number, op, value ?? null]);
      }
    }
    if (number === loaded.number) return [];
    return [
      { table: tables.link, columns: LINK_COLUMNS, types: LINK_TYPES, rows: links },
      { table: tables.fact, columns: FACT_COLUMNS, types: FACT_TYPES, rows: facts },
      {
        table: tables.state,
        columns: ['single', 'number'],
        types: ['bool', 'int8'],
        rows: [[true, number]],
        onConflict: { update: 'on conflict (single) do update set number = excluded.number' },
      },
    ];
  },
  verify: verifyAnonymized,
};
