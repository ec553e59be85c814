/**
 * The ledger's public face: names and shapes of transactions, events, collections and state.
 *
 * Every transaction takes ONE argument, a JSON object, and returns one JSON value. Bytes inside JSON
 * are lower-case hex for digests, keys and signatures, and base64 for anything longer. Times are
 * milliseconds since the Unix epoch. An organisation is named by its MSP id.
 * The two chaincodes differ only in who must endorse (design: PROTOCOL §6):
 * `ledger` needs a majority of the organisations with peers, `keys` one organisation.
 */

import type {
  AuditorInput,
  Base64,
  Consortium,
  Epoch,
  Fault,
  FaultReport,
  Hex,
  KeyScheme,
  MemberInput,
  MspId,
  PeerInput,
  Penalty,
  Policy,
  Proposal,
  ProposalInput,
  ProposalState,
  ProposalVoteInput,
  RevokeKeyInput,
} from './ledger-consortium.ts';

export type * from './ledger-consortium.ts';

/** Name of the channel-level chaincodes; deployment may rename them, the contracts inside stay. */
export const CHAINCODE = { ledger: 'ledger', keys: 'keys' } as const;

/** A receipt on its way in JSON: the canonical CBOR that was signed, and the signature. */
export interface SignedReceipt {
  /** Canonical CBOR of `Receipt`, base64. */
  readonly receipt: Base64;
  /** Ed25519 over the signing input (`signing.ts`), 64 bytes. */
  readonly signature: Hex;
  readonly mspId: MspId;
  readonly peer: string;
}

/** What the whole world may know of a split key (P §3.2.2). */
export interface Dealing {
  readonly version: 1;
  readonly scheme: KeyScheme;
  readonly k: number;
  readonly n: number;
  readonly fileId: Hex;
  /** `age1...`: commits to the key. */
  readonly recipient: string;
  /**
   * Id of the deposit: the transaction's, or `depositIdOf` for one of `DepositMany`. Shard `i`
   * (from 1) is at `shardName(depositTx, i)`, one of many in its holder's `bundleName(txId)`.
   */
  readonly depositTx: string;
  /** Holder of shard i + 1. */
  readonly holders: readonly MspId[];
  /** SHA-256 of shard i + 1; of a shard that stands alone Fabric's private data hash equals it. */
  readonly shardHashes: readonly Hex[];
  /** RFC 6962-style Merkle root over the shards' hashes. */
  readonly merkleRoot: Hex;
  /** Inclusion proof of shard i + 1, leaf's sibling first. */
  readonly proofs: readonly (readonly Hex[])[];
  /** Feldman commitments C_0..C_{k-1}; empty for `shamir-gf256`. */
  readonly commitments: readonly Hex[];
}

export interface RecordInput {
  readonly fileId: Hex;
  readonly kind: 'batch' | 'file';
  readonly recipient: string;
  /** Ciphertext's size. */
  readonly bytes: number;
  readonly chunkCount: number;
  readonly epoch: number;
  /** Peer name of the gateway whose chain this file extends. */
  readonly gateway: string;
  /** Position in the gateway's chain, from 1. */
  readonly seq: number;
  /** fileId of `seq - 1`; 64 zeros at 1. */
  readonly previous: Hex;
  /** When the manifest was signed, by the source's clock. */
  readonly timeMs: number;
  readonly receipts: readonly SignedReceipt[];
  readonly dealing: Dealing;
  /** SHA-256 of the encrypted master table: H(MT). */
  readonly masterTableHash: Hex;
  /** age file, base64. */
  readonly masterTable: Base64;
}
/** A record as it is read back: without the table, with what the ledger adds. */
export interface FileRecord extends Omit<RecordInput, 'masterTable'> {
  readonly source: MspId;
  readonly recordedAtMs: number;
  readonly txId: string;
  /** Set when the file was given up: why. */
  readonly void: string | null;
  /** Without those that have withdrawn since. */
  readonly confirmedBy: readonly MspId[];
  /** Holders that hold their shard no more; absent where there is none. */
  readonly withdrawals?: readonly Withdrawal[];
  /** Recorded, and at least min(n, k + 1) holders have confirmed their shards. */
  readonly available: boolean;
  /** Empty in lists, as late receipts are missing there. */
  readonly replacements: readonly Replacement[];
}
export interface VoidInput {
  readonly fileId: Hex;
  readonly gateway: string;
  readonly seq: number;
  readonly previous: Hex;
  readonly reason: string;
}
export interface ReceiptsInput {
  readonly fileId: Hex;
  readonly receipts: readonly SignedReceipt[];
}
/** Chunks that found new owners under a later epoch. `detail` is an age file to the recipient. */
export interface ReplacementInput {
  readonly fileId: Hex;
  readonly epoch: number;
  readonly receipts: readonly SignedReceipt[];
  readonly detail: Base64;
}
export interface Replacement extends ReplacementInput {
  readonly by: MspId;
  readonly atMs: number;
}
export interface AnchorInput {
  readonly gateway: string;
  /** Number of the batch that is open; never goes back. */
  readonly batch: number;
  /** Readings in the chain so far. */
  readonly count: number;
  /** Running chain hash after `count` readings, 32 bytes. */
  readonly head: Hex;
}
export interface Anchor extends AnchorInput {
  readonly source: MspId;
  readonly atMs: number;
}

