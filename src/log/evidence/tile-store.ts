/**
 * Where tiles and copies of the signed heads stand in the hub's PostgreSQL (schema `evidence`). Both can be made again from the log and the second
 * place, and prove nothing by themselves: what is cut from tiles counts only where it gives a signed root.
 */
import type pg from 'pg';
import { copyRows, type CopyType } from '../../database/binary-copy.js';
import { inTransaction } from '../../database/database.js';
import type { Position } from '../event-log.js';
import { HASH_BYTES } from './leaf.js';
import { TILE_HASHES, TileMissingError, TileTree, type LoadTile, type Tile } from './tiles.js';
import { parseHead, type SignedHead } from './tree-head.js';

interface TileRow {
  level: number;
  index: bigint;
  first_position: bigint | null;
  positions: Buffer | null;
  hashes: Buffer;
}

const COLUMNS = ['level', 'index', 'first_position', 'last_position', 'positions', 'hashes'];
const TYPES: readonly CopyType[] = ['int2', 'int8', 'int8', 'int8', 'bytea', 'bytea'];
const POSITION_BYTES = 8;

/** Adds the tiles, in place of what stood there under the same numbers, and the head, in one transaction. */
export async function saveTiles(pool: pg.Pool, tiles: readonly Tile[], head?: SignedHead): Promise<void> {
  await inTransaction(pool, async (client) => {
    await client.query(
      `delete from evidence.tile t using unnest($1::int2[], $2::int8[]) as w(level, index) where t.level = w.level and t.index = w.index`,
      [tiles.map(({ level }) => level), tiles.map(({ index }) => index)],
    );
    if (tiles.length > 0) await copyRows(client, 'evidence.tile', COLUMNS, TYPES, tiles.map(rowOf));
    if (head !== undefined) await saveHead(client, head);
  });
}

/** Forgets every tile. */
export async function clearTiles(pool: pg.Pool): Promise<void> {
  await pool.query('delete from evidence.tile');
}

/** Keeps a copy of a head that stands in the second place. */
export async function saveHead(client: pg.Pool | pg.ClientBase, head: SignedHead): Promise<void> {
  const { sequence, position, size } = parseHead(head.head);
  await client.query(
    `insert into evidence.head (sequence, position, size, head, key, signature) values ($1, $2, $3, $4, $5, $6)
     on conflict (sequence) do update set position = excluded.position, size = excluded.size, head = excluded.head,
       key = excluded.key, signature = excluded.signature`,
    [sequence, position, size, head.head, head.key, head.signature],
  );
}

/** The last head that was signed, as the database remembers it. */
export async function readHeadCopy(client: pg.Pool | pg.ClientBase): Promise<SignedHead | undefined> {
  const { rows } = await client.query<SignedHead>(
    'select head, key, signature from evidence.head order by sequence desc limit 1',
  );
  return rows[0];
}

/** The first head that covers an event; it stays that one. */
export async function firstHeadOver(
  client: pg.Pool | pg.ClientBase,
  position: Position,
): Promise<SignedHead | undefined> {
  const { rows } = await client.query<SignedHead>(
    'select head, key, signature from evidence.head where position >= $1 order by position, sequence limit 1',
    [position],
  );
  return rows[0];
}

/** The tree whose tiles are stored; an empty one where they do not fit together. It keeps full tiles for {@link saveTiles}. */
export async function loadTree(pool: pg.Pool): Promise<TileTree> {
  const { rows } = await pool.query<TileRow>(
    `select distinct on (level) level, index, first_position, positions, hashes from evidence.tile order by level, index desc`,
  );
  const edge: Tile[] = [];
  let full = 0;
  let last: Position = 0n;
  for (const [level, row] of rows.entries()) {
    const tile = tileOf(row);
    const count = tile.hashes.length / HASH_BYTES;
    // Each level holds one hash for every full tile below it.
    const held = tile.index * TILE_HASHES + count;
    if (tile.level !== level || count > TILE_HASHES || (level > 0 && held !== full)) return new TileTree(true);
    if (level === 0) last = tile.positions.at(-1) ?? 0n;
    full = Math.floor(held / TILE_HASHES);
    edge.push(count < TILE_HASHES ? tile : { level, index: tile.index + 1, hashes: Buffer.alloc(0), positions: [] });
  }
  if (full > 0) return new TileTree(true);
  return TileTree.fromEdge(edge, last);
}

