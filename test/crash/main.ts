/** `npm run crash -- [--target all|log|network [--log postgres|eventstore]] [--transport all|mllp|http|files] [--pace <ms>] [--beside] --kills <n> --seed <n>`; see run.ts, log-target.ts and network.ts (whose faults are counted as kills). Exits 1 where anything was lost, doubled or differs, and where no message was acknowledged: such a run proves nothing. */
import { parseArgs } from 'node:util';
import { runLogCrash } from './log-target.js';
import { runNetworkFaults } from './network.js';
import { runCrash, TRANSPORTS, type CrashResult, type Transport } from './run.js';

const { values } = parseArgs({
  options: {
    target: { type: 'string', default: 'all' },
    log: { type: 'string', default: 'postgres' },
    transport: { type: 'string', default: 'all' },
    pace: { type: 'string', default: '0' },
    beside: { type: 'boolean', default: false },
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
  !['all', 'log', 'network'].includes(values.target) ||
  (values.log !== 'postgres' && values.log !== 'eventstore') ||
  transport === undefined
) {
  console.error(
    'usage: npm run crash -- [--target all|log|network [--log postgres|eventstore]] [--transport all|mllp|http|files] [--pace <ms>] [--beside] --kills <n> --seed <n>',
  );
  process.exit(2);
}
const options = { kills, seed, print: console.log };
async function runHub(senders: Transport): Promise<CrashResult> {
  const result = await runCrash({ ...options, paceMs, transport: senders, beside: values.beside });
  console.log(`rebuilds ${result.rebuilds}, kills unaccounted for ${result.unaccounted}`);
  return { ...result, mismatches: result.mismatches + result.unaccounted };
}
async function runNetwork(log: 'postgres' | 'eventstore'): Promise<CrashResult> {
  const { faults, ...result } = await runNetworkFaults({ faults: kills, seed, log, print: console.log });
  return { kills: faults, ...result };
}
const { log } = values;
const result = await (values.target === 'log'
  ? runLogCrash({ ...options, log })
  : values.target === 'network'
    ? runNetwork(log)
    : runHub(transport));
console.log(
  `${values.target === 'network' ? 'faults' : 'kills'} ${result.kills}, acknowledged ${result.acknowledged}, lost ${result.lost}, doubled ${result.doubled}, mismatches ${result.mismatches}`,
);
process.exit(result.acknowledged > 0 && result.lost + result.doubled + result.mismatches === 0 ? 0 : 1);
