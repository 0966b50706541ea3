/**
 * The writer's side of the blob store: puts blobs before their events are appended, remembers which of them the log names, and collects
 * those that nothing will ever name.
 *
 * Why collecting is safe beside appends. Every blob is reserved in `hub.blob` before it is written, under the position of the last
 * `log.fence` event of its writer. Fences make every later append of an earlier writer fail, so once a writer has fenced, the blobs that its
 * predecessors reserved (a smaller fence) are named in the log already or never will be, and the log up to that fence can be read. Only such
 * blobs are collected, after a look through the log from their own fence on. Blobs of the running writer are left alone, whatever their
 * age, and so are those of a successor (a greater fence): a writer that was replaced does no harm. A blob without a row was not reserved in
 * this database (it was restored from a backup, or the store is older): it goes when it is older than the grace and the whole log does not
 * name it.
 */
import type pg from 'pg';
import type { Envelope } from '../log/envelope.js';
import type { EventLogReader, Position } from '../log/event-log.js';
import type { BlobRef, BlobStore } from './blob-store.js';
import type { OutsideBody } from './claim-check.js';
import { FolderBlobStore } from './folder-store.js';

export interface BlobKeeperParts {
  readonly pool: pg.Pool;
  readonly store: BlobStore;
  readonly reader: Pick<EventLogReader, 'readPage'>;
  /** Position of the last fence of the writer that this keeper belongs to; it must be in the log. */
  readonly fence: Position;
  readonly clock?: () => number;
}

export interface Collected {
  readonly removed: number;
  readonly bytes: number;
  /** Blobs that turned out to be named: their rows say so now. */
  readonly named: number;
}

/** How long a blob that nothing names stays: somebody may want to look at what a crash left behind, or bring an older database back. */
export const ORPHAN_GRACE_MS = 24 * 3_600_000;
const WRITES_AT_ONCE = 4;
const SCAN_EVENTS = 1_000;
const SCAN_BYTES = 8 * 1024 * 1024;

interface Candidate {
  readonly hash: string;
  readonly length: number;
  /** Exclusive: the event that names it, if there is one, stands behind. */
  readonly after: Position;
}

export class BlobKeeper {
  constructor(private readonly parts: BlobKeeperParts) {}

  /** Makes a new store usable. One that blobs are named of already is left as it is: if it is not there, it is not mounted. */
  async prepare(): Promise<void> {
    const { rows } = await this.parts.pool.query<{ known: boolean }>('select exists (select from hub.blob) as known');
    if (rows[0]?.known !== true) await this.parts.store.prepare();
  }

  /**
   * Reserves and stores blobs; those that are given are durable.
   * @returns the failures by hash: the events that would name those blobs must not be appended
   */
  async put(bodies: readonly OutsideBody[]): Promise<Map<string, unknown>> {
    const failures = new Map<string, unknown>();
    if (bodies.length === 0) return failures;
    try {
      await this.reserve(bodies.map(({ ref }) => ref));
    } catch (error) {
      for (const { ref } of bodies) failures.set(ref.hash, error);
      return failures;
    }
    const left = [...bodies];
    const writeNext = async (): Promise<void> => {
      for (let body = left.shift(); body !== undefined; body = left.shift()) {
        try {
          await this.parts.store.put(body.ref, body.bytes);
        } catch (error) {
          failures.set(body.ref.hash, error);
        }
      }
    };
    await Promise.all(Array.from({ length: WRITES_AT_ONCE }, writeNext));
    return failures;
  }

  /** Notes which events name blobs. What is lost of this is found in the log again. */
  async named(blobs: readonly { readonly ref: BlobRef; readonly position: Position }[]): Promise<void> {
    if (blobs.length === 0) return;
    await this.parts.pool.query(
      `insert into hub.blob (hash, length, fence, position)
       select hash, length, $4, position from unnest($1::bytea[], $2::int8[], $3::int8[]) as w(hash, length, position)
       on conflict (hash) do update set position = excluded.position`,
      [
        blobs.map(({ ref }) => Buffer.from(ref.hash, 'base64url')),
        blobs.map(({ ref }) => ref.length),
        blobs.map(({ position }) => position),
        this.parts.fence,
      ],
    );
  }

