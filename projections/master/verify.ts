/**
 * Holds a build of the master store against the log. Three looks, none of which uses `apply`, or the graph's fold for what it expects: every row
 * of every page of the log, by position; the tokens of filters, by their first position; the census, by counting once more; and the answers of every patient as of several points on
 * both axes, by the rows on one side (fold.ts, as the graph does it) and by the facts of the log on the other (sweep.ts).
 */
import { createHash } from 'node:crypto';
import { copyRows } from '../../src/database/binary-copy.js';
import { EVENT_TYPES } from '../../src/log/envelope.js';
import type { Position } from '../../src/log/event-log.js';
import { FACT_KINDS, type Fact, type FactKind, type Json } from '../../src/mapping/fact.js';
import type {
  Build,
  DecodedEvent,
  FoldReport,
  ProjectionVerification,
  VerificationContext,
  VerificationRun,
} from '../../src/projecting/projection.js';
import { canonical, compareRows, compareSets, type ComparedRow } from '../../src/projecting/verification/findings.js';
import { verifyCensus } from './census/verify.js';
import { MASTER_COLUMNS, type MasterTable } from './columns.js';
import { foldThing, mergeFolded, type FactBody, type Folded, type FoldRow, type Point } from './fold.js';
import { lookupsOf } from './lookup.js';
import { CONTROL_ID_PURPOSE, FLAG_BITS, type MasterHashes } from './names.js';
import { shapeOf } from './shape.js';
import { statementOf, sweep, type Standing, type Statement } from './sweep.js';
import { masterTables } from './tables.js';

/** Patients whose rows and facts are in memory at once: so many, or as many as have so many facts; one patient at least. */
const GROUP_PATIENTS = 200;
const GROUP_FACTS = 5_000;
/** About so many patients' answers are compared between two builds. */
const SAMPLED_PATIENTS = 500;
const FAR_FUTURE = '9999-12-31T23:59:59.999999Z';

/** @param hashes the hub's, by which things and control ids have their ids */
export function verifyMaster(hashes: MasterHashes): ProjectionVerification {
  return (context) => new MasterVerification(context, hashes);
}

/** Text as the store keeps it: U+0000 and lone surrogates cannot be kept. */
const isKeepable = (text: string): boolean => text.isWellFormed() && !text.includes('\0');
const kept = (text: string): string => (isKeepable(text) ? text : text.toWellFormed().replaceAll('\0', '\uFFFD'));

/** Hardly any has something that cannot be kept: the others stay the objects they are. */
const isKeepableJson = (value: Json): boolean =>
  typeof value === 'string'
    ? isKeepable(value)
    : value === null || typeof value !== 'object'
      ? true
      : Array.isArray(value)
        ? value.every(isKeepableJson)
        : Object.entries(value).every(([name, item]) => isKeepable(name) && isKeepableJson(item));

function keptJson(value: Json): Json {
  if (isKeepableJson(value)) return value;
  if (typeof value === 'string') return kept(value);
  if (value === null || typeof value !== 'object') return value;
  if (Array.isArray(value)) return value.map(keptJson);
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [kept(name), keptJson(item)]));
}

class MasterVerification implements VerificationRun {
  private readonly tables: ReturnType<typeof masterTables>;
  private spooling = false;
  /** Up to where rows were compared. */
  private last: Position = 0n;
  /** The append batch that the last page may have cut. */
  private batch: { recordedAt: string; pos: Position } | undefined;
  private clockComparedTo: Position = 0n;

  constructor(
    private readonly context: VerificationContext,
    private readonly hashes: MasterHashes,
  ) {
    this.tables = masterTables(context.build);
  }

  async page(events: readonly DecodedEvent[], last: Position): Promise<void> {
    if (!this.spooling) await this.makeSpool();
    const facts = events.flatMap((event) => this.factsOf(event));
    await this.comparePage('fact', facts.map(rowOfFact), last);
    await this.comparePage('link', events.flatMap(rowsOfLinks), last);
    await this.comparePage(
      'message',
      events.flatMap((event) => this.rowOfMessage(event)),
      last,
    );
    await this.comparePage('note', events.flatMap(rowsOfNotes), last);
    await this.compareClock(events);
    await this.spool(events, facts);
    this.last = last;
  }