/** A gateway's anchors from `fromCount` readings on, in order: its history, for an audit. */
export interface ListAnchorsInput {
  readonly source: MspId;
  readonly gateway: string;
  readonly fromCount: number;
  /** 1..500. */
  readonly limit: number;
}
export interface AnchorList {
  readonly anchors: readonly Anchor[];
  /** `fromCount` of the next page; null after the last. */
  readonly nextCount: number | null;
}

export interface ListInput {
  readonly source: MspId;
  /** Inclusive, by `timeMs`. */
  readonly fromMs: number;
  /** Exclusive. */
  readonly toMs: number;
  /** 1..500. */
  readonly limit: number;
  /** '' for the first page. */
  readonly bookmark: string;
}
export interface ListResult {
  readonly files: readonly FileRecord[];
  /** '' after the last page. */
  readonly bookmark: string;
}

export interface AuditRequestInput {
  readonly fileIds: readonly Hex[];
  readonly reason: string;
  readonly expiresAtMs: number;
  /** One fresh age recipient for each organisation that may hold a shard. */
  readonly recipients: Readonly<Record<MspId, string>>;
  /** The inspection that drew these files; absent: the auditor chose them. */
  readonly inspection?: string;
}
export interface AuditRequest extends AuditRequestInput {
  /** Transaction id of the request. */
  readonly requestId: string;
  readonly auditor: MspId;
  readonly requestedAtMs: number;
  readonly votes: readonly Vote[];
  readonly releases: readonly Release[];
  readonly state: 'open' | 'approved' | 'denied' | 'expired' | 'closed';
  readonly outcome: AuditOutcome | null;
}
export interface VoteInput {
  readonly requestId: string;
  readonly approve: boolean;
  readonly reason: string;
}
export interface Vote extends VoteInput {
  readonly mspId: MspId;
  readonly atMs: number;
}
/**
 * `shards`: age file to the request's recipient for this holder; inside, JSON from each file's id to the
 * stored bytes of its shard, base64.
 */
export interface ReleaseInput {
  readonly requestId: string;
  readonly shards: Base64;
}
export interface Release extends ReleaseInput {
  readonly mspId: MspId;
  readonly atMs: number;
}

/** Files of this time range, by `timeMs`, are to be drawn at the policy's rate. */
export interface InspectionInput {
  /** Inclusive. */
  readonly fromMs: number;
  /** Exclusive, and not in the future. */
  readonly toMs: number;
}
/** A draw: `isDrawn` (`inspection.ts`) says of each file recorded before it whether it was drawn. */
export interface Inspection extends InspectionInput {
  /** Transaction id of the draw. */
  readonly inspectionId: string;
  readonly permille: number;
  readonly drawnBy: MspId;
  readonly drawnAtMs: number;
}
/** One source's drawn files, a page at a time; a page may be empty and not the last. */
export interface GetInspectionInput {
  readonly inspectionId: string;
  readonly source: MspId;
  /** '' for the first page. */
  readonly bookmark: string;
}
export interface DrawnFiles {
  readonly inspection: Inspection;
  readonly fileIds: readonly Hex[];
  /** '' after the last page. */
  readonly bookmark: string;
}

export interface AuditOutcome {
  readonly ok: boolean;
  readonly summary: string;
  readonly faults: readonly Fault[];
}
export interface CloseInput {
  readonly requestId: string;
  readonly outcome: AuditOutcome;
}
/** A holder gives up the shards of these files, for good, before it purges them. */
export interface WithdrawInput {
  readonly fileIds: readonly Hex[];
  readonly reason: string;
}
/** From when on a withdrawal excuses its holder: `withdrawal.ts`. */
export interface Withdrawal {
  readonly mspId: MspId;
  readonly reason: string;
  readonly atMs: number;
  readonly txId: string;
}
/** A holder shows in clear the shard that it was dealt: it matches its hash, and is wrong. */
export interface ComplaintInput {
  readonly fileId: Hex;
  /** The stored bytes, at most 64 KiB. */
  readonly shard: Base64;
}
/**
 * An owner's signed answer to a challenge (`challenge.ts`) that is wrong, or admits a loss. Where it
 * is wrong, the file's manifest and the chunk that was asked for go in the transient fields
 * `manifest` and `chunk`: who endorses compares, and neither gets onto the ledger.
 */
