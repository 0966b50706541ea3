/**
 * The control stream: one small record per round, in order. The server stores each stream's batch by itself, so a round that
 * went to many streams counts only when its record follows; what has no record never happened, for every reader alike. The
 * stream's concrete revision is also the fence: a writer that was replaced cannot add a record.
 */
import { jsonEvent, type EventData } from '@eventstore/db-client';
import { randomUUID } from 'node:crypto';
import { LruMap } from '../../sealing/lru.js';
import { LogNotEmptyError, type Position } from '../event-log.js';
import { StreamMovedError, type AppendingClient } from './connection.js';
import type { NativeFrom, Reading, StoredEvent } from './reading.js';

export const CONTROL_STREAM = 'anamnesis-log';
export const IDENTITY_STREAM = 'anamnesis-identity';

export const CONTROL_TYPES = {
  /** A round counts from here on. */
  round: 'anamnesis.round',
  /** A writer has taken over: no round of an earlier one can count any more. */
  writer: 'anamnesis.writer',
  /** A copy of another log is finished. */
  copied: 'anamnesis.copied',
} as const;
type ControlType = (typeof CONTROL_TYPES)[keyof typeof CONTROL_TYPES];
const IDENTITY_TYPE = 'anamnesis.identity';

/** What every record says of the log as a whole. */
export interface LogState {
  /** Position of the last event that counts. */
  readonly head: Position;
  readonly count: bigint;
  /** Added to the server's position of what is appended now. */
  readonly offset: bigint;
  /** The log is a copy that is not finished. */
  readonly copying: boolean;
}

export interface ControlRecord extends LogState {
  readonly revision: bigint;
  readonly native: bigint;
  readonly eventId: string;
  readonly type: ControlType;
  /** Of a round. */
  readonly round?: string;
}

export const EMPTY_LOG: LogState = { head: 0n, count: 0n, offset: 0n, copying: false };

interface RecordData {
  readonly head: string;
  readonly count: string;
  readonly offset?: string;
  readonly copying?: true;
  readonly round?: string;
}

const KNOWN_ROUNDS = 65_536;
const KNOWN_RECORDS = 8_192;
/** Neighbours are read together. */
const READ_TOGETHER = 256n;

/** A record as it is appended. */
export function controlEvent(type: ControlType, state: LogState, round?: string, id = randomUUID()): EventData {
  const data: RecordData = {
    head: state.head.toString(),
    count: state.count.toString(),
    ...(state.offset === 0n ? {} : { offset: state.offset.toString() }),
    ...(state.copying ? { copying: true } : {}),
    ...(round === undefined ? {} : { round }),
  };
  return jsonEvent({ id, type, data: { ...data } });
}

/** The record that an event of the control stream is; undefined for any other event. */
export function controlRecord(event: StoredEvent): ControlRecord | undefined {
  if (event.stream !== CONTROL_STREAM) return undefined;
  const { head, count, offset, copying, round } = event.data as RecordData;
  return {
    revision: event.revision,
    native: event.native,
    eventId: event.id,
    type: event.type as ControlType,
    head: BigInt(head),
    count: BigInt(count),
    offset: BigInt(offset ?? '0'),
    copying: copying === true,
    ...(round === undefined ? {} : { round }),
  };
}

export class Control {
  /** By revision; '' for a record that is no round's. */
  private readonly rounds = new LruMap<bigint, string>(KNOWN_ROUNDS);
  private readonly records = new LruMap<bigint, ControlRecord>(KNOWN_RECORDS);

  constructor(private readonly reading: Reading) {}

  /** Undefined before the first writer. */
  async last(): Promise<ControlRecord | undefined> {
    const chunk = await this.reading.stream(CONTROL_STREAM, 'end', 'backwards', 1);
    return this.remember(chunk?.events[0]);
  }

  async at(revision: bigint): Promise<ControlRecord | undefined> {
    const known = this.records.get(revision);
    if (known !== undefined) return known;
    const chunk = await this.reading.stream(CONTROL_STREAM, revision, 'forwards', 1);
    return this.remember(chunk?.events[0]);
  }

