/**
 * MLLP on one address. Every frame gets exactly one answer, in the order of the frames, on its own connection, once the event
 * is durable in the log. Memory is bounded: a connection that has too much on the way, or does not read its answers, is not read from.
 * With TLS a client's certificate says which source it speaks for; plain text is refused.
 */
import { randomUUID } from 'node:crypto';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type Server as TlsServer, type TLSSocket } from 'node:tls';
import { now } from '../../time/clock.js';
import { peerIdentity } from '../../tls/peer-identity.js';
import type { ServerCredentials } from '../../tls/server-credentials.js';
import { buildAck } from '../hl7/ack.js';
import type { Intake } from '../received.js';
import type { SourceConfiguration } from '../source.js';
import { ConnectionCount, type MllpPeer } from './admission.js';
import { Budget, Holdings } from './budget.js';
import {
  Connection,
  type ConnectionLimits,
  type ConnectionParts,
  type MllpCounters,
  type SourceTraffic,
} from './connection.js';
import { frameOf, VT } from './framing.js';
import { LogThrottle, type MllpLogger } from './log-throttle.js';

export interface MllpTls {
  readonly credentials: ServerCredentials;
  /** Whether clients are asked for a certificate. */
  readonly request: boolean;
  /** Whether one that no authority has signed may pass the handshake, to be known by its fingerprint. */
  readonly pinned: boolean;
}

/** Bounds over all connections of the hub; the listeners share them. */
export interface MllpShared {
  readonly count: ConnectionCount;
  readonly budget: Budget;
  readonly holdings: Holdings;
}

export interface MllpServerOptions {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  readonly intake: Intake;
  readonly traffic?: SourceTraffic;
  /** The source that a sender speaks for; undefined where it may not send. Asked again by {@link MllpServer.review}. */
  readonly admit: (peer: MllpPeer) => SourceConfiguration | undefined;
  readonly tls?: MllpTls;
  readonly shared?: MllpShared;
  readonly limits?: Partial<MllpServerLimits>;
  readonly logger?: MllpLogger;
}

export interface MllpServerLimits extends ConnectionLimits {
  /** A TLS handshake that takes longer is cut. */
  readonly handshakeTimeoutMs: number;
  /** How long a stop waits for what is in flight before it cuts. */
  readonly stopTimeoutMs: number;
}

export interface MllpStatistics extends Readonly<MllpCounters> {
  /** Open now. */
  readonly connections: number;
  readonly connectionsTotal: number;
  readonly connectionsRefused: number;
  /** TLS handshakes that came to nothing. */
  readonly handshakesFailed: number;
  /** Held now: of frames that have not ended, and of those that wait. Of all listeners that share it. */
  readonly bytesHeld: number;
}

const DEFAULT_LIMITS: MllpServerLimits = {
  maxFramesInFlight: 256,
  maxBytesInFlight: 16 * 1024 * 1024,
  stalledTimeoutMs: 120_000,
  endBlockGraceMs: 250,
  handshakeTimeoutMs: 10_000,
  stopTimeoutMs: 5_000,
};

export interface MllpSharedLimits {
  /** Connections of all sources; more are closed at once. */
  readonly maxConnections: number;
  readonly maxConnectionsPerAddress: number;
  /** Bytes on their way into the log over all connections; one frame may always be. */
  readonly maxBytesInFlight: number;
  /** Frames on their way into the log over all connections. */
  readonly maxFramesInFlight: number;
  /** Bytes of frames that have not ended, and of those that wait; beyond it large ones come in one at a time. */
  readonly maxBytesHeld: number;
  /** How long one that sends slowly may keep the others of those waiting. */
  readonly turnMs: number;
}

const SHARED_LIMITS: MllpSharedLimits = {
  maxConnections: 10_000,
  maxConnectionsPerAddress: 10_000,
  maxBytesInFlight: 64 * 1024 * 1024,
  maxFramesInFlight: 1_024,
  maxBytesHeld: 64 * 1024 * 1024,
  turnMs: 2_000,
};

/** Bounds that listeners share. */
export function sharedBounds(limits: Partial<MllpSharedLimits> = {}): MllpShared {
  const most = { ...SHARED_LIMITS, ...limits };
  return {
    count: new ConnectionCount(most.maxConnections, most.maxConnectionsPerAddress),
    budget: new Budget(most.maxBytesInFlight, most.maxFramesInFlight),
    holdings: new Holdings(most.maxBytesHeld, most.turnMs),
  };
}

