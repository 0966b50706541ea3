/**
 * The listeners of all sources of kind `mllp`: one for each address, begun, changed and ended as the sources change, without a restart
 * and without losing a message. What a change takes away from a sender is taken gracefully: what it has sent whole is answered first.
 */
import { isLoopback } from '../../config/config.js';
import { isFingerprintRule } from '../../tls/peer-identity.js';
import { ServerCredentials, TlsFilesError, type TlsServerFiles } from '../../tls/server-credentials.js';
import type { SourceTraffic } from './connection.js';
import type { Intake } from '../received.js';
import type { SourceConfiguration, SourceListener } from '../source.js';
import type { SourceDirectory } from '../sources.js';
import { admittingSource } from './admission.js';
import type { MllpLogger } from './log-throttle.js';
import {
  MllpServer,
  sharedBounds,
  type MllpServerLimits,
  type MllpSharedLimits,
  type MllpStatistics,
  type MllpTls,
} from './server.js';

/** Why a source is not listened for. Codes are stable; none of them quotes a setting. */
export type ListenerTroubleCode =
  /** Beyond loopback: neither TLS nor a proxy that ends it (API.md §2). */
  | 'TLS_REQUIRED'
  /** Beyond loopback: neither client certificates nor an allow-list of addresses (API.md §2). */
  | 'SENDERS_NOT_LIMITED'
  /** Client certificates are named, but without TLS nobody shows one. */
  | 'CERTIFICATES_WITHOUT_TLS'
  /** Client certificates are named by what stands in them, but no authority is known to vouch for it. */
  | 'NO_CLIENT_AUTHORITY'
  /** TLS without certificate and key, neither of the source nor of the hub. */
  | 'NO_CERTIFICATE'
  /** Another source has the same address with other TLS settings. */
  | 'ADDRESS_SHARED'
  /** Certificate, key or authorities cannot be used. */
  | 'BAD_TLS_FILES'
  /** The operating system refused the address; its own code beside it. */
  | 'CANNOT_LISTEN';

export class ListenerTrouble extends Error {
  constructor(
    readonly code: ListenerTroubleCode,
    /** Id of the source. */
    readonly source: string,
    /** `EADDRINUSE`, or which of the TLS files. */
    readonly detail?: string,
  ) {
    super(`source ${source}: ${EXPLANATIONS[code]}${detail === undefined ? '' : ` (${detail})`}`);
    this.name = 'ListenerTrouble';
  }
}

const EXPLANATIONS: Readonly<Record<ListenerTroubleCode, string>> = {
  TLS_REQUIRED: 'expected TLS (or behindProxy) beyond a loopback address',
  SENDERS_NOT_LIMITED: 'expected clientCertificates or allowAddresses beyond a loopback address',
  CERTIFICATES_WITHOUT_TLS: 'expected tls, since clientCertificates are given',
  NO_CLIENT_AUTHORITY: 'expected caFile (or tls.clientCa), since clientCertificates are given by name',
  NO_CERTIFICATE: 'expected certFile and keyFile (or tls.cert and tls.key)',
  ADDRESS_SHARED: 'expected the same TLS settings as those of the other sources on its address',
  BAD_TLS_FILES: 'the TLS files cannot be used',
  CANNOT_LISTEN: 'the address cannot be listened on',
};

export interface MllpListenersOptions {
  readonly sources: SourceDirectory;
  readonly intake: Intake;
  readonly traffic?: SourceTraffic;
  /** The hub's own TLS files: of the built-in source, and of sources whose listeners have TLS without files of their own. */
  readonly tls?: TlsServerFiles;
  /** Another part ends TLS in front of the hub. */
  readonly behindProxy?: boolean;
  readonly limits?: Partial<MllpServerLimits>;
  readonly sharedLimits?: Partial<MllpSharedLimits>;
  readonly logger: MllpLogger;
  /** How long until what could not be begun is tried again. */
  readonly retryMs?: number;
}

/** What is to be listened on. */
interface Wanted {
  readonly host: string;
  readonly port: number;
  readonly tls: TlsWanted | undefined;
  /** Enabled, by id. */
  readonly sources: SourceConfiguration[];
}

interface TlsWanted {
  readonly files: TlsServerFiles;
  readonly pinned: boolean;
}

interface Running {
  readonly server: MllpServer;
  wanted: Wanted;
  credentials: ServerCredentials | undefined;
}

const RETRY_MS = 5_000;

export class MllpListeners {
  private readonly running = new Map<string, Running>();
  private readonly troubles = new Map<string, ListenerTrouble>();
  private readonly ending = new Map<MllpServer, Promise<void>>();
  private readonly shared;
  private readonly unsubscribe: () => void;
  /** Changes are carried out one after another. */
  private work: Promise<void> = Promise.resolve();
  private again = false;
  private retry: NodeJS.Timeout | undefined;
  private stopping: Promise<void> | undefined;
  /** Of listeners that have ended. */
  private readonly past = nothing();

