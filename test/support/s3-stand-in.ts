/**
 * A stand-in for an S3-compatible service, for tests only: an HTTP server in this process that keeps objects in memory and speaks the few
 * operations that the hub uses. It checks every signature (Signature Version 4) as the service would. It is no S3: no versions, no rights,
 * no multipart.
 */
import { createHash, createHmac } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface S3StandIn {
  readonly endpoint: string;
  /** By key; what a test changes here is what the next request finds. */
  readonly objects: Map<string, { bytes: Buffer; writtenAt: Date }>;
  /** Answers every request with this until it is taken back: `[status, code]`. */
  failing: readonly [status: number, code: string] | undefined;
  close(): Promise<void>;
}

export const STAND_IN_KEYS = { accessKeyId: 'AKIDSTANDIN', secretAccessKey: 'stand-in secret', region: 'eu-test-1' };
const BUCKET = 'blobs';
const PAGE = 2;

export async function startS3StandIn(): Promise<S3StandIn> {
  const state: Pick<S3StandIn, 'objects' | 'failing'> = { objects: new Map(), failing: undefined };
  const server: Server = createServer((request, response) => void answer(state, request, response));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    endpoint: `http://127.0.0.1:${port}`,
    objects: state.objects,
    get failing() {
      return state.failing;
    },
    set failing(value) {
      state.failing = value;
    },
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

async function answer(
  state: Pick<S3StandIn, 'objects' | 'failing'>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const body = Buffer.concat(chunks);
  const url = new URL(request.url ?? '/', `http://${request.headers.host}`);
  const refuse = (status: number, code: string): void => {
    response.writeHead(status, { 'content-type': 'application/xml' });
    response.end(`<?xml version="1.0"?><Error><Code>${code}</Code></Error>`);
  };
  if (state.failing !== undefined) return refuse(...state.failing);
  if (!signed(request, url, body)) return refuse(403, 'SignatureDoesNotMatch');
  const [, bucket = '', ...rest] = url.pathname.split('/');
  if (bucket !== BUCKET) return refuse(404, 'NoSuchBucket');
  const key = rest.join('/');
  if (key === '' && request.method === 'GET') return list(state, url, response);
  switch (request.method) {
    case 'PUT': {
      const checksum = request.headers['x-amz-checksum-sha256'];
      if (checksum !== createHash('sha256').update(body).digest('base64')) return refuse(400, 'BadDigest');
      state.objects.set(key, { bytes: body, writtenAt: new Date() });
      response.writeHead(200).end();
      return;
    }
    case 'GET': {
      const object = state.objects.get(key);
      if (object === undefined) return refuse(404, 'NoSuchKey');
      response.writeHead(200, { 'content-length': object.bytes.length }).end(object.bytes);
      return;
    }
    case 'DELETE':
      state.objects.delete(key);
      response.writeHead(204).end();
      return;
    default:
      return refuse(405, 'MethodNotAllowed');
  }
}

/** Two keys a page, so that every listing has several. */
function list(state: Pick<S3StandIn, 'objects'>, url: URL, response: ServerResponse): void {
  const prefix = url.searchParams.get('prefix') ?? '';
  const after = url.searchParams.get('continuation-token') ?? '';
  const keys = [...state.objects.keys()].filter((key) => key.startsWith(prefix) && key > after).sort();
  const page = keys.slice(0, PAGE);
  const contents = page.map((key) => {
    const object = state.objects.get(key) as { bytes: Buffer; writtenAt: Date };
    return `<Contents><Key>${key}</Key><LastModified>${object.writtenAt.toISOString()}</LastModified><Size>${object.bytes.length}</Size></Contents>`;
  });
  const more = keys.length > PAGE;
  const next = more ? `<NextContinuationToken>${page.at(-1)}</NextContinuationToken>` : '';
  response.writeHead(200, { 'content-type': 'application/xml' });
  response.end(
    `<?xml version="1.0"?><ListBucketResult>${contents.join('')}<IsTruncated>${more}</IsTruncated>${next}</ListBucketResult>`,
  );
}

/** Signature Version 4, computed as the service documents it ("Authenticating Requests: Using the Authorization Header"). */
function signed(request: IncomingMessage, url: URL, body: Buffer): boolean {
  const authorization = request.headers.authorization ?? '';
  const match =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/([^,]+), ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/.exec(
      authorization,
    );
  const [, accessKeyId, scope = '', names = '', signature] = match ?? [];
  if (accessKeyId !== STAND_IN_KEYS.accessKeyId) return false;
  const declared = String(request.headers['x-amz-content-sha256'] ?? '');
  if (declared !== 'UNSIGNED-PAYLOAD' && declared !== createHash('sha256').update(body).digest('hex')) return false;
  const query = [...url.searchParams]
    .map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`)
    .sort()
    .join('&');
  const headers = names.split(';').map((name) => `${name}:${String(request.headers[name] ?? '').trim()}\n`);
  const canonical = [request.method, url.pathname, query, headers.join(''), names, declared].join('\n');
  const text = [
    'AWS4-HMAC-SHA256',
    String(request.headers['x-amz-date']),
    scope,
    createHash('sha256').update(canonical).digest('hex'),
  ].join('\n');
  let key: Buffer | string = `AWS4${STAND_IN_KEYS.secretAccessKey}`;
  for (const part of scope.split('/')) key = createHmac('sha256', key).update(part).digest();
  return createHmac('sha256', key).update(text).digest('hex') === signature;
}
