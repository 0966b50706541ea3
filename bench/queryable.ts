/**
 * Bench `queryable`: how long it takes from the append of a message until master, search and the anonymized model have it, in a whole hub at a
 * rate that the senders keep (open loop, 64 connections over MLLP), on a quiet hub and while all three are rebuilt; and what a message then costs the
 * project role and PostgreSQL.
 *
 *   npm run bench -- queryable [--rates 200,1000] [--seconds n] [--backlog n] [--pace n] [--connections n]
 *
 * `--backlog`: messages in the log before, for the rebuilds to have something to do (0: without rebuilds). `--pace`: `projections.livePaceMs`.
 * The time of a message begins at the writer's stamp of its append batch and ends at the commit of the last of the three.
 */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import type pg from 'pg';
import { openClient } from '../src/database/database.js';
import { servingBuild } from '../src/projecting/builds.js';
import {
  graphql,
  pidOfRole,
  startHubProcess,
  temporaryDataDir,
  until,
  untilCaughtUp,
  type HubProcess,
} from '../test/support/hub-process.js';
import { measure } from './mllp.js';
import { cpuSecondsOf, numberArgument, postgresCpuSeconds, quantile, textArgument, type Figures } from './support.js';

const PROJECTIONS = ['master', 'search', 'anonymized'];
const BACKLOG_RATE = 3_000;
const CANCEL = 'mutation ($name: String!) { cancelRebuild(name: $name) { name } }';
const REBUILD = 'mutation ($name: String!) { rebuildProjection(name: $name, verify: false, switch: false) { name } }';

/** Figures of one run; see the file's head for the arguments. */
export async function run(args: readonly string[]): Promise<Figures> {
  const rates = textArgument(args, 'rates', '200,1000').split(',').map(Number);
  const seconds = numberArgument(args, 'seconds', 10);
  const backlog = numberArgument(args, 'backlog', 20_000);
  const connections = numberArgument(args, 'connections', 64);
  const paceMs = numberArgument(args, 'pace', -1);
  const { dataDir, remove } = await temporaryDataDir();
  const config = path.join(path.dirname(dataDir), 'queryable.yaml');
  await writeFile(config, paceMs < 0 ? '{}\n' : `projections:\n  livePaceMs: ${paceMs}\n`);
  const hub = await startHubProcess(dataDir, {}, ['--config', config]);
  const database = await openClient(hub.run.postgres);
  const figures: Figures = {};
  try {
    const task = { address: hub.run.mllp, connections };
    await measure({
      ...task,
      rate: BACKLOG_RATE,
      seconds: Math.max(backlog, BACKLOG_RATE) / BACKLOG_RATE,
      seed: 'old',
    });
    await untilCaughtUp(hub.run.http);
    for (const rebuilding of backlog > 0 ? [false, true] : [false]) {
      for (const rate of rates) {
        const send = () => measure({ ...task, rate, seconds, seed: `${rate}-${rebuilding}` });
        const of = `${rebuilding ? 'rebuilding' : 'live'}${rate}PerSecond`;
        Object.assign(figures, await measured(hub, database, of, rate * seconds, rebuilding, send));
      }
    }
    return figures;
  } finally {
    await database.end();
    await hub.stop();
    await remove();
  }
}

async function measured(
  hub: HubProcess,
  database: pg.Client,
  of: string,
  messages: number,
  rebuilding: boolean,
  send: () => ReturnType<typeof measure>,
): Promise<Figures> {
  const project = await pidOfRole(hub, 'project');
  if (project === undefined) throw new Error('the project role is not running');
  const before = await seen(hub, database, project);
  const stop = rebuilding ? rebuildWithoutEnd(hub) : async (): Promise<void> => undefined;
  const { answersPerSecond } = await send();
  await untilCaughtUp(hub.run.http);
  const after = await seen(hub, database, project);
  await stop();
  const delays = await delaysOf(database, before.head, after.head);
  const each = (key: 'projectSeconds' | 'postgresSeconds'): number => ((after[key] - before[key]) * 1e6) / messages;
  return {
    [`${of}QueryableP50Ms`]: { values: [quantile(delays, 0.5)], unit: 'ms', goal: '' },
    [`${of}QueryableP99Ms`]: { values: [quantile(delays, 0.99)], unit: 'ms', goal: '≤ 1000' },
    [`${of}Answers`]: { values: [answersPerSecond], unit: 'answers/s', goal: '' },
    [`${of}Transactions`]: { values: [(after.commits - before.commits) / messages], unit: 'per message', goal: '' },
    [`${of}BatchEvents`]: {
      values: [messages / Math.max(1, after.batches - before.batches)],
      unit: 'events',
      goal: '',
    },
    [`${of}ProjectCpuUs`]: { values: [each('projectSeconds')], unit: 'µs/message', goal: '' },
    [`${of}PostgresCpuUs`]: { values: [each('postgresSeconds')], unit: 'µs/message', goal: '' },
    ...(rebuilding
      ? {
          [`${of}RebuiltEvents`]: {
            values: [(after.rebuilt - before.rebuilt) / (after.at - before.at)],
            unit: 'events/s',
            goal: '',
          },
        }
      : {}),
  };
}

