/** The largest that is taken in: one message with a document of 50 MB, and NDJSON of 50 MB (2 MB here; `ANAMNESIS_TEST_SCALE=full` takes the whole). */
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { once } from 'node:events';
import http from 'node:http';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { pipeline } from 'node:stream/promises';
import { Readable } from 'node:stream';
import { startInboundHttp, type InboundHttpServer } from '../../src/inbound/http/server.js';
import { readHl7 } from '../../src/inbound/hl7/reader.js';
import { frameOf, FS, MllpFraming } from '../../src/inbound/mllp/framing.js';
import { MllpServer } from '../../src/inbound/mllp/server.js';
import { readReceived } from '../../src/inbound/reading.js';
import { builtInSource, resolveSource } from '../../src/inbound/source.js';
import { configuredSources } from '../../src/inbound/sources.js';
import { createLogger } from '../../src/operations/logger.js';
import { workOf } from '../support/work.js';
import { hl7, incompressible, openTestHub, type TestHub } from './support.js';

const FULL = process.env['ANAMNESIS_TEST_SCALE'] === 'full';
const KIB = 1024;
const MIB = 1024 * KIB;
const LARGEST_BYTES = (FULL ? 50 : 2) * MIB;
/** How many times the largest message may stand in memory: as it comes, in one piece, packed, sealed, and once more on its way to the disk. */
const MOST_COPIES = 6;
/** What the process takes beside it, garbage included. */
const SPARE_BYTES = 96 * MIB;
const CHUNK_BYTES = 64 * KIB;

let hub: TestHub;
let mllp: MllpServer;
let server: InboundHttpServer;

beforeAll(async () => {
  hub = await openTestHub();
  const source = resolveSource('mllp', 1, {}, { timeZone: 'UTC' });
  mllp = await MllpServer.listen({
    host: '127.0.0.1',
    port: 0,
    intake: hub.intake,
    admit: () => source,
    logger: createLogger('ingest', 'silent'),
  });
  server = await startInboundHttp({
    sources: configuredSources({}, 'UTC'),
    bodyBytes: 50 * MIB,
    eventBytes: MIB,
    listen: { host: '127.0.0.1', port: 0 },
    intake: hub.intake,
    queryAddress: () => undefined,
  });
});
afterAll(async () => {
  await mllp.stop();
  await server.close();
  await hub.close();
});

/** A message of that many bytes, nearly all of them one document. */
function withDocument(controlId: string, bytes: number): Buffer {
  const head = `MSH|^~\\&|SCAN|H|||20261120101500||MDM^T02|${controlId}|P|2.5.1\rPID|1||L1^^^MERCY^MR||LARGE^ADA\rOBX|1|ED|PDF||^application^pdf^Base64^`;
  return Buffer.from(`${head}${incompressible(bytes - head.length - 2, controlId)}|\r`);
}

/** Most bytes that buffers took beyond what they did before, while something ran. */
async function mostBuffers(work: () => Promise<void>): Promise<number> {
  const taken = (): number => process.memoryUsage().arrayBuffers;
  const before = taken();
  let most = before;
  const timer = setInterval(() => (most = Math.max(most, taken())), 5);
  try {
    await work();
  } finally {
    clearInterval(timer);
  }
  return most - before;
}

it('a message with a large document is answered AA over MLLP, stored to the byte, and bounds what it takes of memory', async () => {
  const message = withDocument('LARGE', LARGEST_BYTES - KIB);
  const socket = connect(mllp.port, '127.0.0.1');
  await once(socket, 'connect');
  const most = await mostBuffers(async () => {
    let answer = '';
    const answered = new Promise<void>((resolve) => {
      socket.on('data', (chunk: Buffer) => {
        answer += chunk.toString('latin1');
        if (chunk.includes(FS)) resolve();
      });
    });
    socket.write(frameOf(message));
    await answered;
    expect(answer).toContain('MSA|AA|LARGE');
  });
  socket.destroy();
  const stored = (await hub.events()).find(({ header }) => header?.controlId === 'LARGE');
  expect(stored?.content?.equals(message)).toBe(true);
  expect(most).toBeLessThan(MOST_COPIES * LARGEST_BYTES + SPARE_BYTES);
});

it('four times the document takes four times the work to frame and read', () => {
  const source = builtInSource('mllp');
  const work = (bytes: number): number => {
    const frame = frameOf(withDocument('WORK', bytes));
    return workOf(() => {
      const framing = new MllpFraming();
      const frames = [];
      for (let at = 0; at < frame.length; at += CHUNK_BYTES)
        frames.push(...framing.push(frame.subarray(at, at + CHUNK_BYTES)));
      const [whole] = frames;
      const received = { ...hl7('', source), bytes: whole!.bytes, hl7: readHl7(whole!.bytes) };
      expect(readReceived(received).problem).toBeUndefined();
    });
  };
  expect(work(LARGEST_BYTES - KIB) / work(LARGEST_BYTES / 4)).toBeLessThan(4.5);
});

it('NDJSON of that length is answered line by line, and never stands in memory as a whole', async () => {
  const line = (index: number): string =>
    `${JSON.stringify({ eventId: `N${index}`, type: 'ward.cleaned', ts: '2026-01-01T00:00:00Z', data: { text: incompressible(4 * KIB, 'n') } })}\n`;
  const lines = Math.floor(LARGEST_BYTES / line(0).length);
  const request = http.request(`${server.url}/events/batch`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-ndjson' },
  });
  const counts = { accepted: 0, other: 0 };
  const most = await mostBuffers(async () => {
    const response = once(request, 'response') as Promise<[http.IncomingMessage]>;
    const sent = pipeline(
      Readable.from(
        (function* () {
          for (let index = 0; index < lines; index += 1) yield line(index);
        })(),
      ),
      request,
    );
    for await (const receipt of createInterface({ input: (await response)[0] })) {
      counts[(JSON.parse(receipt) as { status: string }).status === 'accepted' ? 'accepted' : 'other'] += 1;
    }
    await sent;
  });
  expect(counts).toEqual({ accepted: lines, other: 0 });
  expect(most).toBeLessThan(SPARE_BYTES);
});
