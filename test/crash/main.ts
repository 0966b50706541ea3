/** `npm run crash -- [--target all|log [--log postgres|eventstore]] [--transport all|mllp|http|files] [--pace <ms>] --kills <n> --seed <n>`; see run.ts. Exits 1 where anything was lost, doubled or differs. */
import { parseArgs } from 'node:util';
import { runLogCrash } from './log-target.js';
import { runCrash, TRANSPORTS, type CrashResult, type Transport } from './run.js';

const { values } = parseArgs({
  options: {
    target: { type: 'string', default: 'all' },
    log: { type: 'string', default: 'postgres' },
    transport: { type: 'string', default: 'all' },
    pace: { type: 'string', default: '0' },
    kills: { type: 'string', default: '20' },
    seed: { type: 'string', default: '1' },
  },
});
const kills = Number(values.kills);
const seed = Number(values.seed);
const paceMs = Number(values.pace);
const transport = TRANSPORTS.find((one) => one === values.transport);
if (
  !Number.isInteger(kills) ||
  kills < 1 ||
  !Number.isInteger(seed) ||
  !(paceMs >= 0) ||
  (values.target !== 'all' && values.target !== 'log') ||
  (values.log !== 'postgres' && values.log !== 'eventstore') ||
  transport === undefined
) {
  console.error(
    'usage: npm run crash -- [--target all|log [--log postgres|eventstore]] [--transport all|mllp|http|files] [--pace <ms>] --kills <n> --seed <n>',
  );
  process.exit(2);
}
const options = { kills, seed, print: console.log };
async function runHub(senders: Transport): Promise<CrashResult> {
  const result = await runCrash({ ...options, paceMs, transport: senders });
  console.log(`rebuilds ${result.rebuilds}, kills unaccounted for ${result.unaccounted}`);
  return { ...result, mismatches: result.mismatches + result.unaccounted };
}
const result = await (values.target === 'log' ? runLogCrash({ ...options, log: values.log }) : runHub(transport));
console.log(
  `kills ${result.kills}, acknowledged ${result.acknowledged}, lost ${result.lost}, doubled ${result.doubled}, mismatches ${result.mismatches}`,
);
process.exit(result.lost + result.doubled + result.mismatches === 0 ? 0 : 1);
