/** `GET /receipts/<id>`: where a message stands, and which projections have reached it (API.md §3). */
import type { Request, Response, Router } from 'express';
import express from 'express';
import type pg from 'pg';
import { CONTROL_ID_PURPOSE, MASTER } from '../../projections/master/index.js';
import { masterTables } from '../../projections/master/tables.js';
import { mayAct, principalOf, type AuthRole, type Principal } from '../auth/principal.js';
import { duplicateKey } from '../inbound/duplicates.js';
import { PROBLEMS, sendProblem, type Problem } from '../inbound/http/problem.js';
import type { Position } from '../log/event-log.js';
import { servingBuild } from '../projecting/builds.js';
import type { Watermarks } from '../projecting/watermark.js';
import type { KeyedHashes } from '../sealing/hashes.js';
import { readUuid } from './ids.js';

export interface ReceiptsOptions {
  readonly pool: pg.Pool;
  readonly watermarks: Pick<Watermarks, 'waitUntilProjected'>;
  readonly hashes: Pick<KeyedHashes, 'uuid' | 'hash'>;
}

interface StoredReceipt {
  readonly id: string;
  readonly status: string;
  readonly position: Position;
  readonly patientId: string | null;
}

const DEFAULT_TIMEOUT_MS = 10_000;
const LONGEST_TIMEOUT_MS = 60_000;
const SOURCE_HEADER = 'x-anamnesis-source';

/** May read messages of every source. */
const READERS: readonly AuthRole[] = ['auditor', 'clinician', 'engineer'];

const BAD_WAIT: Problem = {
  status: 400,
  code: 'BAD_WAIT',
  title: 'wait names projections, separated by commas; timeout is a time such as 2s or 500ms, at most 60s',
};

/** Milliseconds of `2s`, `500ms` or a plain number of seconds; undefined for anything else. */
export function readTimeout(text: string): number | undefined {
  const match = /^(\d{1,5}(?:\.\d{1,3})?)(ms|s)?$/.exec(text);
  if (match === null) return undefined;
  const milliseconds = Number(match[1]) * (match[2] === 'ms' ? 1 : 1000);
  return milliseconds <= LONGEST_TIMEOUT_MS ? milliseconds : undefined;
}

/** The routes, to be mounted at the root. */
export function receiptRoutes(options: ReceiptsOptions): Router {
  const router = express.Router();
  router.get(
    '/receipts/:id',
    (request: Request<{ id: string }>, response: Response, next: (error?: unknown) => void) => {
      answer(options, request, response).catch(next);
    },
  );
  return router;
}

async function answer(options: ReceiptsOptions, request: Request<{ id: string }>, response: Response): Promise<void> {
  const wait = textOf(request.query['wait']);
  const timeoutMs = readTimeout(textOf(request.query['timeout']) || `${DEFAULT_TIMEOUT_MS}ms`);
  const awaited = wait === '' ? [] : wait.split(',');
  const known = await projectionNames(options.pool);
  if (timeoutMs === undefined || awaited.some((name) => !known.includes(name))) return sendProblem(response, BAD_WAIT);
  const bound = boundTo(principalOf(request));
  const named = request.get(SOURCE_HEADER);
  if (named !== undefined && bound?.includes(named) === false) return sendProblem(response, PROBLEMS.sourceNotYours);
  const sources = named === undefined ? (bound ?? ['http']) : [named];
  const receipt = await find(options, request.params.id, sources, bound);
  if (receipt === undefined) return sendProblem(response, PROBLEMS.notFound);
  const reached = await Promise.all(
    known.map(async (name) => {
      const timeout = awaited.includes(name) ? timeoutMs : 0;
      const watermark = await options.watermarks.waitUntilProjected(name, receipt.position, timeout);
      return [name, watermark !== undefined] as const;
    }),
  );
  response
    .status(200)
    .set('cache-control', 'no-store')
    .json({
      id: receipt.id,
      // A sender that asks by its own id knows it; the hub keeps it sealed.
      ...(readUuid(request.params.id) === receipt.id ? {} : { eventId: request.params.id }),
      status: receipt.status,
      position: receipt.position.toString(),
      ...(receipt.patientId === null ? {} : { patientId: receipt.patientId }),
      projections: Object.fromEntries(reached),
      projectedMs: await projectedMs(options.pool, receipt.position),
    });
}

