/** `anamnesis log copy --to <url>`: moves the log to another place (docs/operations.md, "Moving the log"). */
import cliProgress from 'cli-progress';
import type { Command } from 'commander';
import { createPublicKey, type KeyObject } from 'node:crypto';
import { existsSync } from 'node:fs';
import type pg from 'pg';
import type { HubConfig } from '../../config/config.js';
import { openClient, openPool } from '../../database/database.js';
import { migrate } from '../../database/migrate.js';
import { carryAlong } from '../../log/copy/carried.js';
import { compareLogs, copyEvents, LogsDifferError, type Comparison, type CopyProgress } from '../../log/copy/copy.js';
import {
  LogNotEmptyError,
  LogUnavailableError,
  UnfinishedCopyError,
  type EventLogReader,
  type EventLogWriter,
} from '../../log/event-log.js';
import { FolderHeadStore } from '../../log/evidence/head-store.js';
import { leafHash } from '../../log/evidence/leaf.js';
import { loadSigningKey } from '../../log/evidence/signing-key.js';
import { openLogImport, openLogReader, openLogWriter, type LogPlace } from '../../log/open-log.js';
import { WriterActiveError } from '../../log/postgres/index.js';
import { fileKeyProvider } from '../../sealing/key-provider.js';
import { CliError, EXIT } from '../cli-error.js';
import { withHubDatabase } from '../hub-database.js';
import { configOf, withCommon, type CommonOptions } from '../options.js';
import { duration, grouped } from '../output.js';

const LINE_EVERY_MS = 10_000;

interface CopyCommandOptions extends CommonOptions {
  readonly to: string;
}

export function copyCommand(log: Command): void {
  withCommon(log.command('copy'))
    .description(
      'carry the log to another place with identity, positions and every byte; run it again where it was interrupted',
    )
    .requiredOption(
      '--to <url>',
      "esdb://… or kurrentdb://…, postgres://… (another hub's database), or postgres (this hub's own)",
    )
    .action(async (options: CopyCommandOptions) => {
      const config = configOf(options);
      const answer = await withHubDatabase(config, ({ url }) => copy(config, url, options)).catch((error: unknown) => {
        if (isExpected(error)) throw new CliError(error.message, EXIT.failed, { cause: error });
        throw error;
      });
      if (options.json === true) console.log(JSON.stringify(answer));
      else console.log(describe(answer));
      if (!answer.finished) throw new CliError('', EXIT.failed);
    });
}

function isExpected(error: unknown): error is Error {
  return [LogNotEmptyError, LogsDifferError, WriterActiveError, LogUnavailableError].some(
    (kind) => error instanceof kind,
  );
}

interface CopyAnswer {
  /** False where the hub still writes to the original. */
  readonly finished: boolean;
  readonly log: string;
  readonly from: string;
  readonly to: string;
  readonly events: string;
  readonly position: string;
  readonly root?: string;
  readonly heads?: number;
  /** Tables that went along. */
  readonly carried: readonly string[];
}

async function copy(config: HubConfig, databaseUrl: string, options: CopyCommandOptions): Promise<CopyAnswer> {
  const from: LogPlace = { eventLog: config.eventLog, databaseUrl };
  const to = placeOf(options.to, databaseUrl);
  if (to.eventLog === from.eventLog && to.databaseUrl === from.databaseUrl) {
    throw new CliError('--to: the log is there already', EXIT.usage);
  }
  const elsewhere = to.databaseUrl !== databaseUrl;
  if (elsewhere) await migrate(to.databaseUrl);
  const progress = options.json === true ? undefined : process.stderr.isTTY ? progressBar() : progressLines();
  const source = await openLogReader(from);
  // Held while the copy is finished: nothing is appended behind its end.
  const held = await holdWriter(from);
  try {
    const goOn = await isBeginningOf(source, to);
    // Of the events, not the log's own head: that may stand behind a gap that a restore left.
    const [newest] = await source.readPage({ direction: 'backwards', limit: 1 });
    const [head, count] = [newest?.position ?? 0n, await source.count()];
    const positionsPerEvent = count === 0n ? 1 : Number(head) / Number(count);
    const target = await openLogImport(to, { id: source.id, positionsPerEvent, goOn });
    const answer = { log: source.id, from: source.adapter, to: target.adapter };
    let carried: string[] = [];
    try {
      await copyEvents(source, target, head, progress?.tell);
      if (held === undefined) {
        const { events, position } = target.progress;
        return { ...answer, finished: false, events: String(events), position: String(position), carried };
      }
      if (elsewhere) carried = await carry(databaseUrl, to.databaseUrl);
      await target.finish();
    } finally {
      await target.close();
    }
    const { events, root, heads } = await compare(config, databaseUrl, source, to, progress);
    return { ...answer, finished: true, events: String(events), position: String(head), root, heads, carried };
  } finally {
    progress?.stop();
    await held?.close();
    await source.close();
  }
}

