/**
 * Blobs in an S3-compatible bucket (Amazon S3 API reference: PutObject, GetObject, DeleteObject, ListObjectsV2; requests signed with
 * Signature Version 4). Every object is sent with the SHA-256 of its bytes, which is its name as well: the service refuses what arrived
 * otherwise, and an object that was stored is durable when it answers.
 */
import { AwsClient } from 'aws4fetch';
import { createHash } from 'node:crypto';
import {
  BlobStoreUnavailableError,
  blobName,
  hashOfName,
  type BlobRead,
  type BlobRef,
  type BlobState,
  type BlobStore,
  type ListedBlob,
} from './blob-store.js';

export interface S3Settings {
  /** Address of the service: `https://s3.eu-central-1.amazonaws.com`, `https://minio.hospital:9000`. */
  readonly endpoint: string;
  readonly bucket: string;
  /** Before every name, with a slash at its end, or ''. */
  readonly prefix: string;
  readonly region: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

const REQUEST_TIMEOUT_MS = 60_000;
const RETRIES = 2;

export class S3BlobStore implements BlobStore {
  private readonly client: AwsClient;

  constructor(private readonly settings: S3Settings) {
    const { accessKeyId, secretAccessKey, sessionToken, region } = settings;
    this.client = new AwsClient({
      accessKeyId,
      secretAccessKey,
      ...(sessionToken === undefined ? {} : { sessionToken }),
      service: 's3',
      region,
      retries: RETRIES,
    });
  }

  get name(): string {
    return `s3 ${this.settings.bucket}/${this.settings.prefix}`;
  }

  /** A bucket is made by whoever runs the service; here it only has to answer. */
  async prepare(): Promise<void> {
    for await (const _ of this.list()) return;
  }

  async put(ref: BlobRef, bytes: Buffer): Promise<void> {
    const hash = Buffer.from(ref.hash, 'base64url');
    const response = await this.send(this.objectUrl(ref.hash), {
      method: 'PUT',
      body: new Uint8Array(bytes),
      headers: {
        'content-type': 'application/octet-stream',
        'x-amz-content-sha256': hash.toString('hex'),
        'x-amz-checksum-sha256': hash.toString('base64'),
      },
    });
    if (!response.ok) throw await refusal(response);
    await response.body?.cancel();
  }

  async get(ref: BlobRef): Promise<BlobRead> {
    const chunks: Buffer[] = [];
    const state = await this.read(ref.hash, ref.length, (chunk) => chunks.push(chunk));
    return state === 'present' ? { state, bytes: Buffer.concat(chunks) } : { state };
  }

  check(hash: string, length: number): Promise<BlobState> {
    return this.read(hash, length, () => undefined);
  }

  async remove(hash: string): Promise<void> {
    const response = await this.send(this.objectUrl(hash), { method: 'DELETE' });
    if (!response.ok && response.status !== 404) throw await refusal(response);
    await response.body?.cancel();
  }

  async *list(): AsyncIterable<ListedBlob> {
    for (let token: string | undefined; ;) {
      const url = this.bucketUrl();
      url.searchParams.set('list-type', '2');
      url.searchParams.set('prefix', this.settings.prefix);
      if (token !== undefined) url.searchParams.set('continuation-token', token);
      const response = await this.send(url, { method: 'GET' });
      if (!response.ok) throw await refusal(response);
      const page = await response.text();
      for (const [, entry = ''] of page.matchAll(/<Contents>([\s\S]*?)<\/Contents>/g)) {
        const hash = hashOfName((textOf(entry, 'Key') ?? '').slice(this.settings.prefix.length));
        if (hash === undefined) continue;
        yield {
          hash,
          length: Number(textOf(entry, 'Size')),
          writtenAtMs: Date.parse(textOf(entry, 'LastModified') ?? ''),
        };
      }
      token = textOf(page, 'IsTruncated') === 'true' ? textOf(page, 'NextContinuationToken') : undefined;
      if (token === undefined) return;
    }
  }

  /** Takes the object chunk by chunk; what is longer than it should be is not read to its end. */
  private async read(hash: string, length: number, take: (chunk: Buffer) => void): Promise<BlobState> {
    const response = await this.send(this.objectUrl(hash), { method: 'GET' });
    if (response.status === 404) {
      const code = textOf(await response.text(), 'Code');
      // Without the bucket nothing is known about its objects.
      if (code === 'NoSuchKey') return 'missing';
      throw new BlobStoreUnavailableError(`the blob store answered 404 (${code ?? 'no code'})`);
    }
    if (!response.ok) throw await refusal(response);
    const digest = createHash('sha256');
    let received = 0;
    try {
      for await (const chunk of response.body ?? []) {
        const bytes = Buffer.from(chunk as Uint8Array);
        received += bytes.length;
        if (received > length) return 'damaged';
        digest.update(bytes);
        take(bytes);
      }
    } catch (error) {
      throw new BlobStoreUnavailableError('the blob store broke off in the middle of a blob', { cause: error });
    }
    return received === length && digest.digest('base64url') === hash ? 'present' : 'damaged';
  }

  private async send(url: URL, init: RequestInit): Promise<Response> {
    try {
      return await this.client.fetch(url.href, { ...init, signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS) });
    } catch (error) {
      throw new BlobStoreUnavailableError('the blob store does not answer', { cause: error });
    }
  }

  private objectUrl(hash: string): URL {
    const url = this.bucketUrl();
    url.pathname += `/${this.settings.prefix}${blobName(hash)}`;
    return url;
  }

  /** Path style, which every service of this kind knows. */
  private bucketUrl(): URL {
    const url = new URL(this.settings.endpoint);
    url.pathname = `${url.pathname.replace(/\/+$/, '')}/${this.settings.bucket}`;
    return url;
  }
}

async function refusal(response: Response): Promise<BlobStoreUnavailableError> {
  const code = textOf(await response.text().catch(() => ''), 'Code');
  return new BlobStoreUnavailableError(
    `the blob store answered ${response.status}${code === undefined ? '' : ` (${code})`}`,
  );
}

/** Text of the first element of that name. The values read here are names, numbers, times and opaque tokens. */
function textOf(xml: string, element: string): string | undefined {
  const text = new RegExp(`<${element}>([^<]*)</${element}>`).exec(xml)?.[1];
  return text
    ?.replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&quot;', '"')
    .replaceAll('&apos;', "'")
    .replaceAll('&amp;', '&');
}
