/**
 * `npm run demo`: a hub on the embedded default, a day that flows into it, one question of each of its four users with its real
 * answer, checked against what was sent. The second run on the same directory finds everything there already and answers alike.
 */
import cliProgress from 'cli-progress';
import { mkdir, open } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import pino from 'pino';
import { feed } from '../cli/senders/feed.js';
import { HubClient } from '../cli/hub-client.js';
import { describeAddresses, startWithSignals } from '../cli/commands/serve.js';
import { listProjections, progressBar } from '../cli/commands/projections.js';
import { CliError } from '../cli/cli-error.js';
import type { HubConfig } from '../config/config.js';
import { createLogger } from '../operations/logger.js';
import { askAsAnalyst } from './analyst.js';
import { askAsAuditor } from './auditor.js';
import { askAsClinician } from './clinician.js';
import { demoDay } from './day.js';
import { askAsEngineer } from './engineer.js';

import type { AskedQuestion, Asking } from './question.js';

export interface DemoOptions {
  readonly config: HubConfig;
  /** End after the answers. */
  readonly exit: boolean;
  /** `--data …` for the commands that are shown; empty where the directory is the default one. */
  readonly flags: string;
}

const CATCH_UP_MS = 120_000;
const POLL_MS = 100;

/** @throws CliError where an answer was not right, or the day was not taken whole */
export async function runDemo({ config, exit, flags }: DemoOptions): Promise<void> {
  await mkdir(config.dataDir, { recursive: true, mode: 0o700 });
  const logFile = path.join(config.dataDir, 'demo.log');
  const log = await open(logFile, 'a', 0o600);
  console.log(`The hub starts in ${config.dataDir} (its log: demo.log there).`);
  const running = await startWithSignals({
    config,
    logger: createLogger('supervisor', config.logLevel, pino.destination({ dest: log.fd, sync: true })),
    output: log.fd,
  });
  if (running === undefined) return;
  try {
    const hub = new HubClient(running.run.http ?? '', running.run);
    const day = demoDay();
    await sendDay(hub, running.run.mllp ?? '', day);
    await untilCaughtUp(hub);
    const asked = await askAll({ hub, day, flags });
    console.log(`\n${describeAddresses(running, config.dataDir)}`);
    const wrong = asked.filter((question) => question.wrong.length > 0);
    if (wrong.length > 0) throw new CliError(`\n${wrong.length} of ${asked.length} answers were not right`);
    console.log(`\nAll ${asked.length} answers were right.`);
    if (!exit) {
      console.log('The hub keeps running until Ctrl-C; ask it from another terminal.');
      await running.ended;
    }
  } finally {
    await running.stop();
    await log.close();
  }
}

async function sendDay(hub: HubClient, mllp: string, day: ReturnType<typeof demoDay>): Promise<void> {
  const { hostname, port } = new URL(`tcp://${mllp}`);
  const total = day.messages.length;
  const bar = new cliProgress.SingleBar({
    format: 'a day in the hospital [{bar}] {value}/{total} messages  {rate}/s',
    hideCursor: true,
    noTTYOutput: false,
  });
  bar.start(total, 0, { rate: 0 });
  const result = await feed(day.messages, {
    http: hub.url,
    mllp: { host: hostname, port: Number(port) },
    onAnswer: ({ sent, seconds }) => bar.update(sent, { rate: Math.round(sent / seconds) }),
  });
  bar.stop();
  const mllpCount = day.messages.filter(({ to }) => to === 'mllp').length;
  console.log(
    `${result.sent} messages in ${result.seconds.toFixed(1)} s (${mllpCount} over MLLP, ${total - mllpCount} over HTTP), each acknowledged once it was durable.`,
  );
  if (result.refused > 0) throw new CliError(`${result.refused} messages were refused`);
}

/** Until every projection has reached the head of the log. */
async function untilCaughtUp(hub: HubClient): Promise<void> {
  const started = performance.now();
  const { log } = await hub.data<{ log: { head: string } }>('clinical', '{ log { head } }');
  const head = BigInt(log.head);
  for (;;) {
    const projections = await listProjections(hub);
    const behind = projections.filter(({ position }) => BigInt(position) < head);
    if (projections.length > 0 && behind.length === 0) break;
    if (performance.now() - started > CATCH_UP_MS) {
      throw new CliError(
        `still behind: ${behind.map(({ name, lastError }) => `${name} ${lastError ?? ''}`).join(', ')}`,
      );
    }
    await pause(POLL_MS);
  }
  console.log(
    `All projections caught up with position ${head} ${((performance.now() - started) / 1000).toFixed(1)} s after the last answer.`,
  );
}

const QUESTIONS: readonly (readonly [who: AskedQuestion['who'], ask: (asking: Asking) => Promise<AskedQuestion>])[] = [
  ['auditor', askAsAuditor],
  ['analyst', askAsAnalyst],
  ['clinician', askAsClinician],
  ['engineer', (asking) => askAsEngineer(asking, process.stderr.isTTY ? progressBar('master') : undefined)],
];

/** All of them, also where one fails. */
async function askAll(asking: Asking): Promise<AskedQuestion[]> {
  const asked: AskedQuestion[] = [];
  for (const [who, ask] of QUESTIONS) {
    let question: AskedQuestion;
    try {
      question = await ask(asking);
    } catch (error) {
      if (!(error instanceof CliError)) throw error;
      question = { who, question: 'not answered', answer: [], again: '', wrong: [error.message] };
    }
    asked.push(question);
    console.log(`\n${who.toUpperCase()}: ${question.question}`);
    for (const line of question.answer) console.log(`  ${line}`);
    console.log(`  ${question.wrong.length === 0 ? '✓ right' : `✗ ${question.wrong.join('; ')}`}`);
    if (question.again !== '') console.log(`  again: ${question.again}`);
  }
  return asked;
}
