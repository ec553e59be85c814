/**
 * The shape and bounds of every transaction's argument, by name, as `ledger-api.ts` types them.
 *
 * Only form is checked here; what needs the ledger's state is for the contracts.
 */
import type {
  Argument,
  AuditOutcome,
  ChallengeFaultInput,
  ComplaintInput,
  Dealing,
  DepositInput,
  DepositManyInput,
  Fault,
  GetShardInput,
  Hex,
  MemberInput,
  Policy,
  ProposalAction,
  PurgeInput,
  Quota,
  RecordInput,
  RevokeKeyInput,
  ShardRef,
  SignedReceipt,
  TransactionName,
  WithdrawInput,
} from '@blocktorrent/protocol/ledger-api.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import { REPLICAS_MAX } from '@blocktorrent/protocol/placement.ts';
import * as is from './checks.ts';
import { Refusal } from './refusal.ts';

const AUDIT_EXPIRY_MS_MAX = 366 * 24 * 60 * 60 * 1000;
const COUNT_MAX = Number.MAX_SAFE_INTEGER;
const DHT_ADDRESS = /^$|^(?:[A-Za-z0-9.-]{1,253}|\[[0-9a-fA-F:]{2,45}\]):[0-9]{1,5}$/;

const digest = is.hex(32);
const reason = is.text(0, LIMITS.reasonCharsMax);
const overlayRoots = is.list(is.text(1, LIMITS.pemCharsMax), 0, LIMITS.overlayRootsMax);
const personName = is.text(1, LIMITS.nameCharsMax);
const fileId = is.object<{ fileId: string }>({ fileId: digest });

const member = is.object<MemberInput>({
  mspId: is.mspId,
  name: personName,
  weight: is.integer(1, LIMITS.weightMax),
  overlayRoots,
});

const quota = is.object<Quota>({
  bytes: is.integer(1, COUNT_MAX),
  files: is.integer(1, COUNT_MAX),
  requestsPerSecond: is.integer(1, LIMITS.requestsPerSecondMax),
});

const chunkBytes = is.integer(LIMITS.blockBytes, LIMITS.chunkBytesMax);

const policy = is.object<Policy>({
  k: is.integer(2, LIMITS.shardsMax),
  n: is.integer(2, LIMITS.shardsMax),
  replicas: is.integer(1, REPLICAS_MAX),
  receiptsMin: is.integer(1, REPLICAS_MAX),
  approvals: is.integer(1, LIMITS.membersMax),
  auditExpiryMsMax: is.integer(1000, AUDIT_EXPIRY_MS_MAX),
  scheme: is.oneOf('shamir-gf256', 'feldman-25519'),
  chunkBytesMin: is.optional(chunkBytes),
  chunkBytesMax: is.optional(chunkBytes),
  quotas: is.optional(is.byMspId(quota)),
  inspectionPermille: is.optional(is.integer(0, 1000)),
});

const auditors = is.list(
  is.object({ mspId: is.mspId, name: personName, overlayRoots }),
  0,
  LIMITS.membersMax,
);
const weights = is.byMspId(is.integer(1, LIMITS.weightMax));

type ActionOf<K extends ProposalAction['kind']> = Extract<ProposalAction, { kind: K }>;
const action = is.byKind<ProposalAction>({
  join: is.object<ActionOf<'join'>>({ kind: is.literal('join'), member }),
  member: is.object<ActionOf<'member'>>({ kind: is.literal('member'), member }),
  remove: is.object<ActionOf<'remove'>>({ kind: is.literal('remove'), mspId: is.mspId }),
  policy: is.object<ActionOf<'policy'>>({ kind: is.literal('policy'), policy }),
  weights: is.object<ActionOf<'weights'>>({ kind: is.literal('weights'), weights }),
  auditors: is.object<ActionOf<'auditors'>>({ kind: is.literal('auditors'), auditors }),
  penalty: is.object<ActionOf<'penalty'>>({
    kind: is.literal('penalty'),
    mspId: is.mspId,
    decision: is.text(1, LIMITS.reasonCharsMax),
    faultIds: is.distinct(is.faultId, 1, LIMITS.faultsPerPenaltyMax),
  }),
});

