import { expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { SETTING_NAMES } from '../../src/inbound/sources/settings.js';
import { resolveSource } from '../../src/inbound/source.js';
import { LANE_LIMITS } from '../../src/inbound/lanes/lanes.js';

const page = readFileSync(path.resolve(import.meta.dirname, '../../docs/sources.md'), 'utf8');

test('the page has every setting, in the order of the code, with its default', () => {
  const rows = [...page.matchAll(/^\| `(\w+)` \| (.*?) \| /gm)].map(([, name = '', value = '']) => ({ name, value }));
  const order = (names: readonly string[]): string[] => [...names].sort();
  expect(order(rows.map(({ name }) => name))).toEqual(order(SETTING_NAMES));
  const source = resolveSource('ward', 1, {}, { timeZone: 'UTC' }) as unknown as Record<string, unknown>;
  for (const { name, value } of rows) {
    const own = source[name];
    if (typeof own === 'boolean' || (typeof own === 'number' && name !== 'maxFrameBytes')) {
      expect(`${name} ${value.replaceAll('`', '')}`).toBe(`${name} ${String(own)}`);
    }
  }
});

test('the page says the limits of lanes as they are', () => {
  expect(page).toContain(`messages of ${LANE_LIMITS.heavyBytes / 1024} KiB and more`);
  expect(page).toContain(`${LANE_LIMITS.quantum / 1024} KiB of cost`);
  expect(page).toContain(`(${LANE_LIMITS.messageCost / 1024} KiB are added`);
});
