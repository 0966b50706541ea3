/** Senders over MLLP beside the patient one of hl7-senders.ts: one that does not wait for answers, and one that sends batches. Each sends again what was not acknowledged. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { frame } from '../support/mllp-client.js';
import { hl7Result } from './hl7-result.js';
import type { CrashMessage, SenderContext } from './http-senders.js';

export interface MllpSenderContext extends Omit<SenderContext, 'http'> {
  /** Where the hub listens now. */
  readonly mllp: () => string;
}

/** Frames of one connection that wait for their answers. */
const WINDOW = 16;
const BATCH = 4;
const ANSWER_TIMEOUT_MS = 5_000;
const PAUSE_MS = 30;

function message(context: MllpSenderContext, count: number, enhanced: boolean): CrashMessage {
  const patient = (context.sender * 11 + count) % context.patients;
  const at = `2026031${count % 9}11${String(count % 60).padStart(2, '0')}00`;
  return hl7Result(context, count, { patient, at, ...(enhanced ? { acknowledgment: '|||AL|NE' } : {}) });
}

/** Many frames on the way on one connection, in enhanced mode. Whatever was not answered when it broke is sent again, in order. */
export function pipeliningSender(context: MllpSenderContext): Promise<void> {
  return run(context, WINDOW, (count) => {
    const one = message(context, count, true);
    return { messages: [one], bytes: one.bytes };
  });
}

/** Batches, one frame each; what of one was not accepted is sent again with all of it. */
export function frameBatchSender(context: MllpSenderContext): Promise<void> {
  return run(context, 2, (count) => {
    const messages = Array.from({ length: BATCH }, (_, index) => message(context, count * BATCH + index, false));
    const bytes = Buffer.concat([
      Buffer.from('BHS|^~\\&|CRASH|WARD\r'),
      ...messages.map((one) => one.bytes),
      Buffer.from(`BTS|${BATCH}\r`),
    ]);
    return { messages, bytes };
  });
}

interface Unit {
  readonly messages: readonly CrashMessage[];
  readonly bytes: Buffer;
}

async function run(context: MllpSenderContext, window: number, make: (count: number) => Unit): Promise<void> {
  let waiting: Unit[] = [];
  let count = 0;
  while (!context.abandoned() && (!context.finishing() || waiting.length > 0)) {
    const socket = await open(context.mllp());
    if (socket !== undefined) {
      try {
        waiting = await exchange(socket, context, waiting, window, () => make(count++));
      } finally {
        socket.destroy();
      }
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}

/** Until the connection ends, an answer is late or not positive, or nothing is to be sent any more. @returns what is not acknowledged */
async function exchange(
  socket: Socket,
  context: MllpSenderContext,
  again: readonly Unit[],
  window: number,
  make: () => Unit,
): Promise<Unit[]> {
  const waiting = [...again];
  for (const { bytes } of waiting) socket.write(frame(bytes));
  let buffered = Buffer.alloc(0);
  const incoming = socket[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  socket.setTimeout(ANSWER_TIMEOUT_MS, () => socket.destroy());
  for (;;) {
    while (waiting.length < window && !context.finishing()) {
      await context.pace();
      const unit = make();
      for (const one of unit.messages) context.sending(one);
      waiting.push(unit);
      socket.write(frame(unit.bytes));
    }
    if (waiting.length === 0) return waiting;
    const next = await incoming.next().catch(() => undefined);
    if (next === undefined || next.done === true) return waiting;
    buffered = Buffer.concat([buffered, next.value]);
    for (let end = buffered.indexOf('\x1c\r'); end >= 0; end = buffered.indexOf('\x1c\r')) {
      const answer = buffered.toString('latin1', 1, end);
      buffered = buffered.subarray(end + 2);
      const unit = waiting[0];
      const codes = [...answer.matchAll(/(?:^|\r)MSA\|(\w\w)\|/g)].map(([, code]) => code);
      if (unit === undefined || codes.length !== unit.messages.length) return waiting;
      unit.messages.forEach((one, index) => {
        if (codes[index] === 'AA' || codes[index] === 'CA') context.acknowledged(one);
      });
      if (!codes.every((code) => code === 'AA' || code === 'CA')) return waiting;
      waiting.shift();
    }
  }
}

async function open(address: string): Promise<Socket | undefined> {
  const [host, port] = address.split(':') as [string, string];
  const socket = connect(Number(port), host);
  // A hub can be killed while nothing is read from it: the next read tells.
  socket.on('error', () => undefined);
  try {
    await once(socket, 'connect');
    return socket;
  } catch {
    return undefined; // Not there just now: tried again.
  }
}
