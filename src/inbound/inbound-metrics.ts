/** What the ingest role measures. Labels come from closed sets: transports, statuses, stages. Counted in plain numbers, which are read when metrics are asked for. */
import { Counter, Gauge } from 'prom-client';
import { histogram, registry } from '../operations/metrics.js';
import type { IntakePipeline } from './intake/pipeline.js';
import type { Intake, IntakeOutcome, ReceivedMessage } from './received.js';

const ANSWER_BUCKETS_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

class Counted {
  bytes = 0;
  readonly statuses = new Map<IntakeOutcome['status'] | 'unavailable', number>();

  add(status: IntakeOutcome['status'] | 'unavailable'): void {
    this.statuses.set(status, (this.statuses.get(status) ?? 0) + 1);
  }
}

/** The same intake, counted and timed. */
export function measured(intake: IntakePipeline): Intake {
  const counted = new Map<ReceivedMessage['transport'], Counted>();
  publish(intake, counted);
  const seconds = histogram(
    'anamnesis_inbound_answer_seconds',
    'Time from the receipt of a message until its outcome is known',
    ANSWER_BUCKETS_SECONDS,
    ['transport'],
  );
  return {
    async receive(message) {
      const { transport } = message;
      const begun = performance.now();
      let own = counted.get(transport);
      if (own === undefined) {
        own = new Counted();
        counted.set(transport, own);
      }
      own.bytes += message.bytes.length;
      try {
        const outcome = await intake.receive(message);
        own.add(outcome.status);
        return outcome;
      } catch (error) {
        own.add('unavailable');
        throw error;
      } finally {
        seconds.observe({ transport }, (performance.now() - begun) / 1000);
      }
    },
  };
}

function publish(intake: IntakePipeline, counted: ReadonlyMap<string, Counted>): void {
  const messages = 'anamnesis_inbound_messages_total';
  registry.removeSingleMetric(messages);
  new Counter({
    name: messages,
    help: 'Messages answered, by what became of them',
    labelNames: ['transport', 'status'],
    registers: [registry],
    collect() {
      this.reset();
      for (const [transport, { statuses }] of counted)
        for (const [status, count] of statuses) this.inc({ transport, status }, count);
    },
  });
  const bytes = 'anamnesis_inbound_bytes_total';
  registry.removeSingleMetric(bytes);
  new Counter({
    name: bytes,
    help: 'Bytes of messages received',
    labelNames: ['transport'],
    registers: [registry],
    collect() {
      this.reset();
      for (const [transport, own] of counted) this.inc({ transport }, own.bytes);
    },
  });
  const gauges: readonly (readonly [name: string, help: string, value: () => number])[] = [
    ['anamnesis_inbound_pending', 'Messages received and not answered yet', () => intake.pending],
    [
      'anamnesis_inbound_breaker_open',
      '1 while messages are refused at once, for what they need is away',
      () => (intake.breaker.state === 'closed' ? 0 : 1),
    ],
    [
      'anamnesis_inbound_breaker_openings',
      'How often that has begun, trials that failed included',
      () => intake.breaker.opened,
    ],
  ];
  for (const [name, help, value] of gauges) {
    registry.removeSingleMetric(name);
    new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        this.set(value());
      },
    });
  }
}
