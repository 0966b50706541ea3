/**
 * `log verify`: whether the log holds exactly what was signed. The tree is computed again from every stored event and must give the root of every head;
 * where it does not, the stored hashes, once they are known to give the signed root, say which events were changed, removed or added.
 */
import type { KeyObject } from 'node:crypto';
import type pg from 'pg';
import { EventUnreadableError, type EventLogReader, type Position, type RecordedEvent } from '../event-log.js';
import type { HeadStore } from './head-store.js';
import { KeyChain, type KeyPeriod } from './key-chain.js';
import { HASH_BYTES, writeLeafHash } from './leaf.js';
import { hashAt, perfectRoot, rangeRoot } from './merkle.js';
import { hasTiles, leafIndexAt, leafTiles, readHeadCopy, tileLoader } from './tile-store.js';
import { subtreesOf, TILE_HASHES, TileTree, type LoadTile } from './tiles.js';
import { BadHeadError, parseHead, type TreeHead } from './tree-head.js';

/** What a check can find. The meaning of each stands in docs/evidence.md. */
export type FindingCode =
  | 'EVENT_CHANGED'
  | 'EVENT_MISSING'
  | 'EVENT_ADDED'
  | 'LOG_ALTERED'
  | 'LOG_ROLLED_BACK'
  | 'NO_HEADS'
  | 'HEADS_OF_ANOTHER_LOG'
  | 'HEAD_MALFORMED'
  | 'HEAD_SIGNATURE'
  | 'HEAD_KEY'
  | 'HEAD_REPEATED'
  | 'HEAD_MISSING'
  | 'HEAD_SHRINKS'
  | 'TREE_DAMAGED'
  | 'BOOKKEEPING'
  | 'BLOB_MISSING'
  | 'BLOB_DAMAGED';

export interface Finding {
  readonly code: FindingCode;
  /** Where in the log; of a range, its first position. */
  readonly position?: Position;
  readonly message: string;
}

/** A large body that stands outside the log. */
export interface BlobChecker {
  /**
   * @param hash SHA-256 of the sealed bytes, base64url
   * @param length bytes
   */
  check(hash: string, length: number): Promise<'present' | 'missing' | 'damaged'>;
}

export interface VerifyOptions {
  readonly reader: EventLogReader;
  readonly heads: HeadStore;
  /** Of whoever signed, any of the keys that did so one after another; from a place that the log's owner cannot write to, if the answer is to convince anybody else. */
  readonly publicKey: KeyObject;
  /** Whether `heads` are only some of those that were signed. */
  readonly someHeads?: boolean;
  /** The hub's PostgreSQL, for the stored hashes; without it a difference is found between two heads only. */
  readonly pool?: pg.Pool;
  readonly blobs?: BlobChecker;
  /** Only events from this position, inclusive. */
  readonly from?: Position;
  /** Only events up to this position, inclusive. */
  readonly to?: Position;
  readonly onProgress?: (progress: VerifyProgress) => void;
}

export interface VerifyProgress {
  readonly events: number;
  readonly position: Position;
  /** Position at which the check ends. */
  readonly end: Position;
}

export interface VerifyReport {
  readonly ok: boolean;
  readonly logId: string;
  /** Events read. */
  readonly events: number;
  /** Position of the last event read. */
  readonly position: Position;
  /** Heads whose signature holds and whose root the log gives. */
  readonly heads: number;
  readonly head: TreeHead | undefined;
  /** The keys that signed, one after another. */
  readonly keys: readonly KeyPeriod[];
  /** Events behind the last head: nothing is proved of them yet. */
  readonly unsigned: number;
  /** The log was put back on purpose: what was given up then. */
  readonly restored: readonly TreeHead[];
  readonly blobs: number;
  readonly findings: readonly Finding[];
  /** All of them; the list above ends at {@link MOST_FINDINGS}. */
  readonly findingCount: number;
  readonly firstBadPosition: Position | undefined;
}

export const MOST_FINDINGS = 100;
const PAGE_EVENTS = 1_000;
const PAGE_BYTES = 8 * 1024 * 1024;

/** Gathers findings: the first ones in words, all of them in number. */
class Findings {
  readonly list: Finding[] = [];
  count = 0;
  first: Position | undefined;

  add(code: FindingCode, message: string, position?: Position): void {
    this.take({ code, message, ...(position === undefined ? {} : { position }) });
  }

  take(finding: Finding): void {
    this.count += 1;
    const { position } = finding;
    if (position !== undefined && (this.first === undefined || position < this.first)) this.first = position;
    if (this.list.length < MOST_FINDINGS) this.list.push(finding);
  }

