/** The questions of the graph's root, as queries on the bus. */
import { Query, QueryHandler, type IQueryHandler } from '@nestjs/cqrs';
import { FACT_KINDS, type FactKind } from '../../mapping/fact.js';
import { CONTROL_ID_PURPOSE } from '../../../projections/master/index.js';
import type { Instant } from '../../time/valid-time.js';
import { changesOf } from '../answer/diff.js';
import type { AtArguments } from '../basis/basis.js';
import {
  connectionOf,
  decodeCursor,
  encodeCursor,
  pageSize,
  type Connection,
  type PageArguments,
} from '../connection.js';
import { GraphError } from '../errors.js';
import { readUuid } from '../ids.js';
import type { LogView, ProjectionView } from '../operations-view.js';
import type { DecodedEvent } from '../../projecting/projection.js';
import type { Session } from '../session.js';
import type { MessageRow } from '../store/master-store.js';
import type { KeysView } from '../key-desk.js';
import type { Snapshot } from '../snapshot.js';
import type { SourceView } from '../sources.js';
import { parsePosition } from '../basis/basis.js';
import type { DeadLetterView, FactChangeView, MessageView } from './resolvers.js';

export class AtQuery extends Query<Snapshot> {
  constructor(
    readonly session: Session,
    readonly given: AtArguments,
  ) {
    super();
  }
}

@QueryHandler(AtQuery)
export class AtHandler implements IQueryHandler<AtQuery> {
  execute({ session, given }: AtQuery): Promise<Snapshot> {
    return session.at(given);
  }
}

export interface DiffArguments extends PageArguments {
  readonly from: Omit<AtArguments, 'wait'>;
  readonly to: Omit<AtArguments, 'wait'>;
  readonly patient?: string | null;
  readonly kinds?: readonly FactKind[] | null;
}

export class DiffQuery extends Query<Connection<FactChangeView>> {
  constructor(
    readonly session: Session,
    readonly given: DiffArguments,
  ) {
    super();
  }
}

@QueryHandler(DiffQuery)
export class DiffHandler implements IQueryHandler<DiffQuery> {
  async execute({ session, given }: DiffQuery): Promise<Connection<FactChangeView>> {
    const size = pageSize(given.first);
    const cursor = given.after == null ? undefined : decodeCursor(given.after);
    // A cursor holds both points, so that `now` stays what it was on the first page.
    const tokens = cursor?.token.split('.');
    if (tokens !== undefined && tokens.length !== 2)
      throw new GraphError('BAD_USER_INPUT', 'not a cursor of this list');
    const [from, to] = await Promise.all(
      tokens === undefined
        ? [session.at(given.from), session.at(given.to)]
        : [session.byToken(tokens[0] as string), session.byToken(tokens[1] as string)],
    );
    let patient: string | undefined;
    if (given.patient != null) {
      patient = readUuid(given.patient);
      if (patient === undefined) return connectionOf([], false, false);
      await to.refuseErased(patient);
    }
    const kinds = given.kinds?.filter((kind) => FACT_KINDS.includes(kind));
    const drafts = await changesOf(
      { from, to, ...(patient === undefined ? {} : { patient }), ...(kinds === undefined ? {} : { kinds }) },
      cursor?.key,
      size + 1,
    );
    const edges = drafts.slice(0, size).map((draft) => ({
      node: { draft, snapshot: to.basis.position < from.basis.position ? from : to },
      cursor: encodeCursor(`${from.basis.token}.${to.basis.token}`, draft.key),
    }));
    return connectionOf(edges, drafts.length > size, cursor !== undefined);
  }
}

export class MessageQuery extends Query<MessageView | null> {
  constructor(
    readonly session: Session,
    readonly id: string,
  ) {
    super();
  }
}

@QueryHandler(MessageQuery)
export class MessageHandler implements IQueryHandler<MessageQuery> {
  async execute({ session, id }: MessageQuery): Promise<MessageView | null> {
    const uuid = readUuid(id);
    if (uuid === undefined) return null;
    const row = await (await session.now()).message(uuid);
    if (row !== undefined) return { row };
    const position = await session.services.operations.positionOf(uuid);
    const event = position === undefined ? undefined : await session.event(position);
    return event === undefined || event.id !== uuid ? null : { row: pendingRow(event) };
  }
}

/** A message that is in the log and that the master store has not reached: what its envelope says of it. */
function pendingRow({ id, position, envelope, body }: DecodedEvent): MessageRow {
  const parked = envelope.validation.state === 'parked' ? envelope.validation.code : null;
  return {
    eventId: id,
    pos: position,
    type: envelope.messageType ?? (body.state === 'open' ? body.header.messageType : undefined) ?? '',
    version: envelope.messageVersion ?? null,
    contentType: envelope.contentType ?? 'application/octet-stream',
    source: envelope.source,
    sourceVersion: envelope.sourceVersion,
    record: envelope.sourceRecordId ?? null,
    patient: envelope.patientId ?? null,
    recordedAt: envelope.recordedAt,
    sourceRecordedAt: envelope.sourceRecordedAt ?? null,
    parkedCode: parked,
    duplicateOf: envelope.duplicateOf ?? null,
    unmapped: [],
    state: body.state,
    letter: null,
    waiting: false,
    pending: true,
  };
}

export interface MessageFilter {
  readonly controlId?: string | null;
  readonly source?: string | null;
  readonly type?: string | null;
  readonly patient?: string | null;
  readonly recordedFrom?: Instant | null;
  readonly recordedTo?: Instant | null;
  readonly status?: string | null;
}

