/** Resolvers of the clinical graph's types, below the root fields. Plain functions: a large page calls them very often. */
import type { GraphQLResolveInfo } from 'graphql';
import type { Principal } from '../../auth/principal.js';
import { flagsOfBits } from '../../../projections/master/index.js';
import type { FactKind } from '../../mapping/fact.js';
import type { Basis } from '../basis/basis.js';
import {
  connectionOf,
  decodeCursor,
  edgesOf,
  OF_ANOTHER_LIST,
  pageOf,
  pageSize,
  type Connection,
  type PageArguments,
} from '../connection.js';
import { GraphError } from '../errors.js';
import type { ChangeDraft } from '../answer/diff.js';
import {
  pageOfVersions,
  versionsOfPatient,
  versionsOfThing,
  type Cause,
  type VersionDraft,
} from '../answer/history.js';
import {
  displayOfFact,
  encountersAt,
  encountersOf,
  factsOf,
  nodeForCursor,
  observationsOf,
  type EncounterFilter,
  type ObservationFilter,
} from '../answer/lists.js';
import { factsOfMessage } from '../answer/message-facts.js';
import { findPatients, patientByIdentifier, type PatientFilter } from '../answer/patients.js';
import { populationAt, type Dimension, type PopulationFilter } from '../answer/population.js';
import { searchAt, type SearchArguments, type SearchHitView } from '../answer/search.js';
import { timelineOf, type TimelineDraft, type TimelineFilter } from '../answer/timeline.js';
import { bodyOf, bodyProblemOf, ruleOf } from '../messages.js';
import type { DeadLetterRow, LogView } from '../operations-view.js';
import { PatientNode, type LinkedRecord, type Node, type Snapshot, type ThingNode } from '../snapshot.js';
import type { Session } from '../session.js';
import type { SourceView } from '../sources.js';
import type { FactRow, LinkRow, MessageRow } from '../store/master-store.js';
import type { ValueChange } from '../view/changes.js';
import { codedView, encounterView, observationView } from '../view/clinical.js';
import {
  addressesOf,
  attributeName,
  birthDateOf,
  deceasedOf,
  identifiersOf,
  namesOf,
  sexOf,
  telecomsOf,
} from '../view/people.js';
import { resourceOf } from '../view/resource.js';
import { FACT_LISTS, kindsBelow } from './kinds-below.js';
import { DateTimeScalar, FhirResourceScalar, JsonScalar, PartialDateTimeScalar, PositionScalar } from './scalars.js';
import type { MessageStatus } from './types.js';

export interface GraphContext {
  readonly session: Session;
  readonly principal: Principal;
}

/** A version's times and cause, at the snapshot it was reached from. */
export interface MetaView {
  readonly snapshot: Snapshot;
  readonly cause: Cause;
}

/** A message, at the snapshot it was reached from; without one, as of now. */
export interface MessageView {
  readonly row: MessageRow;
  readonly snapshot?: Snapshot;
}

export interface DeadLetterView {
  readonly row: DeadLetterRow;
  readonly snapshot: Snapshot;
}

interface ChangeView {
  readonly change: ValueChange;
  readonly kind: FactKind;
  readonly key: string;
  readonly position: bigint;
}

interface VersionView {
  readonly node: Node;
  readonly draft: VersionDraft;
}

export interface FactChangeView {
  readonly draft: ChangeDraft;
  readonly snapshot: Snapshot;
}

function metaOf(node: Node): MetaView {
  return { snapshot: node.snapshot, cause: { kind: 'fact', row: node.row } };
}

function rowOf(cause: Cause): FactRow | LinkRow {
  return cause.kind === 'fact' ? cause.row : cause.link;
}

/** @throws GraphError NOT_FOUND where the log holds the cause but the store does not */
async function causeMessage(snapshot: Snapshot, eventId: string): Promise<MessageView> {
  const row = await snapshot.message(eventId);
  if (row === undefined) throw new GraphError('NOT_FOUND', 'the cause of this fact is no message');
  return { row, snapshot };
}

/** What became of a message. */
export function statusOf(row: MessageRow): MessageStatus {
  if (row.state === 'erased') return 'ERASED';
  if (row.letter !== null && !(row.letter === 'REPLAYED' && row.waiting)) return row.letter as MessageStatus;
  if (row.waiting) return 'WAITING';
  if (row.pending === true && row.parkedCode === null) return 'PENDING';
  return row.parkedCode === null ? 'APPLIED' : 'PARKED';
}

