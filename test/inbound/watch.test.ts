/** Folders that are watched, over a real log: nothing is lost, nothing taken twice, nothing left half taken. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { appendFile, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import os from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { FolderWatch, type FolderWatchOptions } from '../../src/inbound/files/watch.js';
import type { Intake } from '../../src/inbound/received.js';
import { resolveSource, type SourceConfiguration, type SourceSettings } from '../../src/inbound/source.js';
import type { SourceChange, SourceDirectory } from '../../src/inbound/sources.js';
import { LogUnavailableError } from '../../src/log/event-log.js';
import { until } from '../process/support/until.js';
import { openTestHub, type TestHub } from './support.js';

let hub: TestHub;
let folder: string;
let watch: FolderWatch | undefined;
let troubles: unknown[];
/** Stands before the pipeline where a test wants it away. */
let failing = 0;

beforeAll(async () => {
  hub = await openTestHub();
});
afterAll(() => hub.close());
beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'anamnesis-watch-'));
  troubles = [];
  failing = 0;
});
afterEach(async () => {
  await watch?.close();
  watch = undefined;
  await rm(folder, { recursive: true, force: true });
});

/** Sources that a test changes. */
class Sources implements SourceDirectory {
  private readonly listeners = new Set<(change: SourceChange) => void>();
  private source: SourceConfiguration;
  constructor(settings: SourceSettings = {}) {
    this.source = this.make(1, settings);
  }
  private make(version: number, settings: SourceSettings): SourceConfiguration {
    const own = { path: folder, pattern: '*', doneFolder: 'done', errorFolder: 'errors' };
    return resolveSource('lab-files', version, { kind: 'file', folder: own, ...settings }, { timeZone: 'UTC' });
  }
  change(settings: SourceSettings): void {
    this.source = this.make(this.source.version + 1, settings);
    for (const listener of this.listeners) listener({ after: this.source });
  }
  find(id: string): SourceConfiguration | undefined {
    return id === this.source.id ? this.source : undefined;
  }
  all(): readonly SourceConfiguration[] {
    return [this.source];
  }
  onChange(listener: (change: SourceChange) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}

function start(sources: Sources, more: Partial<FolderWatchOptions> = {}): void {
  const intake: Intake = {
    receive: (message) => {
      failing -= 1;
      if (failing >= 0) return Promise.reject(new LogUnavailableError('away'));
      return hub.intake.receive(message);
    },
  };
  watch = new FolderWatch({
    sources,
    intake,
    eventBytes: 1_000,
    onTrouble: (_source, error) => troubles.push(error),
    times: { pollMs: 10, settleMs: 50, firstPauseMs: 10, longestPauseMs: 20 },
    ...more,
  });
}

let last = 0;
const adt = (id = `W${(last += 1)}`): string =>
  `MSH|^~\\&|A|B|||20260101||ADT^A01|${id}|P|2.5.1\rPID|||${id}^^^M^MR||X^Y||19800101\r`;
const put = (name: string, content: string | Buffer): Promise<void> => writeFile(path.join(folder, name), content);
const names = async (inside: string): Promise<string[]> =>
  (await readdir(path.join(folder, inside)).catch(() => [] as string[])).sort();
const stored = async (): Promise<string[]> =>
  (await hub.events()).flatMap(({ envelope, header }) =>
    envelope.source === 'lab-files' ? (header?.controlId ?? 'other') : [],
  );
const inDone = (name: string): Promise<void> =>
  until(`${name} is moved`, async () => (await names('done')).includes(name));

describe('a folder that is watched', () => {
  it('gives its files to the hub, each once it is complete, and moves them when they are in the log', async () => {
    start(new Sources());
    const ids = [`W${(last += 1)}`, `W${(last += 1)}`, `W${(last += 1)}`];
    await put('two.hl7', adt(ids[0]) + adt(ids[1]));
    await put('packed.hl7.gz', gzipSync(adt(ids[2])));
    await put('.hidden.hl7', adt());
    await put('later.hl7.part', adt());
    await Promise.all([inDone('two.hl7'), inDone('packed.hl7.gz')]);
    expect(await stored()).toEqual(expect.arrayContaining(ids));
    expect((await names('.')).filter((name) => name !== 'done')).toEqual(['.hidden.hl7', 'later.hl7.part']);
    const events = (await hub.events()).filter(
      ({ envelope, type }) => envelope.source === 'lab-files' && type.startsWith('inbound.'),
    );
    expect(events.every(({ envelope }) => envelope.transport === 'file' && envelope.sourceVersion === 1)).toBe(true);
    await rename(path.join(folder, 'later.hl7.part'), path.join(folder, 'later.hl7'));
    await inDone('later.hl7');
  });

  it('leaves a file alone while it grows', async () => {
    const [first, second] = [`W${(last += 1)}`, `W${(last += 1)}`];
    const written = new Date(Date.now() - 3_600_000);
    start(new Sources(), { times: { pollMs: 10, settleMs: 60_000 } });
    await put('growing.hl7', adt(first));
    for (let n = 0; n < 6; n += 1) {
      // A file beside it that nobody writes to any more: when it is moved, the folder was looked at.
      await put(`still-${n}.hl7.part`, adt());
      await utimes(path.join(folder, `still-${n}.hl7.part`), written, written);
      await rename(path.join(folder, `still-${n}.hl7.part`), path.join(folder, `still-${n}.hl7`));
      await inDone(`still-${n}.hl7`);
      expect(await stored()).not.toContain(first);
      await appendFile(path.join(folder, 'growing.hl7'), n === 5 ? adt(second) : 'NTE|1||x\r');
    }
    await utimes(path.join(folder, 'growing.hl7'), written, written);
    await inDone('growing.hl7');
    expect(await stored()).toEqual(expect.arrayContaining([first, second]));
  });

  it('takes a file again that a crash left there, and nothing of it twice', async () => {
    const content = [1, 2].map((n) =>
      JSON.stringify({ resourceType: 'Patient', id: 'twice', birthDate: `199${n}-01-01` }),
    );
    await put('again.ndjson', content.join('\n'));
    const { mtime } = await stat(path.join(folder, 'again.ndjson'));
    start(new Sources());
    await inDone('again.ndjson');
    const before = (await stored()).length;
    // As if the hub had been killed between the log and the move.
    await rename(path.join(folder, 'done/again.ndjson'), path.join(folder, 'again.ndjson'));
    expect((await stat(path.join(folder, 'again.ndjson'))).mtime).toEqual(mtime);
    await inDone('again.ndjson');
    expect((await stored()).length).toBe(before);
  });

  it('keeps what it cannot read in another folder, with a code and no word of its content', async () => {
    const refused: number[] = [];
    start(new Sources(), { onRefused: (_source, count) => refused.push(count) });
    const bytes = gzipSync(adt() + 'x'.repeat(50_000) + randomBytes(9_000).toString('hex'));
    await put('broken.hl7.gz', bytes.subarray(0, -4_000));
    await put('long.ndjson', JSON.stringify({ eventId: 'Zyxwvutsrq', data: 'x'.repeat(2_000) }));
    await until('both are moved', async () => (await names('errors')).length === 4);
    expect(await names('errors')).toEqual([
      'broken.hl7.gz',
      'broken.hl7.gz.problem.json',
      'long.ndjson',
      'long.ndjson.problem.json',
    ]);
    const problem = await readFile(path.join(folder, 'errors/broken.hl7.gz.problem.json'), 'utf8');
    expect(JSON.parse(problem)).toMatchObject({ code: 'DAMAGED_ARCHIVE', problems: [{ code: 'DAMAGED_ARCHIVE' }] });
    expect(refused).toEqual([1, 1]);
    const other = await readFile(path.join(folder, 'errors/long.ndjson.problem.json'), 'utf8');
    expect(JSON.parse(other)).toMatchObject({ code: 'REFUSED', refused: 1 });
    expect(other + JSON.stringify(troubles.map(String))).not.toContain('Zyxwvutsrq');
  });

  it('takes the others where one cannot be read, says so without its name, and takes it once it can be', async () => {
    const ids = [1, 2, 3].map(() => `W${(last += 1)}`);
    const file = (name: string): string => path.join(folder, name);
    for (const [n, id] of ids.entries()) {
      await put(`${n}-Zyxwvutsrq.hl7`, adt(id));
      await utimes(file(`${n}-Zyxwvutsrq.hl7`), 1_000 + n, 1_000 + n);
    }
    let admitted = 0;
    start(new Sources(), {
      // All three were seen when the first is taken; what stands in the place of the second then cannot be read.
      admit: async () => {
        admitted += 1;
        if (admitted > 1) return;
        await rm(file('1-Zyxwvutsrq.hl7'));
        await mkdir(file('1-Zyxwvutsrq.hl7'));
      },
    });
    await inDone('2-Zyxwvutsrq.hl7');
    expect(await names('done')).toEqual(['0-Zyxwvutsrq.hl7', '2-Zyxwvutsrq.hl7']);
    expect(troubles).toMatchObject([{ code: 'EISDIR' }]);
    expect(troubles.map(String).join()).not.toContain('Zyxwvutsrq');
    await rm(file('1-Zyxwvutsrq.hl7'), { recursive: true });
    await put('1-Zyxwvutsrq.hl7', adt(ids[1]));
    await inDone('1-Zyxwvutsrq.hl7');
    expect(await stored()).toEqual(expect.arrayContaining(ids));
  });

  it('takes a file again that somebody wrote to while it was read', async () => {
    const [first, second] = [`W${(last += 1)}`, `W${(last += 1)}`];
    await put('resumed.hl7', adt(first));
    await utimes(path.join(folder, 'resumed.hl7'), 1_000, 1_000);
    let admitted = 0;
    start(new Sources(), {
      admit: async () => {
        admitted += 1;
        if (admitted === 1) await appendFile(path.join(folder, 'resumed.hl7'), adt(second));
      },
    });
    await inDone('resumed.hl7');
    expect(await stored()).toEqual(expect.arrayContaining([first, second]));
    expect((await stored()).filter((id) => id === first)).toHaveLength(1);
  });

  it('waits for a log that is away, and moves nothing meanwhile', async () => {
    failing = 5;
    start(new Sources());
    const id = `W${(last += 1)}`;
    await put('patient.hl7', adt(id));
    await inDone('patient.hl7');
    expect(troubles.length).toBeGreaterThanOrEqual(5);
    expect((await stored()).filter((one) => one === id)).toHaveLength(1);
  });

  it('follows its source: paused, changed, disabled and back, without a restart', async () => {
    const sources = new Sources({ paused: true });
    start(sources);
    const ids = [`W${(last += 1)}`, `W${(last += 1)}`, `W${(last += 1)}`];
    await put('one.hl7', adt(ids[0]));
    await new Promise((resolve) => setTimeout(resolve, 150));
    expect(await names('done')).toEqual([]);
    sources.change({});
    await inDone('one.hl7');
    const elsewhere = path.join(folder, 'elsewhere');
    await mkdir(elsewhere);
    sources.change({ folder: { path: elsewhere, pattern: '*.hl7', doneFolder: '../done', errorFolder: 'errors' } });
    await writeFile(path.join(elsewhere, 'two.hl7'), adt(ids[1]));
    await writeFile(path.join(elsewhere, 'two.txt'), adt());
    await inDone('two.hl7');
    expect(await names('elsewhere')).toEqual(['two.txt']);
    sources.change({ enabled: false });
    await put('three.hl7', adt(ids[2]));
    await new Promise((resolve) => setTimeout(resolve, 150));
    expect(await stored()).not.toContain(ids[2]);
    sources.change({});
    await inDone('three.hl7');
    expect(await stored()).toEqual(expect.arrayContaining(ids));
  });

  it('never overwrites what it moved before', async () => {
    start(new Sources());
    await put('same.hl7', adt());
    await inDone('same.hl7');
    await put('same.hl7', adt());
    await inDone('same.hl7.1');
    expect(await names('done')).toEqual(['same.hl7', 'same.hl7.1']);
  });
});
