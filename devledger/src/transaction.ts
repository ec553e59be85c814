/**
 * A submitted envelope, taken apart and checked as far as that needs no state: header, creator's
 * signature, proposal hash, endorsers' signatures. What is wrong with it becomes a validation
 * code, because an ordered transaction stays in its block even when it is invalid.
 */
import { common, peer as peerProtos } from '@hyperledger/fabric-protos';
import { type Identity, IdentityError, isSignedBy, type MspRegistry } from './identity.ts';
import type { Peer } from './peer.ts';
import { type CheckedHeader, checkHeader, ProposalError, proposalHash } from './proposal.ts';
import { decodeReadWriteSet, type ReadWriteSet } from './rwset.ts';

/** Fabric's outcome of a transaction. */
export const VALIDATION = peerProtos.TxValidationCode;

/** An envelope whose header, creator and signature are right; it may be ordered. */
export interface ExaminedTransaction {
  readonly txId: string;
  readonly chaincode: string;
  readonly envelope: Uint8Array;
  /** VALID, or what is already known to be wrong. */
  readonly code: number;
  /** Organisations whose peers' signatures over the result are right. */
  readonly endorsers: ReadonlySet<string>;
  readonly set: ReadWriteSet | null;
  /** ChaincodeEvent bytes. */
  readonly event: Uint8Array | null;
}

/** The envelope may not even be ordered: wrong channel, id, identity or signature. */
export class EnvelopeError extends Error {
  override readonly name = 'EnvelopeError';
}

/** Examines an envelope; throws EnvelopeError. */
export function examineEnvelope(
  envelope: common.Envelope,
  channel: string,
  msps: MspRegistry,
  peers: readonly Peer[],
): ExaminedTransaction {
  const { payload, header } = readPayload(envelope);
  const checked = headerOf(header, channel);
  const creator = creatorOf(checked.creatorBytes, msps);
  if (!isSignedBy(creator, envelope.getPayload_asU8(), envelope.getSignature_asU8())) {
    throw new EnvelopeError(`the signature of ${creator.mspId} over the transaction is invalid`);
  }
  const base = {
    txId: checked.txId,
    chaincode: checked.chaincode,
    envelope: envelope.serializeBinary(),
  };
  const refused = (code: number): ExaminedTransaction => ({
    ...base,
    code,
    endorsers: new Set(),
    set: null,
    event: null,
  });
  let contents: Contents | null;
  try {
    contents = readContents(payload, header);
  } catch {
    // Malformed bytes of a member: not worth more than a code, as in Fabric.
    return refused(VALIDATION.BAD_PAYLOAD);
  }
  if (contents === null || contents.set.namespace !== checked.chaincode) {
    return refused(VALIDATION.INVALID_ENDORSER_TRANSACTION);
  }
  return {
    ...base,
    code: VALIDATION.VALID,
    endorsers: endorsersOf(contents, peers),
    set: contents.set,
    event: contents.event.length === 0 ? null : contents.event,
  };
}

interface Contents {
  readonly set: ReadWriteSet;
  readonly event: Uint8Array;
  readonly signedPayload: Uint8Array;
  readonly endorsements: readonly peerProtos.Endorsement[];
}

/** The one action of a transaction; null if the endorsers signed for another proposal. */
function readContents(payload: common.Payload, header: common.Header): Contents | null {
  const transaction = peerProtos.Transaction.deserializeBinary(payload.getData_asU8());
  const [only, ...others] = transaction.getActionsList();
  if (only === undefined || others.length > 0) {
    return null;
  }
  const action = peerProtos.ChaincodeActionPayload.deserializeBinary(only.getPayload_asU8());
  const endorsed = action.getAction();
  if (endorsed === undefined) {
    return null;
  }
  const signedPayload = endorsed.getProposalResponsePayload_asU8();
  const response = peerProtos.ProposalResponsePayload.deserializeBinary(signedPayload);
  const hash = proposalHash(header, action.getChaincodeProposalPayload_asU8());
  if (Buffer.compare(hash, response.getProposalHash_asU8()) !== 0) {
    return null;
  }
  const result = peerProtos.ChaincodeAction.deserializeBinary(response.getExtension_asU8());
  return {
    set: decodeReadWriteSet(result.getResults_asU8()),
    event: result.getEvents_asU8(),
    signedPayload,
    endorsements: endorsed.getEndorsementsList(),
  };
}

function endorsersOf(contents: Contents, peers: readonly Peer[]): Set<string> {
  const endorsers = new Set<string>();
  for (const endorsement of contents.endorsements) {
    const signer = peers.find((each) => each.hasSigned(contents.signedPayload, endorsement));
    if (signer !== undefined) {
      endorsers.add(signer.mspId);
    }
  }
  return endorsers;
}

function readPayload(envelope: common.Envelope): {
  payload: common.Payload;
  header: common.Header;
} {
  let payload: common.Payload;
  try {
    payload = common.Payload.deserializeBinary(envelope.getPayload_asU8());
  } catch (cause) {
    throw new EnvelopeError('the envelope is malformed', { cause });
  }
  const header = payload.getHeader();
  if (header === undefined) {
    throw new EnvelopeError('the envelope has no header');
  }
  return { payload, header };
}

function headerOf(header: common.Header, channel: string): CheckedHeader {
  try {
    return checkHeader(header, channel);
  } catch (cause) {
    const reason = cause instanceof ProposalError ? cause.message : 'the header is malformed';
    throw new EnvelopeError(reason, { cause });
  }
}

function creatorOf(bytes: Uint8Array, msps: MspRegistry): Identity {
  try {
    return msps.identify(bytes);
  } catch (cause) {
    if (cause instanceof IdentityError) {
      throw new EnvelopeError(cause.message, { cause });
    }
    throw cause;
  }
}
