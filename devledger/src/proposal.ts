/**
 * A client's signed proposal, taken apart and checked as a peer does before it runs anything:
 * channel, transaction id = SHA-256(nonce | creator), identity, signature, time window.
 */
import { common, peer } from '@hyperledger/fabric-protos';
import { type Identity, IdentityError, isSignedBy, type MspRegistry } from './identity.ts';
import { sha256 } from './rwset.ts';

/** A proposal that passed every check. */
export interface CheckedProposal {
  readonly txId: string;
  readonly channel: string;
  readonly chaincode: string;
  readonly creator: Identity;
  /** ChaincodeInput bytes. */
  readonly input: Uint8Array;
  readonly hasTransient: boolean;
  /** SHA-256 over both headers and the payload without its transient part. */
  readonly hash: Uint8Array;
  readonly header: common.Header;
  /** ChaincodeProposalPayload bytes without the transient part: what goes into the block. */
  readonly visiblePayload: Uint8Array;
  readonly signed: peer.SignedProposal;
}

/** What a header must agree with. */
export interface ProposalRules {
  readonly channel: string;
  readonly msps: MspRegistry;
  readonly nowMs: () => number;
  /** How far the client's time may be from ours. */
  readonly timeWindowMs: number;
}

/** The proposal is refused; the message says why. */
export class ProposalError extends Error {
  override readonly name = 'ProposalError';
}

/** Header fields that proposals and transactions have in common. */
export interface CheckedHeader {
  readonly txId: string;
  readonly channel: string;
  readonly chaincode: string;
  readonly timeMs: number;
  readonly creatorBytes: Uint8Array;
}

/** Checks a signed proposal; throws ProposalError. */
export function checkProposal(signed: peer.SignedProposal, rules: ProposalRules): CheckedProposal {
  const { header, payload } = readProposal(signed);
  const { txId, channel, chaincode, timeMs, creatorBytes } = checkHeader(header, rules.channel);
  const creator = identify(creatorBytes, rules.msps);
  if (!isSignedBy(creator, signed.getProposalBytes_asU8(), signed.getSignature_asU8())) {
    throw new ProposalError(
      `access denied: the signature of the creator (${creator.mspId}) over the proposal is invalid`,
    );
  }
  const differenceMs = Math.abs(timeMs - rules.nowMs());
  if (differenceMs > rules.timeWindowMs) {
    throw new ProposalError(
      `timestamp ${new Date(timeMs).toISOString()} is ${differenceMs} ms away from the peer's ` +
        `time; at most ${rules.timeWindowMs} ms are allowed`,
    );
  }
  const visible = new peer.ChaincodeProposalPayload();
  visible.setInput(payload.getInput_asU8());
  const visiblePayload = visible.serializeBinary();
  return {
    txId,
    channel,
    chaincode,
    creator,
    input: chaincodeInput(payload),
    hasTransient: payload.getTransientmapMap().getLength() > 0,
    hash: proposalHash(header, visiblePayload),
    header,
    visiblePayload,
    signed,
  };
}

/** Checks channel, type and transaction id; throws ProposalError. */
export function checkHeader(header: common.Header, channel: string): CheckedHeader {
  const channelHeader = common.ChannelHeader.deserializeBinary(header.getChannelHeader_asU8());
  const signature = common.SignatureHeader.deserializeBinary(header.getSignatureHeader_asU8());
  const nonce = signature.getNonce_asU8();
  const creatorBytes = signature.getCreator_asU8();
  if (channelHeader.getType() !== common.HeaderType.ENDORSER_TRANSACTION) {
    throw new ProposalError(`invalid header type ${channelHeader.getType()}`);
  }
  if (channelHeader.getChannelId() !== channel) {
    throw new ProposalError(`channel ${channelHeader.getChannelId()} is unknown here`);
  }
  if (nonce.length === 0 || creatorBytes.length === 0) {
    throw new ProposalError('nonce and creator must not be empty');
  }
  const txId = Buffer.from(sha256(nonce, creatorBytes)).toString('hex');
  if (channelHeader.getTxId() !== txId) {
    throw new ProposalError(
      `invalid transaction id: expected SHA-256(nonce | creator) ${txId}, ` +
        `got ${channelHeader.getTxId()}`,
    );
  }
  const extension = peer.ChaincodeHeaderExtension.deserializeBinary(
    channelHeader.getExtension_asU8(),
  );
  return {
    txId,
    channel,
    chaincode: extension.getChaincodeId()?.getName() ?? '',
    timeMs: channelHeader.getTimestamp()?.toDate().getTime() ?? 0,
    creatorBytes,
  };
}

/** What endorsers sign for: binds their answer to headers and arguments, not to transient data. */
export function proposalHash(header: common.Header, visiblePayload: Uint8Array): Uint8Array {
  return sha256(header.getChannelHeader_asU8(), header.getSignatureHeader_asU8(), visiblePayload);
}

function readProposal(signed: peer.SignedProposal): {
  header: common.Header;
  payload: peer.ChaincodeProposalPayload;
} {
  try {
    const proposal = peer.Proposal.deserializeBinary(signed.getProposalBytes_asU8());
    return {
      header: common.Header.deserializeBinary(proposal.getHeader_asU8()),
      payload: peer.ChaincodeProposalPayload.deserializeBinary(proposal.getPayload_asU8()),
    };
  } catch (cause) {
    throw new ProposalError('the proposal is malformed', { cause });
  }
}

function identify(creator: Uint8Array, msps: MspRegistry): Identity {
  try {
    return msps.identify(creator);
  } catch (cause) {
    if (cause instanceof IdentityError) {
      throw new ProposalError(cause.message, { cause });
    }
    throw cause;
  }
}

function chaincodeInput(payload: peer.ChaincodeProposalPayload): Uint8Array {
  const spec = peer.ChaincodeInvocationSpec.deserializeBinary(payload.getInput_asU8());
  const input = spec.getChaincodeSpec()?.getInput();
  if (input === undefined) {
    throw new ProposalError('the proposal has no chaincode input');
  }
  return input.serializeBinary();
}
