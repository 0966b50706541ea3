/** `anamnesis log verify`, `log public-key` and `log accept-restored`: the evidence of the log (docs/evidence.md). */
import cliProgress from 'cli-progress';
import type { Command } from 'commander';
import { createPublicKey, type KeyObject } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import type pg from 'pg';
import { openBlobStore } from '../../blobs/open.js';
import type { HubConfig } from '../../config/config.js';
import { openPool } from '../../database/database.js';
import type { EventLogReader, Position } from '../../log/event-log.js';
import {
  FolderHeadStore,
  HeadStoreError,
  openHeads,
  readPublicKey,
  type HeadStore,
} from '../../log/evidence/head-store.js';
import { KeyChain } from '../../log/evidence/key-chain.js';
import {
  checkConsistency,
  checkInclusion,
  parseProof,
  ProofError,
  proveConsistency,
  proveInclusion,
  type Proof,
} from '../../log/evidence/proof.js';
import { acceptRestored, NotRestoredError } from '../../log/evidence/restored.js';
import { loadSigningKey, storedNextKey } from '../../log/evidence/signing-key.js';
import { BadHeadError, keyIdOf, parseHead, type SignedHead, type TreeHead } from '../../log/evidence/tree-head.js';
import { verifyLog, type VerifyReport } from '../../log/evidence/verify.js';
import { openLogReader, openLogWriter } from '../../log/open-log.js';
import { fileKeyProvider } from '../../sealing/key-provider.js';
import { CliError, EXIT } from '../cli-error.js';
import { withHubDatabase } from '../hub-database.js';
import { configOf, withCommon, type CommonOptions } from '../options.js';
import { grouped, table } from '../output.js';

interface VerifyCommandOptions extends CommonOptions {
  readonly from?: string;
  readonly to?: string;
  readonly message?: string;
  readonly between?: string;
  readonly save?: string;
  readonly proof?: string;
  readonly heads?: string;
  readonly publicKey?: string;
}

export function verifyCommands(log: Command): void {
  withCommon(log.command('verify'))
    .description(
      'whether the log holds exactly what was signed: all of it, a range, one message, or two heads; exit code 1 where it does not',
    )
    .option('--from <position>', 'only events from here on')
    .option('--to <position>', 'only events up to here')
    .option('--message <id|position>', 'that one event stands in the log under a signed head')
    .option('--between <older..newer>', 'that one head is the beginning of another, by their numbers')
    .option('--save <file>', 'write the proof of --message or --between to a file')
    .option('--proof <file>', 'check such a file, without the log and its database')
    .option('--heads <place>', 'folder or file of signed heads (default: the configured second place)')
    .option('--public-key <file>', "a key that heads are signed with, the first or any other (default: the hub's own)")
    .action(async (options: VerifyCommandOptions) => {
      try {
        await verify(options);
      } catch (error) {
        if (error instanceof ProofError || error instanceof BadHeadError || error instanceof HeadStoreError) {
          throw new CliError(error.message, EXIT.failed, { cause: error });
        }
        throw error;
      }
    });

  withCommon(log.command('public-key'))
    .description('the public key that tree heads are checked with, as PEM')
    .action(async (options: CommonOptions) => {
      const config = configOf(options);
      const key = await withEvidence(config, async ({ pool }) => ownKey(config, pool));
      if (key === undefined) throw new CliError('this hub has no signing key yet: it is made with the first start');
      const publicKey = createPublicKey(key);
      const pem = publicKey.export({ type: 'spki', format: 'pem' }).toString();
      console.log(options.json === true ? JSON.stringify({ id: keyIdOf(publicKey), pem }) : pem.trimEnd());
    });

  withCommon(log.command('accept-restored'))
    .description(
      'let a log go on that was put back on purpose to before a signed head; verification tells of it for ever',
    )
    .requiredOption('--reason <text>', 'why, in one line, without patient data')
    .action(async (options: CommonOptions & { readonly reason: string }) => {
      const config = configOf(options);
      const head = await withHubDatabase(config, async ({ url, running }) => {
        if (running) throw new CliError('stop the hub first');
        const pool = openPool(url);
        const reader = await openLogWriter({ eventLog: config.eventLog, databaseUrl: url });
        const heads = new FolderHeadStore(config.treeHeads);
        try {
          const key = await ownKey(config, pool);
          if (key === undefined) throw new CliError('the key of the tree heads is not there');
          const nextKey = storedNextKey(pool, await fileKeyProvider(config.masterKeyFile));
          return await acceptRestored({ pool, reader, heads, key, nextKey, reason: options.reason });
        } catch (error) {
          if (error instanceof NotRestoredError || error instanceof RangeError) {
            throw new CliError(error.message, EXIT.failed, { cause: error });
          }
          throw error;
        } finally {
          await heads.close();
          await reader.close();
          await pool.end();
        }
      });
      if (options.json === true) console.log(JSON.stringify(headJson(head)));
      else console.log(`the log goes on at position ${head.position}; head ${head.sequence} says so`);
    });
}

