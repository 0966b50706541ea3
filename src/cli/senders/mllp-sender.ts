/** Sends HL7 messages over one MLLP connection, several under way at a time; answers come back in the order of sending. */
import net from 'node:net';
import tls from 'node:tls';
import { frameOf, MllpFraming } from '../../inbound/mllp/framing.js';

/** The connection broke, or an answer did not come: whether the message was taken is not known, so it is to be sent again. */
export class NotAnsweredError extends Error {
  readonly code = 'NOT_ANSWERED';
}

/** MSA-1 of an answer: AA, AE, AR, CA, CE, CR; empty where it has none. */
export function acknowledgmentCode(answer: Buffer): string {
  const text = answer.toString('latin1');
  const separator = text.charAt(3);
  const segment = text.split(/[\r\n]/).find((line) => line.startsWith('MSA'));
  return segment?.split(separator)[1] ?? '';
}

interface Waiting {
  readonly resolve: (answer: Buffer) => void;
  readonly reject: (error: Error) => void;
}

const ANSWER_TIMEOUT_MS = 30_000;

export class MllpSender {
  private readonly waiting: Waiting[] = [];
  private readonly framing = new MllpFraming();
  private timer: NodeJS.Timeout | undefined;

  private constructor(private readonly socket: net.Socket) {
    socket.setNoDelay(true);
    socket.on('data', (chunk) => this.take(chunk));
    socket.on('error', () => this.fail('the connection broke'));
    socket.on('close', () => this.fail('the connection was closed'));
  }

  /**
   * @param secure present: over TLS, with what is shown and trusted
   * @throws the socket's error where nobody listens, or the other side is not trusted
   */
  static async connect(host: string, port: number, secure?: tls.ConnectionOptions): Promise<MllpSender> {
    const socket =
      secure === undefined
        ? net.connect({ host, port })
        : tls.connect({ host, port, ...(net.isIP(host) === 0 ? { servername: host } : {}), ...secure });
    await new Promise<void>((resolve, reject) => {
      socket.once(secure === undefined ? 'connect' : 'secureConnect', resolve);
      socket.once('error', reject);
    });
    return new MllpSender(socket);
  }

  /** The answer to this message. @throws NotAnsweredError */
  send(message: Buffer): Promise<Buffer> {
    if (this.socket.destroyed) return Promise.reject(new NotAnsweredError('the connection is closed'));
    return new Promise((resolve, reject) => {
      this.waiting.push({ resolve, reject });
      this.watch();
      this.socket.write(frameOf(message));
    });
  }

  /** Ends the connection once what was sent is answered. */
  close(): void {
    this.socket.end();
  }

  private take(chunk: Buffer): void {
    for (const frame of this.framing.push(chunk)) this.waiting.shift()?.resolve(frame.bytes);
    this.watch();
  }

  private watch(): void {
    clearTimeout(this.timer);
    if (this.waiting.length > 0) {
      this.timer = setTimeout(() => this.socket.destroy(), ANSWER_TIMEOUT_MS);
    }
  }

  private fail(reason: string): void {
    clearTimeout(this.timer);
    for (const waiting of this.waiting.splice(0)) waiting.reject(new NotAnsweredError(reason));
  }
}
