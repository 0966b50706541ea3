/** The intake of this process as a destination of files. */
import { mediaType } from '../message-types.js';
import { linesOf } from '../http/body.js';
import type { PackedMessage } from '../http/packed-message.js';
import { EVENT_CONTENT_TYPE } from '../message-types.js';
import type { Intake, IntakeOutcome, ReceivedMessage } from '../received.js';
import type { SourceConfiguration } from '../source.js';
import type { Destination } from './ingest-files.js';
import { nothingSent, type Sent } from './sender.js';

export class IntakeDestination implements Destination {
  /**
   * @param source asked anew for every delivery: it may have been changed
   * @param eventBytes largest JSON event
   * @param admit resolves when one more message may come in
   */
  constructor(
    private readonly intake: Intake,
    private readonly source: () => SourceConfiguration,
    private readonly eventBytes: number,
    private readonly admit: () => Promise<unknown> | undefined = () => undefined,
  ) {}

  /** @throws LogUnavailableError: what was handed over may or may not be stored, and is recognised when it comes again */
  async messages(messages: readonly PackedMessage[]): Promise<Sent> {
    const source = this.source();
    const received = messages.map(({ contentType, bytes, fhir, key }): ReceivedMessage => ({
      transport: 'file',
      source,
      contentType: mediaType(contentType),
      bytes,
      ...(fhir === undefined ? {} : { fhir }),
      ...(key === undefined ? {} : { idempotencyKey: key }),
    }));
    return this.take(received);
  }

  async events(lines: Buffer): Promise<Sent> {
    const source = this.source();
    const received: ReceivedMessage[] = [];
    let refused = 0;
    for await (const { bytes } of linesOf(once(lines), this.eventBytes)) {
      if (bytes === undefined) refused += 1;
      else received.push({ transport: 'file', source, contentType: EVENT_CONTENT_TYPE, reader: 'event', bytes });
    }
    const sent = await this.take(received);
    return { ...sent, refused: sent.refused + refused };
  }

  /** All at once: the intake keeps their order, and bounds what is in memory. */
  private async take(received: readonly ReceivedMessage[]): Promise<Sent> {
    const sent = nothingSent();
    const taken: Promise<IntakeOutcome>[] = [];
    for (const message of received) {
      if (message.contentType === EVENT_CONTENT_TYPE && message.bytes.length > this.eventBytes) sent.refused += 1;
      else {
        await this.admit();
        const outcome = this.intake.receive(message);
        // Looked at below, when the others are under way.
        outcome.catch(() => undefined);
        taken.push(outcome);
      }
    }
    const settled = await Promise.allSettled(taken);
    const failure = settled.find((one) => one.status === 'rejected');
    if (failure !== undefined) throw failure.reason;
    for (const one of settled) if (one.status === 'fulfilled') sent[one.value.status] += 1;
    return sent;
  }
}

async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}