  /** Position of the first one behind another. */
  firstAfter(position: Position): Position | undefined {
    return this.list.find((finding) => finding.position !== undefined && finding.position > position)?.position;
  }

  takeAll(others: Findings): void {
    for (const finding of others.list) this.take(finding);
    this.count += others.count - others.list.length;
  }
}

/**
 * Checks the whole log, or a range of it.
 * @throws HeadStoreError, LogUnavailableError, BlobStoreUnavailableError: of what could not be read nothing is said
 */
export async function verifyLog(options: VerifyOptions): Promise<VerifyReport> {
  const findings = new Findings();
  const copy = options.pool === undefined ? undefined : await copyOf(options.pool);
  const chain = await KeyChain.of(options.heads, options.publicKey);
  const survey = await surveyHeads(options, chain, findings, copy?.sequence ?? 0);
  const end = await options.reader.head();
  const check = new EventCheck(options, findings);
  const range = options.from !== undefined || options.to !== undefined;
  if (range) await verifyRange(options, survey, findings, check, end);
  else await verifyWhole(options, survey, findings, check, end);
  if (options.reader.inspect !== undefined) {
    for await (const { position, problem } of options.reader.inspect({ from: options.from, to: options.to })) {
      findings.add('BOOKKEEPING', problem, position);
    }
  }
  findings.list.sort(inOrder);
  return {
    ok: findings.count === 0,
    logId: options.reader.id,
    events: check.events,
    position: check.position,
    heads: survey.confirmed,
    head: survey.last,
    keys: chain.periods,
    unsigned: check.unsigned,
    restored: survey.restored,
    blobs: check.blobs,
    findings: findings.list,
    findingCount: findings.count,
    firstBadPosition: findings.first,
  };
}

/** By position; what has none comes last. */
function inOrder(a: Finding, b: Finding): number {
  if (a.position === undefined || b.position === undefined)
    return Number(a.position === undefined) - Number(b.position === undefined);
  return a.position < b.position ? -1 : Number(a.position > b.position);
}

/** What the heads say together, before the log is looked at. */
interface HeadSurvey {
  readonly chain: KeyChain;
  last: TreeHead | undefined;
  /** Heads that say that earlier ones are given up. */
  readonly restored: TreeHead[];
  confirmed: number;
}

async function copyOf(pool: pg.Pool): Promise<TreeHead | undefined> {
  if (!(await hasTiles(pool))) return undefined;
  const copy = await readHeadCopy(pool);
  try {
    return copy === undefined ? undefined : parseHead(copy.head);
  } catch {
    // Somebody wrote there what is no head; it proves nothing either way.
    return undefined;
  }
}

/** Signatures and order of all heads. */
async function surveyHeads(
  options: VerifyOptions,
  chain: KeyChain,
  findings: Findings,
  remembered: number,
): Promise<HeadSurvey> {
  const survey: HeadSurvey = { chain, last: undefined, restored: [], confirmed: 0 };
  let expected = options.someHeads === true ? undefined : 1;
  for await (const { signed, place } of options.heads.read()) {
    let head: TreeHead;
    try {
      head = chain.open(signed);
    } catch (error) {
      if (!(error instanceof BadHeadError)) throw error;
      findings.add(error.code, `${place}: ${error.message}`);
      if (expected !== undefined) expected += 1;
      continue;
    }
    if (head.logId !== options.reader.id) {
      findings.add(
        'HEADS_OF_ANOTHER_LOG',
        `${place}: head ${head.sequence} is of log ${head.logId}, this is ${options.reader.id}`,
      );
      continue;
    }
    if (expected !== undefined && head.sequence !== expected) {
      if (head.sequence < expected) {
        findings.add('HEAD_REPEATED', `${place}: head ${head.sequence} stands behind head ${expected - 1}`);
        continue;
      }
      findings.add('HEAD_MISSING', `${place}: heads ${expected} to ${head.sequence - 1} are gone`);
    }
    expected = options.someHeads === true ? undefined : head.sequence + 1;
    if (head.abandons !== undefined) survey.restored.push(head);
    else if (survey.last !== undefined && head.size < survey.last.size) {
      findings.add('HEAD_SHRINKS', `${place}: head ${head.sequence} covers less than head ${survey.last.sequence}`);
    }
    survey.last = head;
  }
  if (survey.last === undefined && (await options.reader.head()) > 0n)
    findings.add('NO_HEADS', `${options.heads.name} holds no signed head of this log`);
  const lastSequence = survey.last?.sequence ?? 0;
  if (options.someHeads !== true && lastSequence > 0 && remembered > lastSequence) {
    findings.add('HEAD_MISSING', `${options.heads.name}: heads ${lastSequence + 1} to ${remembered} are gone`);
  }
  return survey;
}

