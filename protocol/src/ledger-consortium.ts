/**
 * The consortium in the ledger's words: members, policy, epochs, peers; faults, proposals, penalties.
 *
 * Part of `ledger-api.ts`, which exports all of it; its header says how things are written.
 */

/** Hex string, lower case. */
export type Hex = string;
/** Standard base64 with padding. */
export type Base64 = string;
/** Organisation: a Fabric MSP id, e.g. `Org1MSP`. */
export type MspId = string;

/** Numbers that the consortium has agreed on; each is checked against `LIMITS` by the contract. */
export interface Policy {
  /** Shards needed to rebuild a key. */
  readonly k: number;
  /** Shards a key is split into; smaller than the number of participants where possible. */
  readonly n: number;
  /** Distinct owners of each chunk. */
  readonly replicas: number;
  /** Owners' receipts that each chunk needs before a file can be recorded. */
  readonly receiptsMin: number;
  /** Votes that approve an audit request. */
  readonly approvals: number;
  /** Longest life of an audit request. */
  readonly auditExpiryMsMax: number;
  /** How a key is split. */
  readonly scheme: KeyScheme;
  /** Smallest chunk of a file that has more than one, in bytes; absent: `LIMITS.blockBytes`. */
  readonly chunkBytesMin?: number;
  /** Largest chunk, in bytes; absent: `LIMITS.chunkBytesMax`. */
  readonly chunkBytesMax?: number;
  /** What each organisation may take of the others; absent for who is not named: no agreed bound. */
  readonly quotas?: Readonly<Record<MspId, Quota>>;
  /** Recorded files that an inspection draws, of 1000; absent: 0, no inspections. */
  readonly inspectionPermille?: number;
}

/** What one organisation may have of each other one (P Table 2, flooding). */
export interface Quota {
  /** Ciphertext that an owner keeps for it. */
  readonly bytes: number;
  /** Files of it that an owner has taken and not completed yet. */
  readonly files: number;
  /** Requests and messages to an owner's peer. */
  readonly requestsPerSecond: number;
}

export type KeyScheme = 'shamir-gf256' | 'feldman-25519';

export interface MemberInput {
  readonly mspId: MspId;
  /** For people: `Cold Chain Ltd`. */
  readonly name: string;
  /** Share of the hash ranges, 1..1000; 1 for everyone means equal ranges. */
  readonly weight: number;
  /** PEM certificates that issue this organisation's overlay TLS certificates. */
  readonly overlayRoots: readonly string[];
}
export interface AuditorInput {
  readonly mspId: MspId;
  readonly name: string;
  readonly overlayRoots: readonly string[];
}

/** One participant's range: every value from `start` (inclusive) to the next range's start. */
export interface HashRange {
  readonly mspId: MspId;
  /** First 8 bytes of a digest, as 16 hex digits, at which the range starts. The first is 0. */
  readonly start: Hex;
}
/** One version of the table of hash ranges (P §3.2.1). */
export interface Epoch {
  readonly epoch: number;
  readonly ranges: readonly HashRange[];
  readonly openedAtMs: number;
}

/** What an organisation registers of a peer of its own. */
export interface PeerInput {
  /** Unique within its organisation: `gateway-1`, `admin`. */
  readonly name: string;
  readonly roles: readonly PeerRole[];
  /** Ed25519 public key, 32 bytes: signs manifests, receipts and DHT items. */
  readonly overlayKey: Hex;
  /** `host:port` (UDP) where the DHT can be entered; '' if this peer takes no incoming traffic. */
  readonly dhtAddress: string;
}
/** A registered peer; `overlayKey` is the key that it signs with now. */
export interface Peer extends PeerInput {
  readonly mspId: MspId;
  /** Every key that it ever registered, oldest first. Which count: `peer-keys.ts`. */
  readonly keys: readonly PeerKey[];
}
/** One overlay key in a peer's history. */
export interface PeerKey {
  readonly overlayKey: Hex;
  /** When it was first registered, by the transaction's time, and by which transaction. */
  readonly fromMs: number;
  readonly txId: string;
  /** From when on nothing signed by it is taken any more; null: it was not revoked. */
  readonly revokedAtMs: number | null;
}
/** Ends what an earlier key of one's own peer counts for. */
export interface RevokeKeyInput {
  /** Name of the peer. */
  readonly peer: string;
  /** Not the one that it signs with now: another is registered first. */
  readonly overlayKey: Hex;
}
export type PeerRole = 'ingest' | 'store';

