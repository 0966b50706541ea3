/** An intake and a sender, both in the test's hands. */
import { expect } from '@jest/globals';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { connect as connectTls, type ConnectionOptions } from 'node:tls';
import { readHl7 } from '../../../src/inbound/hl7/reader.js';
import { MllpFraming } from '../../../src/inbound/mllp/framing.js';
import type { Intake, IntakeOutcome, ReceivedMessage } from '../../../src/inbound/received.js';

export const AT = '2026-03-01T10:15:30.123456Z';

/** Keeps what it receives; waits, where told to, until the test lets it go on. */
export class FakeIntake implements Intake {
  readonly received: ReceivedMessage[] = [];
  down = false;
  private gate: { readonly opened: Promise<void>; readonly open: () => void } | undefined;
  private readonly watchers = new Set<() => void>();

  hold(): () => void {
    let open = (): void => undefined;
    const opened = new Promise<void>((resolve) => (open = resolve));
    this.gate = { opened, open };
    return () => {
      this.gate = undefined;
      open();
    };
  }

  async receive(message: ReceivedMessage): Promise<IntakeOutcome> {
    this.received.push(message);
    for (const watcher of this.watchers) watcher();
    if (this.gate !== undefined) await this.gate.opened;
    if (this.down) throw Object.assign(new Error('log away'), { code: 'LOG_UNAVAILABLE' });
    const hl7 = readHl7(message.bytes);
    const problem = message.fault ?? (hl7.segment('MSH') === undefined ? { code: 'NO_MSH', byteOffset: 0 } : undefined);
    return {
      status: problem === undefined ? 'accepted' : 'parked',
      messageId: `${this.received.length}`,
      position: BigInt(this.received.length),
      recordedAt: AT,
      answer: problem === undefined ? 'AA' : 'AR',
      ...(problem === undefined ? {} : { problem }),
    };
  }

  async until(condition: () => boolean): Promise<void> {
    await new Promise<void>((resolve) => {
      const check = (): void => {
        if (!condition()) return;
        this.watchers.delete(check);
        resolve();
      };
      this.watchers.add(check);
      check();
    });
  }
}

/** A sender: collects the answers as `code control-id`. */
export class Sender {
  readonly answers: string[] = [];
  readonly raw: Buffer[] = [];
  private readonly framing = new MllpFraming();
  private readonly watchers = new Set<() => void>();
  ended = false;

  private constructor(readonly socket: Socket) {
    socket.on('data', (chunk: Buffer) => {
      for (const { bytes, fault } of this.framing.push(chunk)) {
        expect(fault).toBeUndefined();
        this.raw.push(bytes);
        this.answers.push(
          readHl7(bytes)
            .all('MSA')
            .map((msa) => `${msa.text(1)} ${msa.text(2)}`.trim())
            .join(', '),
        );
      }
      this.wake();
    });
    socket.on('close', () => {
      this.ended = true;
      this.wake();
    });
    socket.on('end', () => socket.end());
    socket.on('error', () => undefined);
  }

  static async connect(port: number): Promise<Sender> {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    await once(socket, 'connect');
    return new Sender(socket);
  }

  /** Over TLS; resolves when the client's part of the handshake is done. */
  static async connectTls(port: number, options: ConnectionOptions): Promise<Sender> {
    const socket = connectTls({ port, host: '127.0.0.1', ...options });
    await once(socket, 'secureConnect');
    return new Sender(socket);
  }

  send(text: string | Buffer): void {
    this.socket.write(typeof text === 'string' ? Buffer.from(text, 'latin1') : text);
  }

  async until(count: number): Promise<string[]> {
    await this.when(() => this.answers.length >= count || this.ended);
    return this.answers;
  }

  /** Says that nothing more comes, and waits for the rest. */
  async finish(): Promise<string[]> {
    this.socket.end();
    await this.when(() => this.ended);
    return this.answers;
  }

  async when(condition: () => boolean): Promise<void> {
    await new Promise<void>((resolve) => {
      const check = (): void => {
        if (!condition()) return;
        this.watchers.delete(check);
        resolve();
      };
      this.watchers.add(check);
      check();
    });
  }

  private wake(): void {
    for (const watcher of this.watchers) watcher();
  }
}

export const message = (id: string, more = ''): string =>
  `MSH|^~\\&|A|B|||2026||ADT^A01|${id}|P|2.5.1${more}\rPID|1||${id}\r`;
export const framed = (id: string): string => `\x0b${message(id)}\x1c\r`;