/** The heads that count, in order of size: those that hold and were not given up. */
async function* countingHeads(options: VerifyOptions, survey: HeadSurvey): AsyncIterable<TreeHead> {
  let size = 0;
  for await (const { signed } of options.heads.read()) {
    let head: TreeHead;
    try {
      head = survey.chain.open(signed);
    } catch {
      continue;
    }
    if (head.logId !== options.reader.id || head.size < size) continue;
    if (survey.restored.some((restored) => isGivenUp(head, restored))) continue;
    size = head.size;
    yield head;
    // What was signed after this check began belongs to the next one.
    if (head.sequence === survey.last?.sequence) return;
  }
}

function isGivenUp(head: TreeHead, restored: TreeHead): boolean {
  return (
    head.sequence < restored.sequence &&
    head.sequence <= (restored.abandons?.sequence ?? 0) &&
    head.size > restored.size
  );
}

/** An event as it was read, or a place where one stands that cannot be. */
type ReadEvent = { readonly position: Position; readonly event: RecordedEvent | undefined };

/** Reads events, counts them and looks at their blobs. */
class EventCheck {
  events = 0;
  unsigned = 0;
  blobs = 0;
  position: Position = 0n;

  constructor(
    private readonly options: VerifyOptions,
    private readonly findings: Findings,
  ) {}

  /** Events after a position (or from the very first, wherever somebody put it) up to another, inclusive. */
  async *read(after: Position | undefined, end: Position): AsyncIterable<ReadEvent> {
    let from = after;
    let limit = PAGE_EVENTS;
    for (;;) {
      let page: RecordedEvent[];
      try {
        page = await this.options.reader.readPage({
          ...(from === undefined ? {} : { after: from }),
          limit,
          maxBytes: PAGE_BYTES,
        });
      } catch (error) {
        if (!(error instanceof EventUnreadableError)) throw error;
        // Those before it one by one.
        if (limit > 1) limit = 1;
        else {
          yield { position: error.position, event: undefined };
          from = error.position;
          limit = PAGE_EVENTS;
        }
        continue;
      }
      if (page.length === 0) return;
      for (const event of page) {
        if (event.position > end) return;
        this.events += 1;
        this.position = event.position;
        await this.checkBlob(event);
        yield { position: event.position, event };
        from = event.position;
      }
      this.options.onProgress?.({ events: this.events, position: this.position, end });
    }
  }

  private async checkBlob(event: RecordedEvent): Promise<void> {
    if (this.options.blobs === undefined || !event.metadata.includes('"blob":')) return;
    const named = blobOf(event.metadata);
    if (named === undefined) return;
    this.blobs += 1;
    const state = await this.options.blobs.check(named.hash, named.length);
    if (state === 'missing') this.findings.add('BLOB_MISSING', 'its body is not in the blob store', event.position);
    if (state === 'damaged')
      this.findings.add('BLOB_DAMAGED', 'its body in the blob store was changed', event.position);
  }
}

function blobOf(metadata: Buffer): { readonly hash: string; readonly length: number } | undefined {
  try {
    const { blob } = JSON.parse(metadata.toString('utf8')) as { blob?: { hash?: unknown; length?: unknown } };
    if (typeof blob?.hash !== 'string' || typeof blob.length !== 'number') return undefined;
    return { hash: blob.hash, length: blob.length };
  } catch {
    // Metadata that is no JSON any more is found by its leaf.
    return undefined;
  }
}

/** A leaf as the stored tiles have it. */
interface StoredLeaf {
  readonly position: Position;
  readonly hash: Buffer;
}

async function* storedLeaves(pool: pg.Pool | undefined, from = 0): AsyncIterable<StoredLeaf> {
  if (pool === undefined || !(await hasTiles(pool))) return;
  let next = Math.floor(from / TILE_HASHES);
  for await (const tile of leafTiles(pool, from)) {
    // A tile that is gone ends what can be told.
    if (tile.index !== next) return;
    next += 1;
    const count = Math.min(tile.positions.length, Math.floor(tile.hashes.length / HASH_BYTES));
    for (let index = 0; index < count; index += 1) {
      yield { position: tile.positions[index] as Position, hash: hashAt(tile.hashes, index) };
    }
  }
}

