import { describe, expect, test } from '@jest/globals';
import { parse, print } from 'graphql';
import { placeQuery } from '../../src/cli/at-option.js';

function same(text: string): string {
  return print(parse(text));
}

describe('a query with --at', () => {
  test.each([
    ['an instant is what was known then', '2026-03-01T10:00:00Z', 'knownAt'],
    ['digits are a position', '4711', 'position'],
    ['anything else is a basis', 'b1.abc', 'basis'],
  ])('%s', (_name, point, argument) => {
    expect(placeQuery('{ at { basis { token } } }', point)).toBe(
      same(`{ at(${argument}: "${point}") { basis { token } } }`),
    );
  });

  test('fields of a snapshot are put inside `at`, the others stay outside', () => {
    expect(placeQuery('{ log { head } patients { nodes { id } } }', '7')).toBe(
      same('{ log { head } at(position: "7") { patients { nodes { id } } } }'),
    );
  });

  test('`wait` stays as it was said', () => {
    expect(placeQuery('{ at(wait: true) { basis { token } } }', '7')).toBe(
      same('{ at(wait: true, position: "7") { basis { token } } }'),
    );
  });

  test('variables and named operations stay', () => {
    expect(placeQuery('query q($id: ID!) { patient(id: $id) { id } }', '7')).toBe(
      same('query q($id: ID!) { at(position: "7") { patient(id: $id) { id } } }'),
    );
  });

  test('a point beside one of the query’s own is bad usage', () => {
    expect(() => placeQuery('{ at(position: "1") { basis { token } } }', '7')).toThrow(/leave out --at/);
  });

  test('a query without a past is bad usage', () => {
    expect(() => placeQuery('{ log { head } }', '7')).toThrow(/nothing that has a past/);
  });
});

test('without --at a query of snapshot fields asks for now', () => {
  expect(placeQuery('{ patients { nodes { id } } }', undefined)).toBe(same('{ at { patients { nodes { id } } } }'));
});

test('what does not parse is bad usage', () => {
  expect(() => placeQuery('{', undefined)).toThrow(/does not parse/);
});
