/**
 * Folders that are watched (sources of kind `file`): a file is picked up once it is complete, taken in, and moved when all of it is durable in the
 * log. Killed in between, it is taken in again, and what is in the log already is recognised.
 */
import { copyFile, mkdir, readdir, rename, stat, unlink, writeFile } from 'node:fs/promises';
import nodePath from 'node:path';
import { LogUnavailableError } from '../../log/event-log.js';
import type { Intake } from '../received.js';
import type { SourceConfiguration, SourceFolder } from '../source.js';
import type { SourceDirectory } from '../sources.js';
import { FileReader, type FileProblem } from './ingest-files.js';
import { IntakeDestination } from './intake-destination.js';
import type { Sent } from './sender.js';

export interface FolderWatchOptions {
  readonly sources: SourceDirectory;
  readonly intake: Intake;
  /** Largest JSON event. */
  readonly eventBytes: number;
  /** Resolves when one more message of the source may come in: its rate, its bound, its pause. Default: at once. */
  readonly admit?: (sourceId: string, stopped: () => boolean) => Promise<unknown>;
  /** Told of what an engineer must see: codes and the source, never a name of a file or its content. */
  readonly onTrouble: (sourceId: string, error: unknown) => void;
  /** Told how many messages, or files of an archive, of a file were not taken. */
  readonly onRefused?: (sourceId: string, count: number) => void;
  readonly times?: Partial<FolderTimes>;
}

export interface FolderTimes {
  /** The folder is looked at this often. */
  readonly pollMs: number;
  /** A file that has not changed for this long is complete. One that was moved in under its name keeps its age, and is taken at once. */
  readonly settleMs: number;
  /** After a failure of the log or the folder. */
  readonly firstPauseMs: number;
  readonly longestPauseMs: number;
}

const TIMES: FolderTimes = { pollMs: 1_000, settleMs: 2_000, firstPauseMs: 500, longestPauseMs: 30_000 };

/** Names that senders give to what they are still writing. */
const UNFINISHED = /^\.|\.(tmp|part|partial|filepart|crdownload)$/i;

/** Follows the sources: a folder is watched from the moment its source names it, until it does no more. */
export class FolderWatch {
  private readonly folders = new Map<string, WatchedFolder>();
  private readonly unsubscribe: () => void;
  private readonly times: FolderTimes;
  private readonly ending: Promise<void>[] = [];

  constructor(private readonly options: FolderWatchOptions) {
    this.times = { ...TIMES, ...options.times };
    this.unsubscribe = options.sources.onChange(({ after }) => this.follow(after));
    for (const source of options.sources.all()) this.follow(source);
  }

  /** Finishes the piece that is on its way; the rest of a file is taken in the next time. */
  async close(): Promise<void> {
    this.unsubscribe();
    for (const folder of this.folders.values()) this.ending.push(folder.close());
    this.folders.clear();
    await Promise.all(this.ending);
  }

  private follow({ id, kind, enabled, folder }: SourceConfiguration): void {
    const watched = this.folders.get(id);
    const wanted = kind === 'file' && enabled ? folder : undefined;
    if (watched !== undefined && JSON.stringify(watched.folder) === JSON.stringify(wanted)) return;
    if (watched !== undefined) this.ending.push(watched.close());
    this.folders.delete(id);
    if (wanted !== undefined) this.folders.set(id, new WatchedFolder(id, wanted, this.options, this.times));
  }
}

/** A file as it was at a moment, times in nanoseconds. */
interface Look {
  readonly size: bigint;
  readonly written: bigint;
  /** Last change of its name, owner or rights too. */
  readonly changed: bigint;
}

/** @throws the error of the operating system */
async function lookAt(file: string): Promise<Look> {
  const { size, mtimeNs: written, ctimeNs: changed } = await stat(file, { bigint: true });
  return { size, written, changed };
}

const same = (one: Look, other: Look): boolean => one.size === other.size && one.written === other.written;

/** A file that could not be opened or read, and when it is tried again. */
interface Failed {
  readonly changed: bigint;
  readonly pauseMs: number;
  readonly again: number;
}