/** Looks one ahead. */
class Ahead<T> {
  next: T | undefined;

  private constructor(private readonly source: AsyncIterator<T>) {}

  static async of<T>(source: AsyncIterable<T>): Promise<Ahead<T>> {
    const ahead = new Ahead(source[Symbol.asyncIterator]());
    await ahead.take();
    return ahead;
  }

  async take(): Promise<T | undefined> {
    const taken = this.next;
    const result = await this.source.next();
    this.next = result.done === true ? undefined : result.value;
    return taken;
  }

  async close(): Promise<void> {
    await this.source.return?.();
  }
}

const leafBuffer = Buffer.alloc(HASH_BYTES);
/** Stands for an event that cannot be read. */
const NO_LEAF = Buffer.alloc(HASH_BYTES);

function leafOf({ event }: ReadEvent): Buffer {
  if (event === undefined) return NO_LEAF;
  writeLeafHash(event, leafBuffer, 0);
  return leafBuffer;
}

function addTo(tree: TileTree, position: Position, leaf: Buffer): void {
  tree.add(position, (into, offset) => leaf.copy(into, offset));
}

/** From one head to the next: the tree as the events give it, and, from the first difference on, as the stored hashes do. */
class Window {
  /** The tree of the stored leaves; undefined while it is the same. */
  stored: TileTree | undefined;
  readonly differences = new Findings();
  events = 0;

  constructor(readonly found: TileTree) {}

  differs(code: FindingCode, position: Position, message: string): TileTree {
    this.stored ??= this.found.fork();
    this.differences.add(code, message, position);
    return this.stored;
  }
}

async function verifyWhole(
  options: VerifyOptions,
  survey: HeadSurvey,
  findings: Findings,
  check: EventCheck,
  end: Position,
): Promise<void> {
  const events = await Ahead.of(check.read(undefined, end));
  const stored = await Ahead.of(storedLeaves(options.pool));
  let tree = new TileTree(false);
  let previous: TreeHead | undefined;
  try {
    for await (const head of countingHeads(options, survey)) {
      const window = new Window(tree);
      await walk(window, events, stored, head.position);
      const next = settleWindow(window, head, previous, events.next === undefined, findings);
      if (next === undefined) return;
      survey.confirmed += 1;
      tree = next;
      previous = head;
    }
    while ((await events.take()) !== undefined) check.unsigned += 1;
  } finally {
    await Promise.all([events.close(), stored.close()]);
  }
}

/** Takes events and stored leaves up to a position. */
async function walk(
  window: Window,
  events: Ahead<ReadEvent>,
  stored: Ahead<StoredLeaf>,
  upTo: Position,
): Promise<void> {
  for (;;) {
    const event = events.next !== undefined && events.next.position <= upTo ? events.next : undefined;
    const leaf = stored.next !== undefined && stored.next.position <= upTo ? stored.next : undefined;
    if (event === undefined && leaf === undefined) return;
    if (leaf === undefined || (event !== undefined && event.position < leaf.position)) {
      const { position } = event as ReadEvent;
      // Without a stored leaf behind it nothing says that it was added.
      if (stored.next !== undefined || window.stored !== undefined)
        window.differs('EVENT_ADDED', position, 'was added');
      addTo(window.found, position, leafOf(event as ReadEvent));
      window.events += 1;
      await events.take();
    } else if (event === undefined || leaf.position < event.position) {
      addTo(window.differs('EVENT_MISSING', leaf.position, 'was removed'), leaf.position, leaf.hash);
      await stored.take();
    } else {
      const found = leafOf(event);
      if (!found.equals(leaf.hash)) window.differs('EVENT_CHANGED', event.position, 'was changed');
      if (window.stored !== undefined) addTo(window.stored, leaf.position, leaf.hash);
      addTo(window.found, event.position, found);
      window.events += 1;
      await events.take();
      await stored.take();
    }
  }
}

