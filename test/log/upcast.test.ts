import { expect, test } from '@jest/globals';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { EventVersionError, upcast, UPCAST_STEPS, type StoredEnvelope } from '../../src/log/upcast.js';
import { envelopeOf } from '../../src/projecting/decode.js';
import { ROOT } from '../support/hub-process.js';

const folder = path.join(ROOT, 'test/fixtures/envelopes');
const fixtures = readdirSync(folder).flatMap((version) =>
  readdirSync(path.join(folder, version)).map((file) => [version, file] as const),
);

test.each(fixtures)('an envelope of %s (%s) is read as one of this release', (version, file) => {
  const bytes = readFileSync(path.join(folder, version, file));
  const stored = JSON.parse(bytes.toString('utf8')) as StoredEnvelope;
  expect(`v${String(stored.schema)}`).toBe(version);
  const envelope = envelopeOf({ metadata: bytes });
  expect(envelope).toMatchObject({ ...stored, schema: UPCAST_STEPS.length + 1 });
});

test('every version that was ever written has its fixtures', () => {
  const versions = new Set(fixtures.map(([version]) => version));
  expect([...versions].sort()).toEqual(Array.from({ length: UPCAST_STEPS.length + 1 }, (_, n) => `v${n + 1}`));
});

test('an old envelope goes through each step once, in order, and stays as it was itself', () => {
  const steps = [
    (stored: StoredEnvelope) => ({ ...stored, site: stored['facility'] ?? 'none' }),
    (stored: StoredEnvelope) => ({ ...stored, sites: [stored['site']] }),
  ];
  const first = Object.freeze({ schema: 1, facility: 'north' });
  expect(upcast(first, steps)).toEqual({ schema: 3, facility: 'north', site: 'north', sites: ['north'] });
  expect(upcast({ schema: 2, site: 'south' }, steps)).toEqual({ schema: 3, site: 'south', sites: ['south'] });
  expect(first).toEqual({ schema: 1, facility: 'north' });
});

test.each([2, 0, 1.5, '1', undefined])('version %s, which no release up to this one wrote, is refused', (schema) => {
  expect(() => upcast({ schema })).toThrow(EventVersionError);
});
