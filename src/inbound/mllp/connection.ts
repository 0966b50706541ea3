/** One sender's connection: its frames go to the intake in order, and their answers come back in the same order. */
import type { Socket } from 'node:net';
import { now } from '../../time/clock.js';
import { buildAck } from '../hl7/ack.js';
import { exchangeHl7 } from '../hl7/exchange.js';
import type { Intake, ReceivedMessage } from '../received.js';
import type { SourceConfiguration } from '../source.js';
import type { Budget, Holdings } from './budget.js';
import { frameOf, MllpFraming, type MllpFrame } from './framing.js';
import type { MllpLogger } from './log-throttle.js';

/** Bounds of every connection; those of its source stand in the source's configuration. */
export interface ConnectionLimits {
  /** Frames that may be on their way into the log at a time. */
  readonly maxFramesInFlight: number;
  /** Bytes that may be on their way at a time; one frame may always be. */
  readonly maxBytesInFlight: number;
  /** A connection without a byte for so long, while a frame has begun and not ended or answers are not read, is closed. */
  readonly stalledTimeoutMs: number;
  /** A sender silent for so long behind FS has left the CR out. */
  readonly endBlockGraceMs: number;
}

/** What happened, over all connections. */
export interface MllpCounters {
  frames: number;
  faults: number;
  answers: number;
  /** Messages that could not be stored and were answered so that they come again. */
  unavailable: number;
}

export interface ConnectionParts {
  readonly intake: Intake;
  readonly limits: ConnectionLimits;
  readonly budget: Budget;
  readonly holdings: Holdings;
  readonly counters: MllpCounters;
  readonly logger: MllpLogger;
  readonly traffic?: SourceTraffic;
}

/** What a source's rate allows, and who is connected (src/inbound/sources). */
export interface SourceTraffic {
  /** 0 where a message of the source may begin now, and counts; else milliseconds until it may. */
  pace(source: SourceConfiguration): number;
  connected(sourceId: string, change: 1 | -1): void;
}

export interface ConnectionEvents {
  /** Once, when the socket is gone. */
  closed(): void;
  /** The first bytes are those of a TLS handshake: they are no message, and nothing of them is kept. */
  greetedByTls(): void;
}

const HL7_CONTENT_TYPE = 'x-application/hl7-v2+er7';

/** How long a closed connection waits for the peer's end, so that its last answers are not lost to a reset. */
const LINGER_MS = 500;

export class Connection {
  private readonly framing: MllpFraming;
  /** Frames received and not yet begun. */
  private readonly backlog: MllpFrame[] = [];
  private backlogBytes = 0;
  /** Answers in the order of the frames; each is written once all before it are. */
  private answers: Promise<void> = Promise.resolve();
  private framesInFlight = 0;
  private bytesInFlight = 0;
  /** The intake has not yet been given all of the last frame (a large batch). */
  private handingOver = false;
  /** Nothing has come yet. */
  private silent = true;
  private ended = false;
  private stopped = false;
  private closing = false;
  private stalling = false;
  private corked = false;
  private graceTimer: NodeJS.Timeout | undefined;
  private lingerTimer: NodeJS.Timeout | undefined;
  private paceTimer: NodeJS.Timeout | undefined;
  /** The rate has let the next frame in already. */
  private paced = false;
  private readonly advanceAgain = (): void => this.advance();

  constructor(
    private readonly socket: Socket,
    private configuration: SourceConfiguration,
    private readonly parts: ConnectionParts,
    private readonly events: ConnectionEvents,
  ) {
    this.framing = new MllpFraming({ maxFrameBytes: configuration.maxFrameBytes });
    socket.on('data', (chunk: Buffer) => this.received(chunk));
    socket.on('end', () => this.finish());
    socket.on('drain', () => this.advance());
    socket.on('timeout', () => this.timedOut());
    socket.on('error', (error: NodeJS.ErrnoException) => {
      parts.logger.warn({ source: this.source.id, code: error.code }, 'MLLP connection failed');
    });
    socket.on('close', () => {
      clearTimeout(this.lingerTimer);
      clearTimeout(this.paceTimer);
      parts.traffic?.connected(this.source.id, -1);
      // A connection that broke in the middle of a frame: what came is kept like that of one that ended.
      this.finish();
      parts.holdings.set(this, this.backlogBytes);
      events.closed();
    });
    parts.traffic?.connected(configuration.id, 1);
    socket.setTimeout(this.idleMs);
    if (configuration.paused) this.advance();
  }

