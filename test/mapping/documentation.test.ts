import { expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { withTables } from '../../src/mapping/documentation.js';
import { fieldsOf, SEGMENT_MAPS } from '../../src/mapping/hl7v2/segment-maps.js';

const page = path.resolve(import.meta.dirname, '../../docs/mapping.md');

test('the page of mappings has the tables as the rules have them (node scripts/mapping-docs.mjs writes them)', () => {
  const text = readFileSync(page, 'utf8');
  expect(text).toBe(withTables(text));
});

test('rules stand in the order of their fields, which is how a short segment ends early', () => {
  for (const { map, rules } of SEGMENT_MAPS) {
    const fields = rules.map(([field]) => field);
    expect({ map, fields }).toEqual({ map, fields: [...fields].sort((left, right) => left - right) });
  }
});

test('no field of a map is both a rule and something else', () => {
  for (const map of SEGMENT_MAPS) expect(new Set(fieldsOf(map)).size).toBe(fieldsOf(map).length);
});