  private constructor(private readonly options: MllpListenersOptions) {
    this.shared = sharedBounds(options.sharedLimits);
    this.unsubscribe = options.sources.onChange(({ before, after }) => {
      if (before?.kind === 'mllp' || after.kind === 'mllp') void this.follow();
    });
  }

  /**
   * Listens for every enabled source of kind `mllp`.
   * @param required sources without which the hub must not start
   * @throws ListenerTrouble of one of those; trouble of others is logged, and tried again
   */
  static async open(options: MllpListenersOptions, required: readonly string[] = ['mllp']): Promise<MllpListeners> {
    const listeners = new MllpListeners(options);
    await listeners.follow();
    const trouble = required.map((id) => listeners.troubles.get(id)).find((one) => one !== undefined);
    if (trouble === undefined) return listeners;
    await listeners.stop();
    throw trouble;
  }

  /** `127.0.0.1:2575`; undefined where the source is not listened for. */
  address(sourceId: string): string | undefined {
    for (const { server, wanted } of this.running.values()) {
      if (wanted.sources.some(({ id }) => id === sourceId)) return server.address;
    }
    return undefined;
  }

  /** Why the source is not listened for; undefined where it is, or is not to be. */
  trouble(sourceId: string): ListenerTrouble | undefined {
    return this.troubles.get(sourceId);
  }

  /** Over all listeners since the start. */
  get statistics(): MllpStatistics {
    const sum = { ...this.past, bytesHeld: this.shared.holdings.total };
    for (const { server } of this.running.values()) add(sum, server.statistics);
    for (const server of this.ending.keys()) add(sum, server.statistics);
    return sum;
  }

  /** Resolves when the changes so far are carried out: new addresses are listened on, old ones take no connection any more. */
  settled(): Promise<void> {
    return this.work;
  }

  /** Ends all listeners gracefully. */
  stop(): Promise<void> {
    this.stopping ??= this.stopNow();
    return this.stopping;
  }

  private async stopNow(): Promise<void> {
    this.unsubscribe();
    clearTimeout(this.retry);
    await this.work;
    clearTimeout(this.retry);
    for (const key of [...this.running.keys()]) this.end(key);
    await Promise.all(this.ending.values());
  }

  private follow(): Promise<void> {
    if (this.again) return this.work;
    this.again = true;
    this.work = this.work.then(async () => {
      this.again = false;
      if (this.stopping === undefined || this.running.size > 0) await this.reconcile();
    });
    return this.work;
  }

  private async reconcile(): Promise<void> {
    clearTimeout(this.retry);
    const before = new Map(this.troubles);
    this.troubles.clear();
    const wanted = this.wantedNow();
    // First what must go: its port may be wanted again.
    for (const [key, { wanted: had }] of this.running) {
      const next = wanted.get(key);
      if (next === undefined || next.host !== had.host || next.port !== had.port) this.end(key);
    }
    for (const [key, one] of wanted) {
      const running = this.running.get(key);
      try {
        if (running === undefined) await this.begin(key, one);
        else await this.change(running, one);
      } catch (error) {
        for (const { id } of one.sources) this.troubles.set(id, troubleOf(error, id));
      }
    }
    for (const [id, trouble] of this.troubles) {
      const { code, detail } = trouble;
      if (before.get(id)?.message === trouble.message) continue;
      this.options.logger.warn({ source: id, reason: code, code: detail }, `MLLP: ${EXPLANATIONS[code]}`);
    }
    if (this.troubles.size > 0 && this.stopping === undefined) {
      this.retry = setTimeout(() => void this.follow(), this.options.retryMs ?? RETRY_MS).unref();
    }
  }

  /** By address; a source on any free port has one of its own. */
  private wantedNow(): Map<string, Wanted> {
    const wanted = new Map<string, Wanted>();
    for (const source of this.options.sources.all()) {
      const { listener } = source;
      if (source.kind !== 'mllp' || !source.enabled || listener === undefined) continue;
      try {
        const tls = this.tlsOf(source, listener);
        this.checkExposure(source, listener, tls);
        const host = listener.host.replace(/^\[(.*)\]$/, '$1');
        const key = listener.port === 0 ? `source ${source.id}` : `${host} ${listener.port}`;
        const other = wanted.get(key);
        if (other === undefined) wanted.set(key, { host, port: listener.port, tls, sources: [source] });
        else if (sameTls(other.tls, tls)) other.sources.push(source);
        else throw new ListenerTrouble('ADDRESS_SHARED', source.id);
      } catch (error) {
        this.troubles.set(source.id, troubleOf(error, source.id));
      }
    }
    return wanted;
  }

