/** `log copy`: a log that was moved is the same log. */
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import fc from 'fast-check';
import { openClient } from '../../src/database/database.js';
import { carryAlong } from '../../src/log/copy/carried.js';
import { compareLogs, copyEvents, LogsDifferError } from '../../src/log/copy/copy.js';
import {
  LogNotEmptyError,
  UnfinishedCopyError,
  type EventLogReader,
  type NewEvent,
  type Position,
} from '../../src/log/event-log.js';
import { openEventStoreImport, openEventStoreReader, openEventStoreWriter } from '../../src/log/eventstore/index.js';
import { openPostgresLogImport, openPostgresLogReader, openPostgresLogWriter } from '../../src/log/postgres/index.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { startEventStoreDouble } from '../support/eventstore-double/double.js';
import { adt, person, type Sent, TestHub } from '../query/support.js';
import { SignedLog } from './evidence/signed-log.js';

/** Events that stood in the copy when its first line of progress was written; all of them where it had nothing left to copy, since the kill came too late. */
function doneBy(said: string): number {
  const line = /^(copying|comparing) \d+ %\s+([\d,]+) events\s+[\d,]+ events\/s/.exec(said);
  return line?.[1] === 'comparing' ? Infinity : Number(line?.[2]?.replaceAll(',', ''));
}

const PROGRAM = path.resolve(import.meta.dirname, '../../bin/anamnesis.js');
let closers: (() => Promise<unknown>)[] = [];

/** Closed behind the test, last first. */
function kept<T>(thing: T, close: (thing: T) => Promise<unknown>): T {
  closers.push(() => close(thing));
  return thing;
}

async function newDatabase(): Promise<TestDatabase> {
  return kept(await createTestDatabase(), (database) => database.drop());
}

async function signedLog(rounds: readonly number[]): Promise<SignedLog> {
  return kept(await SignedLog.make(rounds), (log) => log.drop());
}

async function reader(url: string): Promise<EventLogReader> {
  return kept(await openPostgresLogReader(url), (log) => log.close());
}

/** The whole copy, or what comes before `end`; without comparing. */
async function copyTo(source: EventLogReader, url: string, end?: Position, finish = true): Promise<void> {
  const target = await openPostgresLogImport(url, source.id);
  await copyEvents(source, target, end ?? (await source.head()));
  if (finish) await target.finish();
  await target.close();
}

const rowsOf = async (database: TestDatabase): Promise<object[]> =>
  (
    await database.pool.query<Record<string, unknown>>(
      `select e.position, e.batch, s.name, e.revision, e.id, e.type, e.metadata, e.data
       from log.event e join log.stream s on s.id = e.stream_id order by position`,
    )
  ).rows;

beforeEach(() => {
  closers = [];
});
afterEach(async () => {
  for (const close of closers.reverse()) await close();
});

