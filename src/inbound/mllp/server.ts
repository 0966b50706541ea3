/**
 * The MLLP server. Every frame gets exactly one answer, in the order of the frames, on its own connection, once the event
 * is durable in the log. Memory is bounded: a connection that has too much on the way, or does not read its answers, is not read from.
 */
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import type { Intake, ReceivedMessage } from '../received.js';
import type { SourceConfiguration } from '../source.js';
import { now } from '../../time/clock.js';
import { buildAck } from '../hl7/ack.js';
import { exchangeHl7 } from '../hl7/exchange.js';
import { DEFAULT_MAX_FRAME_BYTES, frameOf, MllpFraming, type MllpFrame } from './framing.js';

export interface MllpServerOptions {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  readonly intake: Intake;
  /** Asked for every frame, so that a changed source counts from the next frame on. */
  readonly source: () => SourceConfiguration;
  readonly maxFrameBytes?: number;
  /** More connections are closed at once. */
  readonly maxConnections?: number;
  /** Frames of one connection that may be on their way into the log at a time. */
  readonly maxFramesInFlight?: number;
  /** Bytes of one connection that may be on their way at a time; one frame may always be. */
  readonly maxBytesInFlight?: number;
  /** The same over all connections. */
  readonly maxBytesInFlightTotal?: number;
  /** Bytes of frames that have not ended, and of those that wait, over all connections; beyond it large ones come in one at a time. */
  readonly maxBytesHeldTotal?: number;
  /** A connection without a byte for so long is closed. */
  readonly idleTimeoutMs?: number;
  /** The same while a frame has begun and not ended, or answers are not read. */
  readonly stalledTimeoutMs?: number;
  /** A sender silent for so long behind FS has left the CR out. */
  readonly endBlockGraceMs?: number;
  /** How long a stop waits for what is in flight before it cuts. */
  readonly stopTimeoutMs?: number;
  readonly logger?: MllpLogger;
}

/** What the server says about itself: never anything of a message. */
export interface MllpLogger {
  warn(fields: Readonly<Record<string, unknown>>, message: string): void;
}

export interface MllpStatistics {
  /** Open now. */
  readonly connections: number;
  readonly connectionsTotal: number;
  readonly connectionsRefused: number;
  readonly frames: number;
  readonly faults: number;
  readonly answers: number;
  /** Messages that could not be stored and were answered so that they come again. */
  readonly unavailable: number;
  /** Held now: of frames that have not ended, and of those that wait. */
  readonly bytesHeld: number;
}

const DEFAULTS = {
  maxFrameBytes: DEFAULT_MAX_FRAME_BYTES,
  maxConnections: 1024,
  maxFramesInFlight: 256,
  maxBytesInFlight: 16 * 1024 * 1024,
  maxBytesInFlightTotal: 64 * 1024 * 1024,
  maxBytesHeldTotal: 64 * 1024 * 1024,
  idleTimeoutMs: 3_600_000,
  stalledTimeoutMs: 120_000,
  endBlockGraceMs: 250,
  stopTimeoutMs: 5_000,
} as const;

type Settings = Required<Omit<MllpServerOptions, 'logger'>> & Pick<MllpServerOptions, 'logger'>;

const HL7_CONTENT_TYPE = 'x-application/hl7-v2+er7';

/** How long a closed connection waits for the peer's end, so that its last answers are not lost to a reset. */
const LINGER_MS = 500;

/** Bytes on their way into the log over all connections. One frame may always be on its way, however large. */
class Budget {
  private used = 0;
  private readonly waiting = new Set<() => void>();

  constructor(private readonly most: number) {}

  /** False where they must wait: then `again` is called, once, when some were given back. */
  take(bytes: number, again: () => void): boolean {
    if (this.used > 0 && this.used + bytes > this.most) {
      this.waiting.add(again);
      return false;
    }
    this.used += bytes;
    return true;
  }

  giveBack(bytes: number): void {
    this.used -= bytes;
    const waiting = [...this.waiting];
    this.waiting.clear();
    for (const again of waiting) again();
  }
}

/** A connection that holds less never has to wait for others. */
const SMALL_HOLDING_BYTES = 64 * 1024;

/**
 * Bytes held of frames that have not ended. Beyond the most, of the connections that hold much only the one that began first is
 * read from, so that one frame always gets done and the others follow.
 */
class Holdings {
  total = 0;
  private readonly held = new Map<Connection, number>();
  /** In the order in which they became large. */
  private readonly large = new Set<Connection>();

  constructor(private readonly most: number) {}

  set(connection: Connection, bytes: number): void {
    const before = this.held.get(connection) ?? 0;
    if (bytes === before) return;
    this.total += bytes - before;
    if (bytes === 0) this.held.delete(connection);
    else this.held.set(connection, bytes);
    if (bytes > SMALL_HOLDING_BYTES) this.large.add(connection);
    else this.large.delete(connection);
    if (bytes < before) for (const other of [...this.large]) if (other !== connection) other.advance();
  }

