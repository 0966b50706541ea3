/**
 * A real OpenSearch for tests, without Docker: one node of it on the loopback address, run by a JDK of at least 21. The jars come from Maven
 * Central the first time (57 MB) and are kept in the user's cache folder.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createWriteStream, existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

const LEAST_JDK = 21;
const CENTRAL = 'https://repo1.maven.org/maven2';
const FETCH_ATTEMPTS = 4;
const FETCH_TIMEOUT_MS = 60_000;
const FETCHED_AT_ONCE = 6;
const START_TIMEOUT_MS = 120_000;

/** The sources beside this file: also when it runs from where it was compiled to. */
const HERE = import.meta.dirname.replace(`${path.sep}dist${path.sep}`, path.sep);

/** `ANAMNESIS_TEST_CACHE`, else the user's cache folder. */
function cacheFolder(): string {
  const chosen = process.env['ANAMNESIS_TEST_CACHE'];
  const base = process.env['XDG_CACHE_HOME'] ?? path.join(os.homedir(), '.cache');
  return path.join(chosen ?? path.join(base, 'anamnesis'), 'opensearch-3.8.0');
}

/** Path of a `java` of a JDK of at least 21: `OPENSEARCH_JAVA`, `JAVA_HOME`, the one on the path, or one where JDKs are usually installed. */
export async function findJava(): Promise<string | undefined> {
  const chosen = process.env['OPENSEARCH_JAVA'];
  if (chosen !== undefined) return chosen;
  const home = process.env['JAVA_HOME'];
  const candidates = [...(home === undefined ? [] : [path.join(home, 'bin', 'java')]), 'java'];
  const places = [
    '/usr/lib/jvm',
    '/opt',
    '/Library/Java/JavaVirtualMachines',
    path.join(os.homedir(), '.sdkman/candidates/java'),
  ];
  for (const place of places) {
    const names = await readdir(place).catch(() => []);
    for (const name of names.sort()) {
      for (const inside of ['bin/java', 'Contents/Home/bin/java']) candidates.push(path.join(place, name, inside));
    }
  }
  for (const java of candidates) {
    if (path.isAbsolute(java) && !existsSync(java)) continue;
    if ((await versionOf(java)) >= LEAST_JDK) return java;
  }
  return undefined;
}

/** Major version of a JDK; 0 for what is none (source files are run, which a bare runtime cannot). */
async function versionOf(java: string): Promise<number> {
  try {
    const { stderr } = await run(java, ['--list-modules']).then(async ({ stdout }) =>
      stdout.includes('jdk.compiler') ? run(java, ['-version']) : { stderr: '' },
    );
    return Number(/version "(\d+)/.exec(stderr)?.[1] ?? 0);
  } catch {
    return 0;
  }
}

/** Folder with all jars, fetched where they are missing. @throws where one cannot be had */
export async function fetchJars(): Promise<string> {
  const folder = path.join(cacheFolder(), 'lib');
  await mkdir(folder, { recursive: true });
  const wanted = (await readFile(path.join(HERE, 'jars.txt'), 'utf8'))
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.split(' ') as [sum: string, file: string]);
  const repositories = [await mirrorOfCentral(), CENTRAL].filter((url) => url !== undefined);
  const queue = [...wanted];
  const failed: [string, string][] = [];
  const fetchAll = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const [sum, file] = next;
      const target = path.join(folder, path.basename(file));
      if (existsSync(target) || (await takeLocal(sum, file, target))) continue;
      if (!(await fetchFrom(repositories, sum, file, target))) failed.push(next);
    }
  };
  await Promise.all(Array.from({ length: FETCHED_AT_ONCE }, fetchAll));
  if (failed.length === 0) return folder;
  // A mirror or a proxy that asks for more than this knows: Maven's own client is set up for it.
  await run('mvn', ['-q', '-B', '-f', path.join(HERE, 'pom.xml'), 'dependency:resolve'], { timeout: 300_000 }).catch(
    () => undefined,
  );
  for (const [sum, file] of failed) {
    if (await takeLocal(sum, file, path.join(folder, path.basename(file)))) continue;
    throw new Error(`${path.basename(file)} cannot be fetched from Maven Central`);
  }
  return folder;
}

async function keep(bytes: Buffer, sum: string, target: string): Promise<boolean> {
  if (createHash('sha256').update(bytes).digest('hex') !== sum) return false;
  // Whole or not at all, also where several fetch at once.
  const part = `${target}.${process.pid}.part`;
  await writeFile(part, bytes);
  await rename(part, target);
  return true;
}

async function takeLocal(sum: string, file: string, target: string): Promise<boolean> {
  const local = await readFile(path.join(os.homedir(), '.m2', 'repository', file)).catch(() => undefined);
  return local !== undefined && keep(local, sum, target);
}