export interface ChallengeFaultInput {
  readonly fileId: Hex;
  /** The answerer's receipt for that chunk. */
  readonly receipt: SignedReceipt;
  /** Canonical CBOR of `Answer`, at most 8 KiB. */
  readonly answer: Base64;
  readonly signature: Hex;
}
export interface DepositInput {
  readonly fileId: Hex;
  readonly recipient: string;
  readonly scheme: KeyScheme;
  readonly k: number;
  readonly n: number;
  readonly holders: readonly MspId[];
}
/** Keys of many files in one transaction: at most `LIMITS.shardsPerDepositMax` shards in all. */
export interface DepositManyInput {
  readonly deposits: readonly DepositInput[];
}
/** Transient fields of `audits:ReportChallenge`. */
export const CHALLENGE_TRANSIENT = { manifest: 'manifest', chunk: 'chunk' } as const;
/**
 * Transient fields: of `keys:Deposit` `identity` (32 bytes) and `entropy` (32 bytes), of
 * `keys:DepositMany` the same with the identities one after the other, of `keys:Reissue` `shards`.
 */
export const TRANSIENT = { identity: 'identity', entropy: 'entropy', shards: 'shards' } as const;

export interface ReissueInput {
  readonly fileId: Hex;
  readonly depositTx: string;
  /** Index from 1. The same bytes go to the same holder under a new name. */
  readonly index: number;
  readonly holder: MspId;
}
export interface ShardRef {
  readonly depositTx: string;
  readonly index: number;
}
/** With `hash`, the shard's SHA-256 as the record pins it, one read is enough in most cases. */
export interface GetShardInput extends ShardRef {
  readonly hash?: Hex;
}
/** `fileId`: what must stand in the shard, so that no deposit can point at another file's. */
export interface PurgeInput {
  readonly shards: readonly (ShardRef & { readonly fileId: Hex })[];
}

/** Every transaction: `chaincode/contract:Function`, its argument and its result. */
export interface Transactions {
  'ledger/consortium:Found': [
    { members: readonly MemberInput[]; auditors: readonly AuditorInput[]; policy: Policy },
    null,
  ];
  'ledger/consortium:RegisterPeer': [PeerInput, null];
  'ledger/consortium:RevokeCertificates': [{ serials: readonly Hex[] }, null];
  'ledger/consortium:RevokeKey': [RevokeKeyInput, null];
  'ledger/consortium:OpenEpoch': [
    { epoch: number; weights: Readonly<Record<MspId, number>> },
    Epoch,
  ];
  'ledger/consortium:Leave': [Record<string, never>, null];
  'ledger/consortium:Propose': [ProposalInput, { proposalId: string }];
  'ledger/consortium:VoteOn': [ProposalVoteInput, null];
  'ledger/consortium:Enact': [{ proposalId: string }, null];
  'ledger/consortium:ReportFault': [Fault, null];
  'ledger/consortium:GetConsortium': [Record<string, never>, Consortium];
  'ledger/consortium:GetEpoch': [{ epoch: number }, Epoch];
  'ledger/consortium:GetProposal': [{ proposalId: string }, Proposal | null];
  'ledger/consortium:ListProposals': [{ state: ProposalState | 'any' }, readonly Proposal[]];
  'ledger/consortium:GetFault': [{ faultId: string }, (FaultReport & Fault) | null];
  /** `beforeMs`: only faults reported earlier than this. */
  'ledger/consortium:ListFaults': [{ mspId: MspId; beforeMs?: number }, readonly FaultReport[]];
  'ledger/consortium:ListPenalties': [{ mspId: MspId }, readonly Penalty[]];
  'ledger/records:Record': [RecordInput, null];
  'ledger/records:RecordMany': [{ records: readonly RecordInput[] }, null];
  'ledger/records:Void': [VoidInput, null];
  'ledger/records:AppendReceipts': [ReceiptsInput, null];
  'ledger/records:RecordReplacement': [ReplacementInput, null];
  'ledger/records:Anchor': [AnchorInput, null];
  'ledger/records:GetRecord': [{ fileId: Hex }, FileRecord | null];
  'ledger/records:GetMasterTable': [{ fileId: Hex }, { masterTable: Base64 } | null];
  'ledger/records:ListRecords': [ListInput, ListResult];
  'ledger/records:GetChain': [{ source: MspId; gateway: string }, { seq: number; fileId: Hex }];
  'ledger/records:GetAnchor': [{ source: MspId; gateway: string }, Anchor | null];
  'ledger/records:ListAnchors': [ListAnchorsInput, AnchorList];
  'ledger/audits:Confirm': [{ fileIds: readonly Hex[] }, null];
  'ledger/audits:Withdraw': [WithdrawInput, null];
  'ledger/audits:Complain': [ComplaintInput, { faultId: string }];
  'ledger/audits:ReportChallenge': [ChallengeFaultInput, { faultId: string }];
  'ledger/audits:Request': [AuditRequestInput, { requestId: string }];
  'ledger/audits:DrawInspection': [InspectionInput, { inspectionId: string }];
  'ledger/audits:GetInspection': [GetInspectionInput, DrawnFiles | null];
  'ledger/audits:Vote': [VoteInput, null];
  'ledger/audits:Release': [ReleaseInput, null];
  'ledger/audits:Close': [CloseInput, null];
  'ledger/audits:GetRequest': [{ requestId: string }, AuditRequest | null];
  'ledger/audits:ListRequests': [{ state: AuditRequest['state'] | 'any' }, readonly AuditRequest[]];
  'keys/keys:Deposit': [DepositInput, Dealing];
  'keys/keys:DepositMany': [DepositManyInput, readonly Dealing[]];
  'keys/keys:Reissue': [ReissueInput, ShardRef];
  /** Gives back those that were there. */
  'keys/keys:Purge': [PurgeInput, readonly ShardRef[]];
  'keys/keys:GetDealing': [{ depositTx: string }, Dealing | null];
  'keys/keys:GetShard': [GetShardInput, { shard: Base64 } | null];
  'keys/keys:GetShards': [{ shards: readonly ShardRef[] }, readonly (Base64 | null)[]];
}
export type TransactionName = keyof Transactions;
export type Argument<T extends TransactionName> = Transactions[T][0];
export type Result<T extends TransactionName> = Transactions[T][1];