const signedReceipt = is.object<SignedReceipt>({
  receipt: is.base64(LIMITS.receiptBytesMax),
  signature: is.hex(64),
  mspId: is.mspId,
  peer: is.name,
});
const receipts = is.list(signedReceipt, 1, LIMITS.receiptsPerFileMax);

const dealing = is.object<Dealing>({
  version: (value, path) => {
    is.integer(1, 1)(value, path);
    return 1;
  },
  scheme: is.oneOf('shamir-gf256', 'feldman-25519'),
  k: is.integer(2, LIMITS.shardsMax),
  n: is.integer(2, LIMITS.shardsMax),
  fileId: digest,
  recipient: is.recipient,
  depositTx: digest,
  holders: is.distinct(is.mspId, 2, LIMITS.shardsMax),
  shardHashes: is.list(digest, 2, LIMITS.shardsMax),
  merkleRoot: digest,
  proofs: is.list(is.list(digest, 0, LIMITS.shardsMax), 2, LIMITS.shardsMax),
  commitments: is.list(digest, 0, LIMITS.shardsMax),
});

const chainStep = {
  gateway: is.name,
  seq: is.integer(1, COUNT_MAX),
  previous: digest,
};

const record = is.object<RecordInput>({
  fileId: digest,
  kind: is.oneOf('batch', 'file'),
  recipient: is.recipient,
  bytes: is.integer(1, LIMITS.fileBytesMax),
  chunkCount: is.integer(1, LIMITS.chunksPerFileMax),
  epoch: is.integer(1, COUNT_MAX),
  ...chainStep,
  timeMs: is.timeMs,
  receipts,
  dealing,
  masterTableHash: digest,
  masterTable: is.ageFile(LIMITS.masterTableBytesMax),
});

const fault = is.object<Fault>({
  kind: is.oneOf(
    'bad-chunk',
    'missing-chunk',
    'bad-shard',
    'no-release',
    'wrong-key',
    'unopenable',
    'unreachable',
  ),
  mspId: is.mspId,
  fileId: digest,
  detail: reason,
  evidence: is.optional(is.base64(LIMITS.evidenceBytesMax)),
});

const outcome = is.object<AuditOutcome>({
  ok: is.boolean,
  summary: reason,
  faults: is.list(fault, 0, LIMITS.faultsPerAuditMax),
});

const gatewayOf = is.object<{ source: string; gateway: string }>({
  source: is.mspId,
  gateway: is.name,
});

const deposit = is.object<DepositInput>({
  fileId: digest,
  recipient: is.recipient,
  scheme: is.oneOf('shamir-gf256', 'feldman-25519'),
  k: is.integer(2, LIMITS.shardsMax),
  n: is.integer(2, LIMITS.shardsMax),
  holders: is.distinct(is.mspId, 2, LIMITS.shardsMax),
});

const deposits: is.Check<DepositInput[]> = (value, path) => {
  const checked = is.list(deposit, 1, LIMITS.shardsPerDepositMax / 2)(value, path);
  if (new Set(checked.map((one) => one.fileId)).size !== checked.length) {
    throw new Refusal('BAD_ARGUMENT', `${path}: expected no file twice`);
  }
  const shards = checked.reduce((sum, one) => sum + one.n, 0);
  if (shards > LIMITS.shardsPerDepositMax) {
    throw new Refusal(
      'TOO_LARGE',
      `${path}: expected at most ${LIMITS.shardsPerDepositMax} shards, got ${shards}`,
    );
  }
  return checked;
};

const shardPlace = { depositTx: digest, index: is.integer(1, LIMITS.shardsMax) };
const shardRef = is.object<ShardRef>(shardPlace);

const shardsToPurge: is.Check<PurgeInput['shards'][number][]> = (value, path) => {
  const one = is.object<PurgeInput['shards'][number]>({ ...shardPlace, fileId: digest });
  const checked = is.list(one, 1, LIMITS.shardsPerPurgeMax)(value, path);
  if (
    new Set(checked.map(({ depositTx, index }) => `${depositTx}/${index}`)).size === checked.length
  ) {
    return checked;
  }
  throw new Refusal('BAD_ARGUMENT', `${path}: expected no shard twice`);
};

const dhtAddress: is.Check<string> = (value, path) => {
  const address = is.text(0, 300)(value, path);
  const port = Number(address.slice(address.lastIndexOf(':') + 1));
  if (!DHT_ADDRESS.test(address) || port > 65_535) {
    throw new Refusal('BAD_ARGUMENT', `${path}: expected host:port or '', got "${address}"`);
  }
  return address;
};

