/** What is measured of MLLP; read from the listeners' own counters when metrics are asked for. */
import { Counter, Gauge } from 'prom-client';
import { registry } from '../../operations/metrics.js';
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
