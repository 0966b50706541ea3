import { expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { ANONYMIZED_FIELDS } from '../../projections/anonymized/declaration.js';

const page = readFileSync(path.resolve(import.meta.dirname, '../../docs/anonymization.md'), 'utf8');

test('docs/anonymization.md lists every field of the declaration, as the declaration says it, and no other', () => {
  const rows = ANONYMIZED_FIELDS.map(
    ({ name, from, becomes, reason }) => `| \`${name}\` | ${from} | ${becomes} | ${reason} |`,
  );
  const start = page.indexOf('| field | from | becomes | why it may be there |');
  const table = page.slice(start, page.indexOf('\n\n', start)).split('\n').slice(2);
  expect(table).toEqual(rows);
});

test('docs/anonymization.md goes through all 18 identifiers of Safe Harbor, A to R', () => {
  const letters = [...page.matchAll(/^\| \(([A-R])\) /gm)].map((match) => match[1]);
  expect(letters).toEqual([...'ABCDEFGHIJKLMNOPQR']);
});
