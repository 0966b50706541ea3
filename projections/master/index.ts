/**
 * The master projection: facts of source records on both time axes, links between records and patients, messages, and the clock that
 * leads from a time to a position. Pure: the same events give the same rows, whatever the batches.
 */
import { EVENT_TYPES } from '../../src/log/envelope.js';
import { FACT_KINDS, type Fact, type FactKind, type Json } from '../../src/mapping/fact.js';
import {
  EventRejected,
  type DecodedEvent,
  type ProjectionDefinition,
  type TableRows,
} from '../../src/projecting/projection.js';
import { WRITTEN } from './columns.js';
import type { FactBody } from './fold.js';
import { lookupsOf } from './lookup.js';
import { CONTROL_ID_PURPOSE, flagBits, type MasterHashes } from './names.js';
import { shapeOf } from './shape.js';
import { finishMaster, installMaster, masterTables, prepareMaster, uninstallMaster } from './tables.js';
import { verifyMaster } from './verify.js';

export { CONTROL_ID_PURPOSE, flagsOfBits, type MasterHashes } from './names.js';

export const MASTER = 'master';
/** Raise with every change of the tables, of the rules here, or of what the mappings give. */
export const MASTER_VERSION = 8;

/** Number of a kind in the stores. */
export function kindNumber(kind: FactKind): number {
  return FACT_KINDS.indexOf(kind);
}

const INBOUND: ReadonlySet<string> = new Set([
  EVENT_TYPES.hl7,
  EVENT_TYPES.fhir,
  EVENT_TYPES.clinicalEvent,
  EVENT_TYPES.unknown,
]);

/** The message that caused an event's facts: itself, or for a replay the original. */
export function causeOf(event: DecodedEvent): string {
  return event.replayOf?.messageId ?? event.id;
}

/** Facts of one event about one thing at one valid time, as the one row they are. */
interface Merged {
  readonly fact: Fact;
  readonly body: FactBody;
}

interface Merging {
  readonly fact: Fact;
  body: FactBody;
}

/**
 * Merges facts of one event that speak of one thing at one valid time, in their order: a later statement replaces an earlier one of the
 * same field, a retraction takes back what the event itself had said before.
 */
export function mergeFacts(facts: readonly Fact[]): Merged[] {
  if (facts.length === 1) {
    const fact = facts[0] as Fact;
    return [{ fact, body: settled(bodyOf(fact)) }];
  }
  const merged: Merging[] = [];
  // By time and key: there are few of one, so they are looked through. A text made of all four would cost more.
  const bySlot = new Map<string, Map<string, Merging[]>>();
  for (const fact of facts) {
    const body = bodyOf(fact);
    let byKey = bySlot.get(fact.valid.instant);
    if (byKey === undefined) bySlot.set(fact.valid.instant, (byKey = new Map<string, Merging[]>()));
    const same = byKey.get(fact.key);
    const earlier = same?.find((one) => isOfOneThing(one.fact, fact));
    if (earlier !== undefined) {
      earlier.body = overlay(earlier.body, body);
      continue;
    }
    const first = { fact, body };
    merged.push(first);
    if (same === undefined) byKey.set(fact.key, [first]);
    else same.push(first);
  }
  for (const one of merged) one.body = settled(one.body);
  return merged;
}

/** Facts of one key about one thing. */
function isOfOneThing(one: Fact, other: Fact): boolean {
  return one.kind === other.kind && one.sourceRecordId === other.sourceRecordId;
}

/** A row that says of nothing that it is so moves nothing to its time. */
function settled(body: FactBody): FactBody {
  if (body.m === undefined || body.a !== undefined) return body;
  const { m: _m, ...others } = body;
  return others;
}

function bodyOf(fact: Fact): FactBody {
  const body: { a?: Readonly<Record<string, Json>>; e?: string[]; w?: true; r?: '*' | string[]; m?: 'all' | 'only' } =
    {};
  const { assert } = fact;
  const asserted = assert !== undefined && hasMembers(assert) ? assert : undefined;
  if (asserted !== undefined) body.a = asserted;
  if (fact.end !== undefined) {
    const ended = fact.end.filter((field) => asserted === undefined || !Object.hasOwn(asserted, field));
    if (ended.length > 0) body.e = [...new Set(ended)].sort();
  }
  if (fact.whole === true) body.w = true;
  if (fact.retract === '*') body.r = '*';
  else if (fact.retract !== undefined && fact.retract.length > 0) body.r = [...new Set(fact.retract)].sort();
  if (fact.moves !== undefined) body.m = fact.moves;
  return body;
}

