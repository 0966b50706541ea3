/** A log that was put back on purpose: the next head says so, and which heads are given up by it. */
import type { KeyObject } from 'node:crypto';
import { createPublicKey } from 'node:crypto';
import type pg from 'pg';
import { now } from '../../time/clock.js';
import type { EventLogReader } from '../event-log.js';
import type { HeadStore } from './head-store.js';
import { addLeaves } from './keeper.js';
import { keysBehind, signBehind, type NextKey } from './key-change.js';
import { clearTiles, readHeadCopy, saveTiles } from './tile-store.js';
import { TileTree } from './tiles.js';
import { parseHead, type TreeHead } from './tree-head.js';
import { verifyLog } from './verify.js';

/** There is nothing to accept, or more is wrong than a lost end. `code` is stable: NOT_RESTORED. */
export class NotRestoredError extends Error {
  readonly code = 'NOT_RESTORED';
}

const PAGE_EVENTS = 1_000;
const PAGE_BYTES = 8 * 1024 * 1024;
const REASON = /^[^\p{Cc}]{1,200}$/u;

/**
 * Signs the log as it stands now, with the statement that what earlier heads say beyond it is given up. Verification tells of it for ever. Call it with the
 * log's writing side held, so that no hub writes.
 * @param reason one line, without patient data
 * @throws NotRestoredError, HeadStoreError, RangeError for a reason that is none
 */
export async function acceptRestored(parts: {
  readonly pool: pg.Pool;
  readonly reader: EventLogReader;
  readonly heads: HeadStore;
  readonly key: KeyObject;
  /** Where the key is kept that is to follow it. */
  readonly nextKey?: NextKey;
  readonly reason: string;
}): Promise<TreeHead> {
  const { pool, reader, heads, key, nextKey, reason } = parts;
  if (!REASON.test(reason)) throw new RangeError('a reason is one line of at most 200 characters');
  // Without the stored hashes: those of a database that was put back may be newer or older than its log.
  const report = await verifyLog({ reader, heads, publicKey: createPublicKey(key) });
  const other = report.findings.find(({ code }) => code !== 'LOG_ROLLED_BACK');
  if (other !== undefined) throw new NotRestoredError(`the log has not only lost its end: ${other.message}`);
  if (report.ok || report.head === undefined)
    throw new NotRestoredError('the log ends where it was signed last, or behind');
  await mustNotBeBehind(pool, reader);
  await clearTiles(pool);
  const tree = new TileTree(true);
  for (;;) {
    const page = await reader.readPage({ after: tree.lastPosition, limit: PAGE_EVENTS, maxBytes: PAGE_BYTES });
    if (page.length === 0) break;
    addLeaves(tree, page);
    await saveTiles(pool, tree.takeChanged());
  }
  const copy = await readHeadCopy(pool);
  const remembered = copy === undefined ? 0 : parseHead(copy.head).sequence;
  const last = Math.max(report.head.sequence, remembered);
  const at = { now: key, next: await nextKey?.load() };
  const { keys } = await keysBehind((await heads.last())?.signed, at, nextKey);
  const plain: TreeHead = {
    logId: reader.id,
    size: tree.size,
    root: tree.root(),
    sequence: last + 1,
    position: tree.lastPosition,
    time: now(),
    abandons: { sequence: last, reason },
  };
  const { head, signed } = signBehind(report.head, plain, keys);
  await heads.put(head.sequence, signed);
  await pool.query('delete from evidence.head where size > $1', [head.size]);
  await saveTiles(pool, [], signed);
  return head;
}

/**
 * The database must not know events that the log has lost: it would answer whoever sends one of them again that the message is there.
 * @throws NotRestoredError
 */
async function mustNotBeBehind(pool: pg.Pool, reader: EventLogReader): Promise<void> {
  const { rows } = await pool.query<{ known: bigint | null }>(
    'select greatest((select max(position) from hub.checkpoint), (select position from inbound.progress)) as known',
  );
  const known = rows[0]?.known ?? 0n;
  const head = await reader.head();
  if (known > head)
    throw new NotRestoredError(
      `the hub's database knows events up to position ${known}, and the log ends at ${head}: put the database of the same moment back as well`,
    );
}