  mayRead(connection: Connection): boolean {
    if (this.total <= this.most || !this.large.has(connection)) return true;
    const [first] = this.large;
    return first === connection;
  }
}

export class MllpServer {
  private readonly connections = new Set<Connection>();
  private readonly holdings: Holdings;
  private stopping: Promise<void> | undefined;
  private readonly counters = {
    connectionsTotal: 0,
    connectionsRefused: 0,
    frames: 0,
    faults: 0,
    answers: 0,
    unavailable: 0,
  };

  private constructor(
    private readonly server: Server,
    private readonly settings: Settings,
  ) {
    server.maxConnections = settings.maxConnections;
    this.holdings = new Holdings(settings.maxBytesHeldTotal);
    const budget = new Budget(settings.maxBytesInFlightTotal);
    const { holdings } = this;
    server.on('connection', (socket) => {
      this.counters.connectionsTotal += 1;
      const connection = new Connection(socket, settings, budget, holdings, this.counters, () =>
        this.connections.delete(connection),
      );
      this.connections.add(connection);
    });
    server.on('drop', () => {
      this.counters.connectionsRefused += 1;
      settings.logger?.warn({ maxConnections: settings.maxConnections }, 'MLLP connection refused: too many are open');
    });
  }

  /** Listens; rejects where the address is taken or not ours. */
  static async listen(options: MllpServerOptions): Promise<MllpServer> {
    const settings: Settings = { ...DEFAULTS, ...options };
    const server = createServer({ allowHalfOpen: true, noDelay: true });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host: settings.host, port: settings.port }, () => {
        server.removeListener('error', reject);
        resolve();
      });
    });
    const running = new MllpServer(server, settings);
    server.on('error', (error: NodeJS.ErrnoException) => {
      settings.logger?.warn({ code: error.code }, 'MLLP server error');
    });
    return running;
  }

  /** `127.0.0.1:2575`, IPv6 in brackets. */
  get address(): string {
    const { address, family, port } = this.server.address() as AddressInfo;
    return family === 'IPv6' ? `[${address}]:${port}` : `${address}:${port}`;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  get statistics(): MllpStatistics {
    return { connections: this.connections.size, ...this.counters, bytesHeld: this.holdings.total };
  }

  /**
   * Stops gracefully: accepts no connection and reads no frame any more, finishes and answers every frame that was received whole,
   * then closes. A frame received in part is forgotten; its sender got no answer and sends again.
   */
  stop(): Promise<void> {
    this.stopping ??= this.stopNow();
    return this.stopping;
  }

  private async stopNow(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()));
    for (const connection of this.connections) connection.stop();
    const timer = setTimeout(() => {
      for (const connection of this.connections) connection.destroy();
    }, this.settings.stopTimeoutMs);
    await closed;
    clearTimeout(timer);
  }
}

class Connection {
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
  private ended = false;
  private stopped = false;
  private closing = false;
  private stalling = false;
  private corked = false;
  private graceTimer: NodeJS.Timeout | undefined;
  private lingerTimer: NodeJS.Timeout | undefined;
  private readonly advanceAgain = (): void => this.advance();

  constructor(
    private readonly socket: Socket,
    private readonly settings: Settings,
    private readonly budget: Budget,
    private readonly holdings: Holdings,
    private readonly counters: { frames: number; faults: number; answers: number; unavailable: number },
    private readonly closed: () => void,
  ) {
    this.framing = new MllpFraming({ maxFrameBytes: settings.maxFrameBytes });
    socket.on('data', (chunk: Buffer) => this.received(chunk));
    socket.on('end', () => this.finish());
    socket.on('drain', () => this.advance());
    socket.on('timeout', () => this.timedOut());
    socket.on('error', (error: NodeJS.ErrnoException) => {
      settings.logger?.warn({ code: error.code }, 'MLLP connection failed');
    });
    socket.on('close', () => {
      clearTimeout(this.lingerTimer);
      // A connection that broke in the middle of a frame: what came is kept like that of one that ended.
      this.finish();
      this.holdings.set(this, this.backlogBytes);
      closed();
    });
    socket.setTimeout(settings.idleTimeoutMs);
  }

  stop(): void {
    this.stopped = true;
    clearTimeout(this.graceTimer);
    for (const frame of this.framing.settle()) this.enqueue(frame);
    this.socket.pause();
    this.advance();
  }

  destroy(): void {
    this.socket.destroy();
  }

