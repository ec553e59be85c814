/**
 * Who the other side of a TLS connection is: the organisation whose root, as the ledger has it now,
 * issued its certificate (P Table 2, Sybil; PROTOCOL §5).
 *
 * Node has verified the chain against the same roots before; this finds which of them it was. Always
 * holds: a root that two organisations claim names nobody.
 */
import { X509Certificate } from 'node:crypto';
import type { Hex, MspId } from '@blocktorrent/protocol/ledger-api.ts';
import type { Membership, OverlayRoot } from './types.ts';

/** Intermediates between a leaf and its root. */
const CHAIN_DEPTH_MAX = 4;

export class RootTable {
  readonly #roots: readonly { readonly mspId: MspId; readonly root: X509Certificate }[];

  /** Roots that do not parse are left out: `broken` names their organisations. */
  readonly broken: readonly MspId[];

  constructor(roots: readonly OverlayRoot[]) {
    const broken: MspId[] = [];
    this.#roots = roots.flatMap(({ mspId, pem }) => {
      try {
        return [{ mspId, root: new X509Certificate(pem) }];
      } catch (error) {
        if (!(error instanceof Error)) throw error;
        broken.push(mspId);
        return [];
      }
    });
    this.broken = broken;
  }

  /** PEM of every root, for TLS. */
  pems(): string[] {
    return this.#roots.map(({ root }) => root.toString());
  }

  /** Organisations with at least one usable root. */
  has(mspId: MspId): boolean {
    return this.#roots.some((entry) => entry.mspId === mspId);
  }

  /** Who vouches for a chain that Node has verified, or null. */
  chainOf(leaf: X509Certificate | undefined): PeerChain | null {
    const certificates: X509Certificate[] = [];
    let certificate = leaf;
    for (let depth = 0; certificate !== undefined && depth <= CHAIN_DEPTH_MAX; depth++) {
      const current = certificate;
      certificates.push(current);
      const issuers = this.#roots.filter(({ root }) => isIssuedBy(current, root));
      const [first] = issuers;
      if (issuers.some(({ mspId }) => mspId !== first?.mspId)) return null;
      if (first !== undefined) return { mspId: first.mspId, certificates, root: first.root };
      certificate = current.issuerCertificate;
    }
    return null;
  }
}

/** A peer's certificates and the organisation whose root issued them. */
export interface PeerChain {
  readonly mspId: MspId;
  /** The leaf, then intermediates. */
  readonly certificates: readonly X509Certificate[];
  readonly root: X509Certificate;
}

/**
 * Why a chain is good no more, or null. Node looks at times once, at the handshake; this is for
 * links that are open, and for what Node does not know: what the ledger says of serial numbers.
 */
export function whatEnded(
  { mspId, certificates, root }: PeerChain,
  membership: Pick<Membership, 'isRevoked'>,
  nowMs: number,
): string | null {
  for (const certificate of [...certificates, root]) {
    if (nowMs >= certificate.validToDate.getTime()) {
      return `a certificate of ${mspId} expired at ${certificate.validToDate.toISOString()}`;
    }
  }
  const revoked = certificates.map(serialOf).find((serial) => membership.isRevoked(mspId, serial));
  return revoked === undefined ? null : `${mspId} has revoked its certificate ${revoked}`;
}

/** A certificate's serial number as the ledger has it: lower-case hex without leading zeros. */
export function serialOf(certificate: X509Certificate): Hex {
  return certificate.serialNumber.toLowerCase().replace(/^0+/, '');
}

function isIssuedBy(certificate: X509Certificate, root: X509Certificate): boolean {
  return certificate.checkIssued(root) && certificate.verify(root.publicKey);
}