  async finish(): Promise<FoldReport> {
    if (!this.spooling) await this.makeSpool();
    if (this.batch !== undefined) await this.compareClockRows([this.batch], this.batch.pos);
    await this.lookForRowsBehind();
    await this.compareLookups();
    await verifyCensus(this.context.client, this.context.build, this.context.findings);
    return new Answers(this.context).compare();
  }

  private async makeSpool(): Promise<void> {
    this.spooling = true;
    await this.context.client.query(`
      create temp table verify_fact (record uuid, kind int2, entity int8, key text, valid_from timestamptz, pos int8, says jsonb) on commit drop;
      create temp table verify_link (record uuid, pos int8, patient uuid) on commit drop;
      create temp table verify_lookup (kind int2, token text collate "C", record uuid, pos int8) on commit drop`);
  }

  /** Facts of one event about one thing at one valid time are one row. */
  private factsOf(event: DecodedEvent): ExpectedFact[] {
    const groups = Map.groupBy(event.mapped.facts, ({ sourceRecordId, kind, key, valid }) =>
      JSON.stringify([sourceRecordId, kind, key, valid.instant]),
    );
    return [...groups.values()].flatMap((facts) => {
      const said = statementOf(facts);
      if (said === undefined) return [];
      const fact = facts[0] as Fact;
      return [{ fact, said, event, entity: this.hashes.thing(fact.sourceRecordId, fact.kind, fact.key) }];
    });
  }

  private rowOfMessage({ id, type, position, envelope, body, mapped }: DecodedEvent): KeyedRow[] {
    if (!MESSAGES.includes(type)) return [];
    const header = body.state === 'open' ? body.header : {};
    const { validation } = envelope;
    const parked = validation.state === 'parked' ? validation : undefined;
    const controlId = header.controlId ?? '';
    const columns = {
      pos: position,
      type: kept(envelope.messageType ?? header.messageType ?? ''),
      version: envelope.messageVersion,
      content_type: envelope.contentType ?? 'application/octet-stream',
      source: envelope.source,
      source_version: envelope.sourceVersion,
      record: envelope.sourceRecordId,
      patient: envelope.patientId,
      recorded_at: envelope.recordedAt,
      source_recorded_at: envelope.sourceRecordedAt,
      control_hash: controlId === '' ? undefined : hex(this.hashes.hash(CONTROL_ID_PURPOSE, controlId)),
      parked_code: parked?.code,
      parked_path: parked?.path,
      parked_offset: parked?.byteOffset,
      duplicate_of: envelope.duplicateOf,
      unmapped: mapped.unmapped.map(kept),
      state: body.state,
    };
    const record = envelope.sourceRecordId;
    return [[id, { position, ...(record === undefined ? {} : { record }), columns }]];
  }

  /** The table's rows between the last page and the end of this one. */
  private async comparePage(table: MasterTable, expected: readonly KeyedRow[], last: Position): Promise<void> {
    const { client, findings } = this.context;
    const { key, columns: all } = MASTER_COLUMNS[table];
    const named = new Set<string>(key);
    const columns = Object.keys(all).filter((column) => !named.has(column));
    const { rows } = await client.query<Record<string, unknown>>(
      `select ${[...new Set([...key, ...columns, 'pos'])].join(', ')} from ${this.tables[table]} where pos > $1 and pos <= $2`,
      [this.last, last],
    );
    compareRows(
      findings,
      `master.${table}`,
      new Map(expected),
      rows.map((row) => [
        keyOf(key.map((column) => row[column])),
        {
          position: row['pos'] as Position,
          ...(typeof row['record'] === 'string' ? { record: row['record'] } : {}),
          columns: Object.fromEntries(columns.map((column) => [column, comparable(row[column])])),
        },
      ]),
    );
  }

  private async compareClock(events: readonly DecodedEvent[]): Promise<void> {
    const ended: { recordedAt: string; pos: Position }[] = [];
    for (const { position, envelope } of events) {
      if (this.batch !== undefined && this.batch.recordedAt !== envelope.recordedAt) ended.push(this.batch);
      this.batch = { recordedAt: envelope.recordedAt, pos: position };
    }
    const last = ended.at(-1);
    if (last !== undefined) await this.compareClockRows(ended, last.pos);
  }

