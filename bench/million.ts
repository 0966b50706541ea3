/**
 * Bench `million`: the whole hub as a process of its own, from the socket to the last projection, against a bare COPY of the same final
 * rows into the same tables, indexes included, in the same run.
 *
 *   npm run bench -- million [--transport mllp|http] [--messages n] [--size bytes] [--connections n] [--seed n]
 *
 * `mllp` sends HL7 v2 over that many connections, one message in flight on each, as hospitals do; `http` sends clinical events to
 * /events/batch, a thousand lines a request. The generator shares the machine with the hub.
 */
import { hash } from 'node:crypto';
import type pg from 'pg';
import { openClient } from '../src/database/database.js';
import { simulate } from '../src/simulator/simulate.js';
import { answerCode, MllpClient } from '../test/support/mllp-client.js';
import {
  graphql,
  pidOfRole,
  startHubProcess,
  temporaryDataDir,
  untilCaughtUp,
  type HubProcess,
} from '../test/support/hub-process.js';
import { numberArgument, peakMemoryMb, quantile, secondsOf, type Figures } from './support.js';

/** Messages per person, as in the simulated hospital. */
const MESSAGES_PER_PATIENT = 10;
const LINES_PER_REQUEST = 1_000;
const REQUESTS_AT_ONCE = 4;
/** Every so many acknowledged messages one is followed until it can be queried. */
const FOLLOW_EVERY = 200;

interface Load {
  readonly sent: number;
  readonly secondsToLastAck: number;
  readonly ackMs: readonly number[];
  readonly queryableMs: readonly number[];
}

/** Figures of one run; see the file's head for the arguments. */
export async function run(args: readonly string[]): Promise<Figures> {
  const messages = numberArgument(args, 'messages', 1_000_000);
  const sizeBytes = numberArgument(args, 'size', 0);
  const connections = numberArgument(args, 'connections', 64);
  const seed = numberArgument(args, 'seed', 1);
  const transport = args.includes('--transport') ? args[args.indexOf('--transport') + 1] : 'mllp';
  if (transport !== 'mllp' && transport !== 'http') throw new Error('--transport wants mllp or http');

  // The simulated hospital repeats some messages to the byte; those make no second event.
  const distinct = new Set<string>();
  const { dataDir, remove } = await temporaryDataDir();
  const hub = await startHubProcess(dataDir);
  try {
    const load =
      transport === 'mllp' ? await overMllp(hub, bodies('hl7'), connections) : await overHttp(hub, bodies('event'));
    const behind = await secondsOf(() => untilCaughtUp(hub.run.http, 3_600_000));
    const { log } = await graphql<{ log: { events: string } }>(hub.run.http, '{ log { events } }');
    if (Number(log.events) < distinct.size)
      throw new Error(`${distinct.size} different messages were acknowledged, ${log.events} events are in the log`);
    const memory = await memoryOfRoles(hub);
    const floor = await floorSeconds(hub.run.postgres);
    const all = load.secondsToLastAck + behind;
    const figures: Figures = {
      messages: { values: [load.sent], unit: 'messages', goal: '' },
      differentMessages: { values: [distinct.size], unit: 'messages', goal: '' },
      secondsToLastAck: { values: [load.secondsToLastAck], unit: 's', goal: '' },
      secondsToAllQueryable: { values: [all], unit: 's', goal: '' },
      messagesPerSecond: { values: [load.sent / all], unit: 'messages/s', goal: '≥ 16,667' },
      secondsBehindLastAck: { values: [behind], unit: 's', goal: '≤ 2' },
      floorSeconds: { values: [floor], unit: 's', goal: '' },
      ratioToFloor: { values: [all / floor], unit: 'ratio', goal: '≤ 2' },
      ackP50Ms: { values: [quantile(load.ackMs, 0.5)], unit: 'ms', goal: '' },
      ...memory,
      ackP99Ms: { values: [quantile(load.ackMs, 0.99)], unit: 'ms', goal: '≤ 50' },
    };
    if (load.queryableMs.length === 0) return figures;
    return {
      ...figures,
      ackToQueryableP50Ms: { values: [quantile(load.queryableMs, 0.5)], unit: 'ms', goal: '' },
      ackToQueryableP99Ms: { values: [quantile(load.queryableMs, 0.99)], unit: 'ms', goal: '≤ 1000' },
    };
  } finally {
    await hub.stop();
    await remove();
  }

  /** More is simulated than is sent: the hospital sends other kinds as well. */
  function* bodies(kind: 'hl7' | 'event'): Generator<Buffer> {
    let left = messages;
    for (let round = 0; left > 0; round += 1) {
      const options = {
        patients: Math.ceil(messages / MESSAGES_PER_PATIENT),
        messages: messages * 2,
        seed: seed + round,
      };
      for (const message of simulate({
        ...options,
        sizeBytes: sizeBytes || undefined,
        start: '2026-03-01T00:00:00.000000Z',
      })) {
        if (message.kind !== kind) continue;
        distinct.add(hash('sha256', message.bytes, 'base64'));
        yield message.bytes;
        left -= 1;
        if (left === 0) return;
      }
    }
  }
}