interface Seen {
  readonly at: number;
  readonly head: bigint;
  readonly commits: number;
  /** Live batches of master. */
  readonly batches: number;
  /** Events that rebuilds of master have passed. */
  readonly rebuilt: number;
  readonly projectSeconds: number;
  readonly postgresSeconds: number;
}

async function seen(hub: HubProcess, database: pg.Client, project: number): Promise<Seen> {
  const { rows } = await database.query<{ head: bigint | null; commits: bigint }>(
    `select (select max(pos) from ${await clockTable(database)}) as head,
       (select xact_commit from pg_stat_database where datname = current_database()) as commits`,
  );
  const metrics = await (await fetch(`${hub.run.http}/metrics`)).text();
  const metric = (name: string, mode: string): number =>
    Number(
      new RegExp(`^${name}\\{(?=[^}]*projection="master")(?=[^}]*mode="${mode}")[^}]*\\} (\\S+)`, 'm').exec(
        metrics,
      )?.[1] ?? 0,
    );
  return {
    at: performance.now() / 1_000,
    head: rows[0]?.head ?? 0n,
    commits: Number(rows[0]?.commits),
    batches: metric('anamnesis_projection_batch_events_count', 'live'),
    rebuilt: metric('anamnesis_projection_events_total', 'rebuild'),
    projectSeconds: await cpuSecondsOf(project),
    postgresSeconds: await postgresCpuSeconds(database),
  };
}

async function clockTable(database: pg.Client): Promise<string> {
  return `master.tx_clock_v${await servingBuild(database, 'master')}`;
}

/** Milliseconds from the stamp of each event of the append batches in between until the last of the serving builds had it. */
async function delaysOf(database: pg.Client, after: bigint, to: bigint): Promise<number[]> {
  const { rows } = await database.query<{ events: bigint; ms: number }>(
    `with batches as (select recorded_at, pos, pos - lag(pos, 1, $1::bigint) over (order by pos) as events
       from ${await clockTable(database)} where pos > $1 and pos <= $2)
     select b.events, (extract(epoch from max(r.at) - b.recorded_at) * 1000)::float8 as ms
       from batches b cross join hub.projection p
       cross join lateral (select at from hub.projected where projection = p.name and version = p.version and position >= b.pos
         order by position limit 1) r
      where p.serving and p.name = any($3) group by b.pos, b.recorded_at, b.events`,
    [String(after), String(to), PROJECTIONS],
  );
  return rows.flatMap(({ events, ms }) => new Array<number>(Number(events)).fill(ms));
}

/** Rebuilds all three, again and again, none of which takes over: the one that serves stays the same. Returns what ends it. */
function rebuildWithoutEnd(hub: HubProcess): () => Promise<void> {
  let ended = false;
  const done = Promise.all(
    PROJECTIONS.map(async (name) => {
      while (!ended) {
        await graphql(hub.run.http, REBUILD, { name });
        await until(
          async () => ended || (await rebuildOf(hub, name))?.state === 'BUILT',
          (over) => over,
        );
        await graphql(hub.run.http, CANCEL, { name });
        await until(
          () => rebuildOf(hub, name),
          (rebuild) => rebuild === undefined,
        );
      }
    }),
  );
  return async () => {
    ended = true;
    await done;
  };
}

/** The build that is under way or waits, undefined where there is none. */
async function rebuildOf(hub: HubProcess, name: string): Promise<{ readonly state: string } | undefined> {
  const { projections } = await graphql<{
    projections: { name: string; builds: { state: string; serving: boolean }[] }[];
  }>(hub.run.http, '{ projections { name builds { state serving } } }');
  return projections
    .find((projection) => projection.name === name)
    ?.builds.find(({ state, serving }) => !serving && (state === 'BUILDING' || state === 'BUILT'));
}
