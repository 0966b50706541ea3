/**
 * The keeper of the log's Merkle tree: in the writer's process. It is told of every round that has become durable, with the bytes that were handed to the
 * log, adds its leaves after the answers have gone out, and signs the tree at least every second while events come, and at the end. What it did not see
 * itself (rounds before it, or around another writer's) it reads from the log.
 */
import { createPublicKey, type KeyObject } from 'node:crypto';
import { setImmediate as nextTurn, setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { now } from '../../time/clock.js';
import type { Instant } from '../../time/valid-time.js';
import {
  WriterFencedError,
  WrongExpectedRevisionError,
  type AppendResult,
  type EventLogReader,
  type EventLogWriter,
  type Position,
  type RecordedEvent,
  type StreamAppend,
} from '../event-log.js';
import type { HeadStore } from './head-store.js';
import { writeLeafHash } from './leaf.js';
import { rangeRoot } from './merkle.js';
import { clearTiles, loadTree, readHeadCopy, saveHead, saveTiles, tileLoader } from './tile-store.js';
import { subtreesOf, TileTree } from './tiles.js';
import { keysBehind, signBehind, type NextKey, type SigningKeys } from './key-change.js';
import { parseHead, type SignedHead, type TreeHead } from './tree-head.js';

export interface TreeKeeperOptions {
  /** The hub's PostgreSQL (schema evidence). */
  readonly pool: pg.Pool;
  readonly reader: EventLogReader;
  readonly heads: HeadStore;
  /** Ed25519 private key. */
  readonly key: KeyObject;
  /** The key that is to follow it, once somebody has asked for one. */
  readonly nextKey?: NextKey;
  /** Time between two looks whether there is one. */
  readonly lookForKeyMs?: number;
  readonly clock?: () => Instant;
  /** Time between two heads while events come. */
  readonly signEveryMs?: number;
  /** Told of failures that the keeper goes on after: appending never waits for it. */
  readonly onTrouble?: (error: unknown) => void;
}

/**
 * Thrown at takeover where the log is not the one that was signed. Appending would bury the difference, so nothing is appended. `code` is stable:
 * LOG_ROLLED_BACK (it ends before a signed head), LOG_ALTERED (its events do not give the signed root), HEADS_OF_ANOTHER_LOG.
 */
export class LogContradictsHeadError extends Error {
  constructor(
    readonly code: 'LOG_ROLLED_BACK' | 'LOG_ALTERED' | 'HEADS_OF_ANOTHER_LOG',
    message: string,
  ) {
    super(message);
  }
}

export interface TreeState {
  /** Leaves in the tree. */
  readonly size: number;
  /** The last head that stands in the second place. */
  readonly signed: TreeHead | undefined;
  /** Rounds and positions that are still to be added. */
  readonly behind: boolean;
}

/** The promise is a second; what is left of it is for the flush. */
const SIGN_EVERY_MS = 750;
const LOOK_FOR_KEY_MS = 1_000;
const RETRY_MS = 1_000;
const PAGE_EVENTS = 1_000;
const PAGE_BYTES = 8 * 1024 * 1024;
/** Rounds that wait hold at most this much of bodies; beyond it they are read from the log again. */
const WAITING_BYTES = 32 * 1024 * 1024;
/** Full tiles that wait to be stored while a long log is read for the first time: two megabytes of hashes. */
const WAITING_TILES = 256;

/** A stop does not wait for more than this to be read. */
const FAR_POSITIONS = 20_000n;

interface WaitingRound {
  readonly events: readonly RecordedEvent[];
  readonly bytes: number;
}

export class TreeKeeper {
  /** Called after every attempt to sign. */
  onSigned: () => void = () => undefined;
  private waiting: WaitingRound[] = [];
  private waitingBytes = 0;
  /** Everything up to here is read from the log, for it was not seen, or not kept. */
  private readUpTo: Position = 0n;
  /** Whether events that nobody told of may stand before the next round. */
  private uncertain = true;
  private working: Promise<void> | undefined;
  private signing: Promise<void> | undefined;
  private saving: Promise<void> = Promise.resolve();
  private timer: NodeJS.Timeout | undefined;
  private keyTimer: NodeJS.Timeout | undefined;
  private signedAtMs = Date.now();
  /** Whether the last attempt to store a head may have succeeded after all. */
  private headInDoubt = false;
  private closing = false;
  private ended = false;

  private constructor(
    private readonly options: TreeKeeperOptions,
    private tree: TileTree,
    private signed: TreeHead | undefined,
    private nextSequence: number,
    private keys: SigningKeys,
  ) {}

  /**
   * Checks that the log still is the one whose head was signed last, then goes on behind that head. Call it after the log has been taken over for writing
   * and before anything is appended. A log that was never signed is read from its beginning, beside the appends.
   * @throws LogContradictsHeadError, BadHeadError, HeadStoreError, LogUnavailableError
   */
  static async open(options: TreeKeeperOptions): Promise<TreeKeeper> {
    const stored = await options.heads.last();
    const copy = await readHeadCopy(options.pool);
    const at = { now: options.key, next: await options.nextKey?.load() };
    const { keys, head: signed } = await keysBehind(stored?.signed, at, options.nextKey);
    await putPublicKeys(options.heads, keys);
    const remembered = copy === undefined ? undefined : parseHead(copy.head);
    if (remembered !== undefined && remembered.sequence > (signed?.sequence ?? 0)) {
      const last = signed === undefined ? 'holds none' : `ends with head ${signed.sequence}`;
      options.onTrouble?.(new Error(`head ${remembered.sequence} was signed, but ${options.heads.name} ${last}`));
    }
    const tree = await treeOf(options, signed);
    // A head that a kill kept from being copied.
    if (stored !== undefined && (signed?.sequence ?? 0) > (remembered?.sequence ?? 0))
      await saveHead(options.pool, stored.signed);
    const sequence = Math.max(signed?.sequence ?? 0, remembered?.sequence ?? 0) + 1;
    const keeper = new TreeKeeper(options, tree, signed, sequence, keys);
    keeper.readUpTo = (await newestEvent(options.reader))?.position ?? 0n;
    keeper.work();
    keeper.lookForKeys();
    return keeper;
  }

  /** A round is durable. Costs the caller nothing: the leaves are made in a later turn. */
  appended(round: readonly StreamAppend[], results: readonly AppendResult[]): void {
    if (this.ended) return;
    const events = recordedOf(round, results);
    const last = events.at(-1);
    if (last === undefined) return;
    if (this.uncertain) {
      this.uncertain = false;
      this.readAgainUpTo(last.position);
    } else {
      let bytes = 0;
      for (const event of events) bytes += event.data.length + event.metadata.length;
      this.waiting.push({ events, bytes });
      this.waitingBytes += bytes;
      if (this.waitingBytes > WAITING_BYTES) this.readAgainUpTo(last.position);
    }
    this.work();
  }

  /** Something else may have written: the next round, and what stands before it, is read from the log. */
  doubt(): void {
    this.uncertain = true;
  }

  /** Another writer has taken over: it signs from here on. */
  fenced(): void {
    this.ended = true;
    clearTimeout(this.timer);
    clearInterval(this.keyTimer);
  }

  get state(): TreeState {
    return { size: this.tree.size, signed: this.signed, behind: this.isBehind };
  }

  /** Resolves when everything told so far is in the tree and under a signed head, or could not be signed now. */
  async settle(): Promise<void> {
    while (this.working !== undefined) await this.working;
    clearTimeout(this.timer);
    this.timer = undefined;
    await this.sign();
  }

  /** Adds what it has seen, signs, and ends. Call it when the writer has ended. A log read for the first time is read on at the next start. */
  async close(): Promise<void> {
    this.closing = true;
    clearInterval(this.keyTimer);
    while (this.working !== undefined) await this.working;
    clearTimeout(this.timer);
    if (!this.ended) await this.sign();
    this.ended = true;
    await this.signing;
    await this.options.heads.close();
  }

  private get isBehind(): boolean {
    return this.waiting.length > 0 || this.tree.lastPosition < this.readUpTo;
  }

  /** Reads a log that was never signed. */
  private get isFarBehind(): boolean {
    return this.readUpTo - this.tree.lastPosition > FAR_POSITIONS && this.waiting.length === 0;
  }

  private readAgainUpTo(position: Position): void {
    this.waiting = [];
    this.waitingBytes = 0;
    if (position > this.readUpTo) this.readUpTo = position;
  }

  private work(): void {
    this.working ??= this.catchUp().finally(() => {
      this.working = undefined;
    });
  }

  /** Never throws. */
  private async catchUp(): Promise<void> {
    await nextTurn();
    while (this.isBehind && !this.ended && !(this.closing && this.isFarBehind)) {
      try {
        if (this.tree.lastPosition < this.readUpTo) await this.readOn();
        else this.takeRound();
        this.scheduleSign();
        await nextTurn();
      } catch (error) {
        this.options.onTrouble?.(error);
        if (this.closing) return;
        await delay(RETRY_MS);
      }
    }
  }

  private takeRound(): void {
    const round = this.waiting.shift();
    if (round === undefined) return;
    this.waitingBytes -= round.bytes;
    addLeaves(this.tree, round.events);
  }

  private async readOn(): Promise<void> {
    const page = await readAfter(this.options.reader, this.tree.lastPosition, PAGE_EVENTS);
    if (page.length === 0) throw new Error(`the log ends before position ${this.readUpTo}, which it has answered`);
    addLeaves(this.tree, page);
    if (this.tree.waitingTiles > WAITING_TILES) await this.save();
  }

  private scheduleSign(): void {
    if (this.timer !== undefined || this.ended || this.closing || this.tree.size === (this.signed?.size ?? 0)) return;
    const dueMs = Math.max(0, this.signedAtMs + (this.options.signEveryMs ?? SIGN_EVERY_MS) - Date.now());
    this.timer = setTimeout(() => {
      this.timer = undefined;
      void this.sign().then(() => this.scheduleSign());
    }, dueMs);
    this.timer.unref();
  }

  /** A change of the key waits for no events. */
  private lookForKeys(): void {
    const { nextKey, lookForKeyMs } = this.options;
    if (nextKey === undefined || this.ended) return;
    this.keyTimer = setInterval(() => {
      if (this.signing === undefined) void this.sign(() => this.lookForKey(nextKey));
    }, lookForKeyMs ?? LOOK_FOR_KEY_MS);
    this.keyTimer.unref();
  }

  private async lookForKey(nextKey: NextKey): Promise<void> {
    if (this.ended) return;
    const { now: current } = this.keys;
    const next = await nextKey.load();
    // Left by a change that the database could not be told of when it was made.
    if (next?.equals(current) === true) await nextKey.take();
    else this.keys = { now: current, next };
  }

  /** One at a time. Never throws: a head that could not be stored is followed by the next one. */
  private async sign(before: () => Promise<void> = async () => undefined): Promise<void> {
    while (this.signing !== undefined) await this.signing;
    this.signing = before()
      .then(() => this.signNow())
      .catch((error: unknown) => {
        this.options.onTrouble?.(error);
      });
    await this.signing;
    this.signing = undefined;
    this.onSigned();
  }

  private async signNow(): Promise<void> {
    if (this.ended) return;
    const { next } = this.keys;
    if (this.tree.size === (this.signed?.size ?? 0) && (next === undefined || this.tree.size === 0)) return;
    this.signedAtMs = Date.now();
    if (this.headInDoubt) await this.findOut();
    await this.signHead();
    // Nothing stands between the head that announces a key and the first one that it signs.
    if (this.signed?.nextKey !== undefined) await this.signHead();
  }

  private async signHead(): Promise<void> {
    if (this.keys.next !== undefined) await putPublicKeys(this.options.heads, this.keys);
    const changes = this.signed?.nextKey !== undefined;
    const plain: TreeHead = {
      logId: this.options.reader.id,
      size: this.tree.size,
      root: this.tree.root(),
      sequence: this.nextSequence,
      position: this.tree.lastPosition,
      time: (this.options.clock ?? now)(),
    };
    const { head, signed } = signBehind(this.signed, plain, this.keys);
    try {
      this.headInDoubt = true;
      await this.options.heads.put(head.sequence, signed);
      this.headInDoubt = false;
      this.signed = head;
      this.nextSequence = head.sequence + 1;
    } finally {
      await this.save(this.headInDoubt ? undefined : signed);
    }
    if (changes) await this.takeKey();
  }

  /** The next key has signed. */
  private async takeKey(): Promise<void> {
    const { next } = this.keys;
    if (next === undefined) return;
    this.keys = { now: next, next: undefined };
    await this.options.nextKey?.take();
  }

  /** One after another, so that an open tile never falls back. Tiles that cannot be stored now are stored with the next ones. */
  private save(head?: SignedHead): Promise<void> {
    const saved = this.saving.then(async () => {
      const tiles = this.tree.takeChanged();
      try {
        await saveTiles(this.options.pool, tiles, head);
      } catch (error) {
        this.tree.giveBack(tiles);
        throw error;
      }
    });
    this.saving = saved.catch(() => undefined);
    return saved;
  }

  /** Whether the head whose storing failed stands there all the same. */
  private async findOut(): Promise<void> {
    const last = await this.options.heads.last();
    const { keys, head } = await keysBehind(last?.signed, this.keys, this.options.nextKey);
    this.keys = keys;
    this.headInDoubt = false;
    if (head === undefined || head.sequence < this.nextSequence) return;
    this.signed = head;
    this.nextSequence = head.sequence + 1;
  }
}

/** Beside the heads, before the first one that a key signs. */
async function putPublicKeys(heads: HeadStore, { now: current, next }: SigningKeys): Promise<void> {
  await heads.putPublicKey(createPublicKey(current));
  if (next !== undefined) await heads.putPublicKey(createPublicKey(next));
}

/** The log as the writer appends to it, with every round that succeeds told to the keeper. */
export function witnessed(log: EventLogWriter, keeper: TreeKeeper): EventLogWriter {
  const append = async (round: readonly StreamAppend[]): Promise<AppendResult[]> => {
    try {
      const results = await log.append(round);
      keeper.appended(round, results);
      return results;
    } catch (error) {
      if (error instanceof WrongExpectedRevisionError) keeper.doubt();
      if (error instanceof WriterFencedError) keeper.fenced();
      throw error;
    }
  };
  return new Proxy(log, {
    get(target, name) {
      if (name === 'append') return append;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}

/** The events of a round as the log has them now, in order of position. */
export function recordedOf(round: readonly StreamAppend[], results: readonly AppendResult[]): RecordedEvent[] {
  const answers = new Map(results.map((result) => [result.stream, result]));
  const recorded: RecordedEvent[] = [];
  let ordered = true;
  for (const { stream, events } of round) {
    const answer = answers.get(stream);
    if (answer === undefined) continue;
    const first = answer.revision - BigInt(events.length) + 1n;
    events.forEach((event, index) => {
      const position = answer.positions[index] as Position;
      ordered &&= position > (recorded.at(-1)?.position ?? 0n);
      const { id, type, metadata, data } = event;
      recorded.push({ position, stream, revision: first + BigInt(index), id, type, metadata, data });
    });
  }
  if (!ordered) recorded.sort((a, b) => (a.position < b.position ? -1 : 1));
  return recorded;
}

/** Adds the events that are not in the tree yet. */
export function addLeaves(tree: TileTree, events: readonly RecordedEvent[]): void {
  for (const event of events) {
    if (event.position <= tree.lastPosition) continue;
    tree.add(event.position, (into, offset) => writeLeafHash(event, into, offset));
  }
}

/** The tree up to the signed head or beyond it, known to give that head's root. */
async function treeOf(options: TreeKeeperOptions, signed: TreeHead | undefined): Promise<TileTree> {
  const { pool, reader } = options;
  const stored = await loadTree(pool);
  // Tiles that do not fit together give an empty tree: none of them may come back under a number of its own.
  if (stored.size === 0) await clearTiles(pool);
  if (signed === undefined) return stored;
  if (signed.logId !== reader.id) {
    throw new LogContradictsHeadError(
      'HEADS_OF_ANOTHER_LOG',
      `${options.heads.name} holds the tree heads of log ${signed.logId}, and this is log ${reader.id}`,
    );
  }
  await mustReach(options, signed);
  if (stored.size > signed.size) {
    const root = await rangeRoot(subtreesOf(tileLoader(pool)), 0, signed.size).catch(() => undefined);
    if (root?.equals(signed.root) === true) return stored;
  } else if (await grow(stored, reader, signed)) {
    return stored;
  }
  // What is stored of the tree may be what is wrong: the log itself decides.
  options.onTrouble?.(new Error('the stored tree does not give the signed root: it is made from the log again'));
  const tree = new TileTree(true);
  await clearTiles(pool);
  if (!(await grow(tree, reader, signed, (tiles) => saveTiles(pool, tiles)))) {
    throw new LogContradictsHeadError(
      'LOG_ALTERED',
      `the log does not hold what head ${signed.sequence} of ${signed.time} signed: \`anamnesis log verify\` says where`,
    );
  }
  return tree;
}

/** The event that the head ends with must still be there. */
async function mustReach({ reader }: TreeKeeperOptions, signed: TreeHead): Promise<void> {
  // Of the events, not the log's own head: that may stand behind a gap that a restore left.
  const head = (await newestEvent(reader))?.position ?? 0n;
  const [last] = await reader.readPage({ after: signed.position - 1n, limit: 1 });
  if (last?.position === signed.position) return;
  throw new LogContradictsHeadError(
    head < signed.position ? 'LOG_ROLLED_BACK' : 'LOG_ALTERED',
    head < signed.position
      ? `the log ends at position ${head}, but head ${signed.sequence} of ${signed.time} signed it up to position ${signed.position}: it was put back, or lost its end. \`anamnesis log verify\` says more; if it was put back on purpose, \`anamnesis log accept-restored\` lets it go on`
      : `the event at position ${signed.position}, the last one under head ${signed.sequence} of ${signed.time}, is gone`,
  );
}

async function newestEvent(reader: EventLogReader): Promise<RecordedEvent | undefined> {
  return (await reader.readPage({ direction: 'backwards', limit: 1 }))[0];
}

/** Reads on until the tree has as many leaves as the head; answers whether it gives the head's root then. */
async function grow(
  tree: TileTree,
  reader: EventLogReader,
  signed: TreeHead,
  save?: (tiles: ReturnType<TileTree['takeChanged']>) => Promise<void>,
): Promise<boolean> {
  while (tree.size < signed.size) {
    const page = await readAfter(reader, tree.lastPosition, Math.min(PAGE_EVENTS, signed.size - tree.size));
    if (page.length === 0) return false;
    addLeaves(tree, page);
    if (save !== undefined && tree.waitingTiles > WAITING_TILES) await save(tree.takeChanged());
  }
  return tree.lastPosition === signed.position && tree.root().equals(signed.root);
}

function readAfter(reader: EventLogReader, after: Position, limit: number): Promise<RecordedEvent[]> {
  return reader.readPage({ after, limit, maxBytes: PAGE_BYTES });
}
