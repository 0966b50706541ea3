import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { jsonErrorIndex } from '../../src/inbound/json-error.js';

function parses(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

describe('the place of an error in JSON', () => {
  it.each([
    ['', 0],
    ['  ', 2],
    ['{"a":}', 5],
    ['{"a":1,}', 7],
    ['[1,2', 4],
    ['[1 2]', 3],
    ['{"a" 1}', 5],
    ['{a:1}', 1],
    ['"abc', 4],
    ['"a\\x"', 2],
    ['"a\nb"', 2],
    ['01', 1],
    ['[1]x', 3],
    ['nul', 0],
    ['-', 0],
    ['{]', 1],
  ])('in %j is %d', (text, index) => expect(jsonErrorIndex(text)).toBe(index));

  it('is told exactly where JSON.parse throws', () => {
    fc.assert(
      fc.property(
        fc.json(),
        fc.nat(),
        fc.nat(),
        fc.constantFrom('', '{', '}', '[', ']', ',', ':', '"', '\\', '1', 'e', '-', 'x', ' '),
        (json, at, cut, put) => {
          const place = at % (json.length + 1);
          const text = json.slice(0, place) + put + json.slice(place + (cut % 3));
          expect(jsonErrorIndex(text) === undefined).toBe(parses(text));
          expect(jsonErrorIndex(json)).toBeUndefined();
        },
      ),
      { numRuns: 2_000 },
    );
  });

  it('is found in linear time', () => {
    expect(jsonErrorIndex('['.repeat(1_000_000))).toBe(1_000_000);
  });
});