  private async compareClockRows(ended: readonly { recordedAt: string; pos: Position }[], to: Position): Promise<void> {
    const { client, findings } = this.context;
    const { rows } = await client.query<{ recorded_at: string; pos: Position }>(
      `select recorded_at, pos from ${this.tables.clock} where pos > $1 and pos <= $2`,
      [this.clockComparedTo, to],
    );
    const row = (pos: Position): ComparedRow => ({ position: pos, columns: { pos } });
    compareRows(
      findings,
      'master.tx_clock',
      new Map(ended.map(({ recordedAt, pos }) => [recordedAt, row(pos)])),
      rows.map(({ recorded_at, pos }) => [recorded_at, row(pos)]),
    );
    this.clockComparedTo = to;
  }

  /** Rows at positions that no page covered. */
  private async lookForRowsBehind(): Promise<void> {
    const { client, findings } = this.context;
    for (const table of ['fact', 'link', 'message', 'note', 'clock'] as const) {
      const { rows } = await client.query<{ pos: Position }>(
        `select pos from ${this.tables[table]} where pos > $1 or pos <= 0 limit 100`,
        [this.last],
      );
      const name = table === 'clock' ? 'master.tx_clock' : `master.${table}`;
      for (const { pos } of rows) findings.add({ defect: 'extra', table: name, position: pos.toString() });
    }
  }

  private async spool(events: readonly DecodedEvent[], facts: readonly ExpectedFact[]): Promise<void> {
    const { client } = this.context;
    await copyRows(
      client,
      'verify_fact',
      ['record', 'kind', 'entity', 'key', 'valid_from', 'pos', 'says'],
      ['uuid', 'int2', 'int8', 'text', 'timestamptz', 'int8', 'jsonb'],
      facts.map(({ fact, said, event, entity }) => [
        fact.sourceRecordId,
        FACT_KINDS.indexOf(fact.kind),
        entity,
        kept(fact.key),
        fact.valid.instant,
        event.position,
        JSON.stringify(keptJson(said as unknown as Json)),
      ]),
    );
    await copyRows(
      client,
      'verify_link',
      ['record', 'pos', 'patient'],
      ['uuid', 'int8', 'uuid'],
      events.flatMap(({ envelope, position }) =>
        (envelope.links ?? []).map((link) => [link.sourceRecordId, position, link.patientId]),
      ),
    );
    await copyRows(
      client,
      'verify_lookup',
      ['kind', 'token', 'record', 'pos'],
      ['int2', 'text', 'uuid', 'int8'],
      facts.flatMap(({ fact, said, event }) =>
        Object.entries(said.asserts).flatMap(([field, value]) =>
          [...lookupsOf(fact.kind, field, value)].map(([kind, token]) => [
            kind,
            kept(token),
            fact.sourceRecordId,
            event.position,
          ]),
        ),
      ),
    );
  }

  private async compareLookups(): Promise<void> {
    const { client, findings } = this.context;
    await compareSets(client, findings, 'master.lookup', {
      expected: 'select kind, token, record, min(pos) as pos from verify_lookup group by kind, token, record',
      stored: `select kind, token, record, pos from ${this.tables.lookup}`,
      place: { position: 'pos', record: 'record' },
    });
  }
}

interface ExpectedFact {
  readonly fact: Fact;
  readonly said: Omit<Statement, 'validFrom' | 'pos'>;
  readonly event: DecodedEvent;
  readonly entity: bigint;
}

type KeyedRow = readonly [key: string, row: ComparedRow];

const MESSAGES: readonly string[] = [EVENT_TYPES.hl7, EVENT_TYPES.fhir, EVENT_TYPES.clinicalEvent, EVENT_TYPES.unknown];

const keyOf = (values: readonly unknown[]): string => values.map(String).join('|');
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const comparable = (value: unknown): unknown => (value instanceof Uint8Array ? hex(value) : value);
/** Whom the timeline shows as the cause: of a replay the original. */
const causeOf = ({ id, replayOf }: DecodedEvent): string => replayOf?.messageId ?? id;
const flags = (names: Fact['valid']['flags']): number => names.reduce((bits, name) => bits | FLAG_BITS[name], 0);

