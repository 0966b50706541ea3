/** Senders of results as HL7 v2, over MLLP and over HTTP: one message at a time, and a network that delivers twice, late and in another order. */
import { answerCode, MllpClient } from '../support/mllp-client.js';
import { hl7Result } from './hl7-result.js';
import type { CrashMessage, SenderContext } from './http-senders.js';
import type { MllpSenderContext } from './mllp-senders.js';

const TIMEOUT_MS = 5_000;
const RETRY_MS = 30;

/** @param about number that says whom: that of the message, where not said otherwise */
function resultOf(context: Omit<SenderContext, 'http'>, count: number, about = count): CrashMessage {
  const patient = (context.sender * 7 + about) % context.patients;
  const at = `2026030${1 + (count % 9)}10${String(count % 60).padStart(2, '0')}00`;
  return hl7Result(context, count, { patient, at });
}

/** Over MLLP, one after the other. */
export function mllpSender(context: MllpSenderContext): Promise<void> {
  const client = new MllpClient(context.mllp(), TIMEOUT_MS);
  return oneByOne(context, async (bytes) => {
    client.moveTo(context.mllp());
    return answerCode(await client.send(bytes)) === 'AA';
  }).finally(() => client.close());
}

/** Over HTTP, one after the other. */
export function hl7HttpSender(context: SenderContext): Promise<void> {
  return oneByOne(context, (bytes) => post(context, bytes));
}

/** A network that delivers twice and in another order: pairs of messages of one patient, the later first, each on two connections at once, and old ones again. */
export async function repeatingSender(context: SenderContext): Promise<void> {
  const old: Buffer[] = [];
  const sent = (bytes: Buffer): Promise<boolean> => isPositive(() => post(context, bytes));
  for (let count = 0; !context.finishing(); count += 2) {
    await context.pace();
    for (const message of [count + 1, count].map((n) => resultOf(context, n, count))) {
      const { bytes } = message;
      context.sending(message);
      while (!(await Promise.all([sent(bytes), sent(bytes)])).some((accepted) => accepted)) {
        if (context.abandoned()) return;
        await breath();
      }
      context.acknowledged(message);
      old.push(bytes);
    }
    await sent(old[(count * 7) % old.length] as Buffer);
  }
}

async function oneByOne(
  context: Omit<SenderContext, 'http'>,
  send: (bytes: Buffer) => Promise<boolean>,
): Promise<void> {
  for (let count = 0; !context.finishing(); count += 1) {
    await context.pace();
    const message = resultOf(context, count);
    context.sending(message);
    while (!(await isPositive(() => send(message.bytes)))) {
      if (context.abandoned()) return;
      await breath();
    }
    context.acknowledged(message);
  }
}

/** @returns whether the answer is AA; no answer is none, and a real sender sends the same bytes again */
async function isPositive(send: () => Promise<boolean>): Promise<boolean> {
  try {
    return await send();
  } catch {
    return false;
  }
}

async function post({ http }: SenderContext, bytes: Buffer): Promise<boolean> {
  const response = await fetch(`${http()}/hl7`, {
    method: 'POST',
    headers: { 'content-type': 'x-application/hl7-v2+er7', 'x-anamnesis-source': 'mllp' },
    body: new Uint8Array(bytes),
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  return response.ok && answerCode(Buffer.from(await response.arrayBuffer())) === 'AA';
}

/** Between two attempts. */
function breath(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, RETRY_MS));
}