  /** What the sender speaks for. */
  get source(): SourceConfiguration {
    return this.configuration;
  }

  /** The source has changed: it counts from the next frame on. */
  set source(configuration: SourceConfiguration) {
    if (configuration === this.configuration) return;
    this.configuration = configuration;
    this.framing.maxFrameBytes = configuration.maxFrameBytes;
    if (!this.closing) this.socket.setTimeout(this.stalling ? this.parts.limits.stalledTimeoutMs : this.idleMs);
    this.advance();
  }

  /**
   * Reads no frame any more, finishes and answers every frame that was received whole, then closes. A frame received in part, or
   * held back because its source is paused, is forgotten; its sender got no answer and sends again.
   */
  stop(): void {
    if (this.stopped) return;
    this.stopped = true;
    clearTimeout(this.graceTimer);
    if (!this.ended) for (const frame of this.framing.settle()) this.enqueue(frame);
    if (this.configuration.paused) while (this.backlog.length > 0) this.dequeue();
    this.socket.pause();
    this.advance();
  }

  destroy(): void {
    this.socket.destroy();
  }

  private get idleMs(): number {
    return this.configuration.idleSeconds * 1000;
  }

  private received(chunk: Buffer): void {
    if (this.stopped || this.ended) return;
    if (this.silent) {
      this.silent = false;
      if (isTlsHello(chunk)) {
        this.ended = true;
        this.events.greetedByTls();
        return;
      }
    }
    clearTimeout(this.graceTimer);
    for (const frame of this.framing.push(chunk)) this.enqueue(frame);
    if (this.framing.isEndPending) {
      this.graceTimer = setTimeout(() => {
        for (const frame of this.framing.settle()) this.enqueue(frame);
        this.advance();
      }, this.parts.limits.endBlockGraceMs);
    }
    this.advance();
  }

  private finish(): void {
    if (this.ended) return;
    this.ended = true;
    clearTimeout(this.graceTimer);
    if (!this.stopped) for (const frame of this.framing.end()) this.enqueue(frame);
    this.advance();
  }

  private enqueue(frame: MllpFrame): void {
    this.backlog.push(frame);
    this.backlogBytes += frame.bytes.length;
  }

  private dequeue(): MllpFrame {
    const frame = this.backlog.shift()!;
    this.backlogBytes -= frame.bytes.length;
    return frame;
  }

  /** Begins what may begin, and reads on only if nothing had to wait. */
  advance(): void {
    if (this.closing) return;
    while (this.mayBegin()) this.begin(this.dequeue());
    const { limits, holdings } = this.parts;
    const full = this.framesInFlight >= limits.maxFramesInFlight || this.bytesInFlight >= limits.maxBytesInFlight;
    holdings.set(this, this.framing.heldBytes + this.backlogBytes);
    const waiting =
      this.backlog.length > 0 ||
      this.handingOver ||
      this.answersUnread ||
      this.configuration.paused ||
      !holdings.mayRead(this);
    if (this.stopped || waiting || full) this.socket.pause();
    else if (this.socket.isPaused()) this.socket.resume();
    const stalling = this.framing.isOpen || this.answersUnread;
    if (stalling !== this.stalling) {
      this.stalling = stalling;
      this.socket.setTimeout(stalling ? limits.stalledTimeoutMs : this.idleMs);
    }
    if ((this.ended || this.stopped) && this.backlog.length === 0 && this.framesInFlight === 0) this.close();
  }

  private mayBegin(): boolean {
    const next = this.backlog[0];
    if (next === undefined || this.handingOver || this.answersUnread || this.configuration.paused) return false;
    const { limits, budget } = this.parts;
    if (this.framesInFlight >= limits.maxFramesInFlight) return false;
    const bytes = next.bytes.length;
    if (this.bytesInFlight > 0 && this.bytesInFlight + bytes > limits.maxBytesInFlight) return false;
    if (!this.mayPass()) return false;
    if (!budget.take(bytes, this.advanceAgain)) return false;
    this.paced = false;
    return true;
  }