/** @throws CliError where the options ask for several things at once, or for a range without an inside */
function checkOptions({ proof, message, between, from, to }: VerifyCommandOptions): void {
  const asked = [proof, message, between, from ?? to].filter((option) => option !== undefined);
  if (asked.length > 1) {
    throw new CliError('expected one of --proof, --message, --between, and --from with --to', EXIT.usage);
  }
  const [first, last] = [positionOf('--from', from), positionOf('--to', to)];
  if (first !== undefined && last !== undefined && first > last) {
    throw new CliError('--from: expected a position at or before that of --to', EXIT.usage);
  }
}

async function verify(options: VerifyCommandOptions): Promise<void> {
  checkOptions(options);
  if (options.proof !== undefined) return checkProof(options, options.proof);
  const config = configOf(options);
  if (options.between !== undefined) headsBetween(options.between);
  const from = positionOf('--from', options.from);
  const to = positionOf('--to', options.to);
  await withEvidence(config, async ({ pool, reader }) => {
    const heads = await headsOf(options, config);
    const { key, keyFrom } = await publicKeyOf(options, config, pool, heads);
    if (options.message !== undefined) {
      return showProof(options, await proofOf(pool, reader, options.message), key, keyFrom, heads);
    }
    if (options.between !== undefined) {
      return showProof(options, await proofBetween(pool, heads, options.between), key, keyFrom, heads);
    }
    const quiet = options.json === true || !process.stderr.isTTY;
    const bar = quiet
      ? undefined
      : new cliProgress.SingleBar({
          format: 'checking [{bar}] {percentage} %  {events} events',
          stream: process.stderr,
          hideCursor: true,
        });
    bar?.start(100, 0, { events: '0' });
    let report: VerifyReport;
    try {
      report = await verifyLog({
        reader,
        pool,
        heads,
        publicKey: key,
        someHeads: options.heads !== undefined,
        blobs: openBlobStore(config.blobs.store),
        ...(from === undefined ? {} : { from }),
        ...(to === undefined ? {} : { to }),
        onProgress: ({ events, position, end }) =>
          bar?.update(end === 0n ? 100 : Number((position * 100n) / end), { events: grouped(events) }),
      });
    } finally {
      bar?.stop();
    }
    if (options.json === true) console.log(JSON.stringify(reportJson(report, reader.adapter, keyIdOf(key), keyFrom)));
    else console.log(describe(report, keyIdOf(key), keyFrom));
    if (!report.ok) throw new CliError('', EXIT.failed);
    if (report.events === 0 && (from ?? to) !== undefined) {
      throw new CliError('no event stands in this range: nothing was checked', EXIT.failed);
    }
  });
}

interface Evidence {
  readonly pool: pg.Pool;
  readonly reader: EventLogReader;
}

function withEvidence<T>(config: HubConfig, work: (evidence: Evidence) => Promise<T>): Promise<T> {
  return withHubDatabase(config, async ({ url }) => {
    const pool = openPool(url, { applicationName: 'anamnesis log verify' });
    try {
      const reader = await openLogReader({ eventLog: config.eventLog, databaseUrl: url });
      try {
        return await work({ pool, reader });
      } finally {
        await reader.close();
      }
    } finally {
      await pool.end();
    }
  });
}

/** The hub's signing key, where the master key that opens it is at hand. */
async function ownKey(config: HubConfig, pool: pg.Pool): Promise<KeyObject | undefined> {
  if (!existsSync(config.masterKeyFile)) return undefined;
  return loadSigningKey(pool, await fileKeyProvider(config.masterKeyFile));
}

/** Where the key came from that a check trusts. */
type KeyFrom = 'given' | 'hub' | 'heads';

async function publicKeyOf(
  options: VerifyCommandOptions,
  config: HubConfig,
  pool: pg.Pool,
  heads: HeadStore,
): Promise<{ readonly key: KeyObject; readonly keyFrom: KeyFrom }> {
  if (options.publicKey !== undefined) return { key: await readPublicKey(options.publicKey), keyFrom: 'given' };
  const own = await ownKey(config, pool);
  if (own !== undefined) return { key: createPublicKey(own), keyFrom: 'hub' };
  const [beside, second] = await heads.publicKeys();
  if (beside === undefined || second !== undefined) throw new CliError('name the public key with --public-key');
  return { key: beside, keyFrom: 'heads' };
}

