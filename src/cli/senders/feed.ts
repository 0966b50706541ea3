/** Sends messages over a hub's own sockets: many people's at a time, each person's in order, whatever entrance they take. */
import { acknowledgmentCode, MllpSender } from './mllp-sender.js';

/** Where a message goes in: MLLP, or a path of the HTTP server. */
export type Entrance = 'mllp' | '/hl7' | '/fhir' | '/events';

export interface FedMessage {
  readonly to: Entrance;
  readonly bytes: Buffer;
  /** Messages of one key arrive in the order given. */
  readonly key: string;
}

export interface FeedOptions {
  /** `http://host:port`; needed for messages to a path. */
  readonly http?: string;
  /** Needed for messages over MLLP. */
  readonly mllp?: { readonly host: string; readonly port: number };
  /** Messages per second at most. */
  readonly rate?: number;
  readonly onAnswer?: (result: FeedResult) => void;
}

export interface FeedResult {
  readonly sent: number;
  /** Answered with anything but an acknowledgment; kept by the hub all the same. */
  readonly refused: number;
  readonly seconds: number;
}

/** Messages under way at a time. */
const WINDOW = 64;
const ANSWER_TIMEOUT_MS = 30_000;
const CONTENT_TYPES: Readonly<Record<Exclude<Entrance, 'mllp'>, string>> = {
  '/hl7': 'x-application/hl7-v2+er7',
  '/fhir': 'application/fhir+json',
  '/events': 'application/json',
};

/**
 * Sends everything and waits for every answer.
 * @throws NotAnsweredError, or the error of a connection that cannot be made: what was not answered is to be sent again, and
 * what the hub has already is recognised
 */
export async function feed(messages: Iterable<FedMessage>, options: FeedOptions): Promise<FeedResult> {
  const started = performance.now();
  const seconds = (): number => (performance.now() - started) / 1000;
  const mllp = options.mllp === undefined ? undefined : await MllpSender.connect(options.mllp.host, options.mllp.port);
  const underWay = new Set<Promise<void>>();
  /** The last message of a key that is under way. */
  const last = new Map<string, { readonly to: Entrance; readonly answered: Promise<void> }>();
  let sent = 0;
  let refused = 0;

  const send = async (message: FedMessage, before: Promise<void> | undefined): Promise<void> => {
    await before;
    const taken =
      message.to === 'mllp' ? await sendMllp(mllp, message.bytes) : await post(options.http, message.to, message.bytes);
    sent += 1;
    if (!taken) refused += 1;
    options.onAnswer?.({ sent, refused, seconds: seconds() });
  };

  try {
    let count = 0;
    for (const message of messages) {
      const previous = last.get(message.key);
      // A connection keeps the order of what is written to it; between connections the answer must be awaited.
      const ordered = previous === undefined || (previous.to === 'mllp' && message.to === 'mllp');
      const answered: Promise<void> = send(message, ordered ? undefined : previous.answered).finally(() => {
        underWay.delete(answered);
        if (last.get(message.key)?.answered === answered) last.delete(message.key);
      });
      underWay.add(answered);
      last.set(message.key, { to: message.to, answered });
      count += 1;
      if (underWay.size >= WINDOW) await Promise.race(underWay);
      if (options.rate !== undefined) await until(started + (count / options.rate) * 1000);
    }
    await Promise.all(underWay);
  } finally {
    mllp?.close();
    await Promise.allSettled(underWay);
  }
  return { sent, refused, seconds: seconds() };
}

async function sendMllp(sender: MllpSender | undefined, bytes: Buffer): Promise<boolean> {
  if (sender === undefined) throw new RangeError('no MLLP address for a message over MLLP');
  return /^[AC]A$/.test(acknowledgmentCode(await sender.send(bytes)));
}

async function post(http: string | undefined, path: Exclude<Entrance, 'mllp'>, bytes: Buffer): Promise<boolean> {
  if (http === undefined) throw new RangeError('no HTTP address for a message over HTTP');
  const response = await fetch(`${http}${path}`, {
    method: 'POST',
    headers: { 'content-type': CONTENT_TYPES[path] },
    body: new Uint8Array(bytes),
    signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
  });
  const answer = Buffer.from(await response.arrayBuffer());
  return response.ok && (path !== '/hl7' || /^[AC]A$/.test(acknowledgmentCode(answer)));
}

async function until(time: number): Promise<void> {
  const left = time - performance.now();
  if (left > 0) await new Promise((resolve) => setTimeout(resolve, left));
}
