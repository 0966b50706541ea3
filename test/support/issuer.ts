/** An OpenID Connect issuer for tests: a real description and real keys over HTTP, which it rotates when told. */
import { exportJWK, generateKeyPair, SignJWT, type CryptoKey, type JWK, type JWTPayload } from 'jose';
import http from 'node:http';
import type { AddressInfo } from 'node:net';

export interface TokenWishes {
  readonly claims?: JWTPayload;
  readonly roles?: readonly string[];
  readonly sources?: string | readonly string[];
  /** Seconds from now; default 300. */
  readonly expiresIn?: number;
  readonly notBeforeIn?: number;
  readonly issuer?: string;
  readonly audience?: string;
  readonly typ?: string;
}

export class TestIssuer {
  /** How often the keys were asked for. */
  asked = 0;
  down = false;
  private key!: CryptoKey;
  private published: JWK[] = [];
  private serial = 0;

  private constructor(private readonly server: http.Server) {}

  static async open(): Promise<TestIssuer> {
    const server = http.createServer((request, response) => issuer.answer(request, response));
    const issuer = new TestIssuer(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    await issuer.rotate();
    return issuer;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/realms/test`;
  }

  /** Signs with a new key from now on. @param keep whether tokens of the old keys stay good */
  async rotate(keep = false): Promise<void> {
    const { publicKey, privateKey } = await generateKeyPair('RS256');
    this.serial += 1;
    const jwk = { ...(await exportJWK(publicKey)), kid: `key-${this.serial}`, alg: 'RS256', use: 'sig' };
    this.key = privateKey;
    this.published = [jwk, ...(keep ? this.published : [])];
  }

  token(wishes: TokenWishes = {}): Promise<string> {
    return new SignJWT(this.claims(wishes))
      .setProtectedHeader({ alg: 'RS256', kid: `key-${this.serial}`, typ: wishes.typ ?? 'JWT' })
      .sign(this.key);
  }

  claims({ roles = [], sources, expiresIn = 300, ...wishes }: TokenWishes): JWTPayload {
    const now = Math.floor(Date.now() / 1000);
    return {
      iss: wishes.issuer ?? this.url,
      aud: wishes.audience ?? 'anamnesis',
      sub: '6d2f7a52-7a40-4f0a-9d51-0c2a3f6f1a11',
      iat: now,
      exp: now + expiresIn,
      ...(wishes.notBeforeIn === undefined ? {} : { nbf: now + wishes.notBeforeIn }),
      realm_access: { roles },
      ...(sources === undefined ? {} : { anamnesis_source: sources }),
      ...wishes.claims,
    };
  }

  /** The published key, as somebody who means ill reads it. */
  get publicKey(): JWK {
    return this.published[0] as JWK;
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }

  private answer(request: http.IncomingMessage, response: http.ServerResponse): void {
    if (this.down) {
      response.writeHead(503).end();
      return;
    }
    response.setHeader('content-type', 'application/json');
    if (request.url === '/realms/test/.well-known/openid-configuration') {
      response.end(JSON.stringify({ issuer: this.url, jwks_uri: `${this.url}/certs` }));
    } else if (request.url === '/realms/test/certs') {
      this.asked += 1;
      response.end(JSON.stringify({ keys: this.published }));
    } else response.writeHead(404).end();
  }
}
