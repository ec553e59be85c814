/**
 * From a checked proposal to a prepared transaction: chooses the endorsing organisations, runs the
 * proposal on each one's peer, compares the results and assembles the envelope that the client
 * signs. Evaluation runs on one peer and keeps nothing.
 */
import { status } from '@grpc/grpc-js';
import { common, peer as peerProtos } from '@hyperledger/fabric-protos';
import { ChaincodeUnavailableError } from './chaincode-stream.ts';
import type { ChaincodeDefinition } from './config.ts';
import { GatewayFailure, type PeerMessage } from './gateway-error.ts';
import type { Peer, Simulated } from './peer.ts';
import { smallestPlan } from './policy.ts';
import type { CheckedProposal } from './proposal.ts';

/** The channel's peers and chaincodes. */
export interface Endorsers {
  readonly peers: readonly Peer[];
  readonly chaincodes: readonly ChaincodeDefinition[];
}

/** Runs a proposal on one peer: ours, or one of the organisations asked for. */
export async function evaluate(
  endorsers: Endorsers,
  own: Peer,
  proposal: CheckedProposal,
  targets: readonly string[],
): Promise<peerProtos.Response> {
  const chaincode = definitionOf(endorsers, proposal);
  const wanted = targets.length > 0 ? targets : [own.mspId];
  const candidates = endorsers.peers.filter((each) => wanted.includes(each.mspId));
  const chosen =
    candidates.find((each) => each.canRun(chaincode.name)) ??
    (targets.length > 0 || proposal.hasTransient
      ? undefined
      : endorsers.peers.find((each) => each.canRun(chaincode.name)));
  if (chosen === undefined) {
    throw new GatewayFailure(
      status.UNAVAILABLE,
      `no endorsing peers found that can run chaincode ${chaincode.name} for ${wanted.join(', ')}`,
    );
  }
  const answer = await run(chosen, proposal, chaincode);
  if (answer.failure !== null) {
    const message = `evaluate call to endorser returned error: ${answer.failure.message}`;
    throw new GatewayFailure(answer.code, message, [answer.failure]);
  }
  return answer.simulated.response;
}

/** Collects endorsements and assembles the unsigned envelope. */
export async function endorse(
  endorsers: Endorsers,
  own: Peer,
  proposal: CheckedProposal,
  organisations: readonly string[],
): Promise<common.Envelope> {
  const chaincode = definitionOf(endorsers, proposal);
  if (organisations.length > 0) {
    const peers = requestedPeers(endorsers, chaincode, organisations);
    return assemble(proposal, await endorseAll(endorsers, peers, proposal, chaincode));
  }
  if (!own.canRun(chaincode.name)) {
    throw new GatewayFailure(
      status.UNAVAILABLE,
      `the gateway's own peer cannot run chaincode ${chaincode.name}`,
    );
  }
  const first = await endorseAll(endorsers, [own], proposal, chaincode);
  const others = plan(endorsers, own, proposal, chaincode, first).filter((each) => each !== own);
  const rest = await endorseAll(endorsers, others, proposal, chaincode);
  return assemble(proposal, [...first, ...rest]);
}

function definitionOf(endorsers: Endorsers, proposal: CheckedProposal): ChaincodeDefinition {
  const chaincode = endorsers.chaincodes.find((each) => each.name === proposal.chaincode);
  if (chaincode === undefined) {
    throw new GatewayFailure(
      status.UNAVAILABLE,
      `no peers available to endorse chaincode ${proposal.chaincode} in channel ${proposal.channel}`,
    );
  }
  return chaincode;
}

function requestedPeers(
  endorsers: Endorsers,
  chaincode: ChaincodeDefinition,
  organisations: readonly string[],
): Peer[] {
  const wanted = [...new Set(organisations)];
  const found = endorsers.peers.filter(
    (each) => wanted.includes(each.mspId) && each.canRun(chaincode.name),
  );
  const missing = wanted.filter((mspId) => !found.some((each) => each.mspId === mspId));
  if (missing.length > 0) {
    throw new GatewayFailure(
      status.UNAVAILABLE,
      `failed to find any endorsing peers for org(s): ${missing.join(', ')}`,
    );
  }
  return found;
}

/**
 * The smallest set of running peers that satisfies every policy which the first simulation showed
 * to matter. Where private values were read, or transient data is sent along, only members of the
 * collections concerned may be asked.
 */
