import { describe, expect, it } from '@jest/globals';
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { leafEntry, leafHash, leafHashOfEntry } from '../../../src/log/evidence/leaf.js';
import {
  consistencyPath,
  inclusionPath,
  isConsistent,
  rangeRoot,
  rootOfInclusion,
} from '../../../src/log/evidence/merkle.js';
import { subtreesOf, TILE_HASHES, TileTree, type Tile } from '../../../src/log/evidence/tiles.js';
import type { RecordedEvent } from '../../../src/log/event-log.js';

const sha256 = (...parts: readonly Uint8Array[]): Buffer => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
};

/** MTH of RFC 9162 §2.1.1, word for word. */
function slowRoot(leaves: readonly Buffer[]): Buffer {
  if (leaves.length === 0) return sha256();
  if (leaves.length === 1) return leaves[0] as Buffer;
  let k = 1;
  while (k * 2 < leaves.length) k *= 2;
  return sha256(Buffer.of(1), slowRoot(leaves.slice(0, k)), slowRoot(leaves.slice(k)));
}

const leavesOf = (count: number, seed = 0): Buffer[] =>
  Array.from({ length: count }, (_, index) => sha256(Buffer.from(`${seed} ${index}`)));

function treeOf(leaves: readonly Buffer[]): { tree: TileTree; tiles: Map<string, Tile> } {
  const tree = new TileTree(true);
  const tiles = new Map<string, Tile>();
  leaves.forEach((leaf, index) => {
    tree.add(BigInt(index + 1), (into, offset) => leaf.copy(into, offset));
    // Now and then, as heads are signed: what is taken later stands in place of what was taken before.
    if (index % 37 === 0) for (const tile of tree.takeChanged()) tiles.set(`${tile.level}/${tile.index}`, tile);
  });
  for (const tile of tree.takeChanged()) tiles.set(`${tile.level}/${tile.index}`, tile);
  return { tree, tiles };
}

const subtrees = (tiles: ReadonlyMap<string, Tile>) =>
  subtreesOf(async (level, index) => {
    const tile = tiles.get(`${level}/${index}`);
    if (tile === undefined) throw new Error(`no tile ${level}/${index}`);
    return tile.hashes;
  });

const SIZES = [1, 2, 3, 7, 8, 9, 255, 256, 257, 511, 512, 513, 700, 1024, 1025];

describe('the tree', () => {
  it('gives the roots that the reference implementation of Certificate Transparency gives', () => {
    const inputs = ['', '00', '10', '2021', '3031', '40414243', '5051525354555657', '606162636465666768696a6b6c6d6e6f'];
    const roots = [
      '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
      'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
      'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
      'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
      '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
      '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
      'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
      '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
    ];
    const tree = new TileTree(false);
    expect(tree.root().toString('hex')).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
    inputs.forEach((input, index) => {
      const leaf = leafHashOfEntry(Buffer.from(input, 'hex'));
      tree.add(BigInt(index + 1), (into, offset) => leaf.copy(into, offset));
      expect(tree.root().toString('hex')).toBe(roots[index]);
    });
  });

  it('has at every size the root of the definition, also when it goes on from its stored edge or a fork of it', () => {
    const leaves = leavesOf(1_100);
    const tree = new TileTree(true);
    for (const [index, leaf] of leaves.entries()) {
      tree.add(BigInt(index + 1), (into, offset) => leaf.copy(into, offset));
      if (!SIZES.includes(tree.size)) continue;
      const expected = slowRoot(leaves.slice(0, tree.size));
      expect(tree.root()).toEqual(expected);
      const fork = tree.fork();
      const next = leavesOf(1, 9)[0] as Buffer;
      fork.add(BigInt(index + 2), (into, offset) => next.copy(into, offset));
      expect(fork.root()).toEqual(slowRoot([...leaves.slice(0, tree.size), next]));
      expect(tree.root()).toEqual(expected);
    }
  });

  it('takes more than a level of tiles: the root over 256 tiles stands on the level above', async () => {
    const leaves = leavesOf(TILE_HASHES * TILE_HASHES + 3);
    const { tree, tiles } = treeOf(leaves);
    expect(await rangeRoot(subtrees(tiles), 0, leaves.length)).toEqual(tree.root());
    expect(tree.root()).toEqual(slowRoot(leaves));
    const path = await inclusionPath(subtrees(tiles), 65_500, leaves.length);
    expect(rootOfInclusion(leaves[65_500] as Buffer, 65_500n, BigInt(leaves.length), path)).toEqual(tree.root());
    expect(path.length).toBeLessThanOrEqual(17);
  });
});

