/** What the ingest role measures. Labels come from closed sets: transports, statuses, stages. */
import { counter, gauge, histogram } from '../operations/metrics.js';
import type { IntakePipeline } from './intake/pipeline.js';
import type { Intake } from './received.js';

const ANSWER_BUCKETS_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** The same intake, counted and timed. */
export function measured(intake: IntakePipeline): Intake {
  const messages = counter('anamnesis_inbound_messages_total', 'Messages answered, by what became of them', [
    'transport',
    'status',
  ]);
  const bytes = counter('anamnesis_inbound_bytes_total', 'Bytes of messages received', ['transport']);
  const seconds = histogram(
    'anamnesis_inbound_answer_seconds',
    'Time from the receipt of a message until its outcome is known',
    ANSWER_BUCKETS_SECONDS,
    ['transport'],
  );
  const pending = gauge('anamnesis_inbound_pending', 'Messages received and not answered yet');
  const open = gauge(
    'anamnesis_inbound_breaker_open',
    '1 while messages are refused at once, for what they need is away',
  );
  const openings = gauge('anamnesis_inbound_breaker_openings', 'How often that has begun, trials that failed included');
  return {
    async receive(message) {
      const { transport } = message;
      const begun = performance.now();
      bytes.inc({ transport }, message.bytes.length);
      pending.set(intake.pending);
      try {
        const outcome = await intake.receive(message);
        messages.inc({ transport, status: outcome.status });
        return outcome;
      } catch (error) {
        messages.inc({ transport, status: 'unavailable' });
        throw error;
      } finally {
        seconds.observe({ transport }, (performance.now() - begun) / 1000);
        pending.set(intake.pending);
        open.set(intake.breaker.state === 'closed' ? 0 : 1);
        openings.set(intake.breaker.opened);
      }
    },
  };
}