/** Chaincode events: at most one a transaction, JSON payload. Delivered to every organisation. */
export interface LedgerEvents {
  'consortium-changed': {
    readonly what:
      | 'founded'
      | 'peer'
      | 'revoked'
      | 'epoch'
      | 'fault'
      | 'member'
      | 'policy'
      | 'auditors'
      | 'penalty';
  };
  proposed: { readonly proposalId: string };
  'proposal-voted': {
    readonly proposalId: string;
    readonly mspId: MspId;
    readonly approve: boolean;
  };
  recorded: { readonly files: readonly { fileId: Hex; holders: readonly MspId[] }[] };
  voided: { readonly fileId: Hex };
  receipts: { readonly fileId: Hex };
  replaced: { readonly fileId: Hex; readonly epoch: number };
  anchored: { readonly source: MspId; readonly gateway: string; readonly count: number };
  confirmed: { readonly fileIds: readonly Hex[]; readonly mspId: MspId };
  withdrawn: { readonly fileIds: readonly Hex[]; readonly mspId: MspId };
  'audit-requested': { readonly requestId: string };
  'inspection-drawn': { readonly inspectionId: string };
  'audit-voted': { readonly requestId: string; readonly mspId: MspId; readonly approve: boolean };
  'audit-released': { readonly requestId: string; readonly mspId: MspId };
  'audit-closed': { readonly requestId: string; readonly ok: boolean };
}
export type LedgerEventName = keyof LedgerEvents;

/** Private data collection that holds an organisation's shards. */
export function shardCollection(mspId: MspId): string {
  return `shards-${mspId}`;
}

/** Key of a shard inside its holder's collection; unguessable before the deposit is ordered. */
export function shardName(txId: string, index: number): string {
  return `shard/${txId}/${index}`;
}

/** Key of all shards that a holder gets by one `DepositMany`; as unguessable as `shardName`. */
export function bundleName(txId: string): string {
  return `shards/${txId}`;
}

/** Key of what is left of the bundle of `DepositMany` transaction `bundle` after purge `txId`. */
export function restName(txId: string, bundle: string): string {
  return `shards/${txId}/${bundle}`;
}

/** Certificate attribute that says what an identity may do: `agent`, `gateway`, `auditor` or `admin`. */
export const ROLE_ATTRIBUTE = 'role';
/** Certificate attribute that names the one peer of its organisation for which an identity may speak. */
export const PEER_ATTRIBUTE = 'peer';