describe('proofs', () => {
  it('prove every leaf under every size, and nothing else', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 700 }), fc.nat(), fc.nat(), async (size, seed, wrong) => {
        const leaves = leavesOf(size, seed);
        const { tree, tiles } = treeOf(leaves);
        const index = seed % size;
        const path = await inclusionPath(subtrees(tiles), index, size);
        const root = tree.root();
        const found = (leaf: Buffer, at: number, of: number, along: readonly Buffer[]) =>
          rootOfInclusion(leaf, BigInt(at), BigInt(of), along)?.equals(root) === true;
        const leaf = leaves[index] as Buffer;
        expect(found(leaf, index, size, path)).toBe(true);
        expect(found(sha256(leaf), index, size, path)).toBe(false);
        const other = wrong % size;
        if (other !== index) expect(found(leaf, other, size, path)).toBe(false);
        expect(found(leaf, index, size, [...path, leaf])).toBe(false);
        if (path.length > 0) expect(found(leaf, index, size, path.slice(0, -1))).toBe(false);
      }),
      { numRuns: 60, seed: 9162 },
    );
  });

  it('prove that an older tree is the beginning of a newer one, and refuse any other', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 700 }), fc.nat(), async (size, seed) => {
        const leaves = leavesOf(size, seed);
        const { tree, tiles } = treeOf(leaves);
        const old = 1 + (seed % size);
        const path = await consistencyPath(subtrees(tiles), old, size);
        const newer = { size: BigInt(size), root: tree.root() };
        const older = { size: BigInt(old), root: slowRoot(leaves.slice(0, old)) };
        expect(isConsistent(older, newer, path)).toBe(true);
        expect(isConsistent({ ...older, root: sha256(older.root) }, newer, path)).toBe(false);
        expect(isConsistent(older, { ...newer, root: sha256(newer.root) }, path)).toBe(false);
        if (old > 1) expect(isConsistent({ ...older, size: older.size - 1n }, newer, path)).toBe(false);
        expect(isConsistent(older, newer, [...path, older.root])).toBe(false);
      }),
      { numRuns: 60, seed: 9162 },
    );
  });
});

describe('the leaf of an event', () => {
  const event: RecordedEvent = {
    position: 7n,
    revision: 3n,
    stream: 'clinical-1',
    id: '00000000-0000-4000-8000-000000000001',
    type: 'inbound.event',
    metadata: Buffer.from('{"a":"ü"}'),
    data: Buffer.from([0, 1, 255]),
  };

  it('is the hash of one line with every length, the names and the metadata, and of the hash of the body', () => {
    const digest = sha256(event.data).toString('base64url');
    const entry = Buffer.from(`7 3 ${event.id} 13 10 10 3 ${digest}\ninbound.eventclinical-1{"a":"ü"}`);
    expect(leafEntry(event)).toEqual(entry);
    expect(leafHash(event)).toEqual(sha256(Buffer.of(0), entry));
    expect(leafHashOfEntry(entry)).toEqual(leafHash(event));
  });

  it('differs wherever two events differ, also where only the border between two fields moves', () => {
    const others: RecordedEvent[] = [
      { ...event, position: 8n },
      { ...event, revision: 4n },
      { ...event, stream: 'clinical-2' },
      { ...event, type: 'inbound.eventc', stream: 'linical-1' },
      { ...event, stream: 'clinical-1{', metadata: Buffer.from('"a":"ü"}') },
      { ...event, id: '00000000-0000-4000-8000-000000000002' },
      { ...event, metadata: Buffer.from('{"a":"u"}') },
      { ...event, data: Buffer.from([0, 1, 254]) },
      { ...event, data: Buffer.alloc(0) },
      { ...event, stream: 'clinical-ü' },
    ];
    expect(new Set([event, ...others].map((one) => leafHash(one).toString('hex'))).size).toBe(others.length + 1);
  });
});
