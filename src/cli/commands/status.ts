import type { Command } from 'commander';
import { setTimeout as pause } from 'node:timers/promises';
import { findHub, type HubClient } from '../hub-client.js';
import { withHub, type HubOptions } from '../options.js';
import { grouped, table } from '../output.js';

const STATUS = `{
  log { head clockMark events adapter id
    statistics { bytes blobs blobBytes rate roundEvents appendMs waitMs longestWaitMs signedHead { position time } } }
  projections { name version state position lagEvents lagSeconds rate batchEvents retries parked lastError rebuild { version progress rate etaSeconds } }
  sources { id kind enabled version }
  deadLetters(first: 1000) { nodes { status } pageInfo { hasNextPage } }
}`;

export interface StatusAnswer {
  readonly log: {
    head: string;
    clockMark: string;
    events: string;
    adapter: string;
    id: string;
    statistics: LogFiguresAnswer;
  };
  readonly projections: readonly ProjectionStatus[];
  readonly sources: readonly { id: string; kind: string; enabled: boolean; version: number }[];
  readonly deadLetters: { nodes: readonly { status: string }[]; pageInfo: { hasNextPage: boolean } };
}

interface LogFiguresAnswer {
  readonly bytes: string | null;
  readonly blobs: string;
  readonly blobBytes: string;
  readonly rate: number;
  readonly roundEvents: number;
  readonly appendMs: number;
  readonly waitMs: number;
  readonly longestWaitMs: number;
  readonly signedHead: { readonly position: string; readonly time: string } | null;
}

export interface ProjectionStatus {
  readonly name: string;
  readonly version: number;
  readonly state: string;
  readonly position: string;
  readonly lagEvents: string;
  readonly lagSeconds: number;
  readonly rate: number;
  readonly batchEvents: number;
  readonly retries: number;
  readonly parked: number;
  readonly lastError: string | null;
  readonly rebuild: { version: number; progress: number; rate: number; etaSeconds: number | null } | null;
}

interface Health {
  readonly status: string;
  readonly missing?: readonly string[];
}

const WATCH_MS = 1_000;

export function statusCommand(program: Command): void {
  withHub(program.command('status'))
    .description('head of the log, lag per projection, rates, dead letters, sources, health')
    .option('--watch', 'again every second until Ctrl-C')
    .action(async (options: HubOptions & { watch?: boolean }) => {
      const hub = await findHub(options);
      for (;;) {
        const status = await readStatus(hub);
        const printed = options.json === true ? JSON.stringify(status) : describe(hub, status);
        if (options.watch === true && process.stdout.isTTY) process.stdout.write('\u001b[2J\u001b[H');
        console.log(printed);
        if (options.watch !== true) break;
        await pause(WATCH_MS);
      }
    });
}

async function readStatus(hub: HubClient): Promise<StatusAnswer & { health: Health }> {
  const health = (await (await hub.fetch('/health/ready')).json()) as Health;
  return { ...(await hub.data<StatusAnswer>('clinical', STATUS)), health };
}

function describe(hub: HubClient, status: StatusAnswer & { health: Health }): string {
  const { log, projections, sources, deadLetters, health } = status;
  const waiting = deadLetters.nodes.filter((letter) => letter.status === 'PARKED').length;
  const more = deadLetters.pageInfo.hasNextPage ? '+' : '';
  const missing = health.missing === undefined || health.missing.length === 0 ? '' : `: ${health.missing.join(', ')}`;
  const address = hub.run?.mllp === undefined ? '' : `, MLLP ${hub.run.mllp}`;
  return [
    `hub      ${hub.url}${address}   ${health.status}${missing}`,
    `log      ${log.adapter}, ${grouped(log.events)} events, head ${log.head}, clock mark ${log.clockMark}`,
    `         ${describeFigures(log.statistics)}`,
    `letters  ${grouped(waiting)}${more} parked`,
    '',
    table(
      [
        'projection',
        'version',
        'state',
        'position',
        'behind',
        'seconds',
        'events/s',
        'batch',
        'retries',
        'parked',
        'error',
      ],
      projections.map((projection) => [
        projection.name,
        projection.version,
        projection.rebuild === null || projection.rebuild.version <= projection.version
          ? projection.state
          : `${projection.state} → ${projection.rebuild.version} ${percent(projection.rebuild.progress)}`,
        projection.position,
        projection.lagEvents,
        projection.lagSeconds.toFixed(1),
        Math.round(projection.rate),
        projection.batchEvents,
        projection.retries,
        projection.parked,
        projection.lastError,
      ]),
    ),
    '',
    table(
      ['source', 'kind', 'version', 'state'],
      sources.map((source) => [source.id, source.kind, source.version, source.enabled ? 'enabled' : 'disabled']),
    ),
  ].join('\n');
}

function percent(part: number): string {
  return `${Math.floor(part * 100)} %`;
}

function describeFigures(figures: LogFiguresAnswer): string {
  const { bytes, blobs, blobBytes, rate, roundEvents, appendMs, waitMs, longestWaitMs, signedHead } = figures;
  return [
    ...(bytes === null ? [] : [`${megabytes(bytes)} on disk`]),
    ...(blobs === '0' ? [] : [`${grouped(blobs)} blobs with ${megabytes(blobBytes)}`]),
    `${grouped(Math.round(rate))} events/s, ${roundEvents.toFixed(1)} a round in ${appendMs.toFixed(1)} ms`,
    `wait ${waitMs.toFixed(1)} ms, at most ${longestWaitMs.toFixed(1)} ms`,
    signedHead === null ? 'nothing signed' : `signed up to ${signedHead.position} at ${signedHead.time}`,
  ].join('; ');
}

function megabytes(bytes: string): string {
  return `${(Number(bytes) / 1_048_576).toFixed(1)} MiB`;
}