function hasMembers(object: object): boolean {
  for (const name in object) if (Object.hasOwn(object, name)) return true;
  return false;
}

function overlay(earlier: FactBody, later: FactBody): FactBody {
  const asserted = new Map<string, Json>(Object.entries(earlier.a ?? {}));
  const ended = new Set<string>(earlier.e ?? []);
  let whole = earlier.w === true;
  if (later.r === '*') {
    asserted.clear();
    ended.clear();
    whole = false;
  } else {
    for (const field of later.r ?? []) {
      asserted.delete(field);
      ended.delete(field);
    }
  }
  if (later.w === true) {
    asserted.clear();
    ended.clear();
    whole = true;
  }
  for (const field of later.e ?? []) {
    asserted.delete(field);
    ended.add(field);
  }
  for (const [field, value] of Object.entries(later.a ?? {})) {
    ended.delete(field);
    asserted.set(field, value);
  }
  const retracted =
    earlier.r === '*' || later.r === '*' ? '*' : [...new Set([...(earlier.r ?? []), ...(later.r ?? [])])].sort();
  return {
    ...(asserted.size > 0 ? { a: Object.fromEntries(asserted) } : {}),
    ...(ended.size > 0 ? { e: [...ended].sort() } : {}),
    ...(whole ? { w: true as const } : {}),
    ...(retracted.length > 0 ? { r: retracted } : {}),
    ...(later.m === undefined && earlier.m === undefined ? {} : { m: later.m ?? earlier.m }),
  };
}

/** U+0000 and lone surrogates, which jsonb and text cannot hold, in their escaped form. */
const UNSTORABLE = /\\u(?:0000|d[89a-f])/i;

/** Text as PostgreSQL can keep it: U+0000 and lone surrogates become U+FFFD. The message itself stays as it was sent. */
function storableText(text: string): string {
  return text.includes('\0') || !text.isWellFormed() ? text.toWellFormed().replaceAll('\0', '\uFFFD') : text;
}

function storable(value: Json): Json {
  if (typeof value === 'string') return storableText(value);
  if (Array.isArray(value)) return value.map(storable);
  if (value !== null && typeof value === 'object') {
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [storableText(name), storable(item)]));
  }
  return value;
}

function storableJson(body: FactBody): string {
  const text = JSON.stringify(body);
  // Looking for two characters is quicker than the expression, and hardly any text has them.
  return text.includes('\\u') && UNSTORABLE.test(text) ? JSON.stringify(storable(body as unknown as Json)) : text;
}

interface Rows {
  readonly fact: unknown[][];
  readonly link: unknown[][];
  readonly message: unknown[][];
  readonly note: unknown[][];
  readonly lookup: unknown[][];
  /** Record → the tokens that the batch has of it already. */
  readonly tokens: Map<string, Set<string>>;
  readonly clock: Map<string, bigint>;
}

/** What `timestamptz` and an Instant both hold: the years 1 to 9999. */
function checkInstant(instant: string): string {
  if (instant.length !== 27 || instant < '0001') throw new RangeError('not an instant that can be kept');
  return instant;
}

function applyEvent(event: DecodedEvent, rows: Rows, hashes: MasterHashes): void {
  const { envelope, position } = event;
  const { recordedAt } = envelope;
  const known = rows.clock.get(recordedAt);
  if (known === undefined || known < position) rows.clock.set(recordedAt, position);

  const cause = causeOf(event);
  if (envelope.links !== undefined) {
    const links = new Map<string, unknown[]>();
    for (const { sourceRecordId, patientId, reason } of envelope.links) {
      links.set(sourceRecordId, [sourceRecordId, position, patientId, recordedAt, cause, reason]);
    }
    rows.link.push(...links.values());
  }

  if (INBOUND.has(event.type)) rows.message.push(messageRow(event, hashes));

  if (event.mapped.facts.length > 0) {
    for (const { fact, body } of mergeFacts(event.mapped.facts)) {
      if (body.a === undefined && body.e === undefined && body.w === undefined && body.r === undefined) continue;
      rows.fact.push([
        fact.sourceRecordId,
        kindNumber(fact.kind),
        hashes.thing(fact.sourceRecordId, fact.kind, fact.key),
        checkInstant(fact.valid.instant),
        position,
        recordedAt,
        cause,
        storableText(fact.valid.text),
        fact.valid.field,
        flagBits(fact.valid.flags),
        storableText(fact.key),
        storableJson(body),
        shapeOf(body, fact.valid.instant, recordedAt),
      ]);
      if (body.a === undefined) continue;
      for (const field of Object.keys(body.a)) {
        for (const [kind, token] of lookupsOf(fact.kind, field, body.a[field] as Json)) {
          const stored = storableText(token);
          if (isNew(rows.tokens, fact.sourceRecordId, `${kind}|${stored}`)) {
            rows.lookup.push([kind, stored, fact.sourceRecordId, position]);
          }
        }
      }
    }
  }
  event.mapped.notes.forEach((note, index) => {
    rows.note.push([
      note.sourceRecordId,
      checkInstant(note.valid.instant),
      position,
      index,
      recordedAt,
      cause,
      storableText(note.valid.text),
      note.valid.field,
      flagBits(note.valid.flags),
      storableText(note.title),
    ]);
  });
}

