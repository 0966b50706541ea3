/**
 * Bench `mllp`: how long an acknowledgment takes, at a rate that the senders keep whatever the hub does (open loop), over 64 connections
 * into the real log: with the ingest role alone, and with all roles.
 *
 *   npm run bench -- mllp [--seconds n] [--connections n] [--rates 1000,10000] [--roles ingest|all]
 *
 * A latency is counted from the moment at which the message was to be sent, not from when it could be, so that a hub that makes its
 * senders wait cannot hide it (no coordinated omission). The senders are a thread of this process and share the machine with the hub.
 */
import { connect, type Socket } from 'node:net';
import { once } from 'node:events';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { frameOf } from '../src/inbound/mllp/framing.js';
import { startHubProcess, temporaryDataDir } from '../test/support/hub-process.js';
import { cpuPerMessage, numberArgument, textArgument, type Figures } from './support.js';

/** A hub runs for months: what is measured is not the first seconds of its code. */
const WARM_UP = { rate: 2_000, seconds: 10 };
/** Different people that the messages are about. */
const PEOPLE = 20_000;

interface Task {
  readonly address: string;
  readonly connections: number;
  /** Messages a second over all connections. */
  readonly rate: number;
  readonly seconds: number;
  readonly seed: string;
}

interface Outcome {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  readonly answersPerSecond: number;
  readonly refused: number;
  /** What the first refusal said. */
  readonly why: string;
}

/** Figures of one run; see the file's head for the arguments. */
export async function run(args: readonly string[]): Promise<Figures> {
  const seconds = numberArgument(args, 'seconds', 20);
  const connections = numberArgument(args, 'connections', 64);
  const rates = textArgument(args, 'rates', '1000,10000').split(',').map(Number);
  const roles = textArgument(args, 'roles', 'both');
  const figures: Figures = {};
  for (const [name, given] of [
    ['ingest', ['--roles', 'ingest']],
    ['all', []],
  ] as const) {
    if (roles !== 'both' && roles !== name) continue;
    const { dataDir, remove } = await temporaryDataDir();
    const hub = await startHubProcess(dataDir, {}, given);
    try {
      const task = { address: hub.run.mllp, connections };
      await measure({ ...task, ...WARM_UP, seed: 'warm' });
      for (const rate of rates) {
        const { result, ingestUs, postgresUs } = await cpuPerMessage(hub, rate * seconds, () =>
          measure({ ...task, rate, seconds, seed: `${rate}` }),
        );
        const { p50Ms, p99Ms, maxMs, answersPerSecond, refused, why } = result;
        if (refused > 0) throw new Error(`${refused} messages were not accepted: ${why}`);
        const goal = rate <= 1_000 ? '≤ 10' : rate <= 10_000 ? '≤ 50' : '';
        const of = `${name}Roles${rate}PerSecond`;
        figures[`${of}P50Ms`] = { values: [p50Ms], unit: 'ms', goal: '' };
        figures[`${of}P99Ms`] = { values: [p99Ms], unit: 'ms', goal };
        figures[`${of}MaxMs`] = { values: [maxMs], unit: 'ms', goal: '' };
        figures[`${of}Answers`] = { values: [answersPerSecond], unit: 'answers/s', goal: '' };
        figures[`${of}IngestCpuUs`] = { values: [ingestUs], unit: 'µs/message', goal: '' };
        figures[`${of}PostgresCpuUs`] = { values: [postgresUs], unit: 'µs/message', goal: '' };
      }
    } finally {
      await hub.stop();
      await remove();
    }
  }
  return figures;
}

/** Sends at the task's rate from a thread of its own. */
export async function measure(task: Task): Promise<Outcome> {
  const worker = new Worker(new URL(import.meta.url), { workerData: task });
  try {
    return await new Promise<Outcome>((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
  } finally {
    await worker.terminate();
  }
}

function message(seed: string, index: number): Buffer {
  const person = (index * 7919) % PEOPLE;
  return Buffer.from(
    `MSH|^~\\&|ADT|MERCY|HUB|MAIN|20260301101500||ADT^A08^ADT_A01|${seed}-${index}|P|2.5.1\rEVN|A08|20260301101500\r` +
      `PID|1||B${person}^^^BENCH^MR||Bench${person}^Person||19${10 + (person % 80)}0${1 + (person % 9)}1${person % 9}|F|||${index % 100} Main St^^Springfield^IL^62701\r` +
      `PV1|1|I|W^${index % 400}^1^MERCY\r`,
  );
}

/** In the thread: one connection's messages wait for their answers in order. */
interface Line {
  readonly socket: Socket;
  /** When each unanswered message was to be sent, in milliseconds since the start. */
  readonly due: number[];
}

async function send({ address, connections, rate, seconds, seed }: Task): Promise<Outcome> {
  const [host, port] = address.split(':') as [string, string];
  const total = Math.round(rate * seconds);
  const frames = Array.from({ length: total }, (_, index) => frameOf(message(seed, index)));
  const latencies = new Float64Array(total);
  let [answers, refused, why] = [0, 0, ''];
  let finished = (): void => undefined;
  const done = new Promise<void>((resolve) => (finished = resolve));
  let started = 0;
  const lines: Line[] = await Promise.all(
    Array.from({ length: connections }, async () => {
      const socket = connect(Number(port), host);
      socket.setNoDelay(true);
      await once(socket, 'connect');
      const line: Line = { socket, due: [] };
      socket.on('data', (chunk: Buffer) => {
        const now = performance.now() - started;
        const refusals = occurrences(chunk, 'MSA|AE') + occurrences(chunk, 'MSA|AR');
        if (refusals > 0 && refused === 0) why = /\rERR\|[^\r]*/.exec(chunk.toString('latin1'))?.[0].trim() ?? '';
        refused += refusals;
        for (let at = chunk.indexOf(0x1c); at >= 0; at = chunk.indexOf(0x1c, at + 1)) {
          latencies[answers] = now - line.due.shift()!;
          answers += 1;
        }
        if (answers === total) finished();
      });
      return line;
    }),
  );
  started = performance.now();
  let sent = 0;
  const tick = (): void => {
    const now = performance.now() - started;
    for (; sent < total && (sent * 1000) / rate <= now; sent += 1) {
      const line = lines[sent % connections]!;
      line.due.push((sent * 1000) / rate);
      line.socket.write(frames[sent]!);
    }
    if (sent < total) setTimeout(tick, 1);
  };
  tick();
  await done;
  const elapsed = (performance.now() - started) / 1000;
  for (const { socket } of lines) socket.destroy();
  latencies.sort();
  const quantile = (share: number): number => latencies[Math.min(total - 1, Math.floor(total * share))]!;
  return {
    p50Ms: quantile(0.5),
    p99Ms: quantile(0.99),
    maxMs: quantile(1),
    answersPerSecond: total / elapsed,
    refused,
    why,
  };
}

function occurrences(chunk: Buffer, text: string): number {
  let count = 0;
  for (let at = chunk.indexOf(text); at >= 0; at = chunk.indexOf(text, at + 1)) count += 1;
  return count;
}

if (!isMainThread) parentPort?.postMessage(await send(workerData as Task));