  /** The source's rate: the sender is not read from until the next message may come. One that is gone, or a stop, is not waited for. */
  private mayPass(): boolean {
    if (this.paced || this.stopped || this.ended) return true;
    if (this.paceTimer !== undefined) return false;
    const afterMs = this.parts.traffic?.pace(this.configuration) ?? 0;
    this.paced = afterMs === 0;
    if (afterMs > 0) {
      this.paceTimer = setTimeout(() => {
        this.paceTimer = undefined;
        this.advance();
      }, afterMs);
    }
    return this.paced;
  }

  /** The peer does not read its answers: nothing more is begun for it. Frames of a peer that is gone are still stored. */
  private get answersUnread(): boolean {
    return this.socket.writableNeedDrain && !this.socket.destroyed;
  }

  private begin(frame: MllpFrame): void {
    const bytes = frame.bytes.length;
    const { counters, budget } = this.parts;
    this.framesInFlight += 1;
    this.bytesInFlight += bytes;
    counters.frames += 1;
    if (frame.fault !== undefined) counters.faults += 1;
    const answer = this.exchange(frame);
    this.answers = this.answers.then(async () => {
      const content = await answer;
      if (content !== undefined && frame.answered && this.socket.writable) {
        this.write(frameOf(content));
        counters.answers += 1;
      }
      this.framesInFlight -= 1;
      this.bytesInFlight -= bytes;
      budget.giveBack(bytes);
      this.advance();
    });
  }

  /** Answers that become ready together leave in one packet: one system call for a whole append round. */
  private write(frame: Buffer): void {
    if (!this.corked) {
      this.corked = true;
      this.socket.cork();
      setImmediate(() => {
        this.corked = false;
        this.socket.uncork();
        this.advance();
      });
    }
    this.socket.write(frame);
  }

  private async exchange(frame: MllpFrame): Promise<Buffer | undefined> {
    const { intake, counters, logger } = this.parts;
    this.handingOver = true;
    const handedOver = (): void => {
      if (!this.handingOver) return;
      this.handingOver = false;
      queueMicrotask(() => this.advance());
    };
    try {
      const message: ReceivedMessage = {
        transport: 'mllp',
        source: this.configuration,
        channel: this,
        contentType: HL7_CONTENT_TYPE,
        bytes: frame.bytes,
        fault: frame.fault,
      };
      const { answer, failures } = await exchangeHl7(intake, message, handedOver);
      if (failures.length > 0) {
        counters.unavailable += failures.length;
        logger.warn(
          { source: message.source.id, count: failures.length, err: failures[0] },
          'messages could not be stored',
        );
      }
      return answer;
    } catch (error) {
      // The answer could not be made: still one answer, never a positive one.
      logger.warn({ source: this.configuration.id, err: error }, 'MLLP frame could not be answered properly');
      return buildAck(undefined, { code: 'AE', problem: { code: 'INTERNAL_ERROR' }, messageId: '', recordedAt: now() });
    } finally {
      handedOver();
    }
  }

  private timedOut(): void {
    // Silence of the sender while the hub works, or makes it wait, is not the sender's.
    const working = this.framesInFlight > 0 && !this.answersUnread;
    if (working || this.backlog.length > 0 || this.configuration.paused || !this.parts.holdings.mayRead(this)) {
      this.socket.setTimeout(this.parts.limits.stalledTimeoutMs);
      return;
    }
    this.parts.logger.warn(
      { source: this.configuration.id, state: this.framing.isOpen ? 'in a frame' : 'between frames' },
      'MLLP connection closed: silent for too long',
    );
    const unread = this.answersUnread;
    this.finish();
    if (unread) this.socket.destroy();
  }

  private close(): void {
    this.closing = true;
    clearTimeout(this.graceTimer);
    this.parts.budget.leave(this.advanceAgain);
    if (this.socket.destroyed) return;
    this.socket.end();
    // What the peer still sends is read and thrown away: closing over unread bytes would reset the connection.
    this.socket.resume();
    this.lingerTimer = setTimeout(() => this.socket.destroy(), LINGER_MS);
  }
}

/** A TLS record of type handshake that holds a ClientHello (RFC 8446 §4, §5.1). */
function isTlsHello(bytes: Buffer): boolean {
  return bytes[0] === 0x16 && bytes[1] === 0x03 && bytes[2]! <= 0x04 && bytes[5] === 0x01;
}
