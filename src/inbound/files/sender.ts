/** Sends messages to a running hub over HTTP, in order, and says what became of them. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import http from 'node:http';
import { FHIR_CONTENT_TYPE, HL7_CONTENT_TYPE, isFhirR4Type } from '../message-types.js';

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
    readonly code: 'HUB_UNAVAILABLE' | 'UNKNOWN_SOURCE' | 'SOURCE_DISABLED' | 'UNEXPECTED_ANSWER',
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
}

const DEFAULT_PATIENCE_MS = 60_000;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 2_000;
const REQUEST_TIMEOUT_MS = 120_000;
/** FHIR R4 §2.20.0.1: the form of an id. */
const FHIR_ID = /^[A-Za-z0-9\-.]{1,64}$/;

interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
}

type Line = { readonly status?: string; readonly code?: string };

/** One request at a time, so that the order of the messages is the order of the log. What cannot be stored yet is sent again. */
export class MessageSender {
  private readonly agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

  constructor(private readonly options: SenderOptions) {}

  /** Messages of HL7 v2, one or many. */
  hl7(bytes: Buffer): Promise<Sent> {
    return this.lines('/hl7', bytes, HL7_CONTENT_TYPE);
  }

  /** Clinical events, one per line. */
  events(bytes: Buffer): Promise<Sent> {
    return this.lines('/events/batch', bytes, 'application/x-ndjson');
  }

  /** One clinical event, or what was meant to be one. */
  async event(bytes: Buffer): Promise<Sent> {
    const answer = await this.request('POST', '/events', bytes, { 'content-type': 'application/json' });
    const body = JSON.parse(answer.body.toString('utf8')) as Line & { readonly receipt?: Line };
    return one(body.receipt?.status ?? body.status, answer);
  }

  /** A FHIR resource or bundle. A resource with an id is an update of that id, so that the sender's id is kept. */
  async fhir(bytes: Buffer, type: string, id: string | undefined): Promise<Sent> {
    const known = isFhirR4Type(type) && type !== 'Bundle';
    const update = known && id !== undefined && FHIR_ID.test(id);
    const path = !known ? '/fhir' : update ? `/fhir/${type}/${id}` : `/fhir/${type}`;
    const answer = await this.request(update ? 'PUT' : 'POST', path, bytes, { 'content-type': FHIR_CONTENT_TYPE });
    return one(answer.headers['x-anamnesis-status'] as string | undefined, answer);
  }

  /** Any other content. */
  async other(bytes: Buffer, contentType: string): Promise<Sent> {
    const answer = await this.request('POST', '/messages', bytes, { 'content-type': contentType });
    return one(answer.status === 202 ? (JSON.parse(answer.body.toString('utf8')) as Line).status : undefined, answer);
  }

  close(): void {
    this.agent.destroy();
  }

  /** A request that is answered line by line. Where the log went away in the middle, the whole is sent again: what is stored is a duplicate then. */
  private async lines(path: string, bytes: Buffer, contentType: string): Promise<Sent> {
    const headers = { 'content-type': contentType, accept: 'application/x-ndjson' };
    let stored: Sent | undefined;
    return this.patiently(async () => {
      const answer = await this.once('POST', path, bytes, headers);
      if (answer.status !== 202) return answer.status === 503 ? undefined : one(undefined, answer);
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

  private request(method: string, path: string, bytes: Buffer, headers: Record<string, string>): Promise<Answer> {
    return this.patiently(async () => {
      const answer = await this.once(method, path, bytes, headers);
      return answer.status === 503 ? undefined : answer;
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

  private once(method: string, path: string, bytes: Buffer, headers: Record<string, string>): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const request = http.request(
        new URL(path, this.options.url),
        {
          method,
          agent: this.agent,
          timeout: REQUEST_TIMEOUT_MS,
          headers: { ...headers, 'content-length': bytes.length, 'x-anamnesis-source': this.options.source },
        },
        (response) => {
          buffer(response as Readable).then((body) => {
            const answer = { status: response.statusCode ?? 0, headers: response.headers, body };
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

/** What the hub says of a single message; 4xx without a status means that nothing was stored. */
function one(status: string | undefined, answer: Answer): Sent {
  const sent = nothingSent();
  if (isStatus(status)) sent[status] += 1;
  else if (answer.status >= 400 && answer.status < 500) sent.refused += 1;
  else throw new SendError('UNEXPECTED_ANSWER', `the hub answered ${answer.status}`);
  return sent;
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
  if (answer.status !== 404 && answer.status !== 403) return undefined;
  const text = answer.body.toString('utf8');
  if (text.includes('"UNKNOWN_SOURCE"')) return new SendError('UNKNOWN_SOURCE', 'the hub knows no such source');
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
