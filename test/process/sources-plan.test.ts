import { expect, test } from '@jest/globals';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import {
  applyKey,
  describePlan,
  planSources,
  readAssignments,
  readSourcesFile,
  sourcesFile,
  type HubSource,
} from '../../src/cli/sources/plan.js';

function hubSource(id: string, ownSettings: Record<string, unknown> = {}, more: Partial<HubSource> = {}): HubSource {
  return { id, kind: 'http', version: 3, enabled: true, ownSettings, ...more };
}

function withFile<T>(text: string, work: (file: string) => T): T {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'anamnesis-sources-'));
  try {
    const file = path.join(folder, 'sources.yaml');
    writeFileSync(file, text);
    return work(file);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test('what export writes is what the hub has: applying it changes nothing', () => {
  const hub = [
    hubSource('lab', { rateLimit: { burst: 9, messagesPerSecond: 5 }, timeZone: 'Europe/Vienna' }),
    hubSource('mllp', {}),
  ];
  const read = withFile(sourcesFile(hub), readSourcesFile);
  expect(planSources(read, hub, { prune: true }).map(({ action }) => action)).toEqual(['keep', 'keep']);
});

test('a plan says what is made, changed, taken back and not named, setting by setting', () => {
  const hub = [
    hubSource('lab', { timeZone: 'Europe/Vienna', queueBound: 5 }),
    hubSource('old'),
    hubSource('mllp', {}, { version: 1 }),
  ];
  const plans = planSources({ lab: { timeZone: 'Europe/Berlin' }, ward: { onParked: 'accept' }, mllp: {} }, hub, {
    prune: false,
  });
  expect(plans.map(({ id, action, version, settings }) => ({ id, action, version, settings }))).toEqual([
    { id: 'lab', action: 'change', version: 3, settings: { timeZone: 'Europe/Berlin', queueBound: null } },
    { id: 'mllp', action: 'keep', version: 1, settings: {} },
    { id: 'old', action: 'unnamed', version: 3, settings: {} },
    { id: 'ward', action: 'create', version: 0, settings: { onParked: 'accept' } },
  ]);
  expect(describePlan(plans)).toBe(
    [
      '~ lab   version 3 → 4',
      '    timeZone: Europe/Vienna → Europe/Berlin',
      '    queueBound: 5 → default',
      '+ ward   version 0 → 1',
      '    onParked: default → accept',
      '? old   not in the file: stays as it is',
      '2 of 4 sources change',
    ].join('\n'),
  );
});

test('what the file does not name is summed up in one line', () => {
  const hub = Array.from({ length: 1_000 }, (_, index) => hubSource(`s${1_000 + index}`));
  expect(describePlan(planSources({}, hub, { prune: false }))).toBe(
    '? s1000, s1001, s1002, … (1000)   not in the file: stay as they are\n0 of 1000 sources change',
  );
});

test('with prune what the file does not name is disabled, but for the built-in sources and what is disabled already', () => {
  const hub = [hubSource('old'), hubSource('gone', {}, { enabled: false }), hubSource('mllp')];
  const plans = planSources({}, hub, { prune: true });
  expect(plans.map(({ id, action }) => `${id} ${action}`)).toEqual(['gone unnamed', 'mllp unnamed', 'old disable']);
});

test('the same change of the same version has the same key, another one another', () => {
  const plan = { id: 'lab', version: 3, settings: { queueBound: 5, workers: 2 } };
  expect(applyKey(plan)).toBe(applyKey({ ...plan, settings: { workers: 2, queueBound: 5 } }));
  expect(applyKey(plan)).not.toBe(applyKey({ ...plan, version: 4 }));
  expect(applyKey(plan)).not.toBe(applyKey({ ...plan, settings: { queueBound: 6 } }));
  expect(applyKey(plan).length).toBeLessThan(200);
});

test('a configuration file is a file of sources, and paths in it start from its folder', () => {
  const read = withFile(
    'http: { port: 8080 }\nsources:\n  drop: { kind: file, folder: { path: in } }\n',
    (file) => [readSourcesFile(file), path.dirname(file)] as const,
  );
  expect(read[0]['drop']?.folder?.path).toBe(path.join(read[1], 'in'));
});

test.each([
  ['no sources', 'http: { port: 1 }', /sources: expected settings by source id/],
  ['something else', 'sources: {}\nsauces: {}', /sauces: there is no such setting/],
  ['a wrong setting', 'sources: { lab: { queueBound: many } }', /sources\.lab\.queueBound: expected a whole number/],
  ['no YAML', 'sources: [', /not valid YAML/],
])('a file with %s is refused, and says where', (_name, text, message) => {
  expect(() => withFile(text, readSourcesFile)).toThrow(message);
});

test('settings on the command line are YAML, and nothing is the default', () => {
  expect(readAssignments(['timeZone=Europe/Vienna', 'honourNever=true', 'rateLimit={burst: 5}', 'charset='])).toEqual({
    timeZone: 'Europe/Vienna',
    honourNever: true,
    rateLimit: { burst: 5 },
    charset: null,
  });
  expect(() => readAssignments(['timeZone'])).toThrow(/expected setting=value/);
});