/** The folder's own end: nothing went wrong. */
class Stopped extends Error {}

/** The file is at fault (its rights, its disk, that it is gone), not the log or the folder. */
class FileFailed extends Error {
  constructor(readonly trouble: unknown) {
    super('a file cannot be read');
  }
}

/** The operating system names the file in its errors, and people are in names of files. */
function nameless(error: unknown): unknown {
  const { code, syscall, path } = error as NodeJS.ErrnoException;
  if (code === undefined || syscall === undefined || path === undefined) return error;
  return Object.assign(new Error(`a watched folder: ${syscall} failed`), { code });
}

class WatchedFolder {
  private readonly stopping = new AbortController();
  private readonly running: Promise<void>;
  private seen = new Map<string, Look>();
  /** By name. Others do not wait for them. */
  private readonly failed = new Map<string, Failed>();

  constructor(
    private readonly sourceId: string,
    readonly folder: SourceFolder,
    private readonly options: FolderWatchOptions,
    private readonly times: FolderTimes,
  ) {
    this.running = this.run();
  }

  close(): Promise<void> {
    this.stopping.abort();
    return this.running;
  }

  private async run(): Promise<void> {
    let pauseMs = this.times.firstPauseMs;
    while (!this.stopping.signal.aborted) {
      try {
        await this.once();
        pauseMs = this.times.firstPauseMs;
        await this.pause(this.times.pollMs);
      } catch (error) {
        if (error instanceof Stopped) return;
        this.options.onTrouble(this.sourceId, nameless(error));
        await this.pause(pauseMs);
        pauseMs = Math.min(pauseMs * 2, this.times.longestPauseMs);
      }
    }
  }

  /** Takes every file that is complete, the oldest first. */
  private async once(): Promise<void> {
    if (this.source().paused) return;
    for (const { name, look } of await this.complete()) {
      if (this.stopping.signal.aborted) return;
      const failed = this.failed.get(name);
      if (failed !== undefined && failed.changed === look.changed && performance.now() < failed.again) continue;
      try {
        await this.take(name);
        this.failed.delete(name);
      } catch (error) {
        if (!(error instanceof FileFailed)) throw error;
        const pauseMs = Math.min((failed?.pauseMs ?? this.times.firstPauseMs / 2) * 2, this.times.longestPauseMs);
        this.failed.set(name, { changed: look.changed, pauseMs, again: performance.now() + pauseMs });
        this.options.onTrouble(this.sourceId, error.trouble);
      }
    }
  }

  private source(): SourceConfiguration {
    const source = this.options.sources.find(this.sourceId);
    if (source === undefined || !source.enabled) throw new Stopped();
    return source;
  }

  private async complete(): Promise<{ readonly name: string; readonly look: Look }[]> {
    const { path, pattern } = this.folder;
    const matches = patternOf(pattern);
    const looks = new Map<string, Look>();
    const done: { name: string; look: Look }[] = [];
    const settled = BigInt(Date.now() - this.times.settleMs) * 1_000_000n;
    for (const entry of await readdir(path, { withFileTypes: true })) {
      if (!entry.isFile() || UNFINISHED.test(entry.name) || !matches.test(entry.name)) continue;
      const look = await orGone(lookAt(nodePath.join(path, entry.name)));
      if (look === undefined) continue;
      const before = this.seen.get(entry.name);
      looks.set(entry.name, look);
      // Nobody has written to it for a while, and it did not change since the last look; what was moved in has its last writing behind it.
      const still = before !== undefined && same(before, look);
      if (look.written <= settled && (still || look.written < look.changed)) done.push({ name: entry.name, look });
    }
    this.seen = looks;
    for (const name of this.failed.keys()) if (!looks.has(name)) this.failed.delete(name);
    return done.sort((one, other) => {
      const by = one.look.written - other.look.written;
      return by === 0n ? (one.name < other.name ? -1 : 1) : by < 0n ? -1 : 1;
    });
  }

