/**
 * Who the other side of a TLS connection is: the organisation whose root, as the ledger has it now,
 * issued its certificate (P Table 2, Sybil; PROTOCOL §5).
 *
 * Node has verified the chain against the same roots before; this finds which of them it was. Always
 * holds: a root that two organisations claim names nobody.
 */
import { X509Certificate } from 'node:crypto';
import type { Hex, MspId } from '@blocktorrent/protocol/ledger-api.ts';
import type { OverlayRoot } from './types.ts';

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

  /** The organisation that vouches for a verified chain, or null. */
  organisationOf(leaf: X509Certificate | undefined): MspId | null {
    let certificate = leaf;
    for (let depth = 0; certificate !== undefined && depth <= CHAIN_DEPTH_MAX; depth++) {
      const current = certificate;
      const issuers = new Set(
        this.#roots.filter(({ root }) => isIssuedBy(current, root)).map(({ mspId }) => mspId),
      );
      if (issuers.size > 1) return null;
      for (const mspId of issuers) return mspId;
      certificate = current.issuerCertificate;
    }
    return null;
  }
}

/** A certificate's serial number as the ledger has it: lower-case hex without leading zeros. */
export function serialOf(certificate: X509Certificate): Hex {
  return certificate.serialNumber.toLowerCase().replace(/^0+/, '');
}

function isIssuedBy(certificate: X509Certificate, root: X509Certificate): boolean {
  return certificate.checkIssued(root) && certificate.verify(root.publicKey);
}
