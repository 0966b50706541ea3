/**
 * What waits for the pipeline, in lanes: each source has one of its own, and a second for what is heavy. Batches are made by deficit
 * round robin (M. Shreedhar and G. Varghese, SIGCOMM 1995) with the cost of a message in bytes, so that neither many messages nor large
 * ones of one source make the others wait for more than their share of a batch.
 *
 * Messages of one source keep their order, but that what is heavy may be overtaken by messages of other connections about other people:
 * whatever shares a key with something heavy that waits (src/inbound/lanes/order-keys.ts) waits behind it.
 */
import type { ReceivedMessage } from '../received.js';
import { orderKeys, type OrderKey } from './order-keys.js';

export interface LaneLimits {
  /** Messages of a batch. */
  readonly batchMessages: number;
  /** Bytes of a batch; one message larger than that is a batch alone. */
  readonly batchBytes: number;
  /** Cost that each lane may put into a batch where others have anything to send too. */
  readonly quantum: number;
  /** Cost of a message beside its bytes. */
  readonly messageCost: number;
  /** Messages from this size on are heavy. */
  readonly heavyBytes: number;
  /** Messages above this size may be put aside when they are taken: what may not overtake them waits until they are passed or done. */
  readonly slowBytes: number;
  /** A lane counts among those that have something to send for so many batches after its last message. */
  readonly memoryBatches: number;
}

const KIB = 1024;

export const LANE_LIMITS: LaneLimits = {
  batchMessages: 1_000,
  batchBytes: 16 * KIB * KIB,
  quantum: 64 * KIB,
  messageCost: 2 * KIB,
  heavyBytes: 8 * KIB,
  slowBytes: Infinity,
  memoryBatches: 1_000,
};

export interface LaneItem {
  readonly received: ReceivedMessage;
}

interface Waiting<Item> {
  readonly item: Item;
  /** Its place in the order of arrival. */
  readonly number: number;
  /** Only in heavy lanes. */
  readonly keys: readonly OrderKey[];
}

const NO_KEYS: readonly OrderKey[] = [];

class Lane<Item extends LaneItem> {
  private items: Waiting<Item>[] = [];
  private head = 0;
  deficit = 0;
  /** Batch in which something last waited here. */
  activeAt = -1;

  constructor(readonly source: Source<Item>) {}

  get length(): number {
    return this.items.length - this.head;
  }

  get first(): Waiting<Item> | undefined {
    return this.items[this.head];
  }

  push(waiting: Waiting<Item>): void {
    this.items.push(waiting);
  }

  shift(): void {
    this.head += 1;
    if (this.head < 1_024 && this.head < this.items.length) return;
    this.items = this.items.slice(this.head);
    this.head = 0;
  }
}

class Source<Item extends LaneItem> {
  readonly light = new Lane<Item>(this);
  readonly heavy = new Lane<Item>(this);
  /** How often each key waits in the heavy lane, or was taken from it with a slow message. */
  readonly heavyKeys = new Map<OrderKey, number>();
  /** Those of slow messages that were taken: what shares one with them waits. */
  readonly slowKeys = new Map<OrderKey, number>();
  /** Taken and not answered. */
  underWay = 0;
  /** Set by the last message: how many may be under way. */
  workers = Infinity;
}

export class Lanes<Item extends LaneItem> {
  private readonly limits: LaneLimits;
  private readonly sources = new Map<string, Source<Item>>();
  /** Slow messages that were taken and are neither passed nor done. */
  private readonly slow = new Map<ReceivedMessage, readonly OrderKey[]>();
  /** Lanes in which something waits, in the order of the round. */
  private ring: Lane<Item>[] = [];
  /** The lane that a batch had no room to finish goes on with what it has left. */
  private cut: Lane<Item> | undefined;
  /** Lanes that had something to send lately → number of the batch. */
  private readonly lately = new Map<Lane<Item>, number>();
  private batches = 0;
  private arrived = 0;
  private waiting = 0;
  private waitingBytes = 0;

  constructor(limits: Partial<LaneLimits> = {}) {
    this.limits = { ...LANE_LIMITS, ...limits };
  }

  /** Messages that wait. */
  get size(): number {
    return this.waiting;
  }

  /** Their bytes. */
  get bytes(): number {
    return this.waitingBytes;
  }

  push(item: Item): void {
    const { source: configuration, bytes } = item.received;
    const source = this.sourceOf(configuration.id);
    source.workers = configuration.workers;
    let keys: OrderKey[] = [];
    let heavy = bytes.length >= this.limits.heavyBytes;
    if (heavy || source.heavyKeys.size > 0) {
      keys = orderKeys(item.received);
      heavy ||= keys.some((key) => source.heavyKeys.has(key));
    }
    const lane = heavy ? source.heavy : source.light;
    if (heavy) for (const key of keys) addTo(source.heavyKeys, key);
    this.arrived += 1;
    lane.push({ item, number: this.arrived, keys: heavy ? keys : NO_KEYS });
    if (lane.length === 1) this.ring.push(lane);
    this.waiting += 1;
    this.waitingBytes += bytes.length;
    this.noteActive(lane);
  }