function headsOf(options: VerifyCommandOptions, config: HubConfig): Promise<HeadStore> {
  if (options.heads !== undefined) return openHeads(options.heads);
  return Promise.resolve(new FolderHeadStore(config.treeHeads));
}

const POSITION = /^\d{1,19}$/;

function positionOf(name: string, text: string | undefined): Position | undefined {
  if (text === undefined) return undefined;
  if (!POSITION.test(text)) throw new CliError(`${name}: expected a position`, EXIT.usage);
  return BigInt(text);
}

function counted(count: number, one: string, several: string): string {
  return `${grouped(count)} ${count === 1 ? one : several}`;
}

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

async function proofOf(pool: pg.Pool, reader: EventLogReader, message: string): Promise<Proof> {
  const isId = UUID.test(message);
  if (!isId && !POSITION.test(message))
    throw new CliError('--message: expected the id of an event, or its position', EXIT.usage);
  const position = isId ? await positionOfEvent(pool, reader, message) : BigInt(message);
  if (position === undefined) throw new CliError(`there is no event ${message} in this log`);
  const proof = await proveInclusion({ pool, reader }, position);
  if (proof === undefined)
    throw new CliError(
      'there is no such event, or no signed head covers it yet (behind a restore: before the first start)',
    );
  return proof;
}

/** By the register of messages; what is not in it (decisions, or before it was made again) by reading the log. */
async function positionOfEvent(pool: pg.Pool, reader: EventLogReader, id: string): Promise<Position | undefined> {
  const { rows } = await pool.query<{ position: bigint }>('select position from inbound.message where event_id = $1', [
    id,
  ]);
  if (rows[0] !== undefined) return rows[0].position;
  for (let after = 0n; ;) {
    const page = await reader.readPage({ after, limit: 1_000, maxBytes: 8 * 1024 * 1024 });
    const found = page.find((event) => event.id === id);
    if (found !== undefined) return found.position;
    const last = page.at(-1);
    if (last === undefined) return undefined;
    after = last.position;
  }
}

function headsBetween(text: string): [older: number, newer: number] {
  const match = /^(\d{1,15})\.\.(\d{1,15})$/.exec(text);
  if (match === null) throw new CliError('--between: expected two numbers of heads, for instance 3..17', EXIT.usage);
  return [Number(match[1]), Number(match[2])];
}

async function proofBetween(pool: pg.Pool, heads: HeadStore, between: string): Promise<Proof> {
  const wanted = headsBetween(between);
  const found = new Map<number, SignedHead>();
  for await (const { signed } of heads.read()) {
    const sequence = sequenceOf(signed);
    if (sequence !== undefined && wanted.includes(sequence)) found.set(sequence, signed);
  }
  const [older, newer] = wanted.map((sequence) => {
    const head = found.get(sequence);
    if (head === undefined) throw new CliError(`${heads.name} holds no head ${sequence}`);
    return head;
  });
  return proveConsistency(pool, older as SignedHead, newer as SignedHead).catch((error: unknown) => {
    if (error instanceof RangeError) throw new CliError('the older head comes first', EXIT.usage, { cause: error });
    throw error;
  });
}

/** Undefined for a line that is no head. */
function sequenceOf(signed: SignedHead): number | undefined {
  try {
    return parseHead(signed.head).sequence;
  } catch (error) {
    if (error instanceof BadHeadError) return undefined;
    throw error;
  }
}

/** Without log and database. */
async function checkProof(options: VerifyCommandOptions, file: string): Promise<void> {
  if (options.publicKey === undefined) throw new CliError('--proof wants --public-key', EXIT.usage);
  const proof = parseProof(
    await readFile(file, 'utf8').catch(() => Promise.reject(new CliError(`${file} cannot be read`))),
  );
  const heads = options.heads === undefined ? undefined : await openHeads(options.heads);
  await showProof(options, proof, await readPublicKey(options.publicKey), 'given', heads);
}