function placeOf(to: string, databaseUrl: string): LogPlace {
  if (to === 'postgres') return { eventLog: 'postgres', databaseUrl };
  if (/^postgres(?:ql)?:\/\//.test(to) && URL.canParse(to)) return { eventLog: 'postgres', databaseUrl: to };
  if (/^(?:esdb|kurrentdb)(?:\+discover)?:\/\//.test(to)) return { eventLog: to, databaseUrl };
  throw new CliError('--to: expected postgres, postgres://…, esdb://… or kurrentdb://…', EXIT.usage);
}

/** The writing side of the original; undefined while a hub has it. */
async function holdWriter(from: LogPlace): Promise<EventLogWriter | undefined> {
  try {
    return await openLogWriter(from);
  } catch (error) {
    if (error instanceof WriterActiveError) return undefined;
    throw error;
  }
}

/**
 * Whether what stands at the target is this log as it was once, so that the copy goes on behind it.
 * @throws LogNotEmptyError where another log stands there, or one that went another way
 */
async function isBeginningOf(source: EventLogReader, to: LogPlace): Promise<boolean> {
  let target: EventLogReader;
  try {
    target = await openLogReader(to);
  } catch (error) {
    // The import goes on with a copy that was not finished, if it is one of this log.
    if (error instanceof UnfinishedCopyError) return false;
    throw error;
  }
  try {
    const [last] = await target.readPage({ direction: 'backwards', limit: 1 });
    if (last === undefined) return false;
    const [same] = await source.readPage({ after: last.position - 1n, limit: 1 });
    if (target.id === source.id && same !== undefined && leafHash(same).equals(leafHash(last))) return true;
    throw new LogNotEmptyError();
  } finally {
    await target.close();
  }
}

async function carry(from: string, to: string): Promise<string[]> {
  const [source, target] = [await openClient(from), await openClient(to)];
  try {
    return await carryAlong(source, target);
  } finally {
    await Promise.all([source.end(), target.end()]);
  }
}

async function compare(
  config: HubConfig,
  databaseUrl: string,
  source: EventLogReader,
  to: LogPlace,
  progress: ShownProgress | undefined,
): Promise<Comparison> {
  const target = await openLogReader(to);
  const pool = openPool(databaseUrl);
  try {
    const publicKey = await publicKeyOf(config, pool);
    const store = new FolderHeadStore(config.treeHeads);
    return await compareLogs(source, target, {
      ...(publicKey === undefined ? {} : { heads: { store, publicKey } }),
      onProgress: progress?.tell,
    });
  } finally {
    await pool.end();
    await target.close();
  }
}

async function publicKeyOf(config: HubConfig, pool: pg.Pool): Promise<KeyObject | undefined> {
  if (!existsSync(config.masterKeyFile)) return undefined;
  const key = await loadSigningKey(pool, await fileKeyProvider(config.masterKeyFile));
  return key === undefined ? undefined : createPublicKey(key);
}

interface ShownProgress {
  readonly tell: (progress: CopyProgress) => void;
  readonly stop: () => void;
}

function progressBar(): ShownProgress {
  const bar = new cliProgress.SingleBar({
    format: '{phase} [{bar}] {percentage} %  {events} events  {rate} events/s  {eta}',
    stream: process.stderr,
    hideCursor: true,
  });
  let started = false;
  return {
    tell(progress) {
      const payload = wordsOf(progress);
      if (!started) bar.start(100, 0, payload);
      started = true;
      bar.update(percentageOf(progress), payload);
    },
    stop() {
      if (started) bar.stop();
      started = false;
    },
  };
}

/** Where nobody watches a terminal: the first of each phase, and one every ten seconds. */
function progressLines(): ShownProgress {
  let [phase, saidMs] = ['', 0];
  return {
    tell(progress) {
      const now = performance.now();
      if (progress.phase === phase && now < saidMs + LINE_EVERY_MS) return;
      [phase, saidMs] = [progress.phase, now];
      const { events, rate, eta } = wordsOf(progress);
      const parts = [`${phase} ${percentageOf(progress)} %`, `${events} events`, `${rate} events/s`, eta];
      process.stderr.write(`${parts.filter((part) => part !== '').join('  ')}\n`);
    },
    stop: () => undefined,
  };
}

function wordsOf({ phase, events, eventsPerSecond, secondsLeft }: CopyProgress): {
  readonly phase: string;
  readonly events: string;
  readonly rate: string;
  readonly eta: string;
} {
  return {
    phase,
    events: grouped(events),
    rate: grouped(Math.round(eventsPerSecond)),
    eta: secondsLeft === undefined ? '' : `${duration(secondsLeft)} left`,
  };
}

function percentageOf({ events, total }: CopyProgress): number {
  return total === 0n ? 100 : Number((events * 100n) / total);
}

function describe(answer: CopyAnswer): string {
  const lines = [
    `log ${answer.log}: ${grouped(answer.events)} events up to position ${answer.position}, from ${answer.from} to ${answer.to}`,
  ];
  if (!answer.finished) {
    return [
      ...lines,
      'the hub still writes to this log: stop it and run the same command again to finish the copy',
    ].join('\n');
  }
  lines.push(
    `compared event by event: the same; root ${answer.root}; ${grouped(answer.heads ?? 0)} signed heads hold for the copy`,
  );
  if (answer.carried.length > 0) lines.push(`carried along: ${answer.carried.join(', ')}`);
  return lines.join('\n');
}