  /**
   * Removes blobs that no event names and none will. May run at any time beside appends.
   * @param graceMs blobs younger than this stay
   * @throws BlobStoreUnavailableError, LogUnavailableError
   */
  async collect(graceMs = ORPHAN_GRACE_MS): Promise<Collected> {
    const { store } = this.parts;
    const olderThanMs = (this.parts.clock ?? Date.now)() - graceMs;
    const candidates = new Map<string, Candidate>();
    for (const candidate of await this.reservedByPredecessors(graceMs)) candidates.set(candidate.hash, candidate);
    for (const candidate of await this.unknown(olderThanMs)) candidates.set(candidate.hash, candidate);
    if (store instanceof FolderBlobStore) await store.removeDrafts(olderThanMs);
    if (candidates.size === 0) return { removed: 0, bytes: 0, named: 0 };
    const named = await this.findNamed(candidates);
    await this.named(named);
    let bytes = 0;
    let removed = 0;
    for (const { ref } of named) candidates.delete(ref.hash);
    for (const { hash, length } of candidates.values()) {
      // The row goes last: a crash in between leaves it, and the next collection begins there.
      await store.remove(hash);
      await this.parts.pool.query('delete from hub.blob where hash = $1 and position is null and fence < $2', [
        Buffer.from(hash, 'base64url'),
        this.parts.fence,
      ]);
      removed += 1;
      bytes += length;
    }
    return { removed, bytes, named: named.length };
  }

  /** Durable before anything is written, whatever the pool's sessions say: a file in the store is never younger than its row. */
  private async reserve(refs: readonly BlobRef[]): Promise<void> {
    await this.parts.pool.query(
      `insert into hub.blob (hash, length, fence)
       select hash, length, $3 from unnest($1::bytea[], $2::int8[]) as w(hash, length),
         (select set_config('synchronous_commit', 'on', true) as durable) as setting
       where setting.durable = 'on'
       on conflict (hash) do update set fence = greatest(blob.fence, excluded.fence)`,
      [refs.map(({ hash }) => Buffer.from(hash, 'base64url')), refs.map(({ length }) => length), this.parts.fence],
    );
  }

  private async reservedByPredecessors(graceMs: number): Promise<Candidate[]> {
    const { rows } = await this.parts.pool.query<{ hash: Buffer; length: bigint; fence: bigint }>(
      `select hash, length, fence from hub.blob
       where position is null and fence < $1 and reserved_at <= clock_timestamp() - $2 * interval '1 millisecond'`,
      [this.parts.fence, graceMs],
    );
    return rows.map(({ hash, length, fence }) => ({
      hash: hash.toString('base64url'),
      length: Number(length),
      after: fence,
    }));
  }

  /** Blobs in the store without a row. The row is looked for after the file was seen: one that is being written has it by then. */
  private async unknown(olderThanMs: number): Promise<Candidate[]> {
    const found: Candidate[] = [];
    let page: Candidate[] = [];
    const sift = async (): Promise<void> => {
      const { rows } = await this.parts.pool.query<{ hash: Buffer }>(
        'select hash from hub.blob where hash = any ($1::bytea[])',
        [page.map(({ hash }) => Buffer.from(hash, 'base64url'))],
      );
      const known = new Set(rows.map(({ hash }) => hash.toString('base64url')));
      found.push(...page.filter(({ hash }) => !known.has(hash)));
      page = [];
    };
    for await (const { hash, length, writtenAtMs } of this.parts.store.list()) {
      if (writtenAtMs > olderThanMs) continue;
      page.push({ hash, length, after: 0n });
      if (page.length >= SCAN_EVENTS) await sift();
    }
    if (page.length > 0) await sift();
    return found;
  }

  private async findNamed(
    candidates: ReadonlyMap<string, Candidate>,
  ): Promise<{ readonly ref: BlobRef; readonly position: Position }[]> {
    const found: { ref: BlobRef; position: Position }[] = [];
    let after = [...candidates.values()].reduce(
      (least, one) => (one.after < least ? one.after : least),
      this.parts.fence,
    );
    for (;;) {
      const page = await this.parts.reader.readPage({ after, limit: SCAN_EVENTS, maxBytes: SCAN_BYTES });
      const last = page.at(-1);
      if (last === undefined) return found;
      for (const { metadata, position } of page) {
        const blob = blobNamedIn(metadata);
        if (blob !== undefined && candidates.has(blob.hash)) found.push({ ref: blob, position });
      }
      after = last.position;
    }
  }
}

/** The blob that an event's metadata name, if any. */
export function blobNamedIn(metadata: Buffer): BlobRef | undefined {
  // Most metadata name none, and parsing them costs ten times as much as looking.
  return metadata.includes('"blob":') ? (JSON.parse(metadata.toString('utf8')) as Envelope).blob : undefined;
}