function rowOfFact({ fact, said, event, entity }: ExpectedFact): KeyedRow {
  const { sourceRecordId: record, kind, valid, key } = fact;
  const { position } = event;
  const body: FactBody = {
    ...(Object.keys(said.asserts).length === 0 ? {} : { a: said.asserts }),
    ...(said.ends.length === 0 ? {} : { e: said.ends }),
    ...(said.whole ? { w: true as const } : {}),
    ...(said.retracts.length === 0 ? {} : { r: said.retracts }),
    ...(said.moves === undefined ? {} : { m: said.moves }),
  };
  const columns = {
    recorded_at: event.envelope.recordedAt,
    event_id: causeOf(event),
    valid_text: kept(valid.text),
    valid_field: valid.field,
    valid_flags: flags(valid.flags),
    key: kept(key),
    body: keptJson(body as unknown as Json),
    shape: shapeOf(body, valid.instant, event.envelope.recordedAt),
  };
  return [keyOf([record, FACT_KINDS.indexOf(kind), entity, valid.instant, position]), { position, record, columns }];
}

function rowsOfLinks(event: DecodedEvent): KeyedRow[] {
  const { position, envelope } = event;
  return (envelope.links ?? []).map(({ sourceRecordId: record, patientId: patient, reason }) => [
    keyOf([record, position]),
    {
      position,
      record,
      patient,
      columns: { patient, recorded_at: envelope.recordedAt, event_id: causeOf(event), reason },
    },
  ]);
}

function rowsOfNotes(event: DecodedEvent): KeyedRow[] {
  const { position, envelope } = event;
  return event.mapped.notes.map(({ sourceRecordId: record, valid, title }, index) => [
    keyOf([record, valid.instant, position, index]),
    {
      position,
      record,
      columns: {
        recorded_at: envelope.recordedAt,
        event_id: causeOf(event),
        valid_text: kept(valid.text),
        valid_field: valid.field,
        valid_flags: flags(valid.flags),
        title: kept(title),
      },
    },
  ]);
}

/** What a patient shows at a point: `kind|thing|field` → value, with valid time and position. */
type Answer = ReadonlyMap<string, { readonly text: string; readonly pos: Position; readonly record: string }>;

interface StoredRow extends FoldRow {
  readonly record: string;
  readonly kind: number;
  readonly key: string;
}

interface Group {
  readonly patient: string;
  readonly records: readonly string[];
  /** Of the log, on these records. */
  readonly facts: number;
}

/** In order, so that each part has no more facts than may be in memory at once; or is one patient alone. */
export function parted<G extends Pick<Group, 'facts'>>(groups: readonly G[]): G[][] {
  const parts: G[][] = [];
  let facts = Infinity;
  for (const group of groups) {
    facts += group.facts;
    if (facts > GROUP_FACTS) {
      parts.push([]);
      facts = group.facts;
    }
    parts.at(-1)?.push(group);
  }
  return parts;
}

/** Answers of every patient, by the rows and by the log. */
class Answers {
  private patients = 0;
  private answers = 0;
  private different = 0;
  private readonly sums = { expected: 0n, stored: 0n };
  private readonly sampled = { patients: 0, answers: 0 };

  constructor(private readonly context: VerificationContext) {}

  async compare(): Promise<FoldReport> {
    const { client } = this.context;
    // A record that was never linked stands for itself.
    await client.query(`
      create temp table verify_member on commit drop as
        select record, coalesce(l.patient, record) as patient, coalesce(f.facts, 0) as facts
          from (select record, count(*) as facts from verify_fact group by record) f
          full join (select distinct on (record) record, patient from verify_link order by record, pos desc) l using (record);
      create index on verify_member (patient);
      create index on verify_fact (record);
      analyze verify_member; analyze verify_fact`);
    const { rows } = await client.query<{ count: bigint }>(
      'select count(distinct patient) as count from verify_member',
    );
    const every = Math.max(1, Math.floor(Number(rows[0]?.count ?? 0n) / SAMPLED_PATIENTS));
    for (let after = '00000000-0000-0000-0000-000000000000'; ;) {
      const { rows: groups } = await client.query<Group>(
        `select patient, array_agg(record order by record) as records, sum(facts)::int as facts from verify_member where patient > $1
         group by patient order by patient limit ${GROUP_PATIENTS}`,
        [after],
      );
      const last = groups.at(-1);
      if (last === undefined) break;
      for (const part of parted(groups)) await this.compareGroups(part, every);
      after = last.patient;
    }
    return {
      patients: this.patients,
      answers: this.answers,
      different: this.different,
      expectedDigest: this.sums.expected.toString(16),
      storedDigest: this.sums.stored.toString(16),
      ...(this.context.serving === undefined ? {} : { sampled: this.sampled }),
    };
  }