async function overMllp(hub: HubProcess, source: Generator<Buffer>, connections: number): Promise<Load> {
  const ackMs: number[] = [];
  const followed: Promise<number>[] = [];
  const worker = async (): Promise<void> => {
    const client = new MllpClient(hub.run.mllp, 60_000);
    for (const bytes of source) {
      const started = performance.now();
      const code = answerCode(await client.send(bytes));
      ackMs.push(performance.now() - started);
      if (code !== 'AA' && code !== 'CA') throw new Error(`a simulated message was answered ${code}`);
      if (ackMs.length % FOLLOW_EVERY === 0) followed.push(follow(hub, bytes));
    }
    client.close();
  };
  const secondsToLastAck = await secondsOf(() => Promise.all(Array.from({ length: connections }, worker)));
  return { sent: ackMs.length, secondsToLastAck, ackMs, queryableMs: await Promise.all(followed) };
}

/** Milliseconds from the answer until master, search and the anonymized model have the message. */
async function follow(hub: HubProcess, bytes: Buffer): Promise<number> {
  const controlId = bytes.toString('latin1').split('\r', 1)[0]?.split('|')[9] ?? '';
  const started = performance.now();
  const url = `${hub.run.http}/receipts/${encodeURIComponent(controlId)}?wait=master,search,anonymized&timeout=60s`;
  for (;;) {
    const response = await fetch(url);
    const receipt = (await response.json()) as { projections?: Record<string, boolean> };
    // Until master has it, a control id leads nowhere yet.
    if (response.ok && Object.values(receipt.projections ?? { none: false }).every(Boolean))
      return performance.now() - started;
  }
}

async function overHttp(hub: HubProcess, source: Generator<Buffer>): Promise<Load> {
  const ackMs: number[] = [];
  let sent = 0;
  const worker = async (): Promise<void> => {
    for (;;) {
      const lines: Buffer[] = [];
      for (let next = source.next(); next.done !== true; next = source.next()) {
        lines.push(next.value, Buffer.from('\n'));
        if (lines.length === LINES_PER_REQUEST * 2) break;
      }
      if (lines.length === 0) return;
      const started = performance.now();
      const response = await fetch(`${hub.run.http}/events/batch`, {
        method: 'POST',
        headers: { 'content-type': 'application/x-ndjson' },
        body: new Uint8Array(Buffer.concat(lines)),
      });
      await response.arrayBuffer();
      if (!response.ok) throw new Error(`a batch was answered ${response.status}`);
      ackMs.push(performance.now() - started);
      sent += lines.length / 2;
    }
  };
  const secondsToLastAck = await secondsOf(() => Promise.all(Array.from({ length: REQUESTS_AT_ONCE }, worker)));
  return { sent, secondsToLastAck, ackMs, queryableMs: [] };
}

/** Most memory that each Node process of the hub has had. */
async function memoryOfRoles(hub: HubProcess): Promise<Figures> {
  const figures: Record<string, Figures[string]> = {};
  for (const role of ['ingest', 'project', 'query']) {
    const pid = await pidOfRole(hub, role);
    if (pid === undefined) continue;
    figures[`${role}PeakMemoryMb`] = { values: [await peakMemoryMb(pid)], unit: 'MB', goal: '≤ 512' };
  }
  return figures;
}

/** A COPY of every final row of log, identity, duplicates and projections into empty tables of the same form, one after another. */
async function floorSeconds(url: string): Promise<number> {
  const client = await openClient(url);
  try {
    const { rows } = await client.query<{ schema: string; name: string; kind: string }>(`
      select n.nspname as schema, c.relname as name, c.relkind as kind from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where n.nspname in ('log', 'sealing', 'identity', 'inbound', 'master', 'search', 'volume', 'anonymized_private')
        and c.relkind in ('r', 'p') and not c.relispartition`);
    await client.query('create schema bench_floor');
    const { rows: settings } = await client.query<{ folder: string }>(
      "select current_setting('data_directory') as folder",
    );
    const folder = (settings[0] as { folder: string }).folder;
    let seconds = 0;
    for (const [index, table] of rows.entries())
      seconds += await floorOf(client, table, `${folder}/bench-floor-${index}`);
    return seconds;
  } finally {
    await client.end();
  }
}

async function floorOf(client: pg.Client, table: { schema: string; name: string }, file: string): Promise<number> {
  const copy = `bench_floor."${table.schema}_${table.name}"`;
  const { rows } = await client.query<{ columns: string }>(
    `select string_agg(quote_ident(attname), ', ' order by attnum) as columns from pg_attribute
     where attrelid = to_regclass($1) and attnum > 0 and not attisdropped and attgenerated = ''`,
    [`"${table.schema}"."${table.name}"`],
  );
  const columns = (rows[0] as { columns: string }).columns;
  await client.query(
    `copy (select ${columns} from "${table.schema}"."${table.name}") to '${file}' with (format binary)`,
  );
  await client.query(`create table ${copy} (like "${table.schema}"."${table.name}" including all)`);
  const seconds = await secondsOf(() => client.query(`copy ${copy} (${columns}) from '${file}' with (format binary)`));
  await client.query(`drop table ${copy}; copy (select) to '${file}'`);
  return seconds;
}
