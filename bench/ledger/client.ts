/**
 * One organisation's client of a benchmark: the Fabric gateway client with our signer, so that our
 * chaincode and the bare one are called by the same code. Signs with node:crypto: in JavaScript
 * that would be the largest part of a client's work.
 */
import { readFile } from 'node:fs/promises';
import { Client, credentials } from '@grpc/grpc-js';
import { connect, hash, type Network } from '@hyperledger/fabric-gateway';
import { createSigner } from '../../agent/src/ledger/signer.ts';
import type { NetworkLedgerConfig } from '../../devledger/src/network.ts';

/**
 * How long a step may take; what takes longer has failed. Without a limit one lost answer would hold
 * up a benchmark for ever.
 */
const STEP_MS = 30_000;

/** A call: `chaincode`, its function (`contract:name`), and what goes with it. */
export interface Call {
  readonly chaincode: string;
  readonly name: string;
  readonly args: readonly string[];
  readonly transient?: Readonly<Record<string, Uint8Array>>;
}

export class BenchClient {
  readonly mspId: string;
  readonly #client: Client;
  readonly #channel: Network;

  /** Connects to the organisation's own peer. */
  static async connect(config: NetworkLedgerConfig): Promise<BenchClient> {
    const { certFile, keyFile, mspId } = config;
    const peer = config.peers.find((each) => each.mspId === mspId);
    if (peer === undefined) throw new Error(`${mspId} has no peer`);
    const tls = credentials.createSsl(await readFile(peer.tlsRootFile));
    const client = new Client(peer.endpoint, tls, {
      'grpc.ssl_target_name_override': peer.hostOverride,
      'grpc.max_receive_message_length': -1,
      'grpc.max_send_message_length': -1,
    });
    const gateway = connect({
      client,
      identity: { mspId, credentials: await readFile(certFile) },
      signer: createSigner(await readFile(keyFile, 'utf8')),
      hash: hash.none,
      evaluateOptions: deadline,
      endorseOptions: deadline,
      submitOptions: deadline,
      commitStatusOptions: deadline,
    });
    return new BenchClient(mspId, client, gateway.getNetwork(config.channel));
  }

  constructor(mspId: string, client: Client, channel: Network) {
    this.mspId = mspId;
    this.#client = client;
    this.#channel = channel;
  }

  /** Endorsed by the own organisation alone; resolves when committed, throws when it is invalid. */
  async submit(call: Call): Promise<Uint8Array> {
    const transaction = await this.#proposal(call).endorse();
    const commit = await transaction.submit();
    const { successful, code } = await commit.getStatus();
    if (!successful) throw new Error(`${call.name} is invalid: code ${code}`);
    return transaction.getResult();
  }

  async evaluate(call: Call): Promise<Uint8Array> {
    return await this.#proposal(call).evaluate();
  }

  close(): void {
    this.#client.close();
  }

  #proposal({ chaincode, name, args, transient }: Call) {
    return this.#channel.getContract(chaincode).newProposal(name, {
      arguments: [...args],
      endorsingOrganizations: [this.mspId],
      ...(transient === undefined ? {} : { transientData: { ...transient } }),
    });
  }
}

function deadline(): { deadline: number } {
  return { deadline: Date.now() + STEP_MS };
}