/** First byte of a TLS record that begins a handshake (RFC 8446 §5.1). */
const TLS_HANDSHAKE = 0x16;

type Refusal =
  | ReturnType<ConnectionCount['enter']>
  | 'TOO_MANY_CONNECTIONS_OF_SOURCE'
  | 'NOT_ADMITTED'
  | 'NOT_TLS'
  | 'TLS_ON_A_PLAIN_PORT';

interface Entering {
  readonly socket: Socket;
  /** It has sent something: not a mere look whether the port is open. */
  spoke: boolean;
  /** Why the handshake failed, where TLS said so. */
  code?: string;
}

/** The peer's end of a connection, the same for a socket and for TLS over it. */
function endOf(socket: Socket): string {
  return `${socket.remoteAddress ?? ''} ${socket.remotePort ?? ''}`;
}

export class MllpServer {
  private readonly connections = new Map<Connection, MllpPeer>();
  private readonly bySource = new Map<string, number>();
  /** Accepted, and not yet a connection of a source; by {@link endOf}. */
  private readonly entering = new Map<string, Entering>();
  private readonly logger: MllpLogger;
  private readonly limits: MllpServerLimits;
  private readonly shared: MllpShared;
  private readonly parts: ConnectionParts;
  private secure: TlsServer | undefined;
  private unfollow: (() => void) | undefined;
  private stopping: Promise<void> | undefined;
  private readonly counters = {
    connectionsTotal: 0,
    connectionsRefused: 0,
    handshakesFailed: 0,
    frames: 0,
    faults: 0,
    answers: 0,
    unavailable: 0,
  };

  private constructor(
    private readonly server: Server,
    private readonly options: MllpServerOptions,
  ) {
    this.logger = new LogThrottle(options.logger);
    this.limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.shared = options.shared ?? sharedBounds();
    const { budget, holdings } = this.shared;
    this.parts = {
      intake: options.intake,
      limits: this.limits,
      budget,
      holdings,
      counters: this.counters,
      logger: this.logger,
      ...(options.traffic === undefined ? {} : { traffic: options.traffic }),
    };
    this.useTls(options.tls);
    server.on('connection', (socket) => this.accepted(socket));
  }

