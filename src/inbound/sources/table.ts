/** The tables of migrations/008-sources.ts: what the log's source.* events say last, for every process to look up. */
import type pg from 'pg';
import { inTransaction } from '../../database/database.js';
import type { Position } from '../../log/event-log.js';
import type { Instant } from '../../time/valid-time.js';
import type { SourceSettings } from '../source.js';
import type { StoredSource } from './decide.js';

/** Channel on which a change is announced. */
export const SOURCE_CHANNEL = 'anamnesis_source';

export interface SourceRow extends StoredSource {
  readonly position: Position;
  readonly recordedAt: Instant;
}

interface RawRow {
  id: string;
  version: number;
  change: bigint;
  position: Position;
  recorded_at: Instant;
  settings: SourceSettings;
}

/** Sources changed after a number, and the number up to which all are told. */
export async function sourcesChangedAfter(
  pool: Pick<pg.Pool, 'query'>,
  change: bigint,
): Promise<{ readonly rows: readonly SourceRow[]; readonly change: bigint }> {
  const { rows } = await pool.query<RawRow>(
    'select id, version, change, position, recorded_at, settings from hub.source where change > $1 order by change',
    [change.toString()],
  );
  return {
    rows: rows.map(({ id, version, position, recorded_at: recordedAt, settings }) => ({
      id,
      version,
      position,
      recordedAt,
      settings,
    })),
    change: rows.at(-1)?.change ?? change,
  };
}

/** Up to which position of the log every source.* event stands in the table. */
export async function sourceProgress(pool: Pick<pg.Pool, 'query'>): Promise<Position> {
  const { rows } = await pool.query<{ position: Position }>('select position from hub.source_progress');
  return rows[0]?.position ?? 0n;
}

/** Never goes back. */
export async function storeSourceProgress(pool: Pick<pg.Pool, 'query'>, position: Position): Promise<void> {
  await pool.query('update hub.source_progress set position = $1 where position < $1', [position.toString()]);
}

/** Empties what can be made again from the log. */
export async function forgetSources(pool: pg.Pool): Promise<void> {
  await inTransaction(pool, async (client) => {
    await client.query('delete from hub.source');
    await client.query('update hub.source_progress set position = 0');
  });
}

/** Stores versions and tells everybody; a version that stands there already, or a later one, stays. */
export async function storeSources(pool: pg.Pool, rows: readonly SourceRow[]): Promise<void> {
  if (rows.length === 0) return;
  await inTransaction(pool, async (client) => {
    const numbered = await client.query<{ change: bigint }>(
      'update hub.source_progress set change = change + $1 returning change',
      [rows.length],
    );
    const last = numbered.rows[0]?.change ?? 0n;
    await client.query(
      `insert into hub.source (id, version, change, position, recorded_at, settings)
       select id, version, change, position, recorded_at, settings
       from jsonb_to_recordset($1) as given(id text, version int, change bigint, position bigint, recorded_at timestamptz, settings jsonb)
       on conflict (id) do update set version = excluded.version, change = excluded.change, position = excluded.position,
         recorded_at = excluded.recorded_at, settings = excluded.settings
       where hub.source.version < excluded.version`,
      [
        JSON.stringify(
          rows.map((row, index) => ({
            id: row.id,
            version: row.version,
            change: (last - BigInt(rows.length - 1 - index)).toString(),
            position: row.position.toString(),
            recorded_at: row.recordedAt,
            settings: row.settings,
          })),
        ),
      ],
    );
    await client.query(`select pg_notify('${SOURCE_CHANNEL}', '')`);
  });
}
