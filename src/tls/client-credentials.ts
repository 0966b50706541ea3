/** What the hub shows and trusts where it opens a TLS connection itself. The files are read for every connection, so that new ones count at once. */
import { readFile } from 'node:fs/promises';
import type { ConnectionOptions } from 'node:tls';
import { MINIMUM_TLS_VERSION } from './server-credentials.js';

export interface TlsClientFiles {
  /** PEM: the authorities that may have signed the peer's certificate; without it those that Node knows. */
  readonly ca?: string;
  /** PEM: the hub's certificate, where the peer wants one. */
  readonly cert?: string;
  /** PEM: its private key. */
  readonly key?: string;
  /** Name that the peer's certificate must be for; without it the host that is connected to. */
  readonly serverName?: string;
}

/**
 * For `tls.connect`. The peer's certificate is always checked.
 * @throws the error of the operating system where a file cannot be read
 */
export async function clientTlsOptions(files: TlsClientFiles): Promise<ConnectionOptions> {
  const read = (file: string | undefined): Promise<Buffer | undefined> =>
    file === undefined ? Promise.resolve(undefined) : readFile(file);
  const [ca, cert, key] = await Promise.all([read(files.ca), read(files.cert), read(files.key)]);
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(files.serverName === undefined ? {} : { servername: files.serverName }),
    minVersion: MINIMUM_TLS_VERSION,
    rejectUnauthorized: true,
  };
}
