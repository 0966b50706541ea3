/**
 * The tree in tiles: 256 hashes each, of leaves on level 0 and of the roots of 256 full tiles on the level above. A tile is what is stored, and what
 * proofs are cut from: a proof in a log of four thousand million events needs four of them.
 */
import type { Position } from '../event-log.js';
import { HASH_BYTES } from './leaf.js';
import { EMPTY_ROOT, hashAt, nodeHash, perfectRoot, type PerfectSubtree } from './merkle.js';

/** Hashes of a full tile. */
export const TILE_HASHES = 256;
const TILE_HEIGHT = 8;

export interface Tile {
  /** 0: hashes of leaves. */
  readonly level: number;
  /** Number of the tile in its level, from 0. */
  readonly index: number;
  /** 32 bytes each, at most {@link TILE_HASHES} of them. */
  readonly hashes: Buffer;
  /** On level 0: the positions of the leaves. */
  readonly positions: readonly Position[];
}

/** The last tile of a level, which is never full. */
interface OpenTile {
  index: number;
  count: number;
  hashes: Buffer;
  positions: Position[];
  /** Whether something in it has not been given out by {@link TileTree.changed}. */
  changed: boolean;
}

/** A growing tree of leaves; remembers only the right edge, and the tiles that nobody has taken yet. */
export class TileTree {
  private readonly levels: OpenTile[] = [];
  private finished: Tile[] = [];

  /** Number of leaves. */
  size = 0;
  /** Position of the last leaf, 0n where there is none. */
  lastPosition: Position = 0n;

  /**
   * @param keepTiles whether full tiles are kept for {@link takeChanged}
   */
  constructor(private readonly keepTiles: boolean) {}

  /**
   * A tree as it stood when these tiles, the last of each level from 0 on, were its open ones. It keeps full tiles.
   * @param lastPosition of its last leaf
   */
  static fromEdge(edge: readonly Tile[], lastPosition: Position): TileTree {
    const tree = new TileTree(true);
    let width = 1;
    for (const tile of edge) {
      const count = tile.hashes.length / HASH_BYTES;
      const hashes = Buffer.alloc(TILE_HASHES * HASH_BYTES);
      tile.hashes.copy(hashes);
      tree.levels.push({ index: tile.index, count, hashes, positions: [...tile.positions], changed: false });
      tree.size += count * width;
      width *= TILE_HASHES;
    }
    tree.lastPosition = lastPosition;
    return tree;
  }

  /** Adds a leaf. `write` puts its hash into a buffer. */
  add(position: Position, write: (into: Buffer, offset: number) => void): void {
    const tile = this.open(0);
    write(tile.hashes, tile.count * HASH_BYTES);
    tile.positions.push(position);
    this.lastPosition = position;
    this.size += 1;
    this.added(0, tile);
  }

  /** Hash of the tree (RFC 9162 §2.1.1). */
  root(): Buffer {
    let root: Buffer | undefined;
    // From the right: the smallest subtrees stand at the end of the lowest level.
    for (const { hashes, count } of this.levels) {
      let end = count;
      for (let width = 1; width <= count; width *= 2) {
        if ((count & width) === 0) continue;
        const subtree = perfectRoot(hashes, end - width, width);
        root = root === undefined ? subtree : nodeHash(subtree, root);
        end -= width;
      }
    }
    return root ?? EMPTY_ROOT;
  }

  /** The same tree, growing on its own from here; it keeps no tiles. */
  fork(): TileTree {
    const fork = new TileTree(false);
    for (const tile of this.levels) {
      fork.levels.push({ ...tile, hashes: Buffer.from(tile.hashes), positions: [...tile.positions] });
    }
    fork.size = this.size;
    fork.lastPosition = this.lastPosition;
    return fork;
  }

  /** Tiles that have grown since the last call, full ones and the open ones. */
  takeChanged(): Tile[] {
    const changed = this.finished;
    this.finished = [];
    this.levels.forEach((tile, level) => {
      if (!tile.changed || tile.count === 0) return;
      tile.changed = false;
      changed.push({
        level,
        index: tile.index,
        hashes: Buffer.from(tile.hashes.subarray(0, tile.count * HASH_BYTES)),
        positions: [...tile.positions],
      });
    });
    return changed;
  }

  /** Tiles taken that could not be stored wait again. */
  giveBack(tiles: readonly Tile[]): void {
    // An open tile that has grown meanwhile is given out again as it is then.
    this.finished = [...tiles.filter(({ hashes }) => hashes.length === TILE_HASHES * HASH_BYTES), ...this.finished];
    for (const tile of this.levels) tile.changed = tile.count > 0;
  }

  /** Number of tiles that wait to be taken. */
  get waitingTiles(): number {
    return this.finished.length;
  }

  private open(level: number): OpenTile {
    let tile = this.levels[level];
    if (tile === undefined) {
      tile = { index: 0, count: 0, hashes: Buffer.alloc(TILE_HASHES * HASH_BYTES), positions: [], changed: false };
      this.levels[level] = tile;
    }
    return tile;
  }

  private added(level: number, tile: OpenTile): void {
    tile.count += 1;
    tile.changed = true;
    if (tile.count < TILE_HASHES) return;
    const root = perfectRoot(tile.hashes, 0, TILE_HASHES);
    if (this.keepTiles)
      this.finished.push({ level, index: tile.index, hashes: tile.hashes, positions: tile.positions });
    tile.index += 1;
    tile.count = 0;
    tile.hashes = Buffer.alloc(TILE_HASHES * HASH_BYTES);
    tile.positions = [];
    tile.changed = false;
    const above = this.open(level + 1);
    root.copy(above.hashes, above.count * HASH_BYTES);
    this.added(level + 1, above);
  }
}

/** Gives the hashes of a tile, at least those that a tree of the size asked for has in it. */
export type LoadTile = (level: number, index: number) => Promise<Buffer>;

/** Thrown where stored tiles do not hold what they must. `code` is stable: TILE_MISSING. */
export class TileMissingError extends Error {
  readonly code = 'TILE_MISSING';
  constructor(level: number, index: number) {
    super(`the stored tree lacks hashes in tile ${index} of level ${level}`);
  }
}

/** Perfect subtrees cut from tiles. */
export function subtreesOf(load: LoadTile): PerfectSubtree {
  return async (height, index) => {
    const level = Math.floor(height / TILE_HEIGHT);
    const width = 2 ** (height % TILE_HEIGHT);
    const first = index * width;
    const tileIndex = Math.floor(first / TILE_HASHES);
    const hashes = await load(level, tileIndex);
    const from = first % TILE_HASHES;
    if (hashes.length < (from + width) * HASH_BYTES) throw new TileMissingError(level, tileIndex);
    return width === 1 ? Buffer.from(hashAt(hashes, from)) : perfectRoot(hashes, from, width);
  };
}
