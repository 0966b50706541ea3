/** Writes simulated messages to files that `anamnesis ingest` reads. */
import { createWriteStream, type WriteStream } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { once } from 'node:events';
import path from 'node:path';
import { finished } from 'node:stream/promises';
import type { SimulatedMessage } from './message.js';
import type { Lane } from './send.js';

/**
 * A path that ends in `.hl7` takes the HL7 messages and one in `.ndjson` everything in JSON, each in order; any other is a
 * folder with a file for both.
 */
export async function fileLane(target: string): Promise<Lane> {
  const extension = path.extname(target).toLowerCase();
  let [hl7, json]: (WriteStream | undefined)[] = [];
  if (extension === '.hl7' || extension === '.ndjson') {
    await mkdir(path.dirname(path.resolve(target)), { recursive: true });
    const stream = await openFile(target);
    if (extension === '.hl7') hl7 = stream;
    else json = stream;
  } else {
    await mkdir(target, { recursive: true });
    hl7 = await openFile(path.join(target, 'messages.hl7'));
    json = await openFile(path.join(target, 'events.ndjson'));
  }
  return {
    async send(message: SimulatedMessage) {
      const stream = message.kind === 'hl7' ? hl7 : json;
      if (stream === undefined) return 'skipped';
      const line = message.kind === 'hl7' ? message.bytes : Buffer.concat([message.bytes, Buffer.from('\n')]);
      if (!stream.write(line)) await once(stream, 'drain');
      return 'taken';
    },
    async close() {
      for (const stream of [hl7, json]) {
        if (stream === undefined) continue;
        stream.end();
        await finished(stream);
      }
    },
  };
}

async function openFile(file: string): Promise<WriteStream> {
  const stream = createWriteStream(file);
  await once(stream, 'open');
  return stream;
}
