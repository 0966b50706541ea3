import { expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import type { EventLogWriter, NewEvent, StreamAppend } from '../../src/log/event-log.js';
import { LogMeter } from '../../src/log/meter.js';
import { collectMetrics, mergeMetrics } from '../../src/operations/metrics.js';
import { logStatistics } from '../../src/query/log-statistics.js';
import { createTestDatabase } from '../support/database.js';

const APPEND_MS = 20;
const WAIT_MS = 50;
const event = (): NewEvent => ({ id: randomUUID(), type: 't', metadata: Buffer.alloc(10), data: Buffer.alloc(90) });
const round = (events: number): StreamAppend[] => [
  { stream: 'a', expectedRevision: 'any', events: Array.from({ length: events }, event) },
];

/** A log whose appends take their time on a clock of the test's, and the meter beside it. */
function metered() {
  const time = { ms: 1_000 };
  const meter = new LogMeter(() => time.ms);
  let full = false;
  const log = {
    append: async () => {
      time.ms += APPEND_MS;
      if (full) throw new Error('no room');
      return [];
    },
    head: async () => 7n,
  };
  const writer = meter.waiting({
    submit: async () => {
      time.ms += WAIT_MS;
      return [];
    },
  });
  return { meter, time, writer, log: meter.metering(log as unknown as EventLogWriter), fill: () => (full = true) };
}

it('The meter says what the last ten seconds held, and nothing of what failed', async () => {
  const { meter, time, writer, log, fill } = metered();
  await log.append(round(30));
  await log.append(round(10));
  await writer.submit([]);
  expect(await log.head()).toBe(7n);
  const figures = {
    rate: 4,
    bytesPerSecond: 400,
    roundEvents: 20,
    roundBytes: 2_000,
    appendMs: APPEND_MS,
    waitMs: WAIT_MS,
    longestWaitMs: WAIT_MS,
  };
  expect(meter.figures()).toEqual(figures);
  fill();
  await expect(log.append(round(5))).rejects.toThrow('no room');
  expect(meter.figures()).toEqual(figures);
  expect(await mergeMetrics([await collectMetrics()])).toMatch(/^anamnesis_log_events_total(?:\{[^}]*\})? 40$/m);
  time.ms += 10_000;
  expect(meter.figures()).toMatchObject({ rate: 0, roundEvents: 0, appendMs: 0, waitMs: 0, longestWaitMs: 0 });
});

it('Another process is told, as long as the writer is there', async () => {
  const database = await createTestDatabase();
  const { meter, log } = metered();
  try {
    const told = () => logStatistics(database.pool, { adapter: 'postgres' });
    expect(await told()).toMatchObject({ rate: 0, blobs: '0', signedHead: null });
    await log.append(round(30));
    meter.start(database.pool);
    while ((await told()).rate === 0) await new Promise((resolve) => setTimeout(resolve, 20));
    expect(await told()).toMatchObject({ rate: 3, roundEvents: 30, appendMs: APPEND_MS });
    await meter.close();
    await database.pool.query("update hub.log_statistics set at = at - interval '1 minute'");
    expect(await told()).toMatchObject({ rate: 0, roundEvents: 0 });
  } finally {
    await meter.close();
    await database.drop();
  }
});