  /** Listens; rejects where the address is taken or not ours. */
  static async listen(options: MllpServerOptions): Promise<MllpServer> {
    const server = createServer({ allowHalfOpen: true, noDelay: true });
    const running = new MllpServer(server, options);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host: options.host, port: options.port }, () => {
        server.removeListener('error', reject);
        server.on('error', (error: NodeJS.ErrnoException) => {
          running.logger.warn({ code: error.code }, 'MLLP server error');
        });
        resolve();
      });
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
    return { ...this.counters, connections: this.connections.size, bytesHeld: this.shared.holdings.total };
  }

  /** For connections from now on; those that stand go on as they are. Undefined: plain text. */
  useTls(tls: MllpTls | undefined): void {
    this.unfollow?.();
    this.unfollow = undefined;
    this.secure = undefined;
    if (tls === undefined) return;
    const secure = createTlsServer({
      ...tls.credentials.serverOptions,
      requestCert: tls.request,
      rejectUnauthorized: tls.request && !tls.pinned,
      handshakeTimeout: this.limits.handshakeTimeoutMs,
    });
    secure.on('secureConnection', (socket) => this.entered(socket, peerIdentity(socket)));
    secure.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => {
      const entering = this.entering.get(endOf(socket));
      if (entering !== undefined && error.code !== undefined) entering.code = error.code;
      // Node leaves one whose handshake takes too long open.
      socket.destroy();
    });
    this.unfollow = tls.credentials.follow(secure);
    this.secure = secure;
  }

  /**
   * Asks for every connection anew which source its sender speaks for: a changed source counts from the next frame on, and a sender
   * that may no longer send, or speaks for another source, is answered what it has sent and closed.
   */
  review(): void {
    for (const [connection, peer] of this.connections) {
      const source = this.options.admit(peer);
      if (source?.id === connection.source.id) connection.source = source;
      else connection.stop();
    }
  }

  /** Accepts no connection any more, lets every connection finish what was received whole, then closes. May be asked for twice. */
  stop(): Promise<void> {
    this.stopping ??= this.stopNow();
    return this.stopping;
  }

  private async stopNow(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()));
    for (const { socket } of this.entering.values()) socket.destroy();
    for (const connection of this.connections.keys()) connection.stop();
    const timer = setTimeout(() => {
      for (const connection of this.connections.keys()) connection.destroy();
    }, this.limits.stopTimeoutMs);
    await closed;
    clearTimeout(timer);
    this.unfollow?.();
  }

  private accepted(socket: Socket): void {
    this.counters.connectionsTotal += 1;
    const address = socket.remoteAddress ?? '';
    socket.on('error', () => undefined); // What becomes of it is seen when it closes.
    const full = this.shared.count.enter(address);
    if (full !== undefined) {
      this.refuse(socket, address, full);
      return;
    }
    const end = endOf(socket);
    const entering: Entering = { socket, spoke: false };
    this.entering.set(end, entering);
    socket.once('close', () => {
      this.shared.count.leave(address);
      if (this.entering.get(end) !== entering) return;
      this.entering.delete(end);
      if (!entering.spoke || this.stopping !== undefined) return;
      this.counters.handshakesFailed += 1;
      this.logger.warn({ address, code: entering.code }, 'MLLP connection refused: the TLS handshake failed');
    });
    if (this.secure === undefined) this.entered(socket, undefined);
    else this.shakeHands(entering, address);
  }

  /** A client that speaks TLS says so with its first byte; others are told in the way that they can read. */
  private shakeHands(entering: Entering, address: string): void {
    const { socket } = entering;
    const late = setTimeout(() => socket.destroy(), this.limits.handshakeTimeoutMs);
    socket.once('close', () => clearTimeout(late));
    const gone = (): void => void socket.destroy();
    socket.once('end', gone);
    socket.once('data', (first: Buffer) => {
      const { secure } = this;
      entering.spoke = true;
      if (secure !== undefined && first[0] === TLS_HANDSHAKE) {
        // From here on TLS keeps the time.
        clearTimeout(late);
        socket.removeListener('end', gone);
        socket.pause();
        socket.unshift(first);
        secure.emit('connection', socket);
        return;
      }
      this.entering.delete(endOf(socket));
      if (first[0] !== VT) {
        this.refuse(socket, address, 'NOT_TLS');
        return;
      }
      this.refuse(undefined, address, 'NOT_TLS');
      const problem = { code: 'TLS_REQUIRED' };
      const answer = buildAck(undefined, { code: 'AE', problem, messageId: randomUUID(), recordedAt: now() });
      socket.end(frameOf(answer));
      socket.resume();
    });
  }

  private entered(socket: Socket | TLSSocket, certificate: MllpPeer['certificate']): void {
    const address = socket.remoteAddress ?? '';
    const peer: MllpPeer = certificate === undefined ? { address } : { address, certificate };
    this.entering.delete(endOf(socket));
    if (this.stopping !== undefined) {
      socket.destroy();
      return;
    }
    const source = this.options.admit(peer);
    if (source === undefined) {
      this.refuse(socket, address, 'NOT_ADMITTED');
      return;
    }
    const { id } = source;
    const open = this.bySource.get(id) ?? 0;
    if (open >= source.maxConnections) {
      this.refuse(socket, address, 'TOO_MANY_CONNECTIONS_OF_SOURCE', id);
      return;
    }
    this.bySource.set(id, open + 1);
    const connection = new Connection(socket, source, this.parts, {
      closed: () => {
        this.connections.delete(connection);
        this.bySource.set(id, (this.bySource.get(id) ?? 1) - 1);
      },
      greetedByTls: () => this.refuse(socket, address, 'TLS_ON_A_PLAIN_PORT', id),
    });
    this.connections.set(connection, peer);
  }

  private refuse(socket: Socket | undefined, address: string, reason: Refusal, source?: string): void {
    this.counters.connectionsRefused += 1;
    this.logger.warn({ address, reason, ...(source === undefined ? {} : { source }) }, 'MLLP connection refused');
    socket?.destroy();
  }
}