  private tlsOf(source: SourceConfiguration, listener: SourceListener): TlsWanted | undefined {
    const own = this.options.tls;
    // The hub's own address has the hub's own TLS (API.md §2).
    const given = listener.tls ?? (source.id === 'mllp' && own !== undefined ? {} : undefined);
    const { clientCertificates } = listener;
    if (given === undefined) {
      if (clientCertificates !== undefined) throw new ListenerTrouble('CERTIFICATES_WITHOUT_TLS', source.id);
      return undefined;
    }
    const cert = given.certFile ?? own?.cert;
    const key = given.certFile === undefined ? own?.key : given.keyFile;
    if (cert === undefined || key === undefined) throw new ListenerTrouble('NO_CERTIFICATE', source.id);
    const clientCa = given.caFile ?? own?.clientCa;
    const byName = clientCertificates?.some((rule) => !isFingerprintRule(rule)) === true;
    if (byName && clientCa === undefined) throw new ListenerTrouble('NO_CLIENT_AUTHORITY', source.id);
    const pinned = clientCertificates?.some(isFingerprintRule) === true;
    return { files: { cert, key, ...(clientCa === undefined ? {} : { clientCa }) }, pinned };
  }

  /** API.md §2: beyond loopback TLS, and senders that are limited by certificate or address. */
  private checkExposure(source: SourceConfiguration, listener: SourceListener, tls: TlsWanted | undefined): void {
    if (isLoopback(listener.host)) return;
    if (tls === undefined && this.options.behindProxy !== true) throw new ListenerTrouble('TLS_REQUIRED', source.id);
    const limited =
      tls?.files.clientCa !== undefined ||
      listener.clientCertificates !== undefined ||
      listener.allowAddresses !== undefined;
    if (!limited) throw new ListenerTrouble('SENDERS_NOT_LIMITED', source.id);
  }

  private async begin(key: string, wanted: Wanted): Promise<void> {
    const credentials = await this.credentialsOf(wanted);
    const { intake, traffic, limits, logger } = this.options;
    let current: Running | undefined;
    try {
      const server = await MllpServer.listen({
        host: wanted.host,
        port: wanted.port,
        intake,
        ...(traffic === undefined ? {} : { traffic }),
        shared: this.shared,
        admit: (peer) => admittingSource((current?.wanted ?? wanted).sources, peer),
        logger,
        ...(limits === undefined ? {} : { limits }),
        ...tlsOption(wanted, credentials),
      });
      current = { server, wanted, credentials };
      this.running.set(key, current);
    } catch (error) {
      credentials?.close();
      throw error;
    }
  }

  private async change(running: Running, wanted: Wanted): Promise<void> {
    const { tls } = running.wanted;
    if (!sameTls(tls, wanted.tls)) {
      const credentials = await this.credentialsOf(wanted);
      running.credentials?.close();
      running.credentials = credentials;
      running.server.useTls(tlsOption(wanted, credentials).tls);
    }
    running.wanted = wanted;
    running.server.review();
  }

  /** Takes no connection from now on; those that stand end by themselves. */
  private end(key: string): void {
    const running = this.running.get(key);
    if (running === undefined) return;
    this.running.delete(key);
    const { server, credentials } = running;
    const ended = server.stop().then(() => {
      credentials?.close();
      add(this.past, server.statistics);
      this.ending.delete(server);
    });
    this.ending.set(server, ended);
  }

  private async credentialsOf({ tls, sources }: Wanted): Promise<ServerCredentials | undefined> {
    if (tls === undefined) return undefined;
    const { logger } = this.options;
    const source = sources[0]?.id;
    return ServerCredentials.open(tls.files, {
      onReload: () => logger.warn({ source }, 'MLLP: new TLS files are in use'),
      onTrouble: (error) =>
        logger.warn({ source, code: error.code, reason: error.file }, 'MLLP: changed TLS files cannot be used yet'),
    });
  }
}

function tlsOption({ tls }: Wanted, credentials: ServerCredentials | undefined): { tls?: MllpTls } {
  if (tls === undefined || credentials === undefined) return {};
  return { tls: { credentials, request: credentials.mutual || tls.pinned, pinned: tls.pinned } };
}

function sameTls(one: TlsWanted | undefined, other: TlsWanted | undefined): boolean {
  if (one === undefined || other === undefined) return one === other;
  const { cert, key, clientCa } = one.files;
  return (
    cert === other.files.cert &&
    key === other.files.key &&
    clientCa === other.files.clientCa &&
    one.pinned === other.pinned
  );
}

function troubleOf(error: unknown, source: string): ListenerTrouble {
  if (error instanceof ListenerTrouble) return error;
  if (error instanceof TlsFilesError) return new ListenerTrouble('BAD_TLS_FILES', source, error.file);
  return new ListenerTrouble('CANNOT_LISTEN', source, (error as NodeJS.ErrnoException).code);
}

type Sum = { -readonly [name in keyof MllpStatistics]: MllpStatistics[name] };

function add(sum: Sum, more: MllpStatistics): void {
  for (const name of Object.keys(sum) as (keyof Sum)[]) if (name !== 'bytesHeld') sum[name] += more[name];
}

function nothing(): Sum {
  return {
    connections: 0,
    connectionsTotal: 0,
    connectionsRefused: 0,
    handshakesFailed: 0,
    frames: 0,
    faults: 0,
    answers: 0,
    unavailable: 0,
    bytesHeld: 0,
  };
}