/** Tiles by number, each read once. */
export function tileLoader(client: pg.Pool | pg.ClientBase): LoadTile {
  const loaded = new Map<string, Promise<Buffer>>();
  return (level, index) => {
    const key = `${level}/${index}`;
    let tile = loaded.get(key);
    if (tile === undefined) {
      tile = client
        .query<{ hashes: Buffer }>('select hashes from evidence.tile where level = $1 and index = $2', [level, index])
        .then(({ rows }) => {
          if (rows[0] === undefined) throw new TileMissingError(level, index);
          return rows[0].hashes;
        });
      loaded.set(key, tile);
    }
    return tile;
  };
}

/** Whether this database has the tables; one that an earlier version of the hub used last has not. */
export async function hasTiles(client: pg.Pool | pg.ClientBase): Promise<boolean> {
  const { rows } = await client.query<{ there: boolean }>(`select to_regclass('evidence.tile') is not null as there`);
  return rows[0]?.there === true;
}

/**
 * Number of the leaf at a position, or (`next`) of the first one at or behind it; undefined where the stored tiles know none.
 */
export async function leafIndexAt(
  client: pg.Pool | pg.ClientBase,
  position: Position,
  which: 'exactly' | 'next' = 'exactly',
): Promise<number | undefined> {
  const { rows } = await client.query<TileRow>(
    `(select level, index, first_position, positions, hashes from evidence.tile
      where level = 0 and first_position <= $1 order by first_position desc limit 1)
     union all
     (select level, index, first_position, positions, hashes from evidence.tile
      where level = 0 and first_position > $1 order by first_position limit 1)`,
    [position],
  );
  for (const tile of rows.map(tileOf)) {
    const within = tile.positions.findIndex((at) => (which === 'next' ? at >= position : at === position));
    if (within >= 0) return tile.index * TILE_HASHES + within;
  }
  return undefined;
}

/** Tiles of the leaves in order, from the tile that holds the leaf `from`. */
export async function* leafTiles(pool: pg.Pool, from = 0): AsyncIterable<Tile> {
  const PAGE = 64;
  for (let index = Math.floor(from / TILE_HASHES); ;) {
    const { rows } = await pool.query<TileRow>(
      `select level, index, first_position, positions, hashes from evidence.tile
       where level = 0 and index >= $1 order by index limit ${PAGE}`,
      [index],
    );
    for (const row of rows) yield tileOf(row);
    const last = rows.at(-1);
    if (last === undefined || rows.length < PAGE) return;
    index = Number(last.index) + 1;
  }
}

function rowOf(tile: Tile): readonly unknown[] {
  const { level, index, hashes, positions } = tile;
  const [first, last] = [positions[0] ?? null, positions.at(-1) ?? null];
  return [level, index, first, last, isDense(positions) ? null : packed(positions), hashes];
}

function tileOf(row: TileRow): Tile {
  const { level, hashes, first_position: first, positions } = row;
  const count = Math.floor(hashes.length / HASH_BYTES);
  return {
    level,
    index: Number(row.index),
    hashes,
    positions: first === null ? [] : unpacked(positions, first, count),
  };
}

function isDense(positions: readonly Position[]): boolean {
  const [first] = positions;
  return first === undefined || positions.at(-1) === first + BigInt(positions.length - 1);
}

function packed(positions: readonly Position[]): Buffer {
  const bytes = Buffer.allocUnsafe(positions.length * POSITION_BYTES);
  positions.forEach((position, index) => bytes.writeBigInt64BE(position, index * POSITION_BYTES));
  return bytes;
}

function unpacked(positions: Buffer | null, first: Position, count: number): Position[] {
  if (positions === null) return Array.from({ length: count }, (_, index) => first + BigInt(index));
  return Array.from({ length: Math.floor(positions.length / POSITION_BYTES) }, (_, index) =>
    positions.readBigInt64BE(index * POSITION_BYTES),
  );
}
