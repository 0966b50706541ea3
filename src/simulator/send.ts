/** Sends simulated messages: each person's in order, different people's side by side. */
import { setTimeout as delay } from 'node:timers/promises';
import type { SimulatedMessage } from './message.js';

/** One way into a hub. What is sent on it before an answer has come stays in order only within one kind. */
export interface Lane {
  /** Whether the message was taken; `skipped` where this way is not for its kind. */
  send(message: SimulatedMessage): Promise<'taken' | 'refused' | 'skipped'>;
  close(): void | Promise<void>;
}

export interface SendResult {
  taken: number;
  refused: number;
  skipped: number;
  seconds: number;
}

export interface SendOptions {
  /** Messages a second at most. */
  readonly rate?: number;
  /** Messages under way on one lane at most. */
  readonly window?: number;
  readonly onProgress?: (result: Readonly<SendResult>) => void;
}

const DEFAULT_WINDOW = 32;

/**
 * Sends everything and waits for every answer. A person's messages go over one lane; before the kind of message changes
 * there, all answers are in, so that what happened first also arrives first.
 * @throws what a lane throws; nothing more is sent then
 */
export async function sendMessages(
  messages: Iterable<SimulatedMessage>,
  lanes: readonly Lane[],
  options: SendOptions = {},
): Promise<SendResult> {
  const started = performance.now();
  const result: SendResult = { taken: 0, refused: 0, skipped: 0, seconds: 0 };
  const tracks = lanes.map((lane) => new Track(lane, options.window ?? DEFAULT_WINDOW));
  const failure: { error?: unknown } = {};
  let count = 0;
  for (const message of messages) {
    if (options.rate !== undefined) await pace(started, count, options.rate);
    const track = tracks[message.truth.person % tracks.length] as Track;
    await track.ready(message);
    if ('error' in failure) break;
    track.start(
      message,
      (outcome) => {
        result[outcome] += 1;
        result.seconds = (performance.now() - started) / 1000;
        options.onProgress?.(result);
      },
      (error) => (failure.error ??= error),
    );
    count += 1;
  }
  await Promise.all(tracks.map((track) => track.idle()));
  if ('error' in failure) throw failure.error;
  result.seconds = (performance.now() - started) / 1000;
  return result;
}

class Track {
  private readonly underWay = new Set<Promise<void>>();
  private kind: string | undefined;

  constructor(
    private readonly lane: Lane,
    private readonly window: number,
  ) {}

  async ready(message: SimulatedMessage): Promise<void> {
    // Only an MLLP connection keeps the order of what is under way on it.
    const most = message.kind === 'hl7' && this.kind === 'hl7' ? this.window - 1 : 0;
    while (this.underWay.size > most) await Promise.race(this.underWay);
  }

  start(
    message: SimulatedMessage,
    done: (outcome: 'taken' | 'refused' | 'skipped') => void,
    failed: (error: unknown) => void,
  ): void {
    this.kind = message.kind;
    const sending: Promise<void> = this.lane
      .send(message)
      .then(done, failed)
      .finally(() => this.underWay.delete(sending));
    this.underWay.add(sending);
  }

  async idle(): Promise<void> {
    await Promise.all(this.underWay);
  }
}

/** Waits until the message with this number is due. */
async function pace(started: number, count: number, rate: number): Promise<void> {
  const dueMs = started + (count * 1000) / rate - performance.now();
  if (dueMs > 1) await delay(dueMs);
}