  /** Also what was met while reading the log is worth knowing. */
  remember(event: StoredEvent | undefined): ControlRecord | undefined {
    const record = event === undefined ? undefined : controlRecord(event);
    if (record === undefined) return undefined;
    this.rounds.set(record.revision, record.round ?? '');
    this.records.set(record.revision, record);
    return record;
  }

  /**
   * The last record at or below whose head the log's position lies not beyond `after`: everything after it stands behind that
   * record. Undefined where everything does.
   */
  async anchor(after: Position, last: ControlRecord): Promise<ControlRecord | undefined> {
    if (last.head <= after) return last;
    let found: ControlRecord | undefined;
    let low = 0n;
    let high = last.revision - 1n;
    while (low <= high) {
      const middle = (low + high) / 2n;
      const record = await this.at(middle);
      if (record === undefined) throw new Error(`the log's record ${middle} is missing`);
      if (record.head <= after) {
        found = record;
        low = middle + 1n;
      } else {
        high = middle - 1n;
      }
    }
    return found;
  }

  /** For each tag whether its round counts; undefined where that is not decided yet. */
  async counts(
    tags: readonly { readonly control: bigint; readonly round: string }[],
  ): Promise<(boolean | undefined)[]> {
    const unknown = [
      ...new Set(tags.map((tag) => tag.control).filter((revision) => this.rounds.get(revision) === undefined)),
    ];
    unknown.sort((left, right) => (left < right ? -1 : left > right ? 1 : 0));
    for (let from = 0; from < unknown.length;) {
      const first = unknown[from] as bigint;
      let to = from;
      while (to + 1 < unknown.length && (unknown[to + 1] as bigint) - first < READ_TOGETHER) to += 1;
      const most = Number((unknown[to] as bigint) - first) + 1;
      const chunk = await this.reading.stream(CONTROL_STREAM, first, 'forwards', most);
      for (const event of chunk?.events ?? []) this.remember(event);
      from = to + 1;
    }
    return tags.map((tag) => {
      const round = this.rounds.get(tag.control);
      return round === undefined ? undefined : round === tag.round;
    });
  }
}

/** Where a read of everything behind a record begins. */
export function behind(record: ControlRecord | undefined): NativeFrom {
  return record?.native ?? 'start';
}

/** The log's identity; undefined for a server that holds no log. */
export async function readIdentity(reading: Reading): Promise<string | undefined> {
  const chunk = await reading.stream(IDENTITY_STREAM, 'end', 'backwards', 1);
  const data = chunk?.events[0]?.data as { id?: unknown } | undefined;
  return typeof data?.id === 'string' ? data.id : undefined;
}

/** The log's identity; made where there is none, once, whoever comes first. */
export async function ensureIdentity(reading: Reading, client: AppendingClient, timeoutMs: number): Promise<string> {
  for (;;) {
    const known = await readIdentity(reading);
    if (known !== undefined) return known;
    try {
      await client.append(IDENTITY_STREAM, 'no_stream', [identityEvent(randomUUID())], timeoutMs);
    } catch (error) {
      if (!(error instanceof StreamMovedError)) throw error;
    }
  }
}

/**
 * Gives an empty log the identity of the one it will be a copy of.
 * @param goOn whether what stands here is known to be the beginning of that one
 * @throws LogNotEmptyError where it is another log's copy or has events
 */
export async function adoptIdentity(
  reading: Reading,
  control: Control,
  client: AppendingClient,
  id: string,
  goOn: boolean,
  timeoutMs: number,
): Promise<void> {
  const last = await control.last();
  const chunk = await reading.stream(IDENTITY_STREAM, 'end', 'backwards', 1);
  const [stored] = chunk?.events ?? [];
  const known = (stored?.data as { id?: unknown } | undefined)?.id;
  if (last !== undefined && !(known === id && (last.copying || goOn))) throw new LogNotEmptyError();
  if (known === id) return;
  // A reader that came first has named the empty log: nothing was ever written under that name.
  try {
    await client.append(IDENTITY_STREAM, stored?.revision ?? 'no_stream', [identityEvent(id)], timeoutMs);
  } catch (error) {
    throw error instanceof StreamMovedError ? new LogNotEmptyError() : error;
  }
}

function identityEvent(id: string): EventData {
  return jsonEvent({ type: IDENTITY_TYPE, data: { id } });
}
