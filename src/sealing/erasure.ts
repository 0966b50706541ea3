/** Erasing: the keys of owners are destroyed, for good and everywhere. */
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { inTransaction } from '../database/database.js';
import type { Envelope } from '../log/envelope.js';
import type { EventLogReader } from '../log/event-log.js';
import { now } from '../time/clock.js';
import type { ErasureList, Erasure } from './erasure-list.js';
import { ERASURE_CHANNEL, KEY_LEASE_MS } from './key-store.js';

export interface ErasureParts {
  readonly pool: pg.Pool;
  readonly list: ErasureList;
  /** Key stores of this process, which forget at once. */
  readonly stores?: readonly { forget(ownerIds: readonly string[]): void }[];
  /**
   * Runs its work while no body is between being sealed and being in the log (IntakePipeline.quiesced): what was sealed before is in the log
   * before the keys go, so no message is acknowledged that was never readable.
   */
  readonly quiesce?: <T>(work: () => Promise<T>) => Promise<T>;
  /** The log, to find the messages that were sealed under the keys. Without it only those with keys of their own are marked as erased. */
  readonly reader?: Pick<EventLogReader, 'readPage'>;
  readonly leaseMs?: number;
  readonly sleep?: (milliseconds: number) => Promise<unknown>;
}

/** Arbitrary, fixed: erasures follow one another. */
const ERASURE_LOCK = 7_261_007;
const LEASE_MARGIN_MS = 100;

/** A key without an owner yet is destroyed as well, so that none can be made for it later. */
const DESTROY = `
  insert into sealing.data_key (key_id, owner_id, wrapped, kek_id, destroyed_at)
  select gen_random_uuid(), owner_id, null, '', clock_timestamp()
  from (select distinct unnest($1::uuid[]) as owner_id) as w order by owner_id
  on conflict (owner_id) do update set wrapped = null, destroyed_at = clock_timestamp()
  where data_key.destroyed_at is null`;

/**
 * Destroys the keys of these owners. First the list at the second place, then the keys in one transaction, then the wait until no process
 * can hold one any more: when this resolves, none of these keys will ever seal or open anything again, in any process, also after a restart or
 * a restore of the database. After a crash in the middle the next start completes it; the same call again is a further erasure of the same
 * owners and harms nothing.
 * @param ownerIds source records (of a patient: all that are linked at that time) and messages with keys of their own
 * @throws ErasureListError: nothing was destroyed
 */
export async function eraseOwners(parts: ErasureParts, ownerIds: readonly string[]): Promise<Erasure> {
  const owners = [...new Set(ownerIds)].sort();
  if (owners.length === 0) throw new RangeError('nobody to erase');
  const quiesce = parts.quiesce ?? (<T>(work: () => Promise<T>) => work());
  const erasure = await quiesce(() =>
    inTransaction(parts.pool, async (client) => {
      await client.query('select pg_advisory_xact_lock($1)', [ERASURE_LOCK]);
      const { rows } = await client.query<{ epoch: bigint }>(
        'select coalesce(max(epoch), 0) as epoch from sealing.erasure',
      );
      const listed = (await parts.list.read()).at(-1)?.epoch ?? 0n;
      const stored = rows[0]?.epoch ?? 0n;
      const erasure: Erasure = { epoch: (listed > stored ? listed : stored) + 1n, at: now(), owners };
      await parts.list.append(erasure);
      await carryOut(client, [erasure], parts.reader);
      return erasure;
    }),
  );
  for (const store of parts.stores ?? []) store.forget(owners);
  await (parts.sleep ?? delay)((parts.leaseMs ?? KEY_LEASE_MS) + LEASE_MARGIN_MS);
  return erasure;
}

/**
 * Carries out what stands in the list and not in this database: called before a hub serves.
 * @param openReader the log, asked for only where there is anything to carry out
 * @returns how many erasures the database did not know
 * @throws ErasureListError, LogUnavailableError: nothing was carried out
 */
