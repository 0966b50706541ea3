/** Bounds of the intake: what waits in memory never grows beyond them; a sender beyond them waits. */
import { LANE_LIMITS, type LaneLimits } from '../lanes/lanes.js';

export interface IntakeLimits extends LaneLimits {
  /** Messages received and not yet answered. */
  readonly pendingMessages: number;
  /** Bytes of those. One message larger than this is taken alone. */
  readonly pendingBytes: number;
  /** A sender that has waited this long is told to send again; its source may say less. */
  readonly answerTimeoutMs: number;
  /** Part of what waits that may be one source's. */
  readonly mostOfOneSource: number;
  /** While a batch is on its way the next one is formed only from so many messages, or from so many bytes. */
  readonly overlapMessages: number;
  readonly overlapBytes: number;
}

const KIB = 1024;
const MIB = 1024 * KIB;

export const INTAKE_LIMITS: IntakeLimits = {
  pendingMessages: 20_000,
  pendingBytes: 128 * MIB,
  answerTimeoutMs: 3_600_000,
  mostOfOneSource: 0.75,
  overlapMessages: 32,
  overlapBytes: 64 * KIB,
  ...LANE_LIMITS,
};
