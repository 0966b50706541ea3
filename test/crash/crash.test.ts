import { expect, test } from '@jest/globals';
import { runCrash } from './run.js';

const full = process.env['ANAMNESIS_TEST_SCALE'] === 'full';
const KILLS = full ? 200 : 20;
const SEED = 4;

test(
  `a hub killed ${KILLS} times at random loses nothing that it acknowledged and doubles nothing`,
  async () => {
    const result = await runCrash({ kills: KILLS, seed: SEED, target: 'all' });
    expect(result).toMatchObject({ kills: KILLS, lost: 0, doubled: 0, mismatches: 0 });
    expect(result.acknowledged).toBeGreaterThan(0);
  },
  KILLS * 30_000,
);