describe('from PostgreSQL to PostgreSQL', () => {
  it('keeps identity, positions, batches, revisions and every byte; what is appended afterwards stands above', async () => {
    const original = await signedLog([30, 700, 3]);
    const target = await newDatabase();
    const source = await reader(original.database.url);
    await copyTo(source, target.url);
    expect(await rowsOf(target)).toEqual(await rowsOf(original.database));
    const copy = await reader(target.url);
    expect(copy.id).toBe(source.id);
    expect([await copy.head(), await copy.count()]).toEqual([await source.head(), await source.count()]);
    const comparison = await compareLogs(source, copy, {
      heads: { store: original.heads, publicKey: original.publicKey },
    });
    expect(comparison).toMatchObject({ events: await source.count(), heads: 3 });
    const problems: unknown[] = [];
    for await (const problem of copy.inspect?.() ?? []) problems.push(problem);
    expect(problems).toEqual([]);
    const writer = kept(await openPostgresLogWriter(target.url), (log) => log.close());
    const revision = (await writer.streamRevision('clinical-1')) as bigint;
    const event: NewEvent = { id: randomUUID(), type: 't', metadata: Buffer.from('{}'), data: randomBytes(3) };
    const [answer] = await writer.append([{ stream: 'clinical-1', expectedRevision: revision, events: [event] }]);
    expect(answer?.positions).toEqual([(await source.head()) + 1n]);
  });

  it('goes on after being interrupted between any two pages, and cannot be opened before it is finished', async () => {
    const original = await signedLog([200]);
    const target = await newDatabase();
    const source = await reader(original.database.url);
    const begun = await openPostgresLogImport(target.url, source.id);
    await begun.write(await source.readPage({ limit: 64 }));
    await begun.close();
    await expect(openPostgresLogReader(target.url)).rejects.toThrow(UnfinishedCopyError);
    await expect(openPostgresLogWriter(target.url)).rejects.toThrow(UnfinishedCopyError);
    const again = await openPostgresLogImport(target.url, source.id);
    expect(again.progress).toEqual({ position: 64n, events: 64n });
    // A page whose outcome was unknown is written again.
    await again.write(await source.readPage({ limit: 64 }));
    expect(again.progress.events).toBe(64n);
    await again.close();
    await copyTo(source, target.url);
    expect(await rowsOf(target)).toEqual(await rowsOf(original.database));
  });

  it('refuses a place where another log stands, or a copy of another one', async () => {
    const [one, other] = [await signedLog([5]), await signedLog([5])];
    await expect(openPostgresLogImport(other.database.url, (await reader(one.database.url)).id)).rejects.toThrow(
      LogNotEmptyError,
    );
    const target = await newDatabase();
    await copyTo(await reader(one.database.url), target.url, 64n, false);
    await expect(openPostgresLogImport(target.url, randomUUID())).rejects.toThrow(LogNotEmptyError);
  });

  it('finds any difference between original and copy, and a head that the copy does not give', async () => {
    const original = await signedLog([120, 80]);
    const target = await newDatabase();
    const source = await reader(original.database.url);
    await copyTo(source, target.url);
    const compare = async () =>
      compareLogs(source, await reader(target.url), {
        heads: { store: original.heads, publicKey: original.publicKey },
      });
    await compare();
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 264 }),
        fc.constantFrom(
          `type = 'x'`,
          `data = data || '\\x00'`,
          'revision = revision + 1',
          'position = position + 1000',
        ),
        async (position, change) => {
          await target.pool.query(`create table kept as select * from log.event where position = ${position}`);
          await target.pool.query(`update log.event set ${change} where position = ${position}`);
          const difference = await compare().catch((error: unknown) => error);
          expect(difference).toBeInstanceOf(LogsDifferError);
          expect((difference as LogsDifferError).position).toBe(BigInt(position));
          await target.pool.query(`delete from log.event where position in (${position}, ${position + 1000})`);
          await target.pool.query('insert into log.event select * from kept');
          await target.pool.query('drop table kept');
        },
      ),
      { numRuns: 8, seed: 5 },
    );
    for (const log of [original.database, target]) {
      await log.pool.query(`update log.event set type = 'both' where position = 200`);
    }
    await expect(compare()).rejects.toThrow(/are not those that head 2 signed/);
  });

  it('leaves every basis with the same bytes, once the stores are derived from the copy', async () => {
    const hub = kept(await TestHub.start(), (started) => started.stop());
    const { record, patient, mrn } = person();
    // Where an event stands is asked, never assumed: the writer's own clock marks may stand between two messages.
    const sent: Sent[] = [];
    for (const [at, name] of [
      ['2026-03-01T10:00:00Z', 'Okafor^Ada'],
      ['2026-03-01T09:00:00Z', 'Okafor^Adaeze'],
      ['2026-03-01T11:00:00Z', 'Okafor^Ada^N'],
    ] as const) {
      const content = adt({ trigger: 'A08', mrn, at, name, phone: '555-0100', location: 'W^3^1' });
      sent.push(await hub.send({ content, record, patient }));
    }
    const fields = `basis { token position } patient(id: $id) { names { family given } identifiers { value } timeline(first: 20) { edges { cursor node { at title message { id position body { base64 } } } } } }`;
    const query = `query ($id: ID!, $basis: String) { at(basis: $basis) { ${fields} } }`;
    const bases: string[] = [];
    for (const position of [String(sent[0]?.position), String(sent[1]?.position), null]) {
      const { at } = await hub.data<{ at: { basis: { token: string } } }>(
        `query ($position: Position) { at(position: $position) { basis { token } } }`,
        { position },
      );
      bases.push(at.basis.token);
    }
    const answers: string[] = [];
    for (const basis of bases) {
      const answer = await hub.ask(query, { id: patient, basis });
      expect(answer.errors).toBeUndefined();
      answers.push(answer.text);
    }
    expect(new Set(answers).size).toBe(bases.length);
    const target = await createTestDatabase();
    await copyTo(hub.reader, target.url, undefined, false);
    const [from, to] = [await openClient(hub.database.url), await openClient(target.url)];
    expect(await carryAlong(from, to)).toContain('sealing.data_key');
    await Promise.all([from.end(), to.end()]);
    const finishing = await openPostgresLogImport(target.url, hub.reader.id);
    await finishing.finish();
    await finishing.close();
    const moved = kept(await TestHub.start({ database: target, keyFile: hub.keyFile }), (started) => started.stop());
    await moved.project();
    for (const [index, basis] of bases.entries()) {
      const answer = await moved.ask(query, { id: patient, basis });
      expect(answer.errors).toBeUndefined();
      expect(answer.text).toBe(answers[index]);
    }
  });
});

