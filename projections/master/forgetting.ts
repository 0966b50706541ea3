/**
 * Takes the erased out of a build of the master store. A rebuild leaves them out by itself, since their messages open no more; the tables that are
 * there were made while they did. Of a message about several persons what is left of it (`message.redacted`) takes the place of what it had said.
 *
 * What a projector had in hand when the keys went may still be committed, so an erasure is looked at again until nothing of it can be under way.
 */
import type pg from 'pg';
import { copyRows, type CopyType } from '../../src/database/binary-copy.js';
import { inTransaction } from '../../src/database/database.js';
import type { EventLogReader } from '../../src/log/event-log.js';
import type { EventDecoder } from '../../src/projecting/decode.js';
import { censusPosition } from './census/keeper.js';
import { censusTables } from './census/tables.js';
import { createMasterProjection } from './index.js';
import type { MasterHashes } from './names.js';
import { masterTables } from './tables.js';

/** A batch in hand is committed or gone by then. */
const SETTLED_AFTER = '1 minute';

export interface ForgettingParts {
  readonly pool: pg.Pool;
  readonly reader: Pick<EventLogReader, 'readPage'>;
  readonly decoder: Pick<EventDecoder, 'decode'>;
  readonly hashes: MasterHashes;
}

interface State {
  readonly epoch: bigint;
  readonly position: bigint;
  readonly settled: bigint;
}

export class Forgetting {
  /** By build: up to which erasure nothing is left to do. */
  private readonly settled = new Map<number, bigint>();

  constructor(private readonly parts: ForgettingParts) {}

  /** When it resolves, the tables of the build hold nothing of whoever was erased up to this erasure. @throws whatever the database or the log throws */
  async upTo(build: number, epoch: bigint): Promise<void> {
    if ((this.settled.get(build) ?? 0n) >= epoch) return;
    await inTransaction(this.parts.pool, (client) => this.forget(client, build, epoch));
  }

  private async forget(client: pg.PoolClient, build: number, epoch: bigint): Promise<void> {
    await client.query(`insert into hub.forgotten (projection, version) values ('master', $1) on conflict do nothing`, [
      build,
    ]);
    const { rows } = await client.query<State & { reached: bigint; settles: bigint }>(
      `select f.epoch, f.position, f.settled, coalesce(c.position, 0) as reached,
         (select coalesce(max(epoch), 0) from sealing.erasure where at < clock_timestamp() - interval '${SETTLED_AFTER}') as settles
       from hub.forgotten f left join hub.checkpoint c on c.projection = f.projection and c.version = f.version and c.lane = 0
       where f.projection = 'master' and f.version = $1 for update of f`,
      [build],
    );
    const state = rows[0];
    if (state === undefined) return;
    if (state.epoch < epoch || (state.settled < epoch && state.position !== state.reached)) {
      await this.remove(client, build, state.settled);
    }
    const settled = state.settles < epoch ? state.settles : epoch;
    await client.query(
      `update hub.forgotten set epoch = greatest(epoch, $2), position = $3, settled = greatest(settled, $4)
       where projection = 'master' and version = $1`,
      [build, epoch, state.reached, settled],
    );
    this.settled.set(build, settled);
  }

  private async remove(client: pg.PoolClient, build: number, after: bigint): Promise<void> {
    const { fact, note, lookup, message } = masterTables(build);
    const { rows } = await client.query<{ owner: string }>(
      'select distinct unnest(owners) as owner from sealing.erasure where epoch > $1',
      [after],
    );
    const owners = rows.map(({ owner }) => owner);
    let gone = 0;
    for (const table of [fact, note, lookup]) {
      gone += (await client.query(`delete from ${table} where record = any($1::uuid[])`, [owners])).rowCount ?? 0;
    }
    const { rows: shared } = await client.query<{ pos: bigint }>(
      `update ${message} set state = 'erased', control_hash = null, unmapped = '{}'
       where (record = any($1::uuid[]) or event_id = any($1::uuid[])) and state <> 'erased'
       returning case when event_id = any($1::uuid[]) then pos end as pos`,
      [owners],
    );
    for (const { pos } of shared) {
      if (pos !== null) gone += await this.replace(client, build, pos, owners);
    }
    if (gone === 0) return;
    if ((await censusPosition(client, build)) === undefined) return;
    // Counts of every moment had them in: they are made anew.
    const { state, ...counted } = censusTables(build);
    // First: whoever is counting now is done when this goes through, so nothing of theirs is left, and their next piece sees that it is over.
    await client.query(`update ${state} set position = 0, steps = 0, blocks = 0`);
    for (const table of Object.values(counted)) await client.query(`delete from ${table}`);
  }

  /** What is left of a message about several persons, in place of what it had said of those who remain. */
  private async replace(client: pg.PoolClient, build: number, pos: bigint, owners: readonly string[]): Promise<number> {
    const { fact, note } = masterTables(build);
    const page = await this.parts.reader.readPage({ after: pos - 1n, limit: 1 });
    const events = (await this.parts.decoder.decode(page)).filter(({ position }) => position === pos);
    const { rows: stood } = await client.query<{ record: string }>(
      `delete from ${fact} where pos = $1 returning record`,
      [pos],
    );
    await client.query(`delete from ${note} where pos = $1`, [pos]);
    // Whoever the message was not applied to (it waited, or was parked) gets nothing now.
    const records = new Set(stood.map(({ record }) => record).filter((record) => !owners.includes(record)));
    const tables = createMasterProjection({ hashes: this.parts.hashes }).apply(
      events,
      { mode: 'live', loaded: undefined },
      build,
    );
    for (const { table, columns, types, rows } of tables.filter((one) => one.table === fact || one.table === note)) {
      const left = rows.filter((row) => records.has(row[columns.indexOf('record')] as string));
      await copyRows(client, table, columns, types as CopyType[], left);
    }
    return stood.length;
  }
}
