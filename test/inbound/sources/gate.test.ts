import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { builtInSource, type SourceConfiguration } from '../../../src/inbound/source.js';
import { SourceGate } from '../../../src/inbound/sources/gate.js';

function source(more: Partial<SourceConfiguration> = {}): SourceConfiguration {
  return { ...builtInSource('http'), ...more };
}

function gateAt(): { gate: SourceGate; clock: { ms: number }; queued: Map<string, number> } {
  const clock = { ms: 1_000 };
  const queued = new Map<string, number>();
  const gate = new SourceGate(
    (id) => queued.get(id) ?? 0,
    () => clock.ms,
  );
  return { gate, clock, queued };
}

test('a source without limits is open', () => {
  expect(gateAt().gate.ask(source())).toEqual({ state: 'open' });
});

test('a burst goes through at once, then messages at the rate, and the wait that is told is long enough', () => {
  const { gate, clock } = gateAt();
  const limited = source({ rateLimit: { messagesPerSecond: 4, burst: 3 } });
  for (let index = 0; index < 3; index += 1) expect(gate.ask(limited).state).toBe('open');
  expect(gate.ask(limited)).toEqual({ state: 'wait', code: 'RATE_LIMITED', afterMs: 250 });
  clock.ms += 249;
  expect(gate.ask(limited).state).toBe('wait');
  clock.ms += 1;
  expect(gate.ask(limited).state).toBe('open');
  clock.ms += 60_000;
  expect(Array.from({ length: 5 }, () => gate.ask(limited).state)).toEqual(['open', 'open', 'open', 'wait', 'wait']);
});

test('one source’s rate is not another’s', () => {
  const { gate } = gateAt();
  const rateLimit = { messagesPerSecond: 1, burst: 1 };
  expect(gate.ask(source({ id: 'a', rateLimit })).state).toBe('open');
  expect(gate.ask(source({ id: 'a', rateLimit })).state).toBe('wait');
  expect(gate.ask(source({ id: 'b', rateLimit })).state).toBe('open');
});

test('a changed limit counts from the next message on, without a burst for free', () => {
  const { gate, clock } = gateAt();
  for (let index = 0; index < 2; index += 1) gate.ask(source({ rateLimit: { messagesPerSecond: 1, burst: 2 } }));
  const faster = source({ rateLimit: { messagesPerSecond: 100, burst: 50 } });
  expect(gate.ask(faster)).toEqual({ state: 'wait', code: 'RATE_LIMITED', afterMs: 10 });
  clock.ms += 10;
  expect(gate.ask(faster).state).toBe('open');
  expect(gate.ask(source()).state).toBe('open');
});

test('a paused source waits, a disabled one is refused, a full one waits', () => {
  const { gate, queued } = gateAt();
  expect(gate.ask(source({ paused: true }))).toMatchObject({ state: 'wait', code: 'SOURCE_PAUSED' });
  expect(gate.ask(source({ enabled: false, paused: true }))).toEqual({ state: 'refused', code: 'SOURCE_DISABLED' });
  queued.set('http', 5);
  expect(gate.ask(source({ queueBound: 5 }))).toMatchObject({ state: 'wait', code: 'QUEUE_FULL' });
  expect(gate.ask(source({ queueBound: 6 }))).toEqual({ state: 'open' });
});

test('over any time no more goes through than the burst and the rate allow, and whoever waits as told gets in', () => {
  fc.assert(
    fc.property(
      fc.double({ min: 0.5, max: 500, noNaN: true }),
      fc.integer({ min: 1, max: 20 }),
      fc.array(fc.integer({ min: 0, max: 2_000 }), { maxLength: 100 }),
      (messagesPerSecond, burst, pauses) => {
        const { gate, clock } = gateAt();
        const limited = source({ rateLimit: { messagesPerSecond, burst } });
        const begun = clock.ms;
        let open = 0;
        for (const pause of pauses) {
          clock.ms += pause;
          const asked = gate.ask(limited);
          if (asked.state === 'wait') {
            clock.ms += asked.afterMs;
            expect(gate.ask(limited).state).toBe('open');
          }
          open += 1;
          expect(open).toBeLessThanOrEqual(burst + ((clock.ms - begun) / 1000) * messagesPerSecond + 0.001);
        }
      },
    ),
  );
});
