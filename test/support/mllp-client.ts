/** A sender as hospitals have them: one message at a time, waits for its answer, sends again over a new connection when there is none. */
import net from 'node:net';

const VT = 0x0b;
const FS = 0x1c;
const CR = 0x0d;

/** Bytes as an MLLP frame. */
export function frame(message: Buffer): Buffer {
  return Buffer.concat([Buffer.of(VT), message, Buffer.of(FS, CR)]);
}

export class MllpClient {
  private socket: net.Socket | undefined;
  private buffered = Buffer.alloc(0);
  private waiting: { resolve: (answer: Buffer) => void; reject: (error: Error) => void } | undefined;

  constructor(
    private address: string,
    private readonly timeoutMs = 300_000,
  ) {}

  /** From now on at this address. */
  moveTo(address: string): void {
    if (address === this.address) return;
    this.address = address;
    this.close();
  }

  /** Sends one message; resolves with the answer's bytes without framing. Rejects when the connection breaks or nothing comes in time. */
  async send(message: Buffer): Promise<Buffer> {
    const socket = this.socket ?? (await this.connect());
    return new Promise<Buffer>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.fail(new Error('no answer in time'));
      }, this.timeoutMs);
      this.waiting = {
        resolve: (answer) => {
          clearTimeout(timer);
          resolve(answer);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
      socket.write(frame(message));
    });
  }

  close(): void {
    this.socket?.destroy();
    this.socket = undefined;
    this.buffered = Buffer.alloc(0);
  }

  private connect(): Promise<net.Socket> {
    const [host, port] = this.address.split(':') as [string, string];
    return new Promise((resolve, reject) => {
      const socket = net.connect(Number(port), host);
      socket.once('connect', () => {
        this.socket = socket;
        resolve(socket);
      });
      socket.on('error', (error) => {
        reject(error);
        this.fail(error);
      });
      socket.once('close', () => {
        if (this.socket === socket) this.fail(new Error('connection closed'));
      });
      socket.on('data', (chunk) => this.take(chunk));
    });
  }

  private take(chunk: Buffer): void {
    this.buffered = Buffer.concat([this.buffered, chunk]);
    const end = this.buffered.indexOf(FS);
    if (end < 0 || this.buffered.length <= end + 1) return;
    const answer = this.buffered.subarray(1, end);
    this.buffered = this.buffered.subarray(end + 2);
    const waiting = this.waiting;
    this.waiting = undefined;
    waiting?.resolve(Buffer.from(answer));
  }

  private fail(error: Error): void {
    this.close();
    const waiting = this.waiting;
    this.waiting = undefined;
    waiting?.reject(error);
  }
}

/** MSA-1 of an answer. */
export function answerCode(answer: Buffer): string {
  const msa = answer
    .toString('latin1')
    .split('\r')
    .find((segment) => segment.startsWith('MSA'));
  return msa?.split('|')[1] ?? '';
}
