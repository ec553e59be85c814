/**
 * What the Fabric adapter needs to know: who we are, which gateway peers to ask in which order,
 * and how patient to be. Defaults stand in `TIMEOUTS`, with their units.
 */
import { CHAINCODE, type MspId } from '@blocktorrent/protocol/ledger-api.ts';
import type { Pkcs11Config } from './pkcs11-signer.ts';

/** One gateway peer. */
export interface GatewayPeerConfig {
  /** `host:port`. */
  readonly endpoint: string;
  /** The organisation whose peer it is. */
  readonly mspId: MspId;
  /** PEM file of the certificate that issues the peer's TLS certificate. */
  readonly tlsRootFile: string;
  /** Name in the peer's certificate, where it is not the endpoint's host. */
  readonly hostOverride?: string;
}

export interface FabricTimeouts {
  /** For a connection to become usable, before the next peer is tried. */
  readonly connectMs: number;
  readonly evaluateMs: number;
  readonly endorseMs: number;
  readonly submitMs: number;
  /** For the commit to be known, over all peers. */
  readonly commitMs: number;
}

export interface FabricLedgerConfig {
  readonly channel: string;
  /** Our organisation. */
  readonly mspId: MspId;
  /** PEM file of our X.509 identity. */
  readonly certFile: string;
  /** PEM file of its ECDSA P-256 key; absent where `pkcs11` says where the key is, which goes first. */
  readonly keyFile?: string | undefined;
  readonly pkcs11?: Pkcs11Config | undefined;
  /** In order of preference; transactions of `keys` go to peers of our own organisation only. */
  readonly peers: readonly GatewayPeerConfig[];
  /** Names under which the chaincodes are deployed. */
  readonly chaincodes?: { readonly ledger?: string; readonly keys?: string };
  readonly timeouts?: Partial<FabricTimeouts>;
}

export const TIMEOUTS: FabricTimeouts = {
  connectMs: 3_000,
  evaluateMs: 15_000,
  endorseMs: 30_000,
  submitMs: 10_000,
  commitMs: 60_000,
};

/** New transactions after a read conflict, and the pause before the first; it doubles. */
export const CONFLICT_RETRIES_MAX = 6;
export const CONFLICT_PAUSE_MS = 40;

/** Name under which one of our two chaincodes is deployed. */
export function deployedName(config: FabricLedgerConfig, chaincode: string): string {
  return chaincode === CHAINCODE.keys
    ? (config.chaincodes?.keys ?? CHAINCODE.keys)
    : (config.chaincodes?.ledger ?? CHAINCODE.ledger);
}