describe('the command', () => {
  interface Ran {
    readonly code: number | null;
    readonly out: string;
    readonly err: string;
  }

  /** @param from where the log is, if not in the source's own database */
  const start = (
    source: SignedLog,
    to: string,
    options: readonly string[],
    from = 'postgres',
  ): ChildProcessWithoutNullStreams =>
    spawn(process.execPath, [PROGRAM, 'log', 'copy', '--to', to, ...options], {
      cwd: path.dirname(source.folder),
      env: {
        ...process.env,
        NODE_OPTIONS: '',
        ANAMNESIS_DATABASE_URL: source.database.url,
        ANAMNESIS_TREE_HEADS: source.folder,
        ANAMNESIS_EVENT_LOG: from,
      },
    });

  const exitOf = (child: ChildProcessWithoutNullStreams): Promise<number | null> =>
    new Promise((resolve) => child.once('exit', (code) => resolve(code)));

  const run = async (source: SignedLog, to: string, from?: string): Promise<Ran> => {
    const child = start(source, to, ['--json'], from);
    const [code, out, err] = await Promise.all([exitOf(child), text(child.stdout), text(child.stderr)]);
    return { code, out, err };
  };

  /** Killed with SIGKILL once it has said how far it is: behind its first page, in the middle of another one. Answers what it said. */
  const killed = async (source: SignedLog, to: string, from?: string): Promise<string> => {
    const child = start(source, to, [], from);
    const ended = exitOf(child);
    child.stderr.once('data', () => child.kill('SIGKILL'));
    const [said] = await Promise.all([text(child.stderr), ended]);
    return said;
  };

  it('goes on where it was killed with kill -9, to EventStoreDB and back, and ends with the same log', async () => {
    const original = await signedLog(Array.from({ length: 9 }, () => 1_000));
    const rows = await rowsOf(original.database);
    const finished = { finished: true, events: String(rows.length), position: String(rows.length) };
    const server = kept(await startEventStoreDouble(), (double) => double.destroy());
    const first = doneBy(await killed(original, server.url));
    expect(first).toBeGreaterThan(0);
    expect(doneBy(await killed(original, server.url))).toBeGreaterThan(first);
    const there = await run(original, server.url);
    expect(JSON.parse(there.out)).toMatchObject({ ...finished, to: 'eventstoredb', carried: [] });
    const home = await newDatabase();
    const begun = doneBy(await killed(original, home.url, server.url));
    expect(doneBy(await killed(original, home.url, server.url))).toBeGreaterThan(begun);
    const back = await run(original, home.url, server.url);
    expect(JSON.parse(back.out)).toMatchObject({ ...finished, from: 'eventstoredb', to: 'postgres' });
    expect([there.code, back.code]).toEqual([0, 0]);
    expect(await rowsOf(home)).toEqual(rows);
  });

  it('copies beside a hub that writes, without finishing, and finishes once that is stopped', async () => {
    const original = await signedLog([10]);
    const target = await newDatabase();
    const writing = await openPostgresLogWriter(original.database.url);
    const first = await run(original, target.url);
    expect(first).toMatchObject({ code: 1, err: '' });
    expect(JSON.parse(first.out)).toMatchObject({ finished: false, position: '74' });
    await writing.append([
      {
        stream: 'late',
        expectedRevision: 'no_stream',
        events: [{ id: randomUUID(), type: 't', metadata: Buffer.from('{}'), data: Buffer.alloc(0) }],
      },
    ]);
    await writing.close();
    expect(JSON.parse((await run(original, target.url)).out)).toMatchObject({ finished: true, position: '75' });
    expect((await (await reader(target.url)).readPage({ stream: 'late', limit: 5 })).length).toBe(1);
    expect(await run(original, target.url)).toMatchObject({ code: 0 });
    const other = await signedLog([4]);
    expect(await run(original, other.database.url)).toMatchObject({ code: 1, err: expect.stringMatching(/empty log/) });
    expect(await run(original, 'ftp://x')).toMatchObject({ code: 2 });
  });
});

describe('from PostgreSQL to EventStoreDB and back', () => {
  it('is the same log in both places, also with what was appended in between', async () => {
    const original = await signedLog([40, 300]);
    const server = kept(await startEventStoreDouble(), (double) => double.destroy());
    const source = await reader(original.database.url);
    const target = await openEventStoreImport(server.url, source.id);
    await copyEvents(source, target, await source.head());
    await target.finish();
    await target.close();
    const away = kept(await openEventStoreWriter(server.url), (log) => log.close());
    const heads = { store: original.heads, publicKey: original.publicKey };
    expect(await compareLogs(source, away, { heads })).toMatchObject({ heads: 2 });
    for (let round = 0; round < 3; round += 1) {
      await away.append([
        {
          stream: 'clinical-1',
          expectedRevision: await away.streamRevision('clinical-1'),
          events: [{ id: randomUUID(), type: 't', metadata: Buffer.from(`{"round":${round}}`), data: randomBytes(9) }],
        },
      ]);
    }
    const back = await newDatabase();
    const there = kept(await openEventStoreReader(server.url), (log) => log.close());
    await copyTo(there, back.url);
    const home = await reader(back.url);
    expect(await compareLogs(there, home, { heads })).toMatchObject({ heads: 2, events: (await source.count()) + 3n });
    expect(await home.readPage({ limit: 1_000 })).toEqual(await there.readPage({ limit: 1_000 }));
    // And the log that was left behind takes what came meanwhile.
    const left = await openPostgresLogImport(original.database.url, source.id, { goOn: true });
    await copyEvents(there, left, await there.head());
    await left.finish();
    await left.close();
    expect(await rowsOf(original.database)).toEqual(await rowsOf(back));
  });
});
