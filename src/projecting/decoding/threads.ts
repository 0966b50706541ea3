/**
 * Decoding on threads of their own: opening, parsing and mapping is pure and most of what an event costs, so another core can do it while the main
 * thread, the only one that talks to PostgreSQL and moves checkpoints, makes and writes rows. What comes back is the same, in the same order.
 */
import { Worker } from 'node:worker_threads';
import { BlobStoreUnavailableError, type BlobStore } from '../../blobs/blob-store.js';
import type { EventLogReader, RecordedEvent } from '../../log/event-log.js';
import { mappedOnly, type BodyKeys, type EventDecoder, type Keep } from '../decode.js';
import type { DecodedEvent } from '../projection.js';
import type { RuntimeLog } from '../runner.js';
import {
  decodedOf,
  memoryOf,
  packError,
  packEvents,
  packKeys,
  unpackError,
  type Answer,
  type FromThread,
  type Question,
  type ToThread,
} from './parcels.js';

export interface ThreadsOptions {
  /** Decodes here what is too little for a thread, and what a thread that died had in hand. */
  readonly decoder: Pick<EventDecoder, 'decode'>;
  readonly keys: BodyKeys;
  readonly reader: Pick<EventLogReader, 'readPage'>;
  readonly blobs?: Pick<BlobStore, 'get'>;
  /** 0: everything is decoded in the main thread. */
  readonly threads: number;
  readonly log: RuntimeLog;
  /** Fewer events are decoded in the main thread. */
  readonly fromEvents?: number;
  /** Another module for the threads; for tests. */
  readonly module?: string | URL;
}

/** Below this a page, one of live work, costs more to hand over than it brings, and its events would wait for the thread to wake. */
const FROM_EVENTS = 128;
/** A thread holds one event at a time, beside the sealed page. */
const THREAD_MEMORY = { maxOldGenerationSizeMb: 160, maxYoungGenerationSizeMb: 48 };
const THREAD_MODULE = new URL('./decode-thread.js', import.meta.url);

/** A thread ended by itself. */
class ThreadLostError extends Error {}

interface Page {
  readonly events: readonly RecordedEvent[];
  readonly decoded: DecodedEvent[];
  readonly resolve: (decoded: DecodedEvent[]) => void;
  readonly reject: (error: Error) => void;
}

/** One thread, seen from the main thread. */
class Thread {
  private readonly worker: Worker;
  private readonly pages = new Map<number, Page>();
  private count = 0;
  lost = false;

  constructor(
    module: string | URL,
    private readonly answer: (about: Question) => Promise<{ answer: Answer; memory: ArrayBuffer[] }>,
  ) {
    this.worker = new Worker(module, { resourceLimits: THREAD_MEMORY });
    this.worker.on('message', (message: FromThread) => this.take(message));
    this.worker.on('error', () => this.lose());
    this.worker.on('exit', () => this.lose());
  }

  /** Events in hand. */
  get load(): number {
    let events = 0;
    for (const page of this.pages.values()) events += page.events.length;
    return events;
  }

  decode(events: readonly RecordedEvent[]): Promise<DecodedEvent[]> {
    this.count += 1;
    const page = this.count;
    return new Promise((resolve, reject) => {
      this.pages.set(page, { events, decoded: [], resolve, reject });
      const parcel = packEvents(events);
      this.send({ kind: 'decode', page, events: parcel }, memoryOf(parcel));
    });
  }

  async close(): Promise<void> {
    await this.worker.terminate();
  }

  private send(message: ToThread, memory: ArrayBuffer[] = []): void {
    this.worker.postMessage(message, memory);
  }

  private take(message: FromThread): void {
    if (message.kind === 'ask') {
      void this.reply(message.question, message.about);
      return;
    }
    const page = this.pages.get(message.page);
    if (page === undefined) return;
    if (message.kind === 'decoded') {
      try {
        for (const text of message.texts) {
          page.decoded.push(decodedOf(page.events[page.decoded.length] as RecordedEvent, text));
        }
      } catch (error) {
        this.pages.delete(message.page);
        page.reject(error as Error);
      }
      return;
    }
    this.pages.delete(message.page);
    if (message.kind === 'failed') page.reject(unpackError(message.error));
    else page.resolve(page.decoded);
  }

  private async reply(question: number, about: Question): Promise<void> {
    try {
      const { answer, memory } = await this.answer(about);
      this.send({ kind: 'answer', question, answer }, memory);
    } catch (error) {
      this.send({ kind: 'no answer', question, error: packError(error) });
    }
  }

  private lose(): void {
    this.lost = true;
    for (const { reject } of this.pages.values()) reject(new ThreadLostError());
    this.pages.clear();
  }
}

export class DecodingThreads {
  private threads: Thread[] = [];
  private closed = false;

  constructor(private readonly options: ThreadsOptions) {}

  /** As {@link EventDecoder.decode}. What is wanted with its content is decoded here: it would have to be copied. */
  async decode(events: readonly RecordedEvent[], keep?: Keep): Promise<DecodedEvent[]> {
    const { decoder, threads, log, fromEvents = FROM_EVENTS } = this.options;
    if (this.closed || threads === 0 || keep !== mappedOnly || events.length < fromEvents) {
      return decoder.decode(events, keep);
    }
    const shares = Math.min(threads, Math.floor(events.length / fromEvents));
    const size = Math.ceil(events.length / shares);
    const decoded = await Promise.all(
      Array.from({ length: shares }, async (_, index) => {
        const share = events.slice(index * size, (index + 1) * size);
        try {
          return await this.idlest().decode(share);
        } catch (error) {
          if (!(error instanceof ThreadLostError)) throw error;
          if (!this.closed) log.warn({ code: 'THREAD_LOST' }, 'a thread that decodes ended: another takes its place');
          return decoder.decode(share, keep);
        }
      }),
    );
    return decoded.length === 1 ? (decoded[0] as DecodedEvent[]) : decoded.flat();
  }

  /** Ends the threads; what is decoded from now on is decoded here. */
  async close(): Promise<void> {
    this.closed = true;
    await Promise.all(this.threads.map((thread) => thread.close()));
  }

  /** They are started when there is something for them: a hub that never falls behind has none. */
  private idlest(): Thread {
    this.threads = this.threads.filter(({ lost }) => !lost);
    const [idlest] = this.threads.toSorted((left, right) => left.load - right.load);
    if (idlest !== undefined && (idlest.load === 0 || this.threads.length >= this.options.threads)) return idlest;
    const thread = new Thread(this.options.module ?? THREAD_MODULE, (about) => this.answer(about));
    this.threads.push(thread);
    return thread;
  }

  private async answer(about: Question): Promise<{ answer: Answer; memory: ArrayBuffer[] }> {
    const { keys, reader, blobs } = this.options;
    switch (about.of) {
      case 'keys': {
        const answer = packKeys(await keys.keysById(about.keyIds));
        return { answer, memory: answer.flatMap(([, key]) => ('state' in key ? [] : [key.buffer as ArrayBuffer])) };
      }
      case 'events': {
        const answer = packEvents(await reader.readPage(about.read));
        return { answer, memory: memoryOf(answer) };
      }
      case 'blob':
        if (blobs === undefined) throw new BlobStoreUnavailableError('there is no blob store here');
        return { answer: await blobs.get(about.ref), memory: [] };
    }
  }
}
