import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { ID_WORDS, readId } from '../../src/log/event-id.js';
import { RecentIds, type StandingId } from '../../src/log/recent-ids.js';

const LEAST = 8;
const SECOND_US = 1_000_000n;
/** Behind another id, as among those of a call. */
const wordsOf = (id: string): Uint32Array => {
  const words = new Uint32Array(2 * ID_WORDS);
  if (!readId(id, words, ID_WORDS)) throw new Error(`${id} is none`);
  return words;
};
const add = (recent: RecentIds, id: string, position: bigint, stampUs: bigint): void =>
  recent.add(wordsOf(id), ID_WORDS, position, stampUs);
const find = (recent: RecentIds, id: string): StandingId | undefined => recent.find(wordsOf(id), ID_WORDS);
/** Few, and alike in the bits by which they are looked for, so that they meet in the table. */
const ids = Array.from({ length: 40 }, (_, index) => {
  const number = index.toString(16).padStart(4, '0');
  return index % 2 === 0 ? `0000${number}-0000-4000-8000-000000000007` : `00000000-${number}-4000-8000-000000000007`;
});

describe('the ids of the events appended last', () => {
  it('are the last ones at least, each with where it was added last, and never one that was not added', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...ids), { maxLength: 120, size: 'max' }), (added) => {
        const recent = new RecentIds(LEAST);
        const places = new Map<string, number>();
        for (const [index, id] of added.entries()) {
          add(recent, id, BigInt(index), BigInt(index) * SECOND_US);
          places.set(id, index);
        }
        const last = new Set(added.slice(-LEAST));
        for (const id of ids) {
          const found = find(recent, id);
          const place = places.get(id);
          if (found === undefined) {
            if (last.has(id)) throw new Error(`${id} is forgotten`);
          } else if (found.position !== BigInt(place ?? -1) || found.stampUs !== BigInt(place as number) * SECOND_US) {
            throw new Error(`${id} stands at ${place}, not at ${found.position}`);
          }
        }
      }),
    );
  });

  it('are found in their own spelling only', () => {
    const recent = new RecentIds();
    const id = '0a1b2c3d-4e5f-8a6b-9c7d-0e1f2a3b4c5d';
    add(recent, id, 2n ** 62n, 1_700_000_000_000_001n);
    expect(find(recent, id)).toEqual({ position: 2n ** 62n, stampUs: 1_700_000_000_000_001n });
    for (const other of [
      id.toUpperCase(),
      id.replace('-', '0'),
      `${id}0`,
      id.slice(1),
      id.replace('a', 'g'),
      id.replace('d', '\u0144'),
    ])
      expect(readId(other, new Uint32Array(ID_WORDS))).toBe(false);
  });
});