export class MessagesQuery extends Query<Connection<MessageView>> {
  constructor(
    readonly session: Session,
    readonly filter: MessageFilter,
    readonly page: PageArguments,
  ) {
    super();
  }
}

@QueryHandler(MessagesQuery)
export class MessagesHandler implements IQueryHandler<MessagesQuery> {
  async execute({ session, filter, page }: MessagesQuery): Promise<Connection<MessageView>> {
    const size = pageSize(page.first);
    const after = page.after == null ? 0n : parsePosition(decodeCursor(page.after).key);
    const now = await session.now();
    const records = await recordsAbout(now, filter.patient);
    const rows = await now.store.findMessages(now.basis.build, {
      ...(filter.controlId == null
        ? {}
        : { controlHash: session.services.hashes.hash(CONTROL_ID_PURPOSE, filter.controlId) }),
      ...(filter.source == null ? {} : { source: filter.source }),
      ...(filter.type == null ? {} : { type: filter.type }),
      ...(records === undefined ? {} : { records }),
      ...(filter.recordedFrom == null ? {} : { from: filter.recordedFrom }),
      ...(filter.recordedTo == null ? {} : { to: filter.recordedTo }),
      ...(filter.status == null ? {} : { status: filter.status }),
      after,
      limit: size + 1,
    });
    const edges = rows.slice(0, size).map((row) => ({ node: { row }, cursor: encodeCursor('', row.pos.toString()) }));
    return connectionOf(edges, rows.length > size, page.after != null);
  }
}

/** Source records of a patient as of now; undefined where no patient is asked for. */
async function recordsAbout(now: Snapshot, patient: string | null | undefined): Promise<readonly string[] | undefined> {
  if (patient == null) return undefined;
  const uuid = readUuid(patient);
  return uuid === undefined ? [] : (await now.recordsOf(uuid)).map(({ record }) => record);
}

export class LogQuery extends Query<LogView> {
  constructor(readonly session: Session) {
    super();
  }
}

@QueryHandler(LogQuery)
export class LogHandler implements IQueryHandler<LogQuery> {
  execute({ session }: LogQuery): Promise<LogView> {
    return session.services.operations.log();
  }
}

export class KeysQuery extends Query<KeysView> {
  constructor(readonly session: Session) {
    super();
  }
}

@QueryHandler(KeysQuery)
export class KeysHandler implements IQueryHandler<KeysQuery> {
  execute({ session }: KeysQuery): Promise<KeysView> {
    return session.services.keyDesk.view();
  }
}

export class ProjectionsQuery extends Query<ProjectionView[]> {
  constructor(
    readonly session: Session,
    readonly name?: string,
  ) {
    super();
  }
}

@QueryHandler(ProjectionsQuery)
export class ProjectionsHandler implements IQueryHandler<ProjectionsQuery> {
  execute({ session, name }: ProjectionsQuery): Promise<ProjectionView[]> {
    return session.services.operations.projections(name);
  }
}

export interface DeadLetterFilter {
  readonly ids?: readonly string[] | null;
  readonly status?: string | null;
  readonly code?: string | null;
  readonly source?: string | null;
  readonly patient?: string | null;
}

export class DeadLettersQuery extends Query<Connection<DeadLetterView>> {
  constructor(
    readonly session: Session,
    readonly filter: DeadLetterFilter,
    readonly page: PageArguments,
  ) {
    super();
  }
}

@QueryHandler(DeadLettersQuery)
export class DeadLettersHandler implements IQueryHandler<DeadLettersQuery> {
  async execute({ session, filter, page }: DeadLettersQuery): Promise<Connection<DeadLetterView>> {
    const size = pageSize(page.first);
    const after = page.after == null ? 0n : parsePosition(decodeCursor(page.after).key);
    const now = await session.now();
    const records = await recordsAbout(now, filter.patient);
    const rows = await session.services.operations.deadLetters(now.basis.build, {
      ...(filter.status == null ? {} : { status: filter.status }),
      ...(filter.code == null ? {} : { code: filter.code }),
      ...(filter.source == null ? {} : { source: filter.source }),
      ...(records === undefined ? {} : { records }),
      ...(filter.ids == null ? {} : { ids: filter.ids.map(readUuid).filter((id) => id !== undefined) }),
      after,
      limit: size + 1,
    });
    const edges = rows
      .slice(0, size)
      .map((row) => ({ node: { row, snapshot: now }, cursor: encodeCursor('', row.position.toString()) }));
    return connectionOf(edges, rows.length > size, page.after != null);
  }
}

export class SourcesQuery extends Query<readonly SourceView[]> {
  constructor(
    readonly session: Session,
    readonly id?: string,
  ) {
    super();
  }
}

@QueryHandler(SourcesQuery)
export class SourcesHandler implements IQueryHandler<SourcesQuery> {
  async execute({ session, id }: SourcesQuery): Promise<readonly SourceView[]> {
    const { sources } = session.services;
    if (id === undefined) return sources.all();
    const found = await sources.find(id);
    return found === undefined ? [] : [found];
  }
}

export const QUERY_HANDLERS = [
  AtHandler,
  DiffHandler,
  MessageHandler,
  MessagesHandler,
  LogHandler,
  KeysHandler,
  ProjectionsHandler,
  DeadLettersHandler,
  SourcesHandler,
];
