/** The far end of a return connection: takes one message at a time over MLLP and answers each. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { clientTlsOptions } from '../../tls/client-credentials.js';
import type { TlsServerFiles } from '../../tls/server-credentials.js';
import { readHl7 } from '../hl7/reader.js';
import { frameOf, MllpFraming } from '../mllp/framing.js';
import type { SourceReturnConnection } from '../source.js';

/** What the peer said: taken; an error that may pass; or no, for good (HL7 table 0008). */
export type PeerAnswer = 'accepted' | 'error' | 'rejected';

/** The peer could not be reached, or did not answer. The code is that of the operating system or of TLS, or one of the hub's own. */
export class PeerUnavailableError extends Error {
  constructor(
    readonly code: string,
    options?: ErrorOptions,
  ) {
    super(`the return connection failed: ${code}`, options);
    this.name = 'PeerUnavailableError';
  }
}

export interface PeerLimits {
  readonly connectTimeoutMs: number;
  readonly answerTimeoutMs: number;
}

export const PEER_LIMITS: PeerLimits = { connectTimeoutMs: 10_000, answerTimeoutMs: 30_000 };

/** An acknowledgment is short; more than this is none. */
const MOST_ANSWER_BYTES = 1024 * 1024;

interface Waiting {
  readonly controlId: string;
  readonly resolve: (answer: PeerAnswer) => void;
  readonly reject: (error: PeerUnavailableError) => void;
}

export class ReturnPeer {
  private socket: Socket | undefined;
  private waiting: Waiting | undefined;

  /** @param hubTls the hub's own files, for a return connection with TLS that names none */
  constructor(
    private readonly connection: SourceReturnConnection,
    private readonly hubTls: TlsServerFiles | undefined,
    private readonly limits: PeerLimits = PEER_LIMITS,
  ) {}

  /**
   * Sends a message and waits for its answer, the one that names its control id in MSA-2; others are late answers to earlier ones.
   * @throws PeerUnavailableError; then it is not known whether the peer has it
   */
  async deliver(message: Buffer, controlId: string): Promise<PeerAnswer> {
    const socket = this.socket ?? (await this.open());
    return new Promise<PeerAnswer>((resolve, reject) => {
      const late = setTimeout(() => this.fail('NO_ANSWER'), this.limits.answerTimeoutMs);
      this.waiting = {
        controlId,
        resolve(answer) {
          clearTimeout(late);
          resolve(answer);
        },
        reject(error) {
          clearTimeout(late);
          reject(error);
        },
      };
      socket.write(frameOf(message));
    });
  }

  /** Ends the connection; what is under way fails. */
  close(): void {
    this.fail('CLOSED');
  }

  private async open(): Promise<Socket> {
    const socket = await this.connect();
    const framing = new MllpFraming({ maxFrameBytes: MOST_ANSWER_BYTES });
    this.socket = socket;
    socket.setNoDelay(true).setKeepAlive(true, 30_000);
    socket.on('data', (chunk: Buffer) => {
      for (const { bytes, fault } of framing.push(chunk)) if (fault === undefined) this.answered(bytes);
      // A peer that leaves the last CR out has said all the same what it has to say.
      if (framing.isEndPending) for (const { bytes } of framing.settle()) this.answered(bytes);
    });
    socket.on('close', () => {
      if (this.socket === socket) this.fail('CONNECTION_CLOSED');
    });
    return socket;
  }

  private async connect(): Promise<Socket> {
    const { host, port, tls } = this.connection;
    let socket: Socket | undefined;
    try {
      if (tls === undefined) socket = connect({ host, port });
      else {
        const cert = tls.certFile ?? this.hubTls?.cert;
        const key = tls.certFile === undefined ? this.hubTls?.key : tls.keyFile;
        const ca = tls.caFile ?? this.hubTls?.clientCa;
        const files = {
          ...(ca === undefined ? {} : { ca }),
          ...(cert === undefined || key === undefined ? {} : { cert, key }),
        };
        socket = connectTls({ host, port, ...(await clientTlsOptions(files)) });
      }
      // Errors after this one show as the end of the connection.
      socket.on('error', () => undefined);
      await once(socket, tls === undefined ? 'connect' : 'secureConnect', {
        signal: AbortSignal.timeout(this.limits.connectTimeoutMs),
      });
      return socket;
    } catch (error) {
      socket?.destroy();
      const code: unknown = (error as NodeJS.ErrnoException).code;
      const timedOut = (error as Error).name === 'AbortError';
      throw new PeerUnavailableError(timedOut ? 'NO_CONNECTION' : typeof code === 'string' ? code : 'NO_CONNECTION', {
        cause: error,
      });
    }
  }

  private answered(bytes: Buffer): void {
    const msa = readHl7(bytes).segment('MSA');
    const { waiting } = this;
    if (waiting === undefined || msa?.text(2).trim() !== waiting.controlId) return;
    this.waiting = undefined;
    const code = msa.text(1).trim().toUpperCase();
    waiting.resolve(/^[AC]A$/.test(code) ? 'accepted' : /^[AC]R$/.test(code) ? 'rejected' : 'error');
  }

  private fail(code: string): void {
    const { waiting, socket } = this;
    this.waiting = undefined;
    this.socket = undefined;
    socket?.destroy();
    waiting?.reject(new PeerUnavailableError(code));
  }
}
