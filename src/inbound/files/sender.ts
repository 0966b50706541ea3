/** Sends messages to a running hub over HTTP, in order, and says what became of them. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import http from 'node:http';
import https from 'node:https';
import { packMessage, type PackedMessage } from '../http/packed-message.js';

/** What became of the messages of one request. */
export interface Sent {
  accepted: number;
  duplicate: number;
  conflict: number;
  parked: number;
  /** Not stored. */
  refused: number;
}

export function nothingSent(): Sent {
  return { accepted: 0, duplicate: 0, conflict: 0, parked: 0, refused: 0 };
}

export function addSent(into: Sent, more: Sent): void {
  for (const status of Object.keys(into) as (keyof Sent)[]) into[status] += more[status];
}

/** Thrown where nothing more can be sent: the hub is away, or does not know the source. */
export class SendError extends Error {
  constructor(
    readonly code:
      'UNAUTHENTICATED' | 'FORBIDDEN' | 'HUB_UNAVAILABLE' | 'UNKNOWN_SOURCE' | 'SOURCE_DISABLED' | 'UNEXPECTED_ANSWER',
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

export interface SenderOptions {
  /** `http://127.0.0.1:8080` */
  readonly url: string;
  readonly source: string;
  /** How long a hub that is away is waited for. */
  readonly patienceMs?: number;
  /** Bearer token. */
  readonly token?: string;
  /** PEM: whose certificates are trusted. */
  readonly ca?: string | Buffer;
}

const DEFAULT_PATIENCE_MS = 60_000;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 2_000;
const REQUEST_TIMEOUT_MS = 120_000;

interface Answer {
  readonly status: number;
  readonly body: Buffer;
}

type Line = { readonly status?: string; readonly code?: string };

/** One request at a time, so that the order of the messages is the order of the log. What cannot be stored yet is sent again. */
export class MessageSender {
  private readonly agent: http.Agent;
  private readonly request: typeof http.request;

  constructor(private readonly options: SenderOptions) {
    const secure = options.url.startsWith('https:');
    const { ca } = options;
    this.request = secure ? https.request : http.request;
    this.agent = secure
      ? new https.Agent({ keepAlive: true, maxSockets: 1, ...(ca === undefined ? {} : { ca }) })
      : new http.Agent({ keepAlive: true, maxSockets: 1 });
  }

  /** Messages of any kind, in order. */
  messages(messages: readonly PackedMessage[]): Promise<Sent> {
    return this.lines('/messages/batch', Buffer.from(messages.map((one) => `${packMessage(one)}\n`).join('')));
  }

  /** Clinical events, one per line. */
  events(lines: Buffer): Promise<Sent> {
    return this.lines('/events/batch', lines);
  }

  close(): void {
    this.agent.destroy();
  }

  /** A request that is answered line by line. Where the log went away in the middle, the whole is sent again: what is stored is a duplicate then. */
  private async lines(path: string, bytes: Buffer): Promise<Sent> {
    let stored: Sent | undefined;
    return this.patiently(async () => {
      const answer = await this.once(path, bytes);
      if (answer.status === 503 || answer.status === 429) return undefined;
      if (answer.status !== 202) throw new SendError('UNEXPECTED_ANSWER', `the hub answered ${answer.status}`);
      const lines = parseLines(answer.body);
      const sent = nothingSent();
      for (const line of lines) {
        if (line.status === 'refused' || !isStatus(line.status)) sent.refused += 1;
        else sent[line.status] += 1;
      }
      if (!lines.some((line) => line.code === 'LOG_UNAVAILABLE'))
        return stored === undefined ? sent : countedOnce(stored, sent);
      stored ??= sent;
      return undefined;
    });
  }

  /** Tries again while the hub is away or cannot store. @throws SendError */
  private async patiently<T>(work: () => Promise<T | undefined>): Promise<T> {
    const deadline = Date.now() + (this.options.patienceMs ?? DEFAULT_PATIENCE_MS);
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)) {
      let failure: unknown;
      try {
        const done = await work();
        if (done !== undefined) return done;
      } catch (error) {
        if (error instanceof SendError) throw error;
        failure = error;
      }
      if (Date.now() + pauseMs > deadline) {
        throw new SendError('HUB_UNAVAILABLE', `the hub at ${this.options.url} does not take messages`, {
          cause: failure,
        });
      }
      await delay(pauseMs);
    }
  }

  private once(path: string, bytes: Buffer): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const { token } = this.options;
      const request = this.request(
        new URL(path, this.options.url),
        {
          method: 'POST',
          agent: this.agent,
          timeout: REQUEST_TIMEOUT_MS,
          headers: {
            'content-type': 'application/x-ndjson',
            accept: 'application/x-ndjson',
            'content-length': bytes.length,
            'x-anamnesis-source': this.options.source,
            ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
          },
        },
        (response) => {
          buffer(response as Readable).then((body) => {
            const answer = { status: response.statusCode ?? 0, body };
            const problem = sourceProblem(answer);
            if (problem === undefined) resolve(answer);
            else reject(problem);
          }, reject);
        },
      );
      request.on('timeout', () => request.destroy(new Error('the hub did not answer in time')));
      request.on('error', reject);
      request.end(bytes);
    });
  }
}

function isStatus(status: string | undefined): status is 'accepted' | 'duplicate' | 'conflict' | 'parked' {
  return status === 'accepted' || status === 'duplicate' || status === 'conflict' || status === 'parked';
}

/** The second try answers what the first one stored as duplicates: they are counted as the first one said. */
function countedOnce(first: Sent, second: Sent): Sent {
  const storedBefore = first.accepted + first.conflict + first.parked;
  return {
    accepted: second.accepted + first.accepted,
    conflict: second.conflict + first.conflict,
    parked: second.parked + first.parked,
    duplicate: Math.max(0, second.duplicate - storedBefore),
    refused: second.refused,
  };
}

function sourceProblem(answer: Answer): SendError | undefined {
  if (answer.status === 401)
    return new SendError('UNAUTHENTICATED', 'the hub wants a token: --token or ANAMNESIS_TOKEN');
  if (answer.status !== 404 && answer.status !== 403) return undefined;
  const text = answer.body.toString('utf8');
  if (text.includes('"UNKNOWN_SOURCE"')) return new SendError('UNKNOWN_SOURCE', 'the hub knows no such source');
  if (text.includes('"FORBIDDEN"') || text.includes('"SOURCE_NOT_YOURS"'))
    return new SendError('FORBIDDEN', 'the token may not send as this source');
  if (text.includes('"SOURCE_DISABLED"')) return new SendError('SOURCE_DISABLED', 'this source is disabled');
  return undefined;
}

function parseLines(body: Buffer): Line[] {
  return body
    .toString('utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line);
}