  private async compareGroups(groups: readonly Group[], every: number): Promise<void> {
    const { build, serving } = this.context;
    const records = groups.flatMap((group) => group.records);
    const log = Map.groupBy(await this.statements(records), (row) => row.record);
    const stored = Map.groupBy(await this.rowsOf(build, records), (row) => row.record);
    const sample = groups.filter((_, index) => (this.patients + index) % every === 0);
    const served =
      serving === undefined
        ? undefined
        : Map.groupBy(
            await this.rowsOf(
              serving.build,
              sample.flatMap((group) => group.records),
            ),
            (row) => row.record,
          );
    for (const group of groups) {
      const inSample = serving !== undefined && served !== undefined && sample.includes(group);
      if (inSample) this.sampled.patients += 1;
      let named = false;
      for (const at of this.pointsOf(group.records.flatMap((record) => log.get(record) ?? []))) {
        const expected = answerOfLog(group, log, at);
        const own = answerOfRows(group, stored, at);
        this.answers += 1;
        const isSame = differing(expected, own).length === 0;
        const digest = digestOf(group.patient, at, expected);
        const digests = [digest, isSame ? digest : digestOf(group.patient, at, own)] as const;
        this.sums.expected = BigInt.asUintN(64, this.sums.expected + digests[0]);
        this.sums.stored = BigInt.asUintN(64, this.sums.stored + digests[1]);
        if (!isSame) {
          this.different += 1;
          // Named once, by the first point at which it differs.
          if (!named) this.nameDifferent(group.patient, expected, own);
          named = true;
        }
        if (inSample && at.position <= serving.upTo)
          this.compareBuilds(group.patient, expected, own, answerOfRows(group, served, at));
      }
    }
    this.patients += groups.length;
  }

  /** The end and two earlier positions with everything valid; and the end as of the middle of the patient's own times. */
  private pointsOf(statements: readonly Statement[]): Point[] {
    const { upTo, serving } = this.context;
    const served = serving === undefined || serving.upTo > upTo ? upTo : serving.upTo;
    const times = statements.map(({ validFrom }) => validFrom).sort();
    const middle = times[times.length >> 1];
    return [
      ...[...new Set([upTo, served, (served * 2n) / 3n, served / 3n])].map((position) => ({
        position,
        validAt: FAR_FUTURE,
      })),
      ...(middle === undefined ? [] : [{ position: upTo, validAt: middle }]),
    ];
  }

  private async statements(records: readonly string[]): Promise<LogStatement[]> {
    const { rows } = await this.context.client.query<LogRow>(
      `select record, kind, key, valid_from as "validFrom", pos, says from verify_fact where record = any($1::uuid[])`,
      [records],
    );
    return rows.map(({ says, ...row }) => ({ ...row, ...says }));
  }

  private async rowsOf(build: Build, records: readonly string[]): Promise<StoredRow[]> {
    const { rows } = await this.context.client.query<StoredRow>(
      `select record, kind, key, valid_from as "validFrom", pos, body from ${masterTables(build).fact}
       where record = any($1::uuid[]) and pos <= $2 order by record, kind, entity, valid_from, pos`,
      [records, this.context.upTo],
    );
    return rows;
  }

  private nameDifferent(patient: string, expected: Answer, own: Answer): void {
    const fields = differing(expected, own);
    const place = expected.get(fields[0] ?? '') ?? own.get(fields[0] ?? '');
    this.context.findings.add({
      defect: 'answer',
      table: 'master',
      patient,
      ...(place === undefined ? {} : { position: place.pos.toString(), record: place.record }),
      fields: [...new Set(fields.map(nameOf))],
    });
  }

  private compareBuilds(patient: string, expected: Answer, own: Answer, served: Answer): void {
    this.sampled.answers += 1;
    const fields = differing(own, served).filter((field) => {
      const [kind, name] = nameOf(field).split('.') as [string, string];
      return !this.context.explain.accountsFor(kind, name);
    });
    if (fields.length === 0) return;
    const place = own.get(fields[0] ?? '') ?? served.get(fields[0] ?? '');
    const ownIsRight = fields.every((field) => own.get(field)?.text === expected.get(field)?.text);
    this.context.findings.add({
      defect: 'answer',
      table: 'master',
      patient,
      ...(place === undefined ? {} : { position: place.pos.toString(), record: place.record }),
      fields: [...new Set(fields.map(nameOf))],
      build: ownIsRight ? 'serving' : 'new',
    });
  }
}

