/** Partitions of log.event, made ahead of the head by the writer. */
import type { ClientBase } from 'pg';

/** Events per partition: some gigabytes, small enough to move or drop as one. */
export const PARTITION_EVENTS = 4_000_000n;
/** Attaching waits no longer than this for readers of the default partition; the next round tries again. */
const ATTACH_WAIT_MS = 500;

/**
 * Makes partitions until one stands ready beyond the one that the head is in. A range that the head has entered without a
 * partition stays in the default partition for good; the new ones begin at the next boundary.
 * @returns first position that has no partition of its own made ahead
 */
export async function makePartitions(client: ClientBase, size = PARTITION_EVENTS): Promise<bigint> {
  const state = await client.query<{ head: bigint; bound: bigint | null }>(`
    select (select head from log.writer) as head,
           (select max((regexp_match(pg_get_expr(c.relpartbound, c.oid), 'TO \\(''(\\d+)''\\)'))[1]::bigint)
            from pg_inherits i join pg_class c on c.oid = i.inhrelid
            where i.inhparent = 'log.event'::regclass) as bound`);
  const row = state.rows[0] as { head: bigint; bound: bigint | null };
  let bound = row.bound ?? 1n;
  // Never over positions that the default partition may hold.
  if (bound <= row.head) bound = (row.head / size + 1n) * size + 1n;
  while (bound <= row.head + size) {
    await makePartition(client, bound, bound + size);
    bound += size;
  }
  return bound;
}

async function makePartition(client: ClientBase, from: bigint, to: bigint): Promise<void> {
  const name = `log.event_${from}`;
  await client.query('begin');
  try {
    await client.query(`set local lock_timeout = ${ATTACH_WAIT_MS}`);
    await client.query(
      `create table ${name} (like log.event including defaults including storage) with (toast_tuple_target = 8160)`,
    );
    // The check spares PostgreSQL a scan of the new partition; the lock on the parent is one that reads and appends share.
    await client.query(`alter table ${name} add check (position >= ${from} and position < ${to})`);
    await client.query(`alter table log.event attach partition ${name} for values from (${from}) to (${to})`);
    await client.query('commit');
  } catch (error) {
    await client.query('rollback');
    throw error;
  }
}