/** A certificate's serial number (RFC 5280 §4.1.2.2: at most 20 bytes). */
const serial: is.Check<Hex> = (value, path) => {
  const text = is.text(1, 40)(value, path);
  if (/^[1-9a-f][0-9a-f]*$/.test(text)) return text;
  throw new Refusal(
    'BAD_ARGUMENT',
    `${path}: expected a serial number in lower-case hex without leading zeros, got "${text}"`,
  );
};

/** One check for each transaction. */
export const ARGUMENTS: { readonly [N in TransactionName]: is.Check<Argument<N>> } = {
  'ledger/consortium:Found': is.object<Argument<'ledger/consortium:Found'>>({
    members: is.list(member, 2, LIMITS.membersMax),
    auditors,
    policy,
  }),
  'ledger/consortium:RegisterPeer': is.object<Argument<'ledger/consortium:RegisterPeer'>>({
    name: is.name,
    roles: is.distinct(is.oneOf('ingest', 'store'), 1, 2),
    overlayKey: digest,
    dhtAddress,
  }),
  'ledger/consortium:RevokeCertificates': is.object<
    Argument<'ledger/consortium:RevokeCertificates'>
  >({ serials: is.distinct(serial, 1, LIMITS.revokedPerMemberMax) }),
  'ledger/consortium:RevokeKey': is.object<RevokeKeyInput>({
    peer: is.name,
    overlayKey: digest,
  }),
  'ledger/consortium:OpenEpoch': is.object<Argument<'ledger/consortium:OpenEpoch'>>({
    epoch: is.integer(2, COUNT_MAX),
    weights,
  }),
  'ledger/consortium:Leave': is.object<Record<string, never>>({}),
  'ledger/consortium:Propose': is.object<Argument<'ledger/consortium:Propose'>>({
    action,
    reason: is.text(1, LIMITS.reasonCharsMax),
    expiresAtMs: is.timeMs,
  }),
  'ledger/consortium:VoteOn': is.object<Argument<'ledger/consortium:VoteOn'>>({
    proposalId: digest,
    approve: is.boolean,
    reason,
  }),
  'ledger/consortium:Enact': is.object<{ proposalId: string }>({ proposalId: digest }),
  'ledger/consortium:ReportFault': fault,
  'ledger/consortium:GetConsortium': is.object<Record<string, never>>({}),
  'ledger/consortium:GetEpoch': is.object<{ epoch: number }>({ epoch: is.integer(1, COUNT_MAX) }),
  'ledger/consortium:GetProposal': is.object<{ proposalId: string }>({ proposalId: digest }),
  'ledger/consortium:ListProposals': is.object<Argument<'ledger/consortium:ListProposals'>>({
    state: is.oneOf('open', 'accepted', 'refused', 'outdated', 'expired', 'enacted', 'any'),
  }),
  'ledger/consortium:GetFault': is.object<{ faultId: string }>({ faultId: is.faultId }),
  'ledger/consortium:ListFaults': is.object<Argument<'ledger/consortium:ListFaults'>>({
    mspId: is.mspId,
    beforeMs: is.optional(is.timeMs),
  }),
  'ledger/consortium:ListPenalties': is.object<{ mspId: string }>({ mspId: is.mspId }),
  'ledger/records:Record': record,
  'ledger/records:RecordMany': is.object<Argument<'ledger/records:RecordMany'>>({
    records: is.list(record, 1, LIMITS.recordsPerTransactionMax),
  }),
  'ledger/records:Void': is.object<Argument<'ledger/records:Void'>>({
    fileId: digest,
    ...chainStep,
    reason: is.text(1, LIMITS.reasonCharsMax),
  }),
  'ledger/records:AppendReceipts': is.object<Argument<'ledger/records:AppendReceipts'>>({
    fileId: digest,
    receipts,
  }),
  'ledger/records:RecordReplacement': is.object<Argument<'ledger/records:RecordReplacement'>>({
    fileId: digest,
    epoch: is.integer(1, COUNT_MAX),
    receipts,
    detail: is.ageFile(LIMITS.replacementBytesMax),
  }),
  'ledger/records:Anchor': is.object<Argument<'ledger/records:Anchor'>>({
    gateway: is.name,
    batch: is.integer(0, COUNT_MAX),
    count: is.integer(1, COUNT_MAX),
    head: digest,
  }),
  'ledger/records:GetRecord': fileId,
  'ledger/records:GetMasterTable': fileId,
  'ledger/records:ListRecords': is.object<Argument<'ledger/records:ListRecords'>>({
    source: is.mspId,
    fromMs: is.timeMs,
    toMs: is.timeMs,
    limit: is.integer(1, LIMITS.listLimitMax),
    bookmark: is.text(0, 128),
  }),
  'ledger/records:GetChain': gatewayOf,
  'ledger/records:GetAnchor': gatewayOf,
  'ledger/records:ListAnchors': is.object<Argument<'ledger/records:ListAnchors'>>({
    source: is.mspId,
    gateway: is.name,
    fromCount: is.integer(0, COUNT_MAX),
    limit: is.integer(1, LIMITS.listLimitMax),
  }),
  'ledger/audits:Complain': is.object<ComplaintInput>({
    fileId: digest,
    shard: is.base64(LIMITS.evidenceBytesMax),
  }),
  'ledger/audits:ReportChallenge': is.object<ChallengeFaultInput>({
    fileId: digest,
    receipt: signedReceipt,
    answer: is.base64(LIMITS.answerBytesMax),
    signature: is.hex(64),
  }),
  'ledger/audits:Confirm': is.object<Argument<'ledger/audits:Confirm'>>({
    fileIds: is.distinct(digest, 1, LIMITS.filesPerConfirmMax),
  }),
  'ledger/audits:Withdraw': is.object<WithdrawInput>({
    fileIds: is.distinct(digest, 1, LIMITS.filesPerConfirmMax),
    reason: is.text(1, LIMITS.reasonCharsMax),
  }),
  'ledger/audits:Request': is.object<Argument<'ledger/audits:Request'>>({
    fileIds: is.distinct(digest, 1, LIMITS.filesPerAuditMax),
    reason: is.text(1, LIMITS.reasonCharsMax),
    expiresAtMs: is.timeMs,
    recipients: is.byMspId(is.recipient),
    inspection: is.optional(digest),
  }),
  'ledger/audits:DrawInspection': is.object<Argument<'ledger/audits:DrawInspection'>>({
    fromMs: is.timeMs,
    toMs: is.timeMs,
  }),
  'ledger/audits:GetInspection': is.object<Argument<'ledger/audits:GetInspection'>>({
    inspectionId: digest,
    source: is.mspId,
    bookmark: is.text(0, 128),
  }),
  'ledger/audits:Vote': is.object<Argument<'ledger/audits:Vote'>>({
    requestId: digest,
    approve: is.boolean,
    reason,
  }),
  'ledger/audits:Release': is.object<Argument<'ledger/audits:Release'>>({
    requestId: digest,
    shards: is.ageFile(LIMITS.releaseBytesMax),
  }),
  'ledger/audits:Close': is.object<Argument<'ledger/audits:Close'>>({
    requestId: digest,
    outcome,
  }),
  'ledger/audits:GetRequest': is.object<{ requestId: string }>({ requestId: digest }),
  'ledger/audits:ListRequests': is.object<Argument<'ledger/audits:ListRequests'>>({
    state: is.oneOf('open', 'approved', 'denied', 'expired', 'closed', 'any'),
  }),
  'keys/keys:Deposit': deposit,
  'keys/keys:DepositMany': is.object<DepositManyInput>({ deposits }),
  'keys/keys:Reissue': is.object<Argument<'keys/keys:Reissue'>>({
    fileId: digest,
    depositTx: digest,
    index: is.integer(1, LIMITS.shardsMax),
    holder: is.mspId,
  }),
  'keys/keys:Purge': is.object<PurgeInput>({ shards: shardsToPurge }),
  'keys/keys:GetDealing': is.object<{ depositTx: string }>({ depositTx: digest }),
  'keys/keys:GetShard': is.object<GetShardInput>({ ...shardPlace, hash: is.optional(digest) }),
  'keys/keys:GetShards': is.object<Argument<'keys/keys:GetShards'>>({
    shards: is.list(shardRef, 1, LIMITS.shardsPerDepositMax),
  }),
};
