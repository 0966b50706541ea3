/** Sends the demo's day over the hub's own sockets, in order, several messages under way at a time. */
import { acknowledgmentCode, MllpSender } from '../cli/senders/mllp-sender.js';
import type { HubClient } from '../cli/hub-client.js';
import type { DemoMessage } from './question.js';

export interface FeedResult {
  readonly sent: number;
  /** Answered with anything but an acknowledgment. */
  readonly refused: number;
  readonly seconds: number;
}

/** Under way at a time; the hub keeps the order of a connection. */
const WINDOW = 64;
const EVENTS_PER_REQUEST = 50;

/**
 * Sends everything and waits for every answer. Runs of messages for the same entrance go out together; before the entrance
 * changes all answers are in, so that what happened first also arrives first.
 */
export async function feed(
  hub: HubClient,
  mllp: { readonly host: string; readonly port: number },
  messages: readonly DemoMessage[],
  progress: (sent: number) => void,
): Promise<FeedResult> {
  const started = performance.now();
  const sender = await MllpSender.connect(mllp.host, mllp.port);
  let sent = 0;
  let refused = 0;
  const answered = (taken: boolean, count = 1): void => {
    sent += count;
    if (!taken) refused += count;
    progress(sent);
  };
  try {
    for (const run of runs(messages)) {
      if (run.to === 'mllp') {
        await windowed(run.messages, WINDOW, async ({ bytes }) => {
          answered(/^[AC]A$/.test(acknowledgmentCode(await sender.send(bytes))));
        });
      } else if (run.to === '/events') {
        for (let at = 0; at < run.messages.length; at += EVENTS_PER_REQUEST) {
          const some = run.messages.slice(at, at + EVENTS_PER_REQUEST);
          answered(await postEvents(hub, some), some.length);
        }
      } else {
        const { to } = run;
        const type = to === '/fhir' ? 'application/fhir+json' : 'x-application/hl7-v2+er7';
        await windowed(run.messages, 1, async ({ bytes }) => answered(await post(hub, to, type, bytes)));
      }
    }
  } finally {
    sender.close();
  }
  return { sent, refused, seconds: (performance.now() - started) / 1000 };
}

function* runs(messages: readonly DemoMessage[]): Generator<{ to: DemoMessage['to']; messages: DemoMessage[] }> {
  let run: { to: DemoMessage['to']; messages: DemoMessage[] } | undefined;
  for (const message of messages) {
    if (run?.to !== message.to) {
      if (run !== undefined) yield run;
      run = { to: message.to, messages: [] };
    }
    run.messages.push(message);
  }
  if (run !== undefined) yield run;
}

/** Starts the work on each item in order, at most `width` under way. */
async function windowed<T>(items: readonly T[], width: number, work: (item: T) => Promise<void>): Promise<void> {
  const underWay = new Set<Promise<void>>();
  for (const item of items) {
    const done: Promise<void> = work(item).finally(() => underWay.delete(done));
    underWay.add(done);
    if (underWay.size >= width) await Promise.race(underWay);
  }
  await Promise.all(underWay);
}

async function postEvents(hub: HubClient, messages: readonly DemoMessage[]): Promise<boolean> {
  const lines = messages.map(({ bytes }) => bytes.toString('utf8').replaceAll(/[\r\n]+/g, ' '));
  return post(hub, '/events/batch', 'application/x-ndjson', Buffer.from(`${lines.join('\n')}\n`));
}

async function post(hub: HubClient, path: string, contentType: string, bytes: Buffer): Promise<boolean> {
  const response = await hub.fetch(path, {
    method: 'POST',
    headers: { 'content-type': contentType },
    body: new Uint8Array(bytes),
  });
  await response.arrayBuffer();
  return response.ok;
}
