/**
 * Bench `inbound`: reading HL7 v2 against other readers (inbound-parsing.ts). Then MLLP: frames received and answered over 64
 * connections, into a log that takes everything at once; the sender is a thread of the same process.
 */
import { connect } from 'node:net';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { frameOf } from '../src/inbound/mllp/framing.js';
import { MllpServer } from '../src/inbound/mllp/server.js';
import type { Intake } from '../src/inbound/received.js';
import { builtInSource } from '../src/inbound/source.js';
import { parsing, SMALL_ADT } from './inbound-parsing.js';
import type { Figures } from './support.js';

/** Runs the bench; about three and a half minutes. */
export async function run(): Promise<Figures> {
  const figures: Figures = parsing();
  const answered: number[] = [];
  for (let round = 0; round < 3; round += 1) answered.push(await answeredPerSecond());
  figures['mllpPerSecond'] = { values: answered, unit: 'messages/s', goal: '≥ 20000' };
  return figures;
}

const CONNECTIONS = 64;
const FRAMES_PER_CONNECTION = 1500;
/** Frames that a sender has on their way before it waits for answers. */
const FRAMES_AHEAD = 20;

async function answeredPerSecond(): Promise<number> {
  const intake: Intake = {
    async receive() {
      return {
        status: 'accepted',
        messageId: 'bench',
        position: 1n,
        recordedAt: '2026-03-01T10:15:30.123456Z',
        answer: 'AA',
      };
    },
  };
  const source = builtInSource('mllp');
  const server = await MllpServer.listen({ host: '127.0.0.1', port: 0, intake, admit: () => source });
  const worker = new Worker(new URL(import.meta.url), { workerData: { port: server.port } });
  const seconds = await new Promise<number>((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
  await worker.terminate();
  await server.stop();
  return (CONNECTIONS * FRAMES_PER_CONNECTION) / seconds;
}

/** In the thread: sends and counts answers; posts the seconds from the first frame to the last answer. */
async function send(port: number): Promise<void> {
  const frame = frameOf(SMALL_ADT);
  const started = performance.now();
  await Promise.all(
    Array.from(
      { length: CONNECTIONS },
      () =>
        new Promise<void>((resolve, reject) => {
          const socket = connect(port, '127.0.0.1');
          let sent = 0;
          let answers = 0;
          const pump = (): void => {
            while (sent < FRAMES_PER_CONNECTION && sent - answers < FRAMES_AHEAD) {
              socket.write(frame);
              sent += 1;
            }
          };
          socket.on('connect', pump);
          socket.on('error', reject);
          socket.on('data', (chunk) => {
            for (let at = chunk.indexOf(0x1c); at >= 0; at = chunk.indexOf(0x1c, at + 1)) answers += 1;
            if (answers < FRAMES_PER_CONNECTION) pump();
            else {
              socket.destroy();
              resolve();
            }
          });
        }),
    ),
  );
  parentPort?.postMessage((performance.now() - started) / 1000);
}

if (!isMainThread) await send((workerData as { port: number }).port);
