/** Certificates for tests (RFC 5280), made on the spot: P-256, signed with SHA-256. */
import { createPublicKey, generateKeyPairSync, randomBytes, sign, type KeyObject } from 'node:crypto';

export interface TestCertificate {
  /** PEM. */
  readonly cert: string;
  /** PEM, PKCS #8. */
  readonly key: string;
}

export interface CertificateWishes {
  readonly commonName: string;
  readonly dns?: readonly string[];
  readonly ip?: readonly string[];
  readonly uris?: readonly string[];
  readonly emails?: readonly string[];
  /** Default: an hour ago. */
  readonly notBefore?: Date;
  /** Default: in a day. */
  readonly notAfter?: Date;
}

/** An authority that signs certificates. */
export class TestAuthority {
  readonly cert: string;
  private readonly keys = generateKeyPairSync('ec', { namedCurve: 'P-256' });

  constructor(private readonly name = 'Test Authority') {
    this.cert = this.make({ commonName: name }, this.keys.publicKey, true);
  }

  issue(wishes: CertificateWishes): TestCertificate {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    return {
      cert: this.make(wishes, publicKey, false),
      key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    };
  }

  private make(wishes: CertificateWishes, publicKey: KeyObject, authority: boolean): string {
    const names = [
      ...(wishes.emails ?? []).map((email) => tlv(0x81, Buffer.from(email))),
      ...(wishes.dns ?? []).map((dns) => tlv(0x82, Buffer.from(dns))),
      ...(wishes.uris ?? []).map((uri) => tlv(0x86, Buffer.from(uri))),
      ...(wishes.ip ?? []).map((ip) => tlv(0x87, Buffer.from(ip.split('.').map(Number)))),
    ];
    const extensions = [
      sequence(OID_BASIC_CONSTRAINTS, TRUE, tlv(0x04, authority ? sequence(TRUE) : sequence())),
      ...(names.length === 0 ? [] : [sequence(OID_SUBJECT_ALT_NAME, tlv(0x04, sequence(...names)))]),
    ];
    const body = sequence(
      tlv(0xa0, tlv(0x02, Buffer.of(2))),
      tlv(0x02, Buffer.concat([Buffer.of(1), randomBytes(8)])),
      ECDSA_WITH_SHA256,
      nameOf(this.name),
      sequence(
        timeOf(wishes.notBefore ?? new Date(Date.now() - 3_600_000)),
        timeOf(wishes.notAfter ?? new Date(Date.now() + 86_400_000)),
      ),
      nameOf(wishes.commonName),
      createPublicKey(publicKey.export({ type: 'spki', format: 'pem' })).export({ type: 'spki', format: 'der' }),
      tlv(0xa3, sequence(...extensions)),
    );
    const signature = sign('sha256', body, this.keys.privateKey);
    const certificate = sequence(body, ECDSA_WITH_SHA256, tlv(0x03, Buffer.concat([Buffer.of(0), signature])));
    const lines = certificate.toString('base64').match(/.{1,64}/g) ?? [];
    return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
  }
}

function tlv(tag: number, content: Buffer): Buffer {
  const { length } = content;
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.of(tag, ...size), content]);
}

function sequence(...parts: readonly Buffer[]): Buffer {
  return tlv(0x30, Buffer.concat(parts));
}

const TRUE = tlv(0x01, Buffer.of(0xff));
const ECDSA_WITH_SHA256 = sequence(tlv(0x06, Buffer.from('2a8648ce3d040302', 'hex')));
const OID_COMMON_NAME = tlv(0x06, Buffer.from('550403', 'hex'));
const OID_SUBJECT_ALT_NAME = tlv(0x06, Buffer.from('551d11', 'hex'));
const OID_BASIC_CONSTRAINTS = tlv(0x06, Buffer.from('551d13', 'hex'));

function nameOf(commonName: string): Buffer {
  return sequence(tlv(0x31, sequence(OID_COMMON_NAME, tlv(0x0c, Buffer.from(commonName, 'utf8')))));
}

/** GeneralizedTime. */
function timeOf(at: Date): Buffer {
  return tlv(0x18, Buffer.from(`${at.toISOString().slice(0, 19).replaceAll(/[-T:]/g, '')}Z`));
}