/** Says what the head proves of the window; answers the tree to go on with, or undefined where nothing behind it can be checked. */
function settleWindow(
  window: Window,
  head: TreeHead,
  previous: TreeHead | undefined,
  atEnd: boolean,
  findings: Findings,
): TileTree | undefined {
  const { found, stored, differences } = window;
  if (found.size === head.size && found.root().equals(head.root)) {
    if (stored !== undefined) {
      findings.add(
        'TREE_DAMAGED',
        'the stored hashes are not those of the log, which is as it was signed',
        differences.first,
      );
    }
    return found;
  }
  const after = previous?.position ?? 0n;
  const place = `head ${head.sequence} of ${head.time}`;
  const localised = stored !== undefined && stored.size === head.size && stored.root().equals(head.root);
  if (atEnd && found.lastPosition < head.position && (localised || found.size < head.size)) {
    // Everything that is left may be as it was signed: then the log has lost its end, or was put back.
    const lost = head.size - found.size;
    const gone = localised ? differences.firstAfter(found.lastPosition) : undefined;
    findings.add(
      'LOG_ROLLED_BACK',
      `the log ends at position ${found.lastPosition}, but ${place} signed it up to position ${head.position}: at least ${lost} of its events ${lost === 1 ? 'is' : 'are'} gone`,
      gone ?? found.lastPosition + 1n,
    );
    for (const finding of differences.list) {
      if (localised && (finding.position ?? 0n) <= found.lastPosition) findings.take(finding);
    }
    return undefined;
  }
  if (localised) {
    findings.takeAll(differences);
    return stored;
  }
  findings.add(
    'LOG_ALTERED',
    `the events after position ${after} up to ${head.position} are not those that ${place} signed; what stands behind them cannot be checked`,
    differences.first ?? after + 1n,
  );
  return undefined;
}

/** Only some events: the stored hashes, once they give the root of the last head, say what each of them must be. */
async function verifyRange(
  options: VerifyOptions,
  survey: HeadSurvey,
  findings: Findings,
  check: EventCheck,
  end: Position,
): Promise<void> {
  const { last } = survey;
  const { pool } = options;
  if (last === undefined) return;
  const from = options.from ?? 1n;
  const to = options.to !== undefined && options.to < end ? options.to : end;
  if (pool === undefined || !(await hasTiles(pool))) {
    findings.add('TREE_DAMAGED', 'a range is checked by the stored hashes, and there are none: check the whole log');
    return;
  }
  const load = authenticated(tileLoader(pool), last.size);
  try {
    const root = await rangeRoot(subtreesOf(load), 0, last.size);
    if (!root.equals(last.root)) throw new Error('another root');
  } catch {
    findings.add('TREE_DAMAGED', 'the stored hashes do not give the signed root: check the whole log');
    return;
  }
  survey.confirmed = 1;
  const signedTo = to < last.position ? to : last.position;
  const first = (await leafIndexAt(pool, from, 'next')) ?? last.size;
  const leaves = await Ahead.of(authenticLeaves(pool, load, first, from, last.size, findings));
  const events = await Ahead.of(check.read(from - 1n, to));
  try {
    const window = new Window(new TileTree(false));
    await walk(window, events, leaves, signedTo);
    findings.takeAll(window.differences);
    if (end < last.position && to >= end) {
      findings.add(
        'LOG_ROLLED_BACK',
        `the log ends at position ${end}, but head ${last.sequence} of ${last.time} signed it up to position ${last.position}`,
        end + 1n,
      );
    }
    while ((await events.take()) !== undefined) check.unsigned += 1;
  } finally {
    await Promise.all([events.close(), leaves.close()]);
  }
}

/** Tiles of which each full one must give the hash that stands for it on the level above. */
function authenticated(load: LoadTile, size: number): LoadTile {
  const checked: LoadTile = async (level, index) => {
    const hashes = await load(level, index);
    const full = Math.floor(size / TILE_HASHES ** (level + 1));
    if (index >= full) return hashes;
    const above = await checked(level + 1, Math.floor(index / TILE_HASHES));
    const expected = hashAt(above, index % TILE_HASHES);
    if (hashes.length !== TILE_HASHES * HASH_BYTES || !perfectRoot(hashes, 0, TILE_HASHES).equals(expected)) {
      throw new Error(`tile ${index} of level ${level} does not give the hash above it`);
    }
    return hashes;
  };
  return checked;
}

async function* authenticLeaves(
  pool: pg.Pool,
  load: LoadTile,
  first: number,
  from: Position,
  size: number,
  findings: Findings,
): AsyncIterable<StoredLeaf> {
  for await (const tile of leafTiles(pool, first)) {
    let hashes: Buffer;
    try {
      hashes = await load(0, tile.index);
    } catch (error) {
      findings.add('TREE_DAMAGED', `${(error as Error).message}: check the whole log`, tile.positions[0]);
      return;
    }
    for (let index = 0; index < tile.positions.length; index += 1) {
      if (tile.index * TILE_HASHES + index >= size) return;
      const position = tile.positions[index] as Position;
      if (position >= from) yield { position, hash: hashAt(hashes, index) };
    }
  }
}