export interface Consortium {
  readonly channel: string;
  readonly members: readonly MemberInput[];
  readonly auditors: readonly AuditorInput[];
  readonly policy: Policy;
  /** Current epoch first, then the previous one if there is one. */
  readonly epochs: readonly Epoch[];
  /** Peers of members. */
  readonly peers: readonly Peer[];
  /** Peers of organisations that are members no more: what they had signed still verifies. */
  readonly formerPeers: readonly Peer[];
  /**
   * Overlay certificates that their own organisations have taken back: serial numbers in lower-case
   * hex without leading zeros, ascending. Absent: none.
   */
  readonly revoked?: Readonly<Record<MspId, readonly Hex[]>>;
}

export type FaultKind =
  | 'bad-dealing'
  | 'bad-chunk'
  | 'missing-chunk'
  | 'bad-shard'
  | 'no-release'
  | 'wrong-key'
  | 'unopenable'
  | 'challenge-failed'
  | 'unreachable';
/**
 * `bad-dealing` only comes from `Complain`, `challenge-failed` from `ReportChallenge`, and both have
 * been checked there; so has a `no-release` of a holder that released nothing, which only `Close` finds,
 * once a request has expired. The others are somebody's word.
 */
export interface Fault {
  readonly kind: FaultKind;
  /** The organisation that failed. */
  readonly mspId: MspId;
  readonly fileId: Hex;
  readonly detail: string;
  /** What a third party can check: receipt, challenge, shard or transcript. At most 64 KiB. */
  readonly evidence?: Base64;
}
/** A fault as it is listed, without its evidence, which `GetFault` gives. */
export interface FaultReport extends Omit<Fault, 'evidence'> {
  /** `txId.index`: an audit's outcome may report many. */
  readonly faultId: string;
  readonly reporter: MspId;
  readonly atMs: number;
  readonly txId: string;
  /** SHA-256 of the evidence; null where there is none. */
  readonly evidenceHash: Hex | null;
  /** The audit request whose outcome reports it; null otherwise. */
  readonly requestId: string | null;
}

/** What members can decide by vote. */
export type ProposalAction =
  /** A new member; opens an epoch with it. */
  | { readonly kind: 'join'; readonly member: MemberInput }
  /** Name, weight and overlay roots of a member; a changed weight opens an epoch. */
  | { readonly kind: 'member'; readonly member: MemberInput }
  /** Removes a member; opens an epoch without it. */
  | { readonly kind: 'remove'; readonly mspId: MspId }
  /** Replaces the policy; opens an epoch, so that files under way may still follow the old one. */
  | { readonly kind: 'policy'; readonly policy: Policy }
  /** Opens an epoch with these weights; members without one own nothing in it. */
  | { readonly kind: 'weights'; readonly weights: Readonly<Record<MspId, number>> }
  /** Replaces the list of auditors. */
  | { readonly kind: 'auditors'; readonly auditors: readonly AuditorInput[] }
  /** Records a decision about a member, because of faults that were reported of it. */
  | {
      readonly kind: 'penalty';
      readonly mspId: MspId;
      readonly decision: string;
      readonly faultIds: readonly string[];
    };
export interface ProposalInput {
  readonly action: ProposalAction;
  readonly reason: string;
  readonly expiresAtMs: number;
}
export interface ProposalVoteInput {
  readonly proposalId: string;
  readonly approve: boolean;
  readonly reason: string;
}
export interface ProposalVote extends ProposalVoteInput {
  readonly mspId: MspId;
  readonly atMs: number;
}
/** `outdated`: what it would replace has been replaced meanwhile by another decision. */
export type ProposalState = 'open' | 'accepted' | 'refused' | 'outdated' | 'expired' | 'enacted';
/** A proposal as it is read: what counts are the votes of those that are members now. */
export interface Proposal extends ProposalInput {
  /** Transaction id of the proposal. */
  readonly proposalId: string;
  readonly proposer: MspId;
  readonly proposedAtMs: number;
  /** Members that may vote: all but the one concerned. */
  readonly voters: readonly MspId[];
  /** Votes of them that accept it: more than half. */
  readonly needed: number;
  /** Votes of present members. */
  readonly votes: readonly ProposalVote[];
  readonly state: ProposalState;
  readonly enacted: Enactment | null;
}
export interface Enactment {
  readonly by: MspId;
  readonly atMs: number;
  readonly txId: string;
}
/** A penalty that was decided and enacted. */
export interface Penalty {
  readonly mspId: MspId;
  readonly decision: string;
  readonly faultIds: readonly string[];
  readonly proposalId: string;
  readonly atMs: number;
}