async function historyOf(node: Node, page: PageArguments): Promise<Connection<VersionView>> {
  const { node: at, key } = await nodeForCursor(node, page.after);
  const { token } = at.snapshot.basis;
  const keyOfView = ({ draft }: VersionView): string => draft.key;
  if (!(at instanceof PatientNode) && at.thing.deciding !== undefined) {
    const found = await pageOfVersions(at, pageSize(page.first), key);
    if (found === undefined) throw new GraphError('BAD_USER_INPUT', OF_ANOTHER_LIST);
    const views = found.versions.map((draft): VersionView => ({ node: at, draft }));
    return connectionOf(edgesOf(views, keyOfView, token), found.more, key !== undefined);
  }
  const drafts = at instanceof PatientNode ? await versionsOfPatient(at) : versionsOfThing(at);
  return pageOf(
    drafts.map((draft): VersionView => ({ node: at, draft })),
    keyOfView,
    token,
    { first: page.first, ...(key === undefined ? {} : { afterKey: key }) },
  );
}

function changeViews(changes: readonly ValueChange[], kind: FactKind, key: string, position: bigint): ChangeView[] {
  return changes.map((change) => ({ change, kind, key, position }));
}

function keyOf(cause: Cause): string {
  return cause.kind === 'fact' ? cause.row.key : '';
}

const versioned = {
  meta: metaOf,
  history: (node: Node, page: PageArguments) => historyOf(node, page),
  resource: (node: Node) => node.resource(),
};

/** Every clinical fact but a patient: whom it is about. */
const aboutPatient = {
  patient: async (node: ThingNode): Promise<PatientNode> => {
    const id = await node.snapshot.patientOf(node.thing.record);
    const patient = id === undefined ? null : await node.snapshot.patient(id);
    if (patient === null) throw new GraphError('NOT_FOUND', 'nobody holds this record at the basis');
    return patient;
  },
};

const coded = {
  code: (node: ThingNode) => codedView(node.kind, node.values).code,
  display: (node: ThingNode) => codedView(node.kind, node.values).display,
};

const TYPE_NAMES: Partial<Readonly<Record<FactKind, string>>> = {
  PATIENT: 'Patient',
  ENCOUNTER: 'Encounter',
  OBSERVATION: 'Observation',
  CONDITION: 'Condition',
  ALLERGY_INTOLERANCE: 'Allergy',
  IMMUNIZATION: 'Immunization',
};

const factLists = Object.fromEntries(
  Object.entries(FACT_LISTS).map(([field, kinds]) => [
    field,
    (node: PatientNode, page: PageArguments) => factsOf(node, kinds, page),
  ]),
);