  /** The next batch; empty where nothing waits, or where every source has as many messages under way as it may. */
  take(): Item[] {
    this.batches += 1;
    for (const lane of this.ring) this.noteActive(lane);
    this.forgetIdle();
    const batch = new Batch<Item>(this.limits);
    const contested = this.lately.size > 1;
    this.round(batch, contested ? this.limits.quantum : Infinity);
    // Everything that waits costs more than its lane has saved: the rounds until the first can go are made at once.
    if (contested && batch.items.length === 0 && this.fastForward()) this.round(batch, 0);
    this.waiting -= batch.items.length;
    this.waitingBytes -= batch.bytes;
    return batch.items;
  }

  /** A message that was taken is answered. */
  done(item: Item): void {
    const { id } = item.received.source;
    const source = this.sources.get(id);
    if (source === undefined) return;
    source.underWay -= 1;
    this.passed(item.received);
  }

  /** A slow message that was taken has its turn again before all that waits: nothing can overtake it any more. */
  passed(received: ReceivedMessage): void {
    const keys = this.slow.get(received);
    if (keys === undefined) return;
    this.slow.delete(received);
    const source = this.sourceOf(received.source.id);
    for (const key of keys) {
      takeFrom(source.slowKeys, key);
      takeFrom(source.heavyKeys, key);
    }
  }

  /** Each lane once, in the order of the ring; where the batch is full the next one goes on there. */
  private round(batch: Batch<Item>, quantum: number): void {
    const lanes = this.ring;
    const left: Lane<Item>[] = [];
    for (const [index, lane] of lanes.entries()) {
      const goesOn = lane === this.cut;
      this.cut = undefined;
      if (!this.takeFrom(lane, batch, goesOn && Number.isFinite(quantum) ? lane.deficit : lane.deficit + quantum)) {
        this.cut = lane;
        this.ring = [...lanes.slice(index), ...left];
        return;
      }
      if (lane.length > 0) left.push(lane);
    }
    // The next batch begins with the lane behind the one that began this.
    const [begun] = lanes;
    this.ring = begun !== undefined && left[0] === begun ? [...left.slice(1), begun] : left;
  }

  /** @returns false where the batch had no room for what the lane could pay for */
  private takeFrom(lane: Lane<Item>, batch: Batch<Item>, credit: number): boolean {
    const { source } = lane;
    let left = credit;
    for (let next = lane.first; next !== undefined; next = lane.first) {
      const cost = this.costOf(next.item);
      if (source.underWay >= source.workers || mustWait(lane, next)) {
        lane.deficit = Math.min(left, this.limits.quantum);
        return true;
      }
      if (cost > left) break;
      if (!batch.add(next.item)) {
        lane.deficit = Math.min(left, Math.max(cost, this.limits.quantum));
        return false;
      }
      left -= cost;
      lane.shift();
      source.underWay += 1;
      if (next.item.received.bytes.length > this.limits.slowBytes) {
        this.slow.set(next.item.received, next.keys);
        for (const key of next.keys) addTo(source.slowKeys, key);
      } else for (const key of next.keys) takeFrom(source.heavyKeys, key);
    }
    lane.deficit = lane.length === 0 ? 0 : left;
    return true;
  }

  private fastForward(): boolean {
    let rounds = Infinity;
    for (const lane of this.ring) {
      const next = lane.first;
      if (next === undefined || lane.source.underWay >= lane.source.workers || mustWait(lane, next)) continue;
      rounds = Math.min(rounds, Math.ceil((this.costOf(next.item) - lane.deficit) / this.limits.quantum));
    }
    if (!Number.isFinite(rounds)) return false;
    for (const lane of this.ring) lane.deficit += rounds * this.limits.quantum;
    return true;
  }

  private costOf(item: Item): number {
    return item.received.bytes.length + this.limits.messageCost;
  }

  private sourceOf(id: string): Source<Item> {
    let source = this.sources.get(id);
    if (source === undefined) {
      source = new Source<Item>();
      this.sources.set(id, source);
    }
    return source;
  }

  private noteActive(lane: Lane<Item>): void {
    if (lane.activeAt === this.batches) return;
    lane.activeAt = this.batches;
    this.lately.delete(lane);
    this.lately.set(lane, this.batches);
  }

  private forgetIdle(): void {
    for (const [lane, batch] of this.lately) {
      if (this.batches - batch <= this.limits.memoryBatches) return;
      this.lately.delete(lane);
    }
  }
}

/**
 * Whether what came before it and may not be overtaken is not through: what waits in the light lane of its source (what is heavy overtakes nothing),
 * or something slow that shares a key with it.
 */
function mustWait<Item extends LaneItem>(lane: Lane<Item>, next: Waiting<Item>): boolean {
  const { light, slowKeys } = lane.source;
  if (slowKeys.size > 0 && next.keys.some((key) => slowKeys.has(key))) return true;
  return lane !== light && light.first !== undefined && light.first.number < next.number;
}

function addTo(counts: Map<OrderKey, number>, key: OrderKey): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

function takeFrom(counts: Map<OrderKey, number>, key: OrderKey): void {
  const left = (counts.get(key) ?? 1) - 1;
  if (left === 0) counts.delete(key);
  else counts.set(key, left);
}

class Batch<Item extends LaneItem> {
  readonly items: Item[] = [];
  bytes = 0;

  constructor(private readonly limits: Pick<LaneLimits, 'batchMessages' | 'batchBytes'>) {}

  add(item: Item): boolean {
    const size = item.received.bytes.length;
    const full = this.items.length >= this.limits.batchMessages || this.bytes + size > this.limits.batchBytes;
    if (full && this.items.length > 0) return false;
    this.items.push(item);
    this.bytes += size;
    return true;
  }
}
