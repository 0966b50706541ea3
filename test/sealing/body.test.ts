import { describe, expect, it } from '@jest/globals';
import { randomBytes, randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { BodyDamagedError, bodyHash, openBody, sealBody } from '../../src/sealing/body.js';
import { CIPHER_SUITES } from '../../src/sealing/cipher.js';

const key = { keyId: randomUUID(), key: randomBytes(32) };
const aad = { eventId: randomUUID(), ownerId: randomUUID(), type: 'inbound.hl7v2' };
const header = { controlId: 'Ä-1', charset: 'UTF-8' };

describe.each([
  ['XChaCha20-Poly1305', CIPHER_SUITES.xchacha20poly1305],
  ['AES-256-GCM', CIPHER_SUITES.aes256gcm],
])('a body sealed with %s', (_, suite) => {
  it('opens to the same header and the same bytes, whatever they are', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 3000 }), fc.string(), (bytes, controlId) => {
        const content = Buffer.from(bytes);
        const opened = openBody(key, aad, sealBody(key, aad, { controlId }, content, suite));
        expect(opened.content.equals(content)).toBe(true);
        expect(opened.header).toEqual({ controlId });
      }),
    );
  });

  it('names the suite in its first byte', () => {
    expect(sealBody(key, aad, header, Buffer.from('x'), suite)[0]).toBe(suite);
  });

  it('does not open for another event, owner, type or key', () => {
    const sealed = sealBody(key, aad, header, Buffer.from('content'), suite);
    const open = (binding: typeof aad, by = key) => openBody(by, binding, sealed);
    expect(() => open({ ...aad, eventId: randomUUID() })).toThrow(BodyDamagedError);
    expect(() => open({ ...aad, ownerId: randomUUID() })).toThrow(BodyDamagedError);
    expect(() => open({ ...aad, type: 'inbound.fhir' })).toThrow(BodyDamagedError);
    expect(() => open(aad, { ...key, key: randomBytes(32) })).toThrow(BodyDamagedError);
    expect(open(aad).content.toString()).toBe('content');
  });

  it('does not open once any one bit of it is flipped, or when it is cut short', () => {
    const sealed = sealBody(key, aad, header, Buffer.from('content'), suite);
    for (let index = 0; index < sealed.length; index += 1) {
      const damaged = Buffer.from(sealed);
      damaged[index] = (damaged[index] as number) ^ 0x01;
      expect(() => openBody(key, aad, damaged)).toThrow(BodyDamagedError);
      expect(() => openBody(key, aad, sealed.subarray(0, index))).toThrow(BodyDamagedError);
    }
  });

  it('never uses a nonce twice', () => {
    const seen = new Set<string>();
    for (let count = 0; count < 20_000; count += 1) {
      seen.add(sealBody(key, aad, {}, Buffer.alloc(0), suite).toString('latin1', 1, 13));
    }
    expect(seen.size).toBe(20_000);
  });
});

it('compresses what is large and regular, and leaves small and random bodies as they are', () => {
  const regular = Buffer.alloc(20_000, 'OBX|1|NM|8867-4^Heart rate^LN||72|/min|||||F\r');
  expect(sealBody(key, aad, header, regular).length).toBeLessThan(2_000);
  const random = randomBytes(20_000);
  const sealed = sealBody(key, aad, header, random);
  expect(sealed.length).toBeLessThan(20_000 + 200);
  expect(openBody(key, aad, sealed).content.equals(random)).toBe(true);
  const small = Buffer.alloc(300, 'a');
  expect(sealBody(key, aad, header, small).length).toBeGreaterThan(300);
});

it('says in a damaged body error which event it was, and nothing of the content', () => {
  const sealed = sealBody(key, aad, header, Buffer.from('SECRET'));
  sealed[40] = (sealed[40] as number) ^ 1;
  const open = () => openBody(key, aad, sealed);
  expect(open).toThrow(aad.eventId);
  expect(open).not.toThrow('SECRET');
});

it('hashes stored bytes as SHA-256 in base64url', () => {
  expect(bodyHash(Buffer.from('abc'))).toBe('ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0');
});