export async function replayErasures(
  parts: Pick<ErasureParts, 'pool' | 'list'>,
  openReader: () => Promise<Pick<EventLogReader, 'readPage' | 'close'>>,
): Promise<number> {
  const listed = await parts.list.read();
  return inTransaction(parts.pool, async (client) => {
    await client.query('select pg_advisory_xact_lock($1)', [ERASURE_LOCK]);
    const { rows } = await client.query<{ epoch: bigint }>('select epoch from sealing.erasure');
    const known = new Set(rows.map(({ epoch }) => epoch));
    const missing = listed.filter(({ epoch }) => !known.has(epoch));
    if (missing.length === 0) return 0;
    const reader = await openReader();
    try {
      await carryOut(client, missing, reader);
    } finally {
      await reader.close();
    }
    return missing.length;
  });
}

/** Erasures that the database knows and the list does not: a second place that is new, or was lost, gets them. @returns how many */
export async function completeList(parts: Pick<ErasureParts, 'pool' | 'list'>): Promise<number> {
  const last = (await parts.list.read()).at(-1)?.epoch ?? 0n;
  const { rows } = await parts.pool.query<Erasure & pg.QueryResultRow>(
    'select epoch, at, owners from sealing.erasure where epoch > $1 order by epoch',
    [last],
  );
  for (const { epoch, at, owners } of rows) await parts.list.append({ epoch, at, owners });
  return rows.length;
}

async function carryOut(
  client: pg.PoolClient,
  erasures: readonly Erasure[],
  reader: ErasureParts['reader'],
): Promise<void> {
  await client.query('set local synchronous_commit = on');
  await client.query(DESTROY, [erasures.flatMap(({ owners }) => owners)]);
  await client.query(
    `insert into sealing.erasure (epoch, at, owners)
     select epoch, at, array(select jsonb_array_elements_text(owners)::uuid)
     from jsonb_to_recordset($1::jsonb) as e(epoch int8, at timestamptz, owners jsonb)`,
    [JSON.stringify(erasures.map(({ epoch, at, owners }) => ({ epoch: epoch.toString(), at, owners })))],
  );
  await markErased(
    client,
    erasures.flatMap(({ owners }) => owners),
    reader,
  );
  await client.query(`notify ${ERASURE_CHANNEL}`);
}

/** Messages that may be sealed under a record's key: of every patient that the record was ever linked to. */
const CANDIDATES = `
  with patients as (
    select patient_id from identity.source_record where id = any ($1::uuid[])
    union select patient_id from identity.record_link where record_id = any ($1::uuid[])
    union select from_patient_id from identity.record_link where record_id = any ($1::uuid[])
  )
  select event_id, position from inbound.message
  where not erased and (patient_id in (select patient_id from patients where patient_id is not null) or event_id = any ($1::uuid[]))`;

/**
 * Notes which messages nobody can read any more: the same bytes sent again are new messages then (DESIGN §2, "Ids betray nothing"). It goes
 * through the register once, which takes its time and happens seldom.
 */
async function markErased(
  client: pg.PoolClient,
  owners: readonly string[],
  reader: ErasureParts['reader'],
): Promise<void> {
  const own = new Set(owners);
  const candidates = await client.query<{ event_id: string; position: bigint }>(CANDIDATES, [owners]);
  const keys = await client.query<{ key_id: string }>(
    'select key_id from sealing.data_key where owner_id = any ($1::uuid[])',
    [owners],
  );
  const destroyed = new Set(keys.rows.map(({ key_id }) => key_id));
  const erased: string[] = [];
  for (const { event_id, position } of candidates.rows) {
    if (own.has(event_id)) {
      erased.push(event_id);
      continue;
    }
    const [event] = (await reader?.readPage({ after: position - 1n, limit: 1 })) ?? [];
    if (event?.id !== event_id) continue;
    const { keyId } = JSON.parse(event.metadata.toString('utf8')) as Envelope;
    if (keyId !== undefined && destroyed.has(keyId)) erased.push(event_id);
  }
  await client.query('update inbound.message set erased = true where event_id = any ($1::uuid[])', [erased]);
}
