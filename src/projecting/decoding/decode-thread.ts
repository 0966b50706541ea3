/**
 * A thread that decodes pages of events (threads.ts starts it). It has no way to the database, the log or the blobs, and keeps no key: whatever it
 * needs of them it asks the main thread for, page by page, so an erased person's key is refused here as soon as it is there.
 */
import { Buffer } from 'node:buffer';
import { parentPort } from 'node:worker_threads';
import type { BlobRead } from '../../blobs/blob-store.js';
import { readHl7 } from '../../inbound/hl7/reader.js';
import type { RecordedEvent } from '../../log/event-log.js';
import { mapMessage } from '../../mapping/map.js';
import { openBody } from '../../sealing/body.js';
import { EventDecoder, mappedOnly } from '../decode.js';
import { NOTHING_MAPPED } from '../projection.js';
import { SourceCodes } from '../source-codes.js';
import {
  packError,
  textOf,
  unpackError,
  unpackEvents,
  unpackKeys,
  type Answer,
  type EventParcel,
  type FromThread,
  type KeyParcel,
  type Question,
  type ToThread,
} from './parcels.js';

/** What is decoded is sent off in pieces of about so many characters: neither side holds the text of a whole page. */
const PIECE_CHARACTERS = 256 * 1024;

if (parentPort === null) throw new Error('this is a thread of the projection runtime');
const port = parentPort;
const send = (message: FromThread): void => port.postMessage(message);

const waiting = new Map<number, { resolve: (answer: Answer) => void; reject: (error: Error) => void }>();
let questions = 0;

function ask(about: Question): Promise<Answer> {
  questions += 1;
  const question = questions;
  return new Promise((resolve, reject) => {
    waiting.set(question, { resolve, reject });
    send({ kind: 'ask', question, about });
  });
}

const reader = {
  readPage: async (read: Extract<Question, { of: 'events' }>['read']): Promise<RecordedEvent[]> =>
    unpackEvents((await ask({ of: 'events', read })) as EventParcel),
};
const decoder = new EventDecoder({
  keys: { keysById: async (keyIds) => unpackKeys((await ask({ of: 'keys', keyIds })) as KeyParcel) },
  reader,
  blobs: {
    get: async (ref) => {
      const read = (await ask({ of: 'blob', ref })) as BlobRead;
      return read.state === 'present' ? { ...read, bytes: Buffer.from(read.bytes) } : read;
    },
  },
  openBody,
  codes: new SourceCodes(reader),
  readHl7,
  mapMessage,
});

async function decode(page: number, events: EventParcel): Promise<void> {
  let texts: string[] = [];
  let characters = 0;
  const sendPiece = (): void => {
    if (texts.length > 0) send({ kind: 'decoded', page, texts });
    texts = [];
    characters = 0;
  };
  try {
    await decoder.decode(unpackEvents(events), (event) => {
      const text = textOf(mappedOnly(event));
      texts.push(text);
      characters += text.length;
      if (characters >= PIECE_CHARACTERS) sendPiece();
      return { ...event, body: { state: 'erased' }, mapped: NOTHING_MAPPED };
    });
    sendPiece();
    send({ kind: 'done', page });
  } catch (error) {
    send({ kind: 'failed', page, error: packError(error) });
  }
}

port.on('message', (message: ToThread) => {
  if (message.kind === 'decode') {
    void decode(message.page, message.events);
    return;
  }
  const asked = waiting.get(message.question);
  waiting.delete(message.question);
  if (message.kind === 'answer') asked?.resolve(message.answer);
  else asked?.reject(unpackError(message.error));
});