async function fetchFrom(repositories: readonly string[], sum: string, file: string, target: string): Promise<boolean> {
  for (let attempt = 0; attempt < FETCH_ATTEMPTS; attempt += 1) {
    const repository = repositories[attempt % repositories.length] as string;
    try {
      const response = await fetch(`${repository}/${file}`, { signal: AbortSignal.timeout(FETCH_TIMEOUT_MS) });
      if (response.ok && (await keep(Buffer.from(await response.arrayBuffer()), sum, target))) return true;
    } catch {
      // The next attempt, or the next repository.
    }
    await new Promise((resolve) => setTimeout(resolve, 500 * 2 ** attempt));
  }
  return false;
}

/** The mirror of Central that Maven's settings name. */
async function mirrorOfCentral(): Promise<string | undefined> {
  const homes = [process.env['MAVEN_HOME'], process.env['M2_HOME']].filter((home) => home !== undefined);
  const files = [
    path.join(os.homedir(), '.m2/settings.xml'),
    ...homes.map((home) => path.join(home, 'conf/settings.xml')),
    '/etc/maven/settings.xml',
  ];
  for (const file of files) {
    const text = (await readFile(file, 'utf8').catch(() => '')).replace(/<!--[\s\S]*?-->/g, '');
    for (const [, mirror = ''] of text.matchAll(/<mirror>([\s\S]*?)<\/mirror>/g)) {
      const of = /<mirrorOf>\s*([^<]*?)\s*<\/mirrorOf>/.exec(mirror)?.[1] ?? '';
      const url = /<url>\s*([^<]*?)\s*<\/url>/.exec(mirror)?.[1];
      if (url !== undefined && !mirror.includes('<blocked>true') && /(^|,)(central|\*|external:\*)(,|$)/.test(of)) {
        return url.replace(/\/$/, '');
      }
    }
  }
  return undefined;
}

export interface RunningOpenSearch {
  /** `http://127.0.0.1:<port>` */
  readonly url: string;
  readonly port: number;
  /** Its folder, which stays when it ends. */
  readonly home: string;
  /** SIGKILL: nothing is finished. */
  kill(): Promise<void>;
  stop(): Promise<void>;
}

export interface OpenSearchOptions {
  readonly java: string;
  readonly home: string;
  /** A free one where none is given. */
  readonly port?: number;
  readonly heap?: string;
}

/** @throws where it does not answer in time; its output, with what it logs from level info on, is in `<home>/node.log` */
export async function startOpenSearch(options: OpenSearchOptions): Promise<RunningOpenSearch> {
  const { java, home, heap = '512m' } = options;
  const lib = await fetchJars();
  const port = options.port ?? (await freePort());
  await mkdir(home, { recursive: true });
  const child = spawn(
    java,
    [
      `-Xms${heap}`,
      `-Xmx${heap}`,
      '-XX:+UseSerialGC',
      '-XX:TieredStopAtLevel=4',
      '-Dlog4j2.level=info',
      '-cp',
      path.join(lib, '*'),
      path.join(HERE, 'OpenSearchNode.java'),
      home,
      String(port),
    ],
    { stdio: ['pipe', 'pipe', 'pipe'] },
  );
  const ended = once(child, 'exit');
  const kill = (): void => {
    child.kill('SIGKILL');
  };
  process.once('exit', kill);
  const log = createWriteStream(path.join(home, 'node.log'), { flags: 'a' });
  child.stderr.pipe(log);
  const end = async (how: () => void): Promise<void> => {
    process.removeListener('exit', kill);
    if (child.exitCode === null && child.signalCode === null) {
      how();
      await ended;
    }
  };
  try {
    await ready(child, log);
  } catch (error) {
    await end(kill);
    throw error;
  }
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    home,
    kill: () => end(kill),
    stop: () => end(() => child.stdin.end()),
  };
}

async function ready(child: ChildProcess, log: NodeJS.WritableStream): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const late = setTimeout(() => reject(new Error('OpenSearch did not get ready')), START_TIMEOUT_MS);
    let line = '';
    child.stdout?.on('data', (chunk: Buffer) => {
      log.write(chunk);
      const lines = (line + chunk.toString()).split('\n');
      line = lines.pop() as string;
      // The whole line, and nothing that the node logs on the way.
      if (!lines.some((one) => /^ready \d+\.\d+\.\d+\r?$/.test(one))) return;
      clearTimeout(late);
      resolve();
    });
    child.once('exit', (code) => {
      clearTimeout(late);
      reject(new Error(`OpenSearch ended with ${code ?? 'a signal'}`));
    });
    child.once('error', reject);
  });
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** Takes a node's folder away. */
export async function removeHome(home: string): Promise<void> {
  await rm(home, { recursive: true, force: true });
}
