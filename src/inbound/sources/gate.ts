/**
 * Whether a message of a source may come in now. Transports ask before they take one: MLLP stops reading until it may, HTTP says when to
 * come again. What is in already is not asked about any more.
 */
import type { SourceConfiguration, SourceRateLimit } from '../source.js';

export type Admission =
  | { readonly state: 'open' }
  /** For a while: nothing is refused for good. */
  | {
      readonly state: 'wait';
      readonly code: 'SOURCE_PAUSED' | 'RATE_LIMITED' | 'QUEUE_FULL';
      /** After so long it is worth asking again; at least 1. */
      readonly afterMs: number;
    }
  | { readonly state: 'refused'; readonly code: 'SOURCE_DISABLED' };

/** A paused source, or one whose messages are not through yet, may be asked about again after this time. */
const ASK_AGAIN_MS = 1_000;

const OPEN: Admission = { state: 'open' };
const REFUSED: Admission = { state: 'refused', code: 'SOURCE_DISABLED' };

export class SourceGate {
  private readonly buckets = new Map<string, TokenBucket>();

  /**
   * @param queued messages of a source received and not answered
   * @param clock milliseconds, monotonic
   */
  constructor(
    private readonly queued: (sourceId: string) => number = () => 0,
    private readonly clock: () => number = () => performance.now(),
  ) {}

  /** Asks for one message; where it is open, the message counts against the rate. */
  ask(source: SourceConfiguration): Admission {
    if (!source.enabled) return REFUSED;
    if (source.paused) return { state: 'wait', code: 'SOURCE_PAUSED', afterMs: ASK_AGAIN_MS };
    if (this.queued(source.id) >= source.queueBound) {
      return { state: 'wait', code: 'QUEUE_FULL', afterMs: ASK_AGAIN_MS };
    }
    const afterMs = this.pace(source);
    return afterMs === 0 ? OPEN : { state: 'wait', code: 'RATE_LIMITED', afterMs };
  }

  /** The rate alone: 0 where a message may come in now, and counts; else milliseconds until it may. */
  pace({ id, rateLimit }: SourceConfiguration): number {
    if (rateLimit !== undefined) return this.bucketOf(id, rateLimit).take(this.clock());
    if (this.buckets.size > 0) this.buckets.delete(id);
    return 0;
  }

  private bucketOf(id: string, limit: SourceRateLimit): TokenBucket {
    let bucket = this.buckets.get(id);
    if (bucket === undefined) {
      bucket = new TokenBucket(limit, this.clock());
      this.buckets.set(id, bucket);
    }
    // What was saved under the old limit is kept as far as the new one allows.
    bucket.limit = limit;
    return bucket;
  }
}

/** Holds up to `burst` tokens and gains `messagesPerSecond` of them a second; a message takes one. */
export class TokenBucket {
  private tokens: number;

  constructor(
    public limit: SourceRateLimit,
    private atMs: number,
  ) {
    this.tokens = limit.burst;
  }

  /** Takes a token; without one, milliseconds until there will be one. */
  take(nowMs: number): number {
    const { messagesPerSecond, burst } = this.limit;
    const gained = (Math.max(nowMs - this.atMs, 0) / 1000) * messagesPerSecond;
    this.tokens = Math.min(this.tokens + gained, burst);
    this.atMs = Math.max(nowMs, this.atMs);
    if (this.tokens >= 1 - ROUNDING) {
      this.tokens -= 1;
      return 0;
    }
    return Math.max(Math.ceil(((1 - this.tokens) / messagesPerSecond) * 1000), 1);
  }
}

/** Sums of parts of a token miss a whole one by less than this. */
const ROUNDING = 1e-6;
