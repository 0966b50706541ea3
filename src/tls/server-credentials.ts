/**
 * Certificate and key of a TLS server, from files, and again from them when they change: connections that stand go on, new ones
 * get the new certificate. Files that do not fit together (one of two replaced, half written) change nothing until they do.
 */
import { X509Certificate } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { createSecureContext, type SecureContextOptions, type Server, type TlsOptions } from 'node:tls';

/** Older versions are refused (RFC 8996). */
export const MINIMUM_TLS_VERSION = 'TLSv1.2';

export interface TlsServerFiles {
  /** PEM: the server's certificate and those between it and the root. */
  readonly cert: string;
  /** PEM: its private key. */
  readonly key: string;
  /** PEM: the authorities that sign the certificates of clients. With it, every client must show one (mutual TLS). */
  readonly clientCa?: string;
}

/** The files cannot be used. Names the file, never what stands in it. */
export class TlsFilesError extends Error {
  readonly code = 'BAD_TLS_FILES';
  constructor(
    /** Which of the files. */
    readonly file: 'cert' | 'key' | 'clientCa',
    readonly expected: string,
  ) {
    super(`TLS: ${file}: ${expected}`);
    this.name = 'TlsFilesError';
  }
}

export interface ServerCredentialsOptions {
  /** How often the files are looked at, in milliseconds. */
  readonly pollIntervalMs?: number;
  /** New files are in use. */
  readonly onReload?: (credentials: ServerCredentials) => void;
  /** Changed files cannot be used; the old ones stay in use, and the files are tried again. Told once for each state of the files. */
  readonly onTrouble?: (error: TlsFilesError) => void;
}

interface Material {
  readonly secure: SecureContextOptions;
  readonly certificate: X509Certificate;
  /** What the files looked like before they were read. */
  readonly state: string;
}

const POLL_INTERVAL_MS = 2_000;

export class ServerCredentials {
  private readonly servers = new Set<Pick<Server, 'setSecureContext'>>();
  private readonly timer: NodeJS.Timeout;
  /** The state that was last found unusable. */
  private refused = '';
  private checking: Promise<boolean> | undefined;

  private constructor(
    private readonly files: TlsServerFiles,
    private readonly options: ServerCredentialsOptions,
    private material: Material,
  ) {
    this.timer = setInterval(() => void this.reload(), options.pollIntervalMs ?? POLL_INTERVAL_MS).unref();
  }

  /**
   * Reads the files and begins to watch them.
   * @throws TlsFilesError where they cannot be used
   */
  static async open(files: TlsServerFiles, options: ServerCredentialsOptions = {}): Promise<ServerCredentials> {
    return new ServerCredentials(files, options, await load(files));
  }

  /**
   * For `tls.createServer` or `https.createServer`, whose server then goes to {@link follow}. A client whose certificate no authority of
   * `clientCa` has signed is refused in the handshake.
   */
  get serverOptions(): TlsOptions {
    const mutual = this.files.clientCa !== undefined;
    return { ...this.material.secure, requestCert: mutual, rejectUnauthorized: mutual };
  }

  /** Whether clients must show a certificate. */
  get mutual(): boolean {
    return this.files.clientCa !== undefined;
  }

  /** Until when the server's certificate is valid: RFC 3339 in UTC, to the second. */
  get expiresAt(): string {
    return rfc3339(this.material.certificate.validTo);
  }

  /** From now on the server takes new connections with the files as they are then. @returns ends that */
  follow(server: Pick<Server, 'setSecureContext'>): () => void {
    this.servers.add(server);
    server.setSecureContext(this.material.secure);
    return () => this.servers.delete(server);
  }

  /**
   * Looks at the files now, as it is done by itself from time to time.
   * @returns whether new ones are in use. Never rejects.
   */
  async reload(): Promise<boolean> {
    this.checking ??= this.check().finally(() => (this.checking = undefined));
    return this.checking;
  }

  /** Stops watching. Servers keep what they have. */
  close(): void {
    clearInterval(this.timer);
    this.servers.clear();
  }

  private async check(): Promise<boolean> {
    const state = await stateOf(this.files);
    if (state === this.material.state) return false;
    try {
      this.material = await load(this.files);
    } catch (error) {
      if (state !== this.refused && error instanceof TlsFilesError) this.options.onTrouble?.(error);
      this.refused = state;
      return false;
    }
    this.refused = '';
    for (const server of this.servers) server.setSecureContext(this.material.secure);
    this.options.onReload?.(this);
    return true;
  }
}

/** Changes whenever a file is written, replaced, or reached through another link. */
async function stateOf(files: TlsServerFiles): Promise<string> {
  const states = await Promise.all(
    [files.cert, files.key, files.clientCa].map(async (file) => {
      if (file === undefined) return '';
      try {
        const { dev, ino, size, mtimeNs, ctimeNs } = await stat(file, { bigint: true });
        return [dev, ino, size, mtimeNs, ctimeNs].join(':');
      } catch {
        return 'unreadable';
      }
    }),
  );
  return states.join('|');
}

async function load(files: TlsServerFiles): Promise<Material> {
  const state = await stateOf(files);
  const cert = await read('cert', files.cert);
  const key = await read('key', files.key);
  const ca = files.clientCa === undefined ? undefined : await read('clientCa', files.clientCa);
  const certificate = certificateOf('cert', cert);
  if (ca !== undefined) certificateOf('clientCa', ca);
  attempt('cert', 'expected certificates in PEM', { cert });
  attempt('key', 'expected a private key in PEM, without a passphrase', { key });
  if (ca !== undefined) attempt('clientCa', 'expected certificates in PEM', { ca });
  const secure: SecureContextOptions = {
    cert,
    key,
    // Without authorities of its own a server trusts no client, and never those that public authorities have signed.
    ca: ca ?? [],
    minVersion: MINIMUM_TLS_VERSION,
  };
  attempt('key', 'expected the key of the certificate', secure);
  return { secure, certificate, state };
}

async function read(file: TlsFilesError['file'], path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch {
    throw new TlsFilesError(file, 'expected a file that can be read');
  }
}

function certificateOf(file: TlsFilesError['file'], pem: Buffer): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch {
    throw new TlsFilesError(file, 'expected certificates in PEM');
  }
}

function attempt(file: TlsFilesError['file'], expected: string, options: SecureContextOptions): void {
  try {
    createSecureContext(options);
  } catch {
    throw new TlsFilesError(file, expected);
  }
}

/** `Nov 21 11:43:25 2026 GMT` as `2026-11-21T11:43:25Z`. */
function rfc3339(validTo: string): string {
  const match = /^(\w{3}) +(\d+) (\d\d:\d\d:\d\d) (\d{4}) GMT$/.exec(validTo);
  if (match === null) return '';
  const [, month, day, time, year] = match as unknown as readonly [string, string, string, string, string];
  const number = 1 + 'JanFebMarAprMayJunJulAugSepOctNovDec'.indexOf(month) / 3;
  return `${year}-${String(number).padStart(2, '0')}-${day.padStart(2, '0')}T${time}Z`;
}