  private async take(name: string): Promise<void> {
    const file = nodePath.join(this.folder.path, name);
    const { intake, eventBytes, admit } = this.options;
    const stopped = (): boolean => this.stopping.signal.aborted;
    const inside = new IntakeDestination(
      intake,
      () => this.source(),
      eventBytes,
      () => admit?.(this.sourceId, stopped),
    );
    const admitted = async <T>(send: () => Promise<T>): Promise<T> => {
      if (this.stopping.signal.aborted) throw new Stopped();
      return this.patiently(send);
    };
    const reader = new FileReader({
      messages: (messages) => admitted(() => inside.messages(messages)),
      events: (lines) => admitted(() => inside.events(lines)),
    });
    let problems: readonly FileProblem[];
    try {
      const before = await lookAt(file);
      ({ problems } = await reader.file(file, Number(before.size), true, () => undefined));
      await reader.flush();
      // Somebody writes to it after all: it is taken again when that is over, and what is in the hub by then is recognised.
      if (!same(before, await lookAt(file))) return;
    } catch (error) {
      const { syscall, path } = error as NodeJS.ErrnoException;
      throw path === file || syscall === 'read' ? new FileFailed(nameless(error)) : error;
    }
    const left = problems.length + reader.sent.refused;
    if (left > 0) this.options.onRefused?.(this.sourceId, left);
    await this.moveAway(file, name, problems, reader.sent);
    this.seen.delete(name);
  }

  /** A log that is away is waited for: the file stays where it is until all of it is durable. */
  private async patiently<T>(send: () => Promise<T>): Promise<T> {
    for (let pauseMs = this.times.firstPauseMs; ; pauseMs = Math.min(pauseMs * 2, this.times.longestPauseMs)) {
      try {
        return await send();
      } catch (error) {
        if (!(error instanceof LogUnavailableError)) throw error;
        this.options.onTrouble(this.sourceId, error);
      }
      await this.pause(pauseMs);
      if (this.stopping.signal.aborted) throw new Stopped();
    }
  }

  private async moveAway(file: string, name: string, problems: readonly FileProblem[], sent: Sent): Promise<void> {
    const { path, doneFolder, errorFolder } = this.folder;
    const code = problems[0]?.code ?? (sent.refused > 0 ? 'REFUSED' : undefined);
    const folder = nodePath.resolve(path, code === undefined ? doneFolder : errorFolder);
    await mkdir(folder, { recursive: true });
    const target = await freeName(folder, name);
    await move(file, target);
    if (code === undefined) return;
    await writeFile(`${target}.problem.json`, `${JSON.stringify({ code, ...sent, problems })}\n`);
    this.options.onTrouble(this.sourceId, Object.assign(new Error('a file could not be taken whole'), { code }));
  }

  /** Ends early when the folder is to be watched no more. */
  private pause(ms: number): Promise<void> {
    const { signal } = this.stopping;
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      signal.addEventListener('abort', done);
      if (signal.aborted) done();
    });
  }
}

/** undefined where somebody took the file away meanwhile. */
async function orGone<T>(looking: Promise<T>): Promise<T | undefined> {
  try {
    return await looking;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** `*` any characters, `?` one. */
function patternOf(pattern: string): RegExp {
  const escaped = pattern.replaceAll(/[.+^${}()|[\]\\]/g, '\\$&');
  return new RegExp(`^${escaped.replaceAll('*', '.*').replaceAll('?', '.')}$`, 's');
}

/** The name itself, or with a number where another file of it was moved there before. */
async function freeName(folder: string, name: string): Promise<string> {
  for (let number = 0; ; number += 1) {
    const candidate = nodePath.join(folder, number === 0 ? name : `${name}.${number}`);
    try {
      await stat(candidate);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return candidate;
      throw error;
    }
  }
}

/** Across file systems too: the copy is whole before the original goes. */
async function move(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EXDEV') throw error;
    await copyFile(from, `${to}.copying`);
    await rename(`${to}.copying`, to);
    await unlink(from);
  }
}