/** @param heads by which keys are followed that signed before the key that is trusted, or after it */
async function showProof(
  options: VerifyCommandOptions,
  proof: Proof,
  key: KeyObject,
  keyFrom: KeyFrom,
  heads: HeadStore | undefined,
): Promise<void> {
  if (options.save !== undefined) await writeFile(options.save, `${JSON.stringify(proof, null, 2)}\n`);
  const keys = { id: keyIdOf(key), from: keyFrom };
  const trusted = heads === undefined ? key : await KeyChain.whole(heads, key);
  if (proof.kind === 'inclusion') {
    const { position, id, head } = checkInclusion(proof, trusted);
    await mustBeAmong(options.heads, [proof]);
    if (options.json === true) {
      console.log(JSON.stringify({ ok: true, position, id, index: proof.index, head: headJson(head), key: keys }));
    } else {
      console.log(
        `event ${id} stands at position ${position} under head ${head.sequence} of ${head.time}\n${wordKey(keys.id, keyFrom)}`,
      );
    }
  } else {
    const { older, newer } = checkConsistency(proof, trusted);
    await mustBeAmong(options.heads, [proof.older, proof.newer]);
    if (options.json === true)
      console.log(JSON.stringify({ ok: true, older: headJson(older), newer: headJson(newer), key: keys }));
    else {
      console.log(
        `what head ${older.sequence} of ${older.time} signed, up to position ${older.position}, is the beginning of what head ${newer.sequence} of ${newer.time} signed\n${wordKey(keys.id, keyFrom)}`,
      );
    }
  }
}

/** The heads of a proof are those that somebody keeps, where they were named. */
async function mustBeAmong(place: string | undefined, wanted: readonly SignedHead[]): Promise<void> {
  if (place === undefined) return;
  const missing = new Set(wanted.map(({ head }) => head));
  for await (const { signed } of (await openHeads(place)).read()) missing.delete(signed.head);
  for (const head of missing) throw new ProofError(`head ${parseHead(head).sequence} is not among those in ${place}`);
}

function headJson(head: TreeHead): object {
  const { sequence, size, position, time, abandons } = head;
  const root = head.root.toString('base64url');
  return {
    sequence,
    size: String(size),
    position: String(position),
    root,
    time,
    ...(abandons === undefined ? {} : { abandons }),
  };
}

function reportJson(report: VerifyReport, adapter: string, key: string, from: KeyFrom): object {
  return {
    ok: report.ok,
    log: report.logId,
    adapter,
    events: report.events,
    position: String(report.position),
    heads: report.heads,
    head: report.head === undefined ? null : headJson(report.head),
    unsigned: report.unsigned,
    blobs: report.blobs,
    key: { id: key, from },
    keys: report.keys.map(({ id, from: fromHead }) => ({ id, fromHead })),
    restored: report.restored.map(headJson),
    findings: report.findings.map(({ code, position, message }) => ({
      code,
      position: position === undefined ? null : String(position),
      message,
    })),
    findingCount: report.findingCount,
    firstBadPosition: report.firstBadPosition === undefined ? null : String(report.firstBadPosition),
  };
}

function wordKey(id: string, from: KeyFrom): string {
  const whence = {
    given: 'as given',
    hub: "the hub's own",
    heads: 'found beside the heads: it proves nothing against somebody who can write there',
  };
  return `key ${id} (${whence[from]})`;
}

function describe(report: VerifyReport, key: string, from: KeyFrom): string {
  const lines = [
    `log ${report.logId}`,
    `${grouped(report.events)} events read, up to position ${report.position}; ${counted(report.heads, 'signed head holds', 'signed heads hold')}`,
    wordKey(key, from),
  ];
  if (report.keys.length > 1) {
    lines.push(`signed by ${report.keys.map(({ id, from: head }) => `key ${id} from head ${head} on`).join(', ')}`);
  }
  if (report.head !== undefined)
    lines.push(`last head ${report.head.sequence} of ${report.head.time}, up to position ${report.head.position}`);
  if (report.blobs > 0) lines.push(counted(report.blobs, 'large body outside the log', 'large bodies outside the log'));
  for (const { sequence, time, position, abandons } of report.restored) {
    lines.push(`put back to position ${position} at ${time} (head ${sequence}): ${abandons?.reason ?? ''}`);
  }
  if (report.unsigned > 0) lines.push(`${grouped(report.unsigned)} events behind the last head are not signed yet`);
  if (report.ok) return [...lines, 'the log holds exactly what was signed'].join('\n');
  const rows = report.findings.map(({ code, position, message }) => [
    position === undefined ? '' : String(position),
    code,
    message,
  ]);
  lines.push('', table(['position', 'finding', ''], rows));
  if (report.findingCount > report.findings.length) lines.push(`… ${grouped(report.findingCount)} in all`);
  if (report.firstBadPosition !== undefined) lines.push('', `first bad position ${report.firstBadPosition}`);
  return lines.join('\n');
}
