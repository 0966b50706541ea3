/** The blob store that the configuration names. */
import path from 'node:path';
import { ConfigError } from '../config/config.js';
import type { BlobStore } from './blob-store.js';
import { FolderBlobStore } from './folder-store.js';
import { S3BlobStore } from './s3-store.js';

/**
 * @param location a folder, or `s3://<bucket>[/<prefix>]?endpoint=https://…[&region=…]`; credentials come from `AWS_ACCESS_KEY_ID`,
 *   `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`, never from the configuration
 * @throws ConfigError
 */
export function openBlobStore(
  location: string,
  env: Readonly<Record<string, string | undefined>> = process.env,
): BlobStore {
  if (!location.startsWith('s3://')) return new FolderBlobStore(path.resolve(location));
  const url = new URL(location);
  const region = url.searchParams.get('region') ?? 'us-east-1';
  const endpoint = url.searchParams.get('endpoint') ?? `https://s3.${region}.amazonaws.com`;
  const prefix = url.pathname.replace(/^\/+|\/+$/g, '');
  const {
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
    AWS_SESSION_TOKEN: sessionToken,
  } = env;
  if (url.hostname === '') throw new ConfigError('blobs.store', 'expected s3://<bucket>');
  if (!URL.canParse(endpoint)) throw new ConfigError('blobs.store', 'expected a URL as endpoint');
  if (accessKeyId === undefined || secretAccessKey === undefined) {
    throw new ConfigError('blobs.store', 'expected AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment');
  }
  return new S3BlobStore({
    endpoint,
    bucket: url.hostname,
    prefix: prefix === '' ? '' : `${prefix}/`,
    region,
    accessKeyId,
    secretAccessKey,
    ...(sessionToken === undefined ? {} : { sessionToken }),
  });
}
