/** What is measured of MLLP; read from the listeners' own counters when metrics are asked for. */
import { Counter, Gauge } from 'prom-client';
import { registry } from '../../operations/metrics.js';
import type { ApplicationAcks } from '../returns/application-acks.js';
import type { MllpListeners } from './listeners.js';
import type { MllpStatistics } from './server.js';

const COUNTERS: readonly (readonly [keyof MllpStatistics, string, string])[] = [
  ['connectionsTotal', 'anamnesis_mllp_connections_total', 'MLLP connections accepted'],
  [
    'connectionsRefused',
    'anamnesis_mllp_connections_refused_total',
    'MLLP connections refused: too many, not admitted, no TLS',
  ],
  ['handshakesFailed', 'anamnesis_mllp_handshakes_failed_total', 'TLS handshakes that came to nothing'],
  ['frames', 'anamnesis_mllp_frames_total', 'MLLP frames received'],
  ['faults', 'anamnesis_mllp_frame_faults_total', 'MLLP frames that were broken'],
  ['answers', 'anamnesis_mllp_answers_total', 'Answers sent over MLLP'],
  [
    'unavailable',
    'anamnesis_mllp_unavailable_total',
    'Messages that could not be stored and were answered so that they come again',
  ],
];
const GAUGES: readonly (readonly [keyof MllpStatistics, string, string])[] = [
  ['connections', 'anamnesis_mllp_connections', 'MLLP connections open'],
  ['bytesHeld', 'anamnesis_mllp_held_bytes', 'Bytes held of MLLP frames that have not ended, and of those that wait'],
];

/** Publishes the numbers of these listeners. */
export function measureMllp(listeners: Pick<MllpListeners, 'statistics'>): void {
  for (const [figure, name, help] of COUNTERS) {
    registry.removeSingleMetric(name);
    new Counter({
      name,
      help,
      registers: [registry],
      collect() {
        this.reset();
        this.inc(listeners.statistics[figure]);
      },
    });
  }
  for (const [figure, name, help] of GAUGES) {
    registry.removeSingleMetric(name);
    new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        this.set(listeners.statistics[figure]);
      },
    });
  }
}

/** Publishes what becomes of application acknowledgments. */
export function measureApplicationAcks(acks: Pick<ApplicationAcks, 'statistics' | 'waiting'>): void {
  const settled = 'anamnesis_application_acks_total';
  registry.removeSingleMetric(settled);
  new Counter({
    name: settled,
    help: 'Application acknowledgments that are no longer due, by why',
    labelNames: ['outcome'],
    registers: [registry],
    collect() {
      this.reset();
      for (const [outcome, count] of Object.entries(acks.statistics)) this.inc({ outcome }, count);
    },
  });
  const waiting = 'anamnesis_application_acks_waiting';
  registry.removeSingleMetric(waiting);
  new Gauge({
    name: waiting,
    help: 'Application acknowledgments that are still to go out',
    registers: [registry],
    async collect() {
      // Without the database there is no number; the others are still wanted.
      const count = await acks.waiting().catch(() => undefined);
      if (count === undefined) this.reset();
      else this.set(count);
    },
  });
}