export const resolvers = {
  DateTime: DateTimeScalar,
  PartialDateTime: PartialDateTimeScalar,
  Position: PositionScalar,
  FhirResource: FhirResourceScalar,
  JSON: JsonScalar,

  Versioned: {
    __resolveType: (node: Node) => TYPE_NAMES[node.kind] ?? 'ClinicalFact',
  },

  Snapshot: {
    basis: ({ basis }: Snapshot): Basis => basis,
    node: (snapshot: Snapshot, { id }: { id: string }) => snapshot.asked(id, snapshot.node(id)),
    patient: (snapshot: Snapshot, { id }: { id: string }, _: unknown, info: GraphQLResolveInfo) =>
      snapshot.asked(id, snapshot.patient(id, kindsBelow(info))),
    patientByIdentifier: (
      snapshot: Snapshot,
      { authority, value }: { authority: string; value: string },
      _: unknown,
      info: GraphQLResolveInfo,
    ) => patientByIdentifier(snapshot, authority, value, kindsBelow(info)),
    patients: (snapshot: Snapshot, { filter, ...page }: PageArguments & { filter?: PatientFilter | null }) =>
      findPatients(snapshot, filter ?? {}, page),
    encounters: (snapshot: Snapshot, { filter, ...page }: PageArguments & { filter?: EncounterFilter | null }) =>
      encountersAt(snapshot, filter ?? {}, page),
    search: (snapshot: Snapshot, given: SearchArguments, { session }: GraphContext) =>
      searchAt(snapshot, session.services.search, given, snapshot.given.wait === true),
    population: (snapshot: Snapshot, { by, filter }: { by: readonly Dimension[]; filter?: PopulationFilter | null }) =>
      populationAt(snapshot, by, filter ?? {}),
  },

  Basis: {
    position: ({ position }: Basis) => position,
  },

  VersionMeta: {
    validFrom: ({ cause }: MetaView) => (cause.kind === 'fact' ? cause.row.validText : cause.link.recordedAt),
    validFromInstant: ({ cause }: MetaView) => (cause.kind === 'fact' ? cause.row.validFrom : cause.link.recordedAt),
    validFromField: ({ cause }: MetaView) => (cause.kind === 'fact' ? cause.row.validField : 'ARRIVAL'),
    flags: ({ cause }: MetaView) => (cause.kind === 'fact' ? flagsOfBits(cause.row.validFlags) : ['ARRIVAL']),
    recordedAt: ({ cause }: MetaView) => rowOf(cause).recordedAt,
    position: ({ cause }: MetaView) => rowOf(cause).pos,
    message: ({ snapshot, cause }: MetaView) => causeMessage(snapshot, rowOf(cause).eventId),
  },

  Version: {
    operation: ({ draft }: VersionView) => draft.operation,
    resource: async ({ node, draft }: VersionView) => {
      if (Object.keys(draft.values).length === 0) return null;
      const subject = node instanceof PatientNode ? undefined : await node.snapshot.patientOf(node.thing.record);
      return resourceOf(node.kind, node.id, draft.values, subject);
    },
    changes: ({ node, draft }: VersionView) =>
      changeViews(draft.changes, node.kind, keyOf(draft.cause), rowOf(draft.cause).pos),
    meta: ({ node, draft }: VersionView): MetaView => ({ snapshot: node.snapshot, cause: draft.cause }),
  },

  FieldChange: {
    path: ({ change }: ChangeView) => change.path,
    before: ({ change }: ChangeView) => change.before ?? null,
    after: ({ change }: ChangeView) => change.after ?? null,
    rule: async ({ change, kind, key, position }: ChangeView, _: unknown, { session }: GraphContext) =>
      ruleOf(await session.event(position), kind, key, change.field, change.path),
  },

  Patient: {
    ...versioned,
    basis: (node: PatientNode): Basis => node.snapshot.basis,
    identifiers: (node: PatientNode) => identifiersOf(node.values),
    names: (node: PatientNode) => namesOf(node.values),
    birthDate: (node: PatientNode) => birthDateOf(node.values),
    sex: (node: PatientNode) => sexOf(node.values),
    deceased: (node: PatientNode) => deceasedOf(node.values).at,
    isDeceased: (node: PatientNode) => deceasedOf(node.values).is,
    addresses: (node: PatientNode) => addressesOf(node.values),
    telecoms: (node: PatientNode) => telecomsOf(node.values),
    attributes: (node: PatientNode) =>
      [...node.folded]
        .flatMap(([field, { row, value }]) => {
          const name = attributeName(field);
          if (name === undefined || value === undefined) return [];
          return [{ name, value, meta: { snapshot: node.snapshot, cause: { kind: 'fact' as const, row } } }];
        })
        .sort((left, right) => (left.name < right.name ? -1 : 1)),
    sourceRecords: (node: PatientNode) =>
      node.records.map((linked, index) => ({ node, linked, part: node.parts[index] })),
    parkedMessages: async (node: PatientNode, _: unknown, { session }: GraphContext): Promise<DeadLetterView[]> => {
      const rows = await session.services.operations.deadLetters(node.snapshot.basis.build, {
        records: node.records.map(({ record }) => record),
        openAt: node.snapshot.basis.position,
        after: 0n,
        limit: 1000,
      });
      return rows.map((row) => ({ row, snapshot: node.snapshot }));
    },
    isBehind: (node: PatientNode, _: unknown, { session }: GraphContext): Promise<boolean> =>
      session.services.operations.isBehind(
        node.records.map(({ record }) => record),
        node.snapshot.basis.position,
      ),
    encounters: (node: PatientNode, { filter, ...page }: PageArguments & { filter?: EncounterFilter | null }) =>
      encountersOf(node, filter ?? {}, page),
    observations: (node: PatientNode, { filter, ...page }: PageArguments & { filter?: ObservationFilter | null }) =>
      observationsOf(node, filter ?? {}, page),
    ...factLists,
    timeline: async (node: PatientNode, { first, after, ...filter }: PageArguments & TimelineFilter) => {
      const at = await nodeForCursor(node, after);
      const drafts = await timelineOf(at.node, filter);
      return pageOf(
        drafts.map((draft) => ({ draft, snapshot: at.node.snapshot })),
        ({ draft }) => draft.key,
        at.node.snapshot.basis.token,
        { first, ...(at.key === undefined ? {} : { afterKey: at.key }) },
      );
    },
  },

  SourceRecord: {
    id: ({ linked }: { linked: LinkedRecord }) => linked.record,
    authority: ({ part }: { part: PatientNode['parts'][number] }) => ownIdentifier(part)?.authority ?? null,
    value: ({ part }: { part: PatientNode['parts'][number] }) => ownIdentifier(part)?.value ?? null,
    linkedSince: ({ linked }: { linked: LinkedRecord }) => linked.since.recordedAt,
    linkedBy: async ({ node, linked }: { node: PatientNode; linked: LinkedRecord }): Promise<MessageView | null> => {
      const row = await node.snapshot.message(linked.since.eventId);
      return row === undefined ? null : { row, snapshot: node.snapshot };
    },
  },

  Encounter: {
    ...versioned,
    ...aboutPatient,
    status: (node: ThingNode) => encounterView(node.values).status,
    class: (node: ThingNode) => encounterView(node.values).class,
    location: (node: ThingNode) => encounterView(node.values).location,
    start: (node: ThingNode) => encounterView(node.values).start,
    end: (node: ThingNode) => encounterView(node.values).end,
  },
  Observation: {
    ...versioned,
    ...aboutPatient,
    code: (node: ThingNode) => observationView(node.values).code,
    display: (node: ThingNode) => observationView(node.values).display,
    status: (node: ThingNode) => observationView(node.values).status,
    value: (node: ThingNode) => observationView(node.values).value,
    unit: (node: ThingNode) => observationView(node.values).unit,
    effective: (node: ThingNode) => observationView(node.values).effective,
  },
  Condition: { ...versioned, ...aboutPatient, ...coded },
  Allergy: { ...versioned, ...aboutPatient, ...coded },
  Immunization: { ...versioned, ...aboutPatient, ...coded },
  ClinicalFact: { ...versioned, ...aboutPatient, display: displayOfFact },

  TimelineEntry: {
    kind: ({ draft }: { draft: TimelineDraft }) => draft.kind,
    at: ({ draft }: { draft: TimelineDraft }) => draft.at,
    title: ({ draft }: { draft: TimelineDraft }) => draft.title,
    fact: ({ draft }: { draft: TimelineDraft }) => draft.fact,
    message: ({ draft, snapshot }: { draft: TimelineDraft; snapshot: Snapshot }) =>
      causeMessage(snapshot, draft.eventId),
  },

  SearchHit: {
    kind: ({ node }: SearchHitView) => node.kind,
    fact: ({ node }: SearchHitView) => node,
  },

  FactChange: {
    kind: ({ draft }: FactChangeView) => draft.kind,
    id: ({ draft }: FactChangeView) => draft.id,
    operation: ({ draft }: FactChangeView) => draft.operation,
    before: ({ draft }: FactChangeView) => draft.before,
    after: ({ draft }: FactChangeView) => draft.after,
    fields: ({ draft }: FactChangeView) => changeViews(draft.changes, draft.kind, draft.factKey, draft.pos),
    message: ({ draft, snapshot }: FactChangeView) => causeMessage(snapshot, rowOf(draft.cause).eventId),
  },

  Log: {
    statistics: (_log: LogView, _: unknown, { session }: GraphContext) => session.services.operations.logStatistics(),
    partitions: (_log: LogView, _: unknown, { session }: GraphContext) => session.services.operations.logPartitions(),
  },
  Message: {
    id: ({ row }: MessageView) => row.eventId,
    type: async ({ row }: MessageView) => row.type,
    version: ({ row }: MessageView) => row.version,
    contentType: ({ row }: MessageView) => row.contentType,
    source: async ({ row }: MessageView, _: unknown, { session }: GraphContext): Promise<SourceView> =>
      (await session.services.sources.at(row.source, row.sourceVersion)) ?? unknownSource(row),
    sourceVersion: ({ row }: MessageView) => row.sourceVersion,
    controlId: async ({ row }: MessageView, _: unknown, { session }: GraphContext) => {
      const body = (await session.event(row.pos))?.body;
      return body?.state === 'open' || body?.state === 'unreadable' ? (body.header?.controlId ?? null) : null;
    },
    recordedAt: ({ row }: MessageView) => row.recordedAt,
    sourceRecordedAt: ({ row }: MessageView) => row.sourceRecordedAt,
    position: ({ row }: MessageView) => row.pos,
    status: ({ row }: MessageView) => statusOf(row),
    patient: async ({ row, snapshot }: MessageView, _: unknown, { session }: GraphContext) => {
      if (row.record === null) return null;
      const at = snapshot ?? (await session.now());
      const patient = await at.patientOf(row.record);
      return patient === undefined ? null : at.patient(patient);
    },
    body: async ({ row }: MessageView, _: unknown, { session }: GraphContext) =>
      bodyOf(await session.eventWithContent(row.pos)),
    bodyProblem: async ({ row }: MessageView, _: unknown, { session }: GraphContext) =>
      bodyProblemOf(await session.event(row.pos)),
    facts: async ({ row, snapshot }: MessageView, _: unknown, { session }: GraphContext): Promise<FactChangeView[]> => {
      const at = snapshot ?? (await session.now());
      return (await factsOfMessage(at, row)).map((draft) => ({ draft, snapshot: at }));
    },
    unmapped: ({ row }: MessageView) => row.unmapped,
    duplicateOf: async ({ row, snapshot }: MessageView, _: unknown, { session }: GraphContext) => {
      if (row.duplicateOf === null) return null;
      const original = await (snapshot ?? (await session.now())).message(row.duplicateOf);
      return original === undefined ? null : { row: original, ...(snapshot === undefined ? {} : { snapshot }) };
    },
    proof: ({ row }: MessageView, _: unknown, { session }: GraphContext) =>
      session.services.proofs?.of(row.pos) ?? null,
  },

  Source: {
    state: ({ id }: SourceView, _: unknown, { session }: GraphContext) => session.services.sources.activity(id),
    history: async ({ id }: SourceView, page: PageArguments, { session }: GraphContext) =>
      pageOf(await session.services.sources.history(id), ({ version }) => String(version), '', {
        first: page.first,
        ...(page.after == null ? {} : { afterKey: decodeCursor(page.after).key }),
      }),
    differences: ({ id }: SourceView, _: unknown, { session }: GraphContext) =>
      session.services.sources.differences(id),
  },

  DeadLetter: {
    id: ({ row }: DeadLetterView) => row.messageId,
    message: ({ row, snapshot }: DeadLetterView) => causeMessage(snapshot, row.messageId),
    code: ({ row }: DeadLetterView) => row.code,
    path: ({ row }: DeadLetterView) => row.path,
    byteOffset: ({ row }: DeadLetterView) => row.byteOffset,
    status: ({ row }: DeadLetterView) => row.status,
    waiting: ({ row }: DeadLetterView) => row.waiting,
    attempts: ({ row }: DeadLetterView) => row.attempt,
    version: ({ row }: DeadLetterView) => row.version,
    patient: async ({ row, snapshot }: DeadLetterView) => {
      const [record] = row.records;
      if (record === undefined) return null;
      const patient = await snapshot.patientOf(record);
      return patient === undefined ? null : snapshot.patient(patient);
    },
  },
};

/** Nobody knows what this source was when the message came: a log that was written before sources were events. */
function unknownSource({ source: id, sourceVersion: version }: MessageRow): SourceView {
  return { id, kind: id, enabled: false, paused: false, version, settings: {}, ownSettings: {} };
}

/** The identifier that a record is known by: the first that its own messages state. */
function ownIdentifier(
  part: PatientNode['parts'][number] | undefined,
): { readonly authority: string | null; readonly value: string } | undefined {
  const value = part?.get('identifier')?.value;
  return value === undefined ? undefined : identifiersOf({ identifier: value })[0];
}
