/** The application acknowledgments of one source, one after another in the order of the log (HL7 v2.9 §2.9.3). */
import type { Position } from '../../log/event-log.js';
import { pause } from '../../projecting/worker.js';
import { applicationAckId, applicationAckWanted, buildApplicationAck } from '../hl7/ack.js';
import type { Hl7Message } from '../hl7/message.js';
import type { MllpLogger } from '../mllp/log-throttle.js';
import type { SourceConfiguration, SourceReturnConnection } from '../source.js';
import { PeerUnavailableError, type PeerAnswer } from './peer.js';
import type { AckRegister, WaitingAck } from './register.js';

/** Why nothing is due any more. */
export type Settlement =
  /** The peer has it. */
  | 'delivered'
  /** The outcome is not one that the sender wants to hear of (ER, SU). */
  | 'unwanted'
  /** The peer said no for good. */
  | 'rejected'
  /** The peer answered with an error again and again. */
  | 'refused'
  /** It could not be delivered for too long. */
  | 'expired'
  /** The message cannot be read any more. */
  | 'unreadable';

export interface LaneParts {
  readonly register: Pick<AckRegister, 'next' | 'outcome' | 'refused' | 'settled'>;
  /** The source as it is now. */
  readonly source: () => SourceConfiguration | undefined;
  /** Resolves when the chart has passed this position, or false when the signal aborts. */
  readonly projected: (position: Position, signal: AbortSignal) => Promise<boolean>;
  /** The message itself; undefined where it cannot be read (erased, damaged). */
  readonly open: (ack: WaitingAck) => Promise<Hl7Message | undefined>;
  readonly connect: (connection: SourceReturnConnection) => {
    deliver(message: Buffer, controlId: string): Promise<PeerAnswer>;
    close(): void;
  };
  readonly settled: (settlement: Settlement) => void;
  readonly logger: MllpLogger;
  readonly retryMs?: { readonly first: number; readonly last: number };
}

const PAGE = 100;
/** Errors of the peer about one acknowledgment before it is given up. */
const MOST_REFUSALS = 10;
const RETRY_MS = { first: 500, last: 60_000 };

export class ReturnLane {
  private readonly abort = new AbortController();
  private wakeUp: () => void = () => undefined;
  private due = true;
  private peer:
    { readonly connection: SourceReturnConnection; readonly to: ReturnType<LaneParts['connect']> } | undefined;
  private readonly running: Promise<void>;

  constructor(
    private readonly id: string,
    private readonly parts: LaneParts,
  ) {
    this.running = this.run();
  }

  /** There is something new, or the source has changed. */
  wake(): void {
    this.due = true;
    this.wakeUp();
  }

  /** What is under way ends; it is sent again after the next start. */
  async close(): Promise<void> {
    this.abort.abort();
    this.wakeUp();
    this.peer?.to.close();
    await this.running;
  }

  private async run(): Promise<void> {
    const { signal } = this.abort;
    for (let failures = 0; !signal.aborted;) {
      try {
        this.due = false;
        const page = await this.parts.register.next(this.id, PAGE);
        for (const ack of page) {
          if (signal.aborted) return;
          await this.settle(ack);
          failures = 0;
        }
        if (page.length === 0) await this.idle();
      } catch (error) {
        // Peer, log or database are away, or the peer answered with an error: the same acknowledgment again, later, before all others.
        if (signal.aborted) return;
        failures += 1;
        this.parts.logger.warn(
          { source: this.id, attempt: failures, err: error },
          'an application acknowledgment waits',
        );
        await pause(this.retryMs(failures), signal);
      }
    }
  }

  /** Until something is due. */
  private async idle(): Promise<void> {
    if (this.due || this.abort.signal.aborted) return;
    await new Promise<void>((resolve) => {
      this.wakeUp = resolve;
    });
    this.wakeUp = () => undefined;
  }

  private async settle(ack: WaitingAck): Promise<void> {
    const { register, source, open, settled, logger } = this.parts;
    const settlement = ack.expired ? 'expired' : await this.deliver(ack, source(), open);
    if (settlement === undefined) return;
    await register.settled(ack.eventId);
    settled(settlement);
    if (settlement !== 'delivered' && settlement !== 'unwanted') {
      logger.warn(
        { source: this.id, eventId: ack.eventId, reason: settlement },
        'an application acknowledgment was given up',
      );
    }
  }

  /** Undefined where the lane ends before it is known. */
  private async deliver(
    ack: WaitingAck,
    source: SourceConfiguration | undefined,
    open: LaneParts['open'],
  ): Promise<Settlement | undefined> {
    const { register, projected } = this.parts;
    if (!(await projected(ack.position, this.abort.signal))) return undefined;
    const outcome = await register.outcome(ack.eventId, source?.onParked ?? 'error');
    if (!applicationAckWanted(ack.condition, outcome.code)) return 'unwanted';
    const request = await open(ack);
    if (request === undefined) return 'unreadable';
    const peer = this.peerNow();
    if (peer === undefined) throw new PeerUnavailableError('NO_RETURN_CONNECTION');
    const message = buildApplicationAck(request, { ...outcome, messageId: ack.eventId });
    const answer = await peer.deliver(message, applicationAckId(ack.eventId));
    if (answer === 'accepted') return 'delivered';
    if (answer === 'rejected') return 'rejected';
    await register.refused(ack.eventId);
    if (ack.attempts + 1 >= MOST_REFUSALS) return 'refused';
    throw new PeerUnavailableError('PEER_ERROR');
  }

  /** The peer of the present configuration. */
  private peerNow(): ReturnType<LaneParts['connect']> | undefined {
    const connection = this.parts.source()?.returnConnection;
    if (connection === undefined) return undefined;
    if (this.peer === undefined || !same(this.peer.connection, connection)) {
      this.peer?.to.close();
      this.peer = { connection, to: this.parts.connect(connection) };
    }
    return this.peer.to;
  }

  /** Doubling, with jitter. */
  private retryMs(attempt: number): number {
    const { first, last } = this.parts.retryMs ?? RETRY_MS;
    const most = Math.min(last, first * 2 ** Math.min(attempt - 1, 16));
    return most / 2 + (most / 2) * Math.random();
  }
}

function same(one: SourceReturnConnection, other: SourceReturnConnection): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}