function plan(
  endorsers: Endorsers,
  own: Peer,
  proposal: CheckedProposal,
  chaincode: ChaincodeDefinition,
  first: readonly Simulated[],
): Peer[] {
  const policies = first.flatMap((simulated) => simulated.policies);
  const touched = first.flatMap((simulated) => simulated.collections);
  const running = endorsers.peers.filter((each) => each === own || each.canRun(chaincode.name));
  const ordered = [own, ...running.filter((each) => each !== own)].map((each) => each.mspId);
  const among = (isPrivate: (collection: (typeof touched)[number]) => boolean) =>
    smallestPlan(
      ordered.filter((mspId) =>
        touched
          .filter(isPrivate)
          .every(({ collection }) => mspId === own.mspId || collection.memberOrgs.includes(mspId)),
      ),
      policies,
    );
  const open = among(({ valuesRead }) => valuesRead);
  const chosen = proposal.hasTransient ? among(() => true) : open;
  if (chosen === null) {
    throw new GatewayFailure(
      status.FAILED_PRECONDITION,
      open === null
        ? 'no combination of peers can be derived which satisfy the endorsement policy'
        : 'requires endorsement from organisation(s) that are not in the distribution policy of ' +
            `the private data collection(s) ${touched.map((t) => t.collection.name).join(', ')}`,
    );
  }
  return running.filter((each) => chosen.includes(each.mspId));
}

async function endorseAll(
  endorsers: Endorsers,
  peers: readonly Peer[],
  proposal: CheckedProposal,
  chaincode: ChaincodeDefinition,
): Promise<Simulated[]> {
  const answers = await Promise.all(peers.map((each) => run(each, proposal, chaincode)));
  const failures: PeerMessage[] = [];
  const simulated: Simulated[] = [];
  answers.forEach((answer, index) => {
    const peer = peers[index];
    if (answer.failure !== null) {
      failures.push(answer.failure);
    } else if (peer !== undefined) {
      const refusal = peer.disseminate(answer.simulated, proposal, endorsers.peers);
      if (refusal !== null) {
        failures.push(messageOf(peer, refusal));
      }
      simulated.push(answer.simulated);
    }
  });
  if (failures.length > 0) {
    throw new GatewayFailure(
      status.ABORTED,
      'failed to endorse transaction, see attached details for more info',
      failures,
    );
  }
  return simulated;
}

type Answer =
  | { readonly failure: null; readonly simulated: Simulated }
  | { readonly failure: PeerMessage; readonly code: status };

async function run(
  peer: Peer,
  proposal: CheckedProposal,
  chaincode: ChaincodeDefinition,
): Promise<Answer> {
  try {
    const simulated = await peer.simulate(proposal, chaincode);
    const code = simulated.response.getStatus();
    if (code >= 200 && code < 400) {
      return { failure: null, simulated };
    }
    const message = `chaincode response ${code}, ${simulated.response.getMessage()}`;
    return { failure: messageOf(peer, message), code: status.UNKNOWN };
  } catch (error) {
    if (error instanceof ChaincodeUnavailableError) {
      return { failure: messageOf(peer, error.message), code: status.ABORTED };
    }
    throw error;
  }
}

function messageOf(peer: Peer, message: string): PeerMessage {
  return { address: peer.endpoint, mspId: peer.mspId, message };
}

function assemble(proposal: CheckedProposal, answers: readonly Simulated[]): common.Envelope {
  const [first] = answers;
  if (first === undefined) {
    throw new GatewayFailure(status.FAILED_PRECONDITION, 'no endorsements were collected');
  }
  for (const each of answers) {
    if (Buffer.compare(each.payload, first.payload) !== 0) {
      throw new GatewayFailure(
        status.ABORTED,
        `failed to assemble transaction: ProposalResponsePayloads do not match: ${first.mspId} ` +
          `and ${each.mspId} came to different results`,
        [],
      );
    }
  }
  const action = new peerProtos.ChaincodeEndorsedAction();
  action.setProposalResponsePayload(first.payload);
  action.setEndorsementsList(answers.map((each) => each.endorsement));
  const actionPayload = new peerProtos.ChaincodeActionPayload();
  actionPayload.setChaincodeProposalPayload(proposal.visiblePayload);
  actionPayload.setAction(action);
  const transactionAction = new peerProtos.TransactionAction();
  transactionAction.setHeader(proposal.header.getSignatureHeader_asU8());
  transactionAction.setPayload(actionPayload.serializeBinary());
  const transaction = new peerProtos.Transaction();
  transaction.setActionsList([transactionAction]);
  const payload = new common.Payload();
  payload.setHeader(proposal.header);
  payload.setData(transaction.serializeBinary());
  const envelope = new common.Envelope();
  envelope.setPayload(payload.serializeBinary());
  return envelope;
}
