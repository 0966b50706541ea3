import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { SignJWT, UnsecuredJWT } from 'jose';
import { assertPrincipal, readAssertion } from '../../src/auth/assertion.js';
import {
  BadTokenError,
  IssuerUnavailableError,
  TokenVerifier,
  type OidcSettings,
} from '../../src/auth/token-verifier.js';
import { TestIssuer } from '../support/issuer.js';

let issuer: TestIssuer;
beforeAll(async () => {
  issuer = await TestIssuer.open();
});
afterAll(() => issuer.close());

function verifier(more: Partial<OidcSettings> = {}, cooldownMs?: number): TokenVerifier {
  const settings = {
    issuer: issuer.url,
    audience: 'anamnesis',
    rolesClaim: 'realm_access.roles',
    sourceClaim: 'anamnesis_source',
    clockSkewSeconds: 30,
    ...more,
  };
  return new TokenVerifier(settings, cooldownMs);
}

const rolesOf = async (token: string, more: Partial<OidcSettings> = {}): Promise<string[]> => [
  ...(await verifier(more).verify(token)).roles,
];

describe('a good token', () => {
  it('says who asks, in which roles and for which sources', async () => {
    const token = await issuer.token({ roles: ['auditor', 'source', 'offline_access'], sources: 'lab' });
    expect(await verifier().verify(token)).toEqual({
      name: '6d2f7a52-7a40-4f0a-9d51-0c2a3f6f1a11',
      roles: new Set(['auditor', 'source']),
      sources: ['lab'],
      expiresAt: expect.any(Number),
    });
    const many = await issuer.token({ roles: ['source'], sources: ['lab', 'ward'] });
    expect((await verifier().verify(many)).sources).toEqual(['lab', 'ward']);
    const none = await issuer.token({ roles: ['source'], sources: [] });
    expect((await verifier().verify(none)).sources).toEqual([]);
  });

  it.each<[string, string, object]>([
    ['a claim of its own', 'roles', { roles: ['analyst'] }],
    [
      'a path, as Keycloak writes roles of a client',
      'resource_access.hub.roles',
      { resource_access: { hub: { roles: ['analyst'] } } },
    ],
    ['a name with dots in it', 'https://example.org/roles', { 'https://example.org/roles': ['analyst'] }],
    ['one text with blanks', 'scope', { scope: 'openid analyst profile' }],
  ])('has its roles in %s', async (_, rolesClaim, claims) => {
    expect(await rolesOf(await issuer.token({ claims: { ...claims } }), { rolesClaim })).toEqual(['analyst']);
  });

  it('has none where the claim is missing, of another form, or inherited', async () => {
    for (const claims of [{ roles: 7 }, { roles: { auditor: true } }, {}])
      expect(await rolesOf(await issuer.token({ claims }), { rolesClaim: 'roles' })).toEqual([]);
    expect(await rolesOf(await issuer.token({}), { rolesClaim: 'constructor.name' })).toEqual([]);
  });

  it('may be a little late or early, as far as clocks differ', async () => {
    await verifier().verify(await issuer.token({ expiresIn: -10 }));
    await verifier().verify(await issuer.token({ notBeforeIn: 10 }));
    await expect(verifier({ clockSkewSeconds: 5 }).verify(await issuer.token({ expiresIn: -10 }))).rejects.toThrow(
      BadTokenError,
    );
  });
});

describe('a token is refused', () => {
  const refused: [string, () => Promise<string>][] = [
    ['that has expired', () => issuer.token({ expiresIn: -60 })],
    ['that is not good yet', () => issuer.token({ notBeforeIn: 60 })],
    ['that never expires', () => issuer.token({ claims: { exp: undefined } })],
    ['of another issuer', () => issuer.token({ issuer: 'https://elsewhere.example' })],
    ['for another audience', () => issuer.token({ audience: 'account' })],
    ['that is an id token', () => issuer.token({ claims: { typ: 'ID' } })],
    ['of another type', () => issuer.token({ typ: 'logout+jwt' })],
    ['about nobody', () => issuer.token({ claims: { sub: undefined } })],
    ['without a signature', async () => new UnsecuredJWT(issuer.claims({ roles: ['auditor'] })).encode()],
    [
      'signed with the public key as a secret',
      async () =>
        new SignJWT(issuer.claims({ roles: ['auditor'] }))
          .setProtectedHeader({ alg: 'HS256', kid: String(issuer.publicKey.kid) })
          .sign(Buffer.from(JSON.stringify(issuer.publicKey))),
    ],
    [
      'whose content was changed',
      async () => {
        const [head, , signature] = (await issuer.token({ roles: ['analyst'] })).split('.');
        const claims = Buffer.from(JSON.stringify(issuer.claims({ roles: ['auditor'] }))).toString('base64url');
        return `${head}.${claims}.${signature}`;
      },
    ],
    ['that is none', async () => 'abc.def.ghi'],
  ];
  it.each(refused)('%s', async (_, make) => {
    await expect(verifier().verify(await make())).rejects.toBeInstanceOf(BadTokenError);
  });
});

