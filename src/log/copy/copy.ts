/**
 * `log copy`: carries a log to another place with its identity, order, ids, positions and every byte, resumable after any interruption, and compares both
 * at the end, event by event and against the signed heads (DESIGN §2, "Move").
 */
import type { KeyObject } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import {
  LogUnavailableError,
  type EventLogImport,
  type EventLogReader,
  type Position,
  type RecordedEvent,
} from '../event-log.js';
import type { HeadStore } from '../evidence/head-store.js';
import { KeyChain } from '../evidence/key-chain.js';
import { leafHash } from '../evidence/leaf.js';
import { TileTree } from '../evidence/tiles.js';
import type { TreeHead } from '../evidence/tree-head.js';

export interface CopyProgress {
  readonly phase: 'copying' | 'comparing';
  /** Events of the whole log done, also by earlier runs. */
  readonly events: bigint;
  readonly total: bigint;
  /** Of this run. */
  readonly eventsPerSecond: number;
  readonly secondsLeft: number | undefined;
}

export interface Comparison {
  readonly events: bigint;
  /** Root of the Merkle tree over the whole log: the same for both. */
  readonly root: string;
  /** Signed heads that both give. */
  readonly heads: number;
}

/** Original and copy differ, or a signed head. `code` is stable: LOGS_DIFFER. */
export class LogsDifferError extends Error {
  readonly code = 'LOGS_DIFFER';
  constructor(
    readonly position: Position | undefined,
    message: string,
  ) {
    super(message);
  }
}

const PAGE_EVENTS = 2_000;
const PAGE_BYTES = 8 * 1024 * 1024;
const RETRY_MIN_MS = 50;
const RETRY_MAX_MS = 2_000;
const RETRIES = 20;

type OnProgress = ((progress: CopyProgress) => void) | undefined;

/**
 * Copies every event up to a position, from where an earlier run ended.
 * @param end position of the last event to copy, the end of an append batch
 * @throws LogUnavailableError where either log stays away; RangeError where the original is not one
 */
export async function copyEvents(
  source: EventLogReader,
  target: EventLogImport,
  end: Position,
  onProgress?: OnProgress,
): Promise<void> {
  const total = await source.count();
  const tell = paceOf('copying', target.progress.events, total, onProgress);
  const stop = new AbortController();
  try {
    const pages = source.subscribe({ after: target.progress.position, pageSize: PAGE_EVENTS, signal: stop.signal });
    if (target.progress.position >= end) return;
    for await (const page of pages) {
      const { events, position } = await persistently(() => target.write(page));
      tell(events);
      if (position >= end) return;
    }
  } finally {
    stop.abort();
  }
}

/**
 * Reads both logs whole and compares them event by event; then every signed head must be the root of the tree at its size.
 * @throws LogsDifferError, HeadStoreError, BadHeadError, LogUnavailableError
 */
export async function compareLogs(
  source: EventLogReader,
  target: EventLogReader,
  options: {
    readonly heads?: { readonly store: HeadStore; readonly publicKey: KeyObject };
    readonly onProgress?: OnProgress;
  } = {},
): Promise<Comparison> {
  if (source.id !== target.id) throw new LogsDifferError(undefined, 'the copy has another identity');
  const total = await source.count();
  const tell = paceOf('comparing', 0n, total, options.onProgress);
  const tree = new TileTree(false);
  const heads = options.heads === undefined ? undefined : headsToMeet(options.heads.store, options.heads.publicKey);
  let met = 0;
  let next = await heads?.next();
  const theirs = eventsOf(target);
  let events = 0n;
  for await (const event of eventsOf(source)) {
    const { value: copied, done } = await theirs.next();
    if (done === true) throw new LogsDifferError(event.position, `the copy ends before position ${event.position}`);
    const leaf = leafHash(copied);
    if (!leaf.equals(leafHash(event)) || !copied.data.equals(event.data)) {
      throw new LogsDifferError(event.position, `the copy differs at position ${event.position}`);
    }
    tree.add(event.position, (into, offset) => leaf.copy(into, offset));
    events += 1n;
    if (events % 1_000n === 0n) tell(events);
    while (next?.done === false && next.value.size === tree.size) {
      const head = next.value;
      if (!tree.root().equals(head.root)) {
        throw new LogsDifferError(
          head.position,
          `the events up to position ${head.position} are not those that head ${head.sequence} signed`,
        );
      }
      met += 1;
      next = await heads?.next();
    }
  }
  if ((await theirs.next()).done !== true)
    throw new LogsDifferError(undefined, 'the copy has more events than the original');
  if (next?.done === false) {
    const { sequence, position } = next.value;
    throw new LogsDifferError(
      position,
      `head ${sequence} signed the log up to position ${position}, and it is shorter`,
    );
  }
  tell(events);
  return { events, root: tree.root().toString('base64url'), heads: met };
}

/** Heads in order of size; those that a declared restore gave up are left out. */
async function* headsToMeet(store: HeadStore, publicKey: KeyObject): AsyncGenerator<TreeHead, undefined> {
  const chain = await KeyChain.of(store, publicKey);
  const all: TreeHead[] = [];
  for await (const { signed } of store.read()) {
    const head = chain.open(signed);
    if (head.abandons !== undefined) while ((all.at(-1)?.size ?? 0) > head.size) all.pop();
    all.push(head);
  }
  yield* all;
  return undefined;
}

async function* eventsOf(log: EventLogReader): AsyncGenerator<RecordedEvent, undefined> {
  let after: Position | undefined;
  for (;;) {
    const from = after;
    const page = await persistently(() =>
      log.readPage({ ...(from === undefined ? {} : { after: from }), limit: PAGE_EVENTS, maxBytes: PAGE_BYTES }),
    );
    yield* page;
    after = page.at(-1)?.position;
    if (after === undefined) return undefined;
  }
}

/** A log that is away for a moment costs a moment. */
async function persistently<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 1, retryMs = RETRY_MIN_MS; ; attempt += 1, retryMs = Math.min(retryMs * 2, RETRY_MAX_MS)) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof LogUnavailableError) || attempt > RETRIES) throw error;
      await delay(retryMs);
    }
  }
}

function paceOf(
  phase: CopyProgress['phase'],
  before: bigint,
  total: bigint,
  onProgress: OnProgress,
): (events: bigint) => void {
  const started = performance.now();
  return (events) => {
    const seconds = (performance.now() - started) / 1000;
    const eventsPerSecond = seconds === 0 ? 0 : Number(events - before) / seconds;
    const secondsLeft = eventsPerSecond === 0 ? undefined : Number(total - events) / eventsPerSecond;
    onProgress?.({ phase, events, total, eventsPerSecond, secondsLeft });
  };
}
