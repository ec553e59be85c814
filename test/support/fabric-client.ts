/**
 * The unmodified Fabric gateway client, connected to one peer of a test network as one
 * organisation: for tests that want to see what the ledger itself answers.
 */
import { readFile } from 'node:fs/promises';
import { Client, credentials } from '@grpc/grpc-js';
import {
  type Contract,
  connect,
  type Gateway,
  hash,
  type Network,
} from '@hyperledger/fabric-gateway';
import { msp, gateway as protos } from '@hyperledger/fabric-protos';
import { createSigner } from '../../agent/src/ledger/signer.ts';
import type { NetworkLedgerConfig } from '../../devledger/src/network.ts';

/** What a client needs to know of a network, a dev ledger or a real one. */
export interface NetworkAccess {
  readonly channel: string;
  ledgerConfigFor(mspId: string): NetworkLedgerConfig;
}

export interface ClientOptions {
  /** Peer to connect to; default our own. */
  readonly via?: string;
  /** PEM certificate and key instead of the agent's. */
  readonly identity?: { readonly certificate: string; readonly key: string };
  readonly signer?: (message: Uint8Array) => Promise<Uint8Array>;
}

export interface FabricClient extends Disposable {
  readonly gateway: Gateway;
  readonly channel: Network;
  readonly ledger: Contract;
  readonly keys: Contract;
  readonly grpc: Client;
  /** Resolves when this client's peer has committed the transaction. */
  committed(txId: string): Promise<void>;
}

/** Connects as `mspId`; close it with `using` or `[Symbol.dispose]()`. */
export async function fabricClient(
  network: NetworkAccess,
  mspId: string,
  { via = mspId, identity, signer }: ClientOptions = {},
): Promise<FabricClient> {
  const config = network.ledgerConfigFor(mspId);
  const peer = config.peers.find((each) => each.mspId === via);
  if (peer === undefined) {
    throw new Error(`no peer of ${via}`);
  }
  const certificate = identity?.certificate ?? (await readFile(config.certFile, 'utf8'));
  const key = identity?.key ?? (await readFile(config.keyFile, 'utf8'));
  const tls = credentials.createSsl(await readFile(peer.tlsRootFile));
  const grpc = new Client(peer.endpoint, tls, {
    'grpc.ssl_target_name_override': peer.hostOverride,
    'grpc.initial_reconnect_backoff_ms': 50,
  });
  const gateway = connect({
    client: grpc,
    identity: { mspId, credentials: Buffer.from(certificate) },
    signer: signer ?? createSigner(key),
    hash: hash.none,
  });
  const channel = gateway.getNetwork(network.channel);
  return {
    gateway,
    channel,
    grpc,
    ledger: channel.getContract('ledger'),
    keys: channel.getContract('keys'),
    committed: async (txId) => {
      const signed = commitRequest(network.channel, txId, mspId, certificate);
      await gateway.newCommit(signed).getStatus();
    },
    [Symbol.dispose]: () => grpc.close(),
  };
}

/** An unsigned commit status request, which the gateway client signs when it sends it. */
function commitRequest(
  channel: string,
  txId: string,
  mspId: string,
  certificate: string,
): Uint8Array {
  const identity = new msp.SerializedIdentity();
  identity.setMspid(mspId);
  identity.setIdBytes(Buffer.from(certificate));
  const request = new protos.CommitStatusRequest();
  request.setChannelId(channel);
  request.setTransactionId(txId);
  request.setIdentity(identity.serializeBinary());
  const signed = new protos.SignedCommitStatusRequest();
  signed.setRequest(request.serializeBinary());
  return signed.serializeBinary();
}

/** A result as text without JSON's quotes, or as whatever JSON it is. */
export function json(bytes: Uint8Array): unknown {
  return JSON.parse(Buffer.from(bytes).toString());
}
