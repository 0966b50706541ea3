/**
 * The log behind a bad network: a proxy delays, cuts, half-opens and swallows between the hub and the log while events are
 * written and read. Nothing that was acknowledged is lost, nothing is doubled, order is kept, and both sides recover alone.
 * For any adapter, as the contract in contract.ts.
 */
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { createHash, randomBytes } from 'node:crypto';
import type pg from 'pg';
import { clinicalStream, EVENT_TYPES } from '../../src/log/envelope.js';
import type { EventLogReader, EventLogWriter, RecordedEvent } from '../../src/log/event-log.js';
import { LogWriter, type PendingEvent, type RecordedResult } from '../../src/log/writer.js';
import { Random } from '../../src/simulator/random.js';
import { pendingEvent } from './pending-event.js';
import { FAULTS, startFaultProxy, type FaultProxy } from '../support/fault-proxy.js';

export interface LogBehindProxy {
  /** Where the log's server listens. */
  readonly target: { readonly host: string; readonly port: number };
  /** The hub's PostgreSQL, not through the proxy. */
  readonly pool: pg.Pool;
  /** Bytes that stand in the request of an append behind which its outcome is the log's to decide. */
  readonly lastRequest: string;
  /** Through the proxy, giving up on an answer after `answerMs`. */
  openWriter(via: { host: string; port: number }, answerMs: number): Promise<EventLogWriter>;
  openReader(via: { host: string; port: number }, answerMs: number): Promise<EventLogReader>;
  destroy(): Promise<void>;
}

const CALLERS = 8;
const STREAMS = 5;
const ANSWER_MS = 250;

export function eventLogUnderFaults(
  name: string,
  create: () => Promise<LogBehindProxy>,
  rounds = process.env['ANAMNESIS_TEST_SCALE'] === 'full' ? 5 : 1,
): void {
  describe(`the event log behind a bad network: ${name}`, () => {
    let log: LogBehindProxy;
    let proxy: FaultProxy;
    const closing: (() => Promise<unknown>)[] = [];

    beforeEach(async () => {
      log = await create();
    });
    afterEach(async () => {
      proxy.set('pass');
      for (const close of closing.splice(0).reverse()) await close();
      await proxy.close();
      await log.destroy();
    });

    it.each([1, 2])('loses, doubles and reorders nothing (seed %i)', async (seed) => {
      const random = new Random(seed);
      proxy = await startFaultProxy({
        target: log.target,
        random: () => random.fraction(),
        delayMs: 20,
        pieceBytes: seed === 1 ? undefined : 700,
      });
      const opened = await log.openWriter(proxy, ANSWER_MS);
      closing.push(() => opened.close());
      const reader = await log.openReader(proxy, ANSWER_MS);
      closing.push(() => reader.close());
      let troubles = 0;
      const progress = new Progress();
      const writer = await LogWriter.open({
        log: opened,
        pool: log.pool,
        // A round is always on its way behind another, where the log takes one ahead.
        limits: { roundEvents: 40, aheadEvents: 1 },
        onTrouble: () => {
          troubles += 1;
          progress.tell();
        },
      });
      closing.push(() => writer.close());

      // A reader from the beginning to the end of the run, through the same bad network.
      const seen: RecordedEvent[] = [];
      const stop = new AbortController();
      const reading = (async () => {
        for await (const page of reader.subscribe({ after: 0n, pageSize: 50, signal: stop.signal })) {
          seen.push(...page);
          progress.tell();
        }
      })();

      const ledger: { caller: number; stream: string; hash: string; result: RecordedResult }[] = [];
      let finishing = false;
      const callers = Array.from({ length: CALLERS }, async (_, caller) => {
        while (!finishing) {
          const batch = Array.from({ length: random.between(1, 20) }, () =>
            pendingEvent({ stream: clinicalStream(random.between(0, STREAMS - 1)), data: randomBytes(300) }),
          );
          const results = await writer.submit(batch);
          for (const [index, result] of results.entries()) {
            const { stream, data } = batch[index] as PendingEvent;
            ledger.push({ caller, stream, hash: hashOf(data), result });
          }
          progress.tell();
        }
      });

      for (let round = 0; round < rounds; round += 1) {
        for (const fault of [...FAULTS, 'cut', 'no answer'] as const) {
          const [written, failed] = [ledger.length, troubles];
          if (fault === 'cut') proxy.cut();
          else if (fault === 'no answer') proxy.setAfter(log.lastRequest, 'swallow-answers');
          else proxy.set(fault);
          // Until the fault was felt: an append failed, or where it only slows, events went through it.
          await progress.until(() => troubles > failed || (fault === 'delay' && ledger.length > written + 100));
          proxy.set('pass');
          const recovered = ledger.length;
          await progress.until(() => ledger.length > recovered + 50);
        }
      }
      finishing = true;
      await Promise.all(callers);

      expect(writer.clockMark.head).toBeGreaterThan(0n);
      await progress.until(() => seen.some(({ position }) => position === lastOf(ledger)));
      stop.abort();
      await reading;

      expect(troubles).toBeGreaterThan(0);
      const messages = seen.filter(({ type }) => type !== EVENT_TYPES.fence);
      expect(messages.length).toBe(ledger.length);
      expect(new Set(seen.map(({ id }) => id)).size).toBe(seen.length);
      expect(
        seen.every(({ position }, index) => index === 0 || position > (seen[index - 1] as RecordedEvent).position),
      ).toBe(true);
      const byId = new Map(messages.map((event) => [event.id, event]));
      for (const { stream, hash, result } of ledger) {
        const event = byId.get(result.id) as RecordedEvent;
        expect([event.position, event.stream, hashOf(event.data)]).toEqual([result.position, stream, hash]);
      }
      // Each caller's events stand in the order in which it was told of them, which is that in which it handed them over.
      for (let caller = 0; caller < CALLERS; caller += 1) {
        const last = new Map<string, bigint>();
        for (const entry of ledger) {
          if (entry.caller !== caller) continue;
          expect(entry.result.position).toBeGreaterThan(last.get(entry.stream) ?? 0n);
          last.set(entry.stream, entry.result.position);
        }
      }
      expect(await seenFromTheStart(reader)).toEqual(seen.map(({ position }) => position));
    });
  });
}

/** Something moved: whoever waits for a condition looks again. */
class Progress {
  private waiting: (() => void)[] = [];

  tell(): void {
    for (const wake of this.waiting.splice(0)) wake();
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.waiting.push(resolve));
  }
}

const hashOf = (data: Buffer): string => createHash('sha256').update(data).digest('base64url');

const lastOf = (ledger: readonly { result: RecordedResult }[]): bigint =>
  ledger.reduce((last, { result }) => (result.position > last ? result.position : last), 0n);

async function seenFromTheStart(reader: EventLogReader): Promise<bigint[]> {
  const positions: bigint[] = [];
  for (;;) {
    const page = await reader.readPage({ after: positions.at(-1) ?? 0n, limit: 1_000 });
    if (page.length === 0) return positions;
    positions.push(...page.map(({ position }) => position));
  }
}
