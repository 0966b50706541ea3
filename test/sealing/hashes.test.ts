import { expect, it } from '@jest/globals';
import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { KeyedHashes } from '../../src/sealing/hashes.js';

const pepper = Buffer.alloc(32, 7);
const hashes = new KeyedHashes(pepper);

it('gives the same hash for the same parts, and another under another pepper or purpose', () => {
  const first = hashes.hash('person', 'okafor', '1984-02-29').toString('hex');
  expect(hashes.hash('person', 'okafor', '1984-02-29').toString('hex')).toBe(first);
  expect(hashes.hash('record', 'okafor', '1984-02-29').toString('hex')).not.toBe(first);
  expect(new KeyedHashes(randomBytes(32)).hash('person', 'okafor', '1984-02-29').toString('hex')).not.toBe(first);
});

// Computed with another implementation (Python's hashlib.blake2b).
it('keeps its values for the life of a log', () => {
  expect(hashes.hash('person', 'okafor', '1984-02-29').toString('hex')).toBe(
    'ee544b131bf8bb19144631a84140db92b89645ba6798067b7369544b9d6b286b',
  );
  expect(hashes.uuid('event', 'mllp', 'MSG1', Buffer.from('MSH|'))).toBe('3676cc9d-2150-804b-8051-c44d1f775fd3');
  expect(hashes.thing('11111111-2222-4333-8444-555555555555', 'ENCOUNTER', 'V1')).toBe(-5913563797249142294n);
});

it('tells lists of parts apart however the same text is cut', () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1 }), fc.nat(), fc.nat(), (text, first, second) => {
      const cut = (at: number) => [text.slice(0, at % (text.length + 1)), text.slice(at % (text.length + 1))];
      const same = first % (text.length + 1) === second % (text.length + 1);
      expect(hashes.hash('x', ...cut(first)).equals(hashes.hash('x', ...cut(second)))).toBe(same);
      expect(hashes.hash('x', text).equals(hashes.hash('x', ...cut(first)))).toBe(false);
    }),
  );
});

it('tells lists of parts apart even where every byte is alike', () => {
  const lengths = fc.array(fc.nat(9), { maxLength: 3 });
  fc.assert(
    fc.property(lengths, lengths, (left, right) => {
      const hash = (parts: readonly number[]) => hashes.hash('x', ...parts.map((length) => Buffer.alloc(length)));
      expect(hash(left).equals(hash(right))).toBe(left.join() === right.join());
    }),
    { numRuns: 3_000 },
  );
});

it('takes text as its UTF-8 bytes, also where it is longer than any buffer kept', () => {
  const text = 'Åse 彡'.repeat(5000);
  expect(hashes.hash('x', text).equals(hashes.hash('x', Buffer.from(text, 'utf8')))).toBe(true);
});

it('writes ids as UUIDs of version 8', () => {
  fc.assert(
    fc.property(fc.string(), (part) => {
      expect(hashes.uuid('event', part)).toMatch(
        /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
      );
    }),
  );
});