describe('the keys of an issuer', () => {
  it('may be changed: tokens of the new one are good at once, of one that was taken back no more', async () => {
    const own = verifier({}, 0);
    const old = await issuer.token({ roles: ['auditor'] });
    await own.verify(old);
    await issuer.rotate(true);
    await own.verify(await issuer.token({ roles: ['auditor'] }));
    await own.verify(old);
    await issuer.rotate(false);
    await own.verify(await issuer.token());
    await expect(verifier().verify(old)).rejects.toBeInstanceOf(BadTokenError);
    await verifier().verify(await issuer.token());
  });

  it('are asked for once, however many tokens there are, and not for every token that names an unknown one', async () => {
    const own = verifier();
    await own.verify(await issuer.token());
    const { asked } = issuer;
    for (let n = 0; n < 5; n += 1) await own.verify(await issuer.token({ claims: { jti: String(n) } }));
    const forged = await issuer.token();
    const strange = forged.replace(/^[^.]+/, Buffer.from('{"alg":"RS256","kid":"nobody"}').toString('base64url'));
    for (let n = 0; n < 5; n += 1) await expect(own.verify(strange)).rejects.toBeInstanceOf(BadTokenError);
    expect(issuer.asked).toBe(asked);
  });

  it('that cannot be had make no token bad: the hub says that it cannot judge, and judges once they are there', async () => {
    const own = verifier();
    issuer.down = true;
    await expect(own.verify(await issuer.token())).rejects.toBeInstanceOf(IssuerUnavailableError);
    issuer.down = false;
    await own.verify(await issuer.token());
    await expect(verifier({ issuer: 'http://127.0.0.1:1' }).verify(await issuer.token())).rejects.toBeInstanceOf(
      IssuerUnavailableError,
    );
    await expect(verifier({ jwksUrl: `${issuer.url}/nowhere` }).verify(await issuer.token())).rejects.toBeInstanceOf(
      IssuerUnavailableError,
    );
    await verifier({ jwksUrl: `${issuer.url}/certs` }).verify(await issuer.token());
  });
});

describe('what the ingest role says of who asks', () => {
  const principal = { name: 'p', roles: new Set(['auditor' as const]), sources: ['lab'], expiresAt: 9_000_000 };
  it('is believed of the same request, within seconds, and of nobody else', () => {
    const said = assertPrincipal('secret', principal, 'POST', '/graphql', 1_000);
    expect(readAssertion('secret', said, 'POST', '/graphql', 2_000)).toEqual(principal);
    expect(readAssertion('other', said, 'POST', '/graphql', 2_000)).toBeUndefined();
    expect(readAssertion('secret', said, 'GET', '/graphql', 2_000)).toBeUndefined();
    expect(readAssertion('secret', said, 'POST', '/graphql/analytics', 2_000)).toBeUndefined();
    expect(readAssertion('secret', said, 'POST', '/graphql', 60_000)).toBeUndefined();
    expect(readAssertion('secret', `${said}x`, 'POST', '/graphql', 2_000)).toBeUndefined();
    expect(readAssertion('secret', '', 'POST', '/graphql')).toBeUndefined();
    const [, signature] = said.split('.');
    const forged = Buffer.from('{"name":"p","roles":["engineer"],"until":9e15}').toString('base64url');
    expect(readAssertion('secret', `${forged}.${signature}`, 'POST', '/graphql', 2_000)).toBeUndefined();
  });
});
