import type { Command } from 'commander';
import { setTimeout as pause } from 'node:timers/promises';
import { findHub, type HubClient } from '../hub-client.js';
import { withHub, type HubOptions } from '../options.js';
import { grouped, table } from '../output.js';

const STATUS = `{
  log { head clockMark events adapter id }
  projections { name version state position lagEvents lagSeconds rate parked lastError rebuild { version progress rate etaSeconds } }
  sources { id kind enabled version }
  deadLetters(first: 1000) { nodes { status } pageInfo { hasNextPage } }
}`;

export interface StatusAnswer {
  readonly log: { head: string; clockMark: string; events: string; adapter: string; id: string };
  readonly projections: readonly ProjectionStatus[];
  readonly sources: readonly { id: string; kind: string; enabled: boolean; version: number }[];
  readonly deadLetters: { nodes: readonly { status: string }[]; pageInfo: { hasNextPage: boolean } };
}

export interface ProjectionStatus {
  readonly name: string;
  readonly version: number;
  readonly state: string;
  readonly position: string;
  readonly lagEvents: string;
  readonly lagSeconds: number;
  readonly rate: number;
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
    `letters  ${grouped(waiting)}${more} parked`,
    '',
    table(
      ['projection', 'version', 'state', 'position', 'behind', 'seconds', 'events/s', 'parked', 'error'],
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