function isNew(known: Map<string, Set<string>>, record: string, token: string): boolean {
  const tokens = known.get(record);
  if (tokens === undefined) {
    known.set(record, new Set([token]));
    return true;
  }
  if (tokens.has(token)) return false;
  tokens.add(token);
  return true;
}

function messageRow(event: DecodedEvent, hashes: MasterHashes): unknown[] {
  const { envelope } = event;
  const header = event.body.state === 'open' ? event.body.header : undefined;
  const parked = envelope.validation.state === 'parked' ? envelope.validation : undefined;
  return [
    event.id,
    event.position,
    storableText(envelope.messageType ?? header?.messageType ?? ''),
    envelope.messageVersion ?? null,
    envelope.contentType ?? 'application/octet-stream',
    envelope.source,
    envelope.sourceVersion,
    envelope.sourceRecordId ?? null,
    envelope.patientId ?? null,
    envelope.recordedAt,
    envelope.sourceRecordedAt ?? null,
    header?.controlId === undefined || header.controlId === ''
      ? null
      : hashes.hash(CONTROL_ID_PURPOSE, header.controlId),
    parked?.code ?? null,
    parked?.path ?? null,
    parked?.byteOffset ?? null,
    envelope.duplicateOf ?? null,
    event.mapped.unmapped.map(storableText),
    event.body.state,
  ];
}

/** The master projection. `hashes` gives the ids of things and the hash of control ids. */
export function createMasterProjection(options: { readonly hashes: MasterHashes }): ProjectionDefinition {
  const { hashes } = options;
  return {
    name: MASTER,
    version: MASTER_VERSION,
    install: installMaster,
    bulk: { prepare: prepareMaster, finish: finishMaster },
    uninstall: uninstallMaster,
    tables: (version) => Object.values(masterTables(version)) as string[],
    rowTables: (version) => {
      const { fact, link, message, note, lookup } = masterTables(version);
      return [fact, link, message, note, lookup];
    },
    apply(batch, _context, version): readonly TableRows[] {
      const tables = masterTables(version);
      const rows: Rows = { fact: [], link: [], message: [], note: [], lookup: [], tokens: new Map(), clock: new Map() };
      for (const event of batch) {
        try {
          applyEvent(event, rows, hashes);
        } catch (error) {
          throw new EventRejected(event.id, error instanceof RangeError ? 'VALUE_OUT_OF_RANGE' : 'NOT_APPLICABLE');
        }
      }
      return [
        {
          table: tables.fact,
          ...WRITTEN.fact,
          rows: rows.fact,
          onConflict: 'insert' as const,
        },
        {
          table: tables.link,
          ...WRITTEN.link,
          rows: rows.link,
          onConflict: 'insert' as const,
        },
        {
          table: tables.message,
          ...WRITTEN.message,
          rows: rows.message,
          onConflict: 'insert' as const,
        },
        {
          table: tables.note,
          ...WRITTEN.note,
          rows: rows.note,
          onConflict: 'insert' as const,
        },
        {
          table: tables.lookup,
          columns: ['kind', 'token', 'record', 'pos'],
          types: ['int2', 'text', 'uuid', 'int8'],
          rows: rows.lookup,
          onConflict: 'ignore' as const,
          key: ['kind', 'token', 'record'],
        },
        {
          table: tables.clock,
          columns: ['recorded_at', 'pos'],
          types: ['timestamptz', 'int8'],
          rows: [...rows.clock],
          // A batch that a page cut in two: the later part knows the last position.
          onConflict: {
            update: `on conflict (recorded_at) do update set pos = greatest(${tables.clock.replace('master.', '')}.pos, excluded.pos)`,
          },
        },
      ].filter((table) => table.rows.length > 0);
    },
    verify: verifyMaster(hashes),
  };
}
