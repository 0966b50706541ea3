import { expect, test } from '@jest/globals';
import { runLogCrash } from './log-target.js';
import { runNetworkFaults } from './network.js';
import { runCrash } from './run.js';

const full = process.env['ANAMNESIS_TEST_SCALE'] === 'full';
const SEED = 4;

/** At the least one of each kind. */
const LOG_KILLS = full ? 300 : 5;

test.each(['postgres', 'eventstore'] as const)(
  `a log (%s) whose writer and server are killed ${LOG_KILLS} times is what was acknowledged, event by event and in order`,
  async (log) => {
    const result = await runLogCrash({ kills: LOG_KILLS, seed: SEED, log });
    expect(result).toMatchObject({ kills: LOG_KILLS, lost: 0, doubled: 0, mismatches: 0 });
    expect(result.acknowledged).toBeGreaterThan(0);
  },
  Math.max(LOG_KILLS, 15) * 60_000,
);

const FAULTS = full ? 30 : 2;

test.each(full ? (['postgres', 'eventstore'] as const) : (['postgres'] as const))(
  `a hub behind a bad network to its database and its log (%s), of ${FAULTS} faults, comes back by itself, loses nothing and doubles nothing`,
  async (log) => {
    const result = await runNetworkFaults({ faults: FAULTS, seed: SEED, log });
    expect(result).toMatchObject({ faults: FAULTS, lost: 0, doubled: 0, mismatches: 0 });
    expect(result.acknowledged).toBeGreaterThan(0);
  },
  Math.max(FAULTS, 8) * 120_000,
);

// Takes minutes: in every .ci/run by `npm run crash`, here at full size only.
const KILLS = 200;

if (full)
  test(
    `a hub killed ${KILLS} times at random loses nothing that it acknowledged and doubles nothing`,
    async () => {
      const result = await runCrash({ kills: KILLS, seed: SEED });
      expect(result).toMatchObject({ kills: KILLS, unaccounted: 0, lost: 0, doubled: 0, mismatches: 0 });
      expect(result.acknowledged).toBeGreaterThan(0);
      expect(result.rebuilds).toBeGreaterThan(0);
    },
    KILLS * 60_000,
  );
