/** Bounds of the intake: what waits in memory never grows beyond them; a sender beyond them waits. */
export interface IntakeLimits {
  /** Messages received and not yet answered. */
  readonly pendingMessages: number;
  /** Bytes of those. One message larger than this is taken alone. */
  readonly pendingBytes: number;
  /** Messages that go through the pipeline together. */
  readonly batchMessages: number;
  readonly batchBytes: number;
  /** A sender that has waited this long is told to send again. */
  readonly answerTimeoutMs: number;
}

const MIB = 1024 * 1024;

export const INTAKE_LIMITS: IntakeLimits = {
  pendingMessages: 20_000,
  pendingBytes: 128 * MIB,
  batchMessages: 1_000,
  batchBytes: 16 * MIB,
  answerTimeoutMs: 20_000,
};
