/**
 * One organisation's peer: simulates proposals on its own view (the public state and its own
 * private data), signs what came out, and hands private data to collection members whose peers
 * are up at that moment. What a stopped peer misses here, it never gets unless another member has it.
 */
import { createPrivateKey, type KeyObject, sign, verify, X509Certificate } from 'node:crypto';
import { peer } from '@hyperledger/fabric-protos';
import {
  ChaincodeStream,
  type ChaincodeTarget,
  ChaincodeUnavailableError,
  type ExecutionResult,
} from './chaincode-stream.ts';
import type { ChaincodeDefinition } from './config.ts';
import { requiredPolicies } from './endorsement-policy.ts';
import { serializeIdentity } from './identity.ts';
import type { Policy } from './policy.ts';
import type { CheckedProposal } from './proposal.ts';
import { encodeReadWriteSet } from './rwset.ts';
import { type PrivateWriteSet, Simulator } from './simulator.ts';
import type { Store } from './store.ts';
import type { Snapshot } from './views.ts';

/** What a peer needs to be one. */
export interface PeerSetup {
  readonly mspId: string;
  /** PEM: the peer's certificate and key, also those of its TLS listener. */
  readonly certificate: string;
  readonly key: string;
  readonly store: Store;
  readonly chaincodes: readonly ChaincodeDefinition[];
  readonly targets: readonly ChaincodeTarget[];
  readonly executeTimeoutMs: number;
}

/** A peer's answer to a proposal. */
export interface Simulated {
  readonly mspId: string;
  readonly response: peer.Response;
  /** ProposalResponsePayload bytes; endorsers must agree on them. Empty if the chaincode failed. */
  readonly payload: Uint8Array;
  readonly endorsement: peer.Endorsement;
  /** Who must endorse, as this peer's view has it. */
  readonly policies: readonly Policy[];
  readonly collections: ReturnType<Simulator['touched']>;
  readonly privateWrites: readonly PrivateWriteSet[];
}

export class Peer {
  readonly mspId: string;
  readonly certificate: string;
  readonly key: string;
  /** `host:port` of its gateway, for error details; known once it listens. */
  endpoint = '';
  isUp = false;
  readonly #setup: PeerSetup;
  readonly #identity: Uint8Array;
  readonly #privateKey: KeyObject;
  readonly #publicKey: KeyObject;
  #streams = new Map<string, ChaincodeStream>();
  /** The block that it is held at; null while it keeps up. */
  #held: Snapshot | null = null;

  constructor(setup: PeerSetup) {
    this.#setup = setup;
    this.mspId = setup.mspId;
    this.certificate = setup.certificate;
    this.key = setup.key;
    this.#identity = serializeIdentity(setup.mspId, setup.certificate);
    this.#privateKey = createPrivateKey(setup.key);
    this.#publicKey = new X509Certificate(setup.certificate).publicKey;
  }

  /** Dials every chaincode. */
  start(): void {
    const { targets, executeTimeoutMs } = this.#setup;
    this.isUp = true;
    for (const target of targets) {
      const stream = new ChaincodeStream(target, executeTimeoutMs);
      this.#streams.set(target.name, stream);
      stream.start();
    }
  }

  /** Answers from now on by the newest block of this moment, as a peer that lags does. */
  hold(): void {
    this.#held ??= this.#setup.store.views.snapshot();
  }

  /** Ends `hold`: it has caught up. */
  catchUp(): void {
    this.#held?.release();
    this.#held = null;
  }

  stop(): void {
    this.catchUp();
    this.isUp = false;
    for (const stream of this.#streams.values()) {
      stream.stop();
    }
    this.#streams.clear();
  }

