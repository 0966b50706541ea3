/**
 * Bench `http`: `POST /events` into a whole hub at a fixed rate, whatever the hub does (open loop). A latency counts from the moment at which the
 * request was to be sent, so a hub that stalls is not spared the requests that wait for it. `--rate n` a second (1,000), `--seconds n` (10).
 */
import http from 'node:http';
import { startHubProcess, temporaryDataDir } from '../test/support/hub-process.js';
import { cpuPerMessage, numberArgument, type Figures } from './support.js';

const CONNECTIONS = 64;
const WARM_UP_SECONDS = 2;

export async function run(args: readonly string[]): Promise<Figures> {
  const rate = numberArgument(args, 'rate', 1_000);
  const seconds = numberArgument(args, 'seconds', 10);
  const { dataDir, remove } = await temporaryDataDir();
  const hub = await startHubProcess(dataDir);
  const agent = new http.Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  try {
    await load(hub.run.http, agent, rate, WARM_UP_SECONDS, 'warm');
    const spent = await cpuPerMessage(hub, rate * seconds, () => load(hub.run.http, agent, rate, seconds, 'run'));
    const latencies = spent.result.sort((a, b) => a - b);
    const at = (share: number): number =>
      latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))] ?? 0;
    return {
      eventsP50Ms: { values: [at(0.5)], unit: 'ms', goal: '' },
      eventsP99Ms: { values: [at(0.99)], unit: 'ms', goal: rate === 1_000 ? '≤ 50' : '' },
      eventsMostMs: { values: [at(1)], unit: 'ms', goal: '' },
      eventsIngestCpuUs: { values: [spent.ingestUs], unit: 'µs/event', goal: '' },
      eventsPostgresCpuUs: { values: [spent.postgresUs], unit: 'µs/event', goal: '' },
    };
  } finally {
    agent.destroy();
    await hub.stop();
    await remove();
  }
}

/** Milliseconds of each request from its intended time to the end of its answer. */
async function load(url: string, agent: http.Agent, rate: number, seconds: number, name: string): Promise<number[]> {
  const latencies: number[] = [];
  const started = performance.now();
  const under: Promise<void>[] = [];
  for (let count = 0; count < rate * seconds; count += 1) {
    const intended = started + (count * 1000) / rate;
    const early = intended - performance.now();
    if (early > 0) await new Promise((resolve) => setTimeout(resolve, early));
    under.push(post(url, agent, `${name}-${count}`).then(() => void latencies.push(performance.now() - intended)));
  }
  await Promise.all(under);
  return latencies;
}

function post(url: string, agent: http.Agent, id: string): Promise<void> {
  const body = JSON.stringify({
    eventId: id,
    type: 'patient.attributes',
    ts: '2026-03-01T10:00:00Z',
    patient: { identifiers: [{ authority: 'BENCH', value: id, type: 'MR' }] },
    data: { favoriteColor: 'teal' },
  });
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
    const request = http.request(`${url}/events`, { method: 'POST', agent, headers }, (response) => {
      response.resume();
      response.on('error', reject);
      response.on('end', () => {
        if (response.statusCode === 202) resolve();
        else reject(new Error(`answered ${response.statusCode}`));
      });
    });
    request.on('error', reject);
    request.end(body);
  });
}
