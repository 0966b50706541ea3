/**
 * Which source the sender on a connection speaks for. Sources that share an address are told apart by the sender's certificate and address; a
 * sender that no source names is refused.
 */
import { BlockList, isIP } from 'node:net';
import { peerMatches, type PeerIdentity } from '../../tls/peer-identity.js';
import type { SourceConfiguration } from '../source.js';

export interface MllpPeer {
  /** IP address. */
  readonly address: string;
  /** Absent without TLS, and where the client showed no certificate. */
  readonly certificate?: PeerIdentity;
}

/** Networks of a source as they are compared; made once for each configuration. */
const NETWORKS = new WeakMap<readonly string[], BlockList>();

/** Whether an address lies in one of the networks (CIDR, RFC 4632 §3.1). An IPv4 address may come in the form of IPv6 (RFC 4291 §2.5.5.2). */
export function addressAllowed(networks: readonly string[], address: string): boolean {
  let list = NETWORKS.get(networks);
  if (list === undefined) {
    list = new BlockList();
    for (const network of networks) {
      const [start = '', prefix] = network.split('/');
      const family = isIP(start) === 6 ? 'ipv6' : 'ipv4';
      if (prefix === undefined) list.addAddress(start, family);
      else list.addSubnet(start, Number(prefix), family);
    }
    NETWORKS.set(networks, list);
  }
  return list.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');
}

/** How exactly a source names a sender: 0 where it does not admit it; a certificate counts more than an address, and that more than nothing. */
function admits({ listener }: SourceConfiguration, peer: MllpPeer): number {
  const { clientCertificates, allowAddresses } = listener ?? {};
  const { certificate } = peer;
  if (clientCertificates !== undefined) {
    if (certificate === undefined || !clientCertificates.some((rule) => peerMatches(certificate, rule))) return 0;
  }
  if (allowAddresses !== undefined && !addressAllowed(allowAddresses, peer.address)) return 0;
  return 1 + (allowAddresses === undefined ? 0 : 1) + (clientCertificates === undefined ? 0 : 2);
}

/**
 * The source that the sender speaks for: of those that admit it, the one that names it most exactly, the first by id among equals.
 * @returns undefined where none admits it
 */
export function admittingSource(
  sources: readonly SourceConfiguration[],
  peer: MllpPeer,
): SourceConfiguration | undefined {
  let found: SourceConfiguration | undefined;
  let best = 0;
  for (const source of sources) {
    const exactness = admits(source, peer);
    if (exactness < best || exactness === 0) continue;
    if (exactness === best && found !== undefined && found.id <= source.id) continue;
    found = source;
    best = exactness;
  }
  return found;
}

/** Connections open, in all and by address of the sender, over all listeners. */
export class ConnectionCount {
  private readonly byAddress = new Map<string, number>();
  private open = 0;

  constructor(
    private readonly most: number,
    private readonly mostPerAddress: number,
  ) {}

  /** @returns why there is no room for another one; undefined where it was counted */
  enter(address: string): 'TOO_MANY_CONNECTIONS' | 'TOO_MANY_CONNECTIONS_OF_ADDRESS' | undefined {
    const ofAddress = this.byAddress.get(address) ?? 0;
    if (this.open >= this.most) return 'TOO_MANY_CONNECTIONS';
    if (ofAddress >= this.mostPerAddress) return 'TOO_MANY_CONNECTIONS_OF_ADDRESS';
    this.open += 1;
    this.byAddress.set(address, ofAddress + 1);
    return undefined;
  }

  leave(address: string): void {
    this.open -= 1;
    const left = (this.byAddress.get(address) ?? 1) - 1;
    if (left === 0) this.byAddress.delete(address);
    else this.byAddress.set(address, left);
  }
}
