/** Starts and stops the double from a test. It is a double of EventStoreDB for tests, never a store for anything else. */
import { fork, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { freePort } from '../free-port.js';
import type { Command, ProcessOptions } from './main.js';

export interface RunningDouble {
  readonly port: number;
  /** `esdb://127.0.0.1:<port>?tls=false`, or with TLS and a user where it was started with them. */
  readonly url: string;
  readonly pid: number;
  /** SIGKILL; resolves when the process is gone. Its file stays. */
  kill(): Promise<void>;
  /** Starts it again on the same port and the same file. */
  restart(options?: { readonly notReady?: boolean }): Promise<void>;
  /** SIGSTOP: connections stay, nothing is answered. */
  freeze(): void;
  /** SIGCONT. */
  thaw(): void;
  becomeReady(): Promise<void>;
  /** The next so many appends (to that stream) are stored and never answered. */
  swallowAnswers(count: number, stream?: string): Promise<void>;
  /** Kills it and removes its file. */
  destroy(): Promise<void>;
}

export interface StartOptions {
  readonly maxAppendBytes?: number;
  readonly notReady?: boolean;
  /** `name:password` */
  readonly user?: string;
  /** PEM, for `localhost`. */
  readonly tls?: { readonly key: string; readonly cert: string; readonly ca: string };
}

export const DEFAULT_MAX_APPEND_BYTES = 1_048_576;

export async function startEventStoreDouble(options: StartOptions = {}): Promise<RunningDouble> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'eventstore-double-'));
  const inFolder = async (name: string, text: string): Promise<string> => {
    await writeFile(path.join(folder, name), text);
    return path.join(folder, name);
  };
  const { tls } = options;
  const caFile = tls === undefined ? '' : await inFolder('ca.pem', tls.ca);
  const base: ProcessOptions = {
    file: path.join(folder, 'log'),
    port: await freePort(),
    maxAppendBytes: options.maxAppendBytes ?? DEFAULT_MAX_APPEND_BYTES,
    notReady: options.notReady ?? false,
    user: options.user,
    tls:
      tls === undefined
        ? undefined
        : {
            keyFile: await inFolder('key.pem', tls.key),
            certificateFile: await inFolder('certificate.pem', tls.cert),
          },
  };
  let running = await launch(base);
  const { port } = base;
  const [name, password] = options.user?.split(':') ?? [];
  const credentials = name === undefined ? '' : `${encodeURIComponent(name)}:${encodeURIComponent(password ?? '')}@`;
  const query = tls === undefined ? 'tls=false' : `tls=true&tlsCAFile=${encodeURIComponent(caFile)}`;
  const host = tls === undefined ? '127.0.0.1' : 'localhost';
  const kill = async (): Promise<void> => {
    if (running.exitCode !== null || running.signalCode !== null) return;
    const gone = new Promise((resolve) => running.once('exit', resolve));
    running.kill('SIGKILL');
    await gone;
  };
  const command = (what: Command): Promise<void> =>
    new Promise((resolve) => {
      running.once('message', () => resolve());
      running.send(what);
    });
  return {
    port,
    url: `esdb://${credentials}${host}:${port}?${query}`,
    get pid() {
      return running.pid as number;
    },
    kill,
    async restart(again = {}) {
      running = await launch({ ...base, notReady: again.notReady ?? false });
    },
    freeze: () => void running.kill('SIGSTOP'),
    thaw: () => void running.kill('SIGCONT'),
    becomeReady: () => command({ do: 'become-ready' }),
    swallowAnswers: (count, stream) => command({ do: 'swallow-answers', count, stream }),
    async destroy() {
      await kill();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function launch(options: ProcessOptions): Promise<ChildProcess> {
  const child = fork(builtMain(), [JSON.stringify(options)], {
    execArgv: ['--no-warnings'],
    env: { ...process.env, NODE_OPTIONS: '' },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  await new Promise<void>((resolve, reject) => {
    child.once('message', () => resolve());
    child.once('exit', (code) => reject(new Error(`the double ended while starting (${code})`)));
  });
  return child;
}

/** The built file, also from a test that runs from the source. */
function builtMain(folder = import.meta.dirname): string {
  const built = path.join(folder, 'dist/test/support/eventstore-double/main.js');
  if (existsSync(built)) return built;
  if (path.dirname(folder) === folder) throw new Error('the double is not built: run `npm run build`');
  return builtMain(path.dirname(folder));
}