/** Sources whose messages somebody may ask for by the ids that senders give; undefined for whoever may read all messages anyway. */
function boundTo(principal: Principal | undefined): readonly string[] | undefined {
  return principal === undefined || mayAct(principal, READERS) ? undefined : principal.sources;
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

async function projectionNames(pool: pg.Pool): Promise<string[]> {
  const { rows } = await pool.query<{ name: string }>('select name from hub.projection where serving order by name');
  return rows.map(({ name }) => name);
}

/**
 * Milliseconds from the stamp of the message's append batch until each projection had it. Known of live builds for an hour; the others, and
 * those that do not have it yet, are left out.
 */
async function projectedMs(pool: pg.Pool, position: Position): Promise<Record<string, number>> {
  const master = await servingBuild(pool, MASTER);
  if (master === undefined) return {};
  const { rows } = await pool.query<{ name: string; milliseconds: number }>(
    `select p.name, greatest(0, extract(epoch from d.at - b.recorded_at) * 1000)::float8 as milliseconds
     from (select recorded_at from ${masterTables(master).clock} where pos >= $1 order by pos limit 1) b, hub.projection p
       cross join lateral (select at, position from hub.projected d where d.projection = p.name and d.version = p.version and d.position >= $1
         order by d.position limit 1) d
     where p.serving and exists (select from hub.projected e where e.projection = p.name and e.version = p.version and e.position < $1)
     order by p.name`,
    [position.toString()],
  );
  return Object.fromEntries(rows.map(({ name, milliseconds }) => [name, Math.round(milliseconds)]));
}

/**
 * By the hub's id, which nobody can guess; else by the sender's id of an event of those sources; else by the control id of any message that
 * who asks may know of.
 */
async function find(
  options: ReceiptsOptions,
  id: string,
  sources: readonly string[],
  bound: readonly string[] | undefined,
): Promise<StoredReceipt | undefined> {
  const { pool, hashes } = options;
  const columns = 'event_id as id, status, position, patient_id as "patientId"';
  const uuid = readUuid(id);
  if (uuid !== undefined) {
    const { rows } = await pool.query<StoredReceipt>(
      `select ${columns} from inbound.message where event_id = $1 and status <> 'part'`,
      [uuid],
    );
    if (rows[0] !== undefined) return rows[0];
  }
  const keys = sources.map((sourceId) => duplicateKey(hashes, { sourceId, kind: 'event', controlId: id }));
  const { rows } = await pool.query<StoredReceipt>(
    `select ${columns} from inbound.message where duplicate_key = any ($1::uuid[]) and status <> 'part' order by position limit 1`,
    [keys],
  );
  return rows[0] ?? (await findByControlId(pool, hashes.hash(CONTROL_ID_PURPOSE, id), columns, bound));
}

async function findByControlId(
  pool: pg.Pool,
  hash: Buffer,
  columns: string,
  bound: readonly string[] | undefined,
): Promise<StoredReceipt | undefined> {
  const { rows: serving } = await pool.query<{ version: number }>(
    "select version from hub.projection where name = 'master' and serving",
  );
  const [build] = serving;
  if (build === undefined) return undefined;
  const { rows } = await pool.query<StoredReceipt>(
    `select ${columns} from inbound.message where event_id in
       (select event_id from ${masterTables(build.version).message} where control_hash = $1 and ($2::text[] is null or source = any ($2)))
       order by position limit 1`,
    [hash, bound ?? null],
  );
  return rows[0];
}