  /** Resolves when every chaincode has registered. */
  async ready(): Promise<void> {
    await Promise.all([...this.#streams.values()].map((stream) => stream.ready()));
  }

  /** True if the peer is up and this chaincode is connected to it. */
  canRun(chaincode: string): boolean {
    return this.isUp && this.#streams.get(chaincode)?.isReady === true;
  }

  /** Runs a proposal on a snapshot; throws ChaincodeUnavailableError. */
  async simulate(proposal: CheckedProposal, chaincode: ChaincodeDefinition): Promise<Simulated> {
    const stream = this.#streams.get(chaincode.name);
    if (stream === undefined) {
      throw new ChaincodeUnavailableError(`chaincode ${chaincode.name} is not connected`);
    }
    const held = this.#held;
    const snapshot = held ?? this.#setup.store.views.snapshot();
    try {
      const simulator = new Simulator(snapshot.view, {
        chaincode,
        peerMspId: this.mspId,
        clientMspId: proposal.creator.mspId,
      });
      const { channel, txId, input, signed } = proposal;
      const run = { channel, txId, input, proposal: signed, simulator };
      const result = await stream.execute(run);
      const set = simulator.readWriteSet();
      const failed = result.response.getStatus() >= 400;
      const payload = failed
        ? new Uint8Array()
        : responsePayload(proposal, result, encodeReadWriteSet(set));
      return {
        mspId: this.mspId,
        response: result.response,
        payload,
        endorsement: this.#endorse(payload),
        policies: failed ? [] : requiredPolicies(set, chaincode, snapshot.view),
        collections: simulator.touched(),
        privateWrites: failed ? [] : simulator.privateWrites(),
      };
    } finally {
      if (held === null) snapshot.release();
    }
  }

  /**
   * Hands private data to members' peers that are up, as gossip does at endorsement. Returns why
   * that failed (requiredPeerCount), or null.
   */
  disseminate(
    simulated: Simulated,
    proposal: CheckedProposal,
    peers: readonly Peer[],
  ): string | null {
    for (const { collection, writes } of simulated.privateWrites) {
      const members = peers.filter((each) => collection.memberOrgs.includes(each.mspId));
      const others = members.filter((each) => each.isUp && each !== this);
      if (others.length < collection.requiredPeerCount) {
        return (
          `error in simulation: failed to distribute private collection ${collection.name}, ` +
          `txID ${proposal.txId}: required to disseminate to at least ` +
          `${collection.requiredPeerCount} peers, but know of only ${others.length} eligible peers`
        );
      }
      const receivers = others.slice(0, collection.maxPeerCount);
      const holders = members.includes(this) ? [this, ...receivers] : receivers;
      this.#setup.store.keepTransient({
        txId: proposal.txId,
        ns: proposal.chaincode,
        collection: collection.name,
        mspIds: holders.map((each) => each.mspId),
        writes,
      });
    }
    return null;
  }

  /** True if this endorsement is ours and signs exactly this payload. */
  hasSigned(payload: Uint8Array, endorsement: peer.Endorsement): boolean {
    const endorser = endorsement.getEndorser_asU8();
    return (
      Buffer.compare(endorser, this.#identity) === 0 &&
      verify(
        'sha256',
        Buffer.concat([payload, endorser]),
        this.#publicKey,
        endorsement.getSignature_asU8(),
      )
    );
  }

  #endorse(payload: Uint8Array): peer.Endorsement {
    const endorsement = new peer.Endorsement();
    endorsement.setEndorser(this.#identity);
    const signed = Buffer.concat([payload, this.#identity]);
    endorsement.setSignature(sign('sha256', signed, this.#privateKey));
    return endorsement;
  }
}

function responsePayload(
  proposal: CheckedProposal,
  { response, event }: ExecutionResult,
  results: Uint8Array,
): Uint8Array {
  const action = new peer.ChaincodeAction();
  action.setResults(results);
  action.setResponse(response);
  const chaincodeId = new peer.ChaincodeID();
  chaincodeId.setName(proposal.chaincode);
  action.setChaincodeId(chaincodeId);
  if (event !== null) {
    event.setChaincodeId(proposal.chaincode);
    event.setTxId(proposal.txId);
    action.setEvents(event.serializeBinary());
  }
  const payload = new peer.ProposalResponsePayload();
  payload.setProposalHash(proposal.hash);
  payload.setExtension$(action.serializeBinary());
  return payload.serializeBinary();
}