interface LogRow {
  readonly record: string;
  readonly kind: number;
  readonly key: string;
  readonly validFrom: string;
  readonly pos: Position;
  readonly says: Omit<Statement, 'validFrom' | 'pos'>;
}

interface LogStatement extends Statement {
  readonly record: string;
  readonly kind: number;
  readonly key: string;
}

/** Things of the same kind and key on several records of a patient are one only for the patient itself; all others stay with their record. */
const PATIENT_KIND = FACT_KINDS.indexOf('PATIENT');

const fieldKey = (kind: number, thing: string, field: string): string => JSON.stringify([kind, thing, field]);

/** `KIND.field` of a field of an answer. */
function nameOf(key: string): string {
  const [kind, , field] = JSON.parse(key) as [number, string, string];
  return `${FACT_KINDS[kind] as FactKind}.${field}`;
}

/** A value stands in the answers to several points, and is written once. */
const written = new WeakMap<object, string>();

function textOf(value: unknown): string {
  if (typeof value !== 'object' || value === null) return canonical(value);
  let text = written.get(value);
  if (text === undefined) written.set(value, (text = canonical(value)));
  return text;
}

const entryOf = (
  record: string,
  { validFrom, pos, value }: Standing,
): { text: string; pos: Position; record: string } => ({
  text: `${validFrom} ${pos} ${value === undefined ? 'ended' : textOf(value)}`,
  pos,
  record,
});

function answerOfLog(group: Group, log: ReadonlyMap<string, readonly LogStatement[]>, at: Point): Answer {
  const answer = new Map<string, { text: string; pos: Position; record: string }>();
  const own = new Map<string, Standing & { record: string }>();
  for (const record of group.records) {
    const things = Map.groupBy(log.get(record) ?? [], ({ kind, key }) => JSON.stringify([kind, key]));
    for (const [thing, statements] of things) {
      const [kind, key] = JSON.parse(thing) as [number, string];
      for (const [field, standing] of sweep(statements, at)) {
        if (kind !== PATIENT_KIND) {
          answer.set(fieldKey(kind, `${record}/${key}`, field), entryOf(record, standing));
          continue;
        }
        // What the patient shows: the latest valid time over all records, there the latest position.
        const other = own.get(field);
        const later =
          other === undefined ||
          standing.validFrom > other.validFrom ||
          (standing.validFrom === other.validFrom && standing.pos > other.pos);
        if (later) own.set(field, { ...standing, record });
      }
    }
  }
  for (const [field, { record, ...standing }] of own) {
    answer.set(fieldKey(PATIENT_KIND, '', field), entryOf(record, standing));
  }
  return answer;
}

function answerOfRows(group: Group, rows: ReadonlyMap<string, readonly StoredRow[]>, at: Point): Answer {
  const answer = new Map<string, { text: string; pos: Position; record: string }>();
  const own: Folded<StoredRow>[] = [];
  const take = (thing: string, kind: number, folded: Folded<StoredRow>): void => {
    for (const [field, { row, value }] of folded) {
      answer.set(fieldKey(kind, thing, field), entryOf(row.record, { ...row, value }));
    }
  };
  for (const record of group.records) {
    const things = Map.groupBy(rows.get(record) ?? [], ({ kind, key }) => JSON.stringify([kind, key]));
    for (const [thing, ofThing] of things) {
      const [kind, key] = JSON.parse(thing) as [number, string];
      const folded = foldThing(ofThing, at);
      if (kind === PATIENT_KIND) own.push(folded);
      else take(`${record}/${key}`, kind, folded);
    }
  }
  if (own.length > 0) take('', PATIENT_KIND, mergeFolded(own));
  return answer;
}

function differing(left: Answer, right: Answer): string[] {
  return [...new Set([...left.keys(), ...right.keys()])].filter(
    (field) => left.get(field)?.text !== right.get(field)?.text,
  );
}

/** 64 bits over everything that a patient shows at a point. */
function digestOf(patient: string, at: Point, answer: Answer): bigint {
  const lines = [...answer].map(([field, { text }]) => `${field} ${text}`).sort();
  const hash = createHash('sha256').update(JSON.stringify([patient, at.position.toString(), at.validAt, lines]));
  return hash.digest().readBigUInt64BE(0);
}