  private received(chunk: Buffer): void {
    if (this.stopped || this.ended) return;
    clearTimeout(this.graceTimer);
    for (const frame of this.framing.push(chunk)) this.enqueue(frame);
    if (this.framing.isEndPending) {
      this.graceTimer = setTimeout(() => {
        for (const frame of this.framing.settle()) this.enqueue(frame);
        this.advance();
      }, this.settings.endBlockGraceMs);
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
    const { maxFramesInFlight, maxBytesInFlight } = this.settings;
    const full = this.framesInFlight >= maxFramesInFlight || this.bytesInFlight >= maxBytesInFlight;
    this.holdings.set(this, this.framing.heldBytes + this.backlogBytes);
    const waiting = this.backlog.length > 0 || this.handingOver || this.answersUnread || !this.holdings.mayRead(this);
    if (this.stopped || waiting || full) this.socket.pause();
    else if (this.socket.isPaused()) this.socket.resume();
    const stalling = this.framing.isOpen || this.answersUnread;
    if (stalling !== this.stalling) {
      this.stalling = stalling;
      this.socket.setTimeout(stalling ? this.settings.stalledTimeoutMs : this.settings.idleTimeoutMs);
    }
    if ((this.ended || this.stopped) && this.backlog.length === 0 && this.framesInFlight === 0) this.close();
  }

  private mayBegin(): boolean {
    const next = this.backlog[0];
    if (next === undefined || this.handingOver || this.answersUnread) return false;
    if (this.framesInFlight >= this.settings.maxFramesInFlight) return false;
    const bytes = next.bytes.length;
    if (this.bytesInFlight > 0 && this.bytesInFlight + bytes > this.settings.maxBytesInFlight) return false;
    return this.budget.take(bytes, this.advanceAgain);
  }

  /** The peer does not read its answers: nothing more is begun for it. Frames of a peer that is gone are still stored. */
  private get answersUnread(): boolean {
    return this.socket.writableNeedDrain && !this.socket.destroyed;
  }

  private begin(frame: MllpFrame): void {
    const bytes = frame.bytes.length;
    this.framesInFlight += 1;
    this.bytesInFlight += bytes;
    this.counters.frames += 1;
    if (frame.fault !== undefined) this.counters.faults += 1;
    const answer = this.exchange(frame);
    this.answers = this.answers.then(async () => {
      const content = await answer;
      if (content !== undefined && frame.answered && this.socket.writable) {
        this.write(frameOf(content));
        this.counters.answers += 1;
      }
      this.framesInFlight -= 1;
      this.bytesInFlight -= bytes;
      this.budget.giveBack(bytes);
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
    this.handingOver = true;
    const handedOver = (): void => {
      if (!this.handingOver) return;
      this.handingOver = false;
      queueMicrotask(() => this.advance());
    };
    try {
      const message: ReceivedMessage = {
        transport: 'mllp',
        source: this.settings.source(),
        contentType: HL7_CONTENT_TYPE,
        bytes: frame.bytes,
        ...(frame.fault === undefined ? {} : { fault: frame.fault }),
      };
      const { answer, failures } = await exchangeHl7(this.settings.intake, message, handedOver);
      if (failures.length > 0) {
        this.counters.unavailable += failures.length;
        this.settings.logger?.warn(
          { messages: failures.length, error: nameOf(failures[0]) },
          'messages could not be stored',
        );
      }
      return answer;
    } catch (error) {
      // The answer could not be made: still one answer, never a positive one.
      this.settings.logger?.warn({ error: nameOf(error) }, 'MLLP frame could not be answered properly');
      return buildAck(undefined, { code: 'AE', problem: { code: 'INTERNAL_ERROR' }, messageId: '', recordedAt: now() });
    } finally {
      handedOver();
    }
  }

  private timedOut(): void {
    // Silence of the sender while the hub works is not the sender's.
    if ((this.framesInFlight > 0 && !this.answersUnread) || this.backlog.length > 0 || !this.holdings.mayRead(this)) {
      this.socket.setTimeout(this.settings.stalledTimeoutMs);
      return;
    }
    this.settings.logger?.warn({ frameOpen: this.framing.isOpen }, 'MLLP connection closed: silent for too long');
    const unread = this.answersUnread;
    this.finish();
    if (unread) this.socket.destroy();
  }

  private close(): void {
    this.closing = true;
    if (this.socket.destroyed) return;
    this.socket.end();
    // What the peer still sends is read and thrown away: closing over unread bytes would reset the connection.
    this.socket.resume();
    this.lingerTimer = setTimeout(() => this.socket.destroy(), LINGER_MS);
  }
}

/** Name and code of an error; its text may quote what it should not. */
function nameOf(error: unknown): string {
  if (!(error instanceof Error)) return typeof error;
  const code: unknown = 'code' in error ? error.code : undefined;
  return typeof code === 'string' ? code : error.name;
}
