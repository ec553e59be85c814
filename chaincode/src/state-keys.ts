/**
 * Every key of the world state, in one place.
 *
 * One key for each voter, holder, gateway and peer, so that transactions of one block do not get
 * into each other's way; no counter is shared. Parts are joined by '/', which none of them can
 * contain (`checks.ts`), and times are padded, so that a range in byte order is a range in time.
 */
import type { Hex, MspId } from '@blocktorrent/protocol/ledger-api.ts';

const TIME_DIGITS = 16;
const NEWEST_FIRST = 10 ** 15;

/** Keys of the chaincode `ledger`. */
export const KEY = {
  /** What was founded: members, auditors, policy. */
  constitution: 'constitution',
  /** The current epoch and the one before. */
  epochs: 'epochs',
  epoch: (epoch: number) => `epoch/${epoch}`,
  /** All peers; the next part is the organisation. */
  peers: 'peer',
  peer: (mspId: MspId, name: string) => `peer/${mspId}/${name}`,
  /** Serial numbers of the overlay certificates that an organisation has taken back. */
  revoked: (mspId: MspId) => `revoked/${mspId}`,
  faultsOf: (mspId: MspId) => `fault/${mspId}`,
  fault: (mspId: MspId, timeMs: number, faultId: string) =>
    `fault/${mspId}/${newestFirst(timeMs)}/${faultId}`,
  faultReport: (faultId: string) => `fault-report/${faultId}`,
  /** When a member last opened an epoch without a vote. */
  ownEpoch: (mspId: MspId) => `own-epoch/${mspId}`,
  proposal: (proposalId: string) => `proposal/${proposalId}`,
  proposalTimes: 'proposal-time',
  proposalTime: (timeMs: number, proposalId: string) =>
    `proposal-time/${newestFirst(timeMs)}/${proposalId}`,
  proposalVote: (proposalId: string, mspId: MspId) => `proposal-vote/${proposalId}/${mspId}`,
  enactment: (proposalId: string) => `enactment/${proposalId}`,
  penaltiesOf: (mspId: MspId) => `penalty/${mspId}`,
  penalty: (mspId: MspId, timeMs: number, proposalId: string) =>
    `penalty/${mspId}/${newestFirst(timeMs)}/${proposalId}`,

  record: (fileId: Hex) => `record/${fileId}`,
  masterTable: (fileId: Hex) => `table/${fileId}`,
  /** Files given up have keys of their source's: nobody can take another's file id away. */
  voidsOf: (fileId: Hex) => `void/${fileId}`,
  voided: (fileId: Hex, source: MspId) => `void/${fileId}/${source}`,
  chain: (source: MspId, gateway: string) => `chain/${source}/${gateway}`,
  anchor: (source: MspId, gateway: string) => `anchor/${source}/${gateway}`,
  anchorsOf: (source: MspId, gateway: string) => `anchor-at/${source}/${gateway}`,
  anchorAt: (source: MspId, gateway: string, count: number) =>
    `anchor-at/${source}/${gateway}/${padded(count)}`,
  timesOf: (source: MspId) => `time/${source}`,
  receiptsOf: (fileId: Hex) => `receipt/${fileId}`,
  receipt: (fileId: Hex, owner: MspId, hash: Hex) => `receipt/${fileId}/${owner}/${hash}`,
  replacementsOf: (fileId: Hex) => `replacement/${fileId}`,
  replacement: (fileId: Hex, by: MspId, timeMs: number, txId: string) =>
    `replacement/${fileId}/${by}/${newestFirst(timeMs)}/${txId}`,

  /** What a holder has said of its shard: that it has it, and that it has given it up. */
  confirmation: (fileId: Hex, holder: MspId) => `confirmation/${fileId}/${holder}`,
  challengeFault: (fileId: Hex, answerer: MspId, answerHash: Hex) =>
    `challenge-fault/${fileId}/${answerer}/${answerHash}`,
  complaint: (fileId: Hex, holder: MspId) => `complaint/${fileId}/${holder}`,
  request: (requestId: string) => `request/${requestId}`,
  requestTimes: 'request-time',
  requestTime: (timeMs: number, requestId: string) =>
    `request-time/${newestFirst(timeMs)}/${requestId}`,
  vote: (requestId: string, mspId: MspId) => `vote/${requestId}/${mspId}`,
  release: (requestId: string, mspId: MspId) => `release/${requestId}/${mspId}`,
  outcome: (requestId: string) => `outcome/${requestId}`,
  /** Written by each request and read by each withdrawal, and the other way round: of two, one is first. */
  lastRequest: 'last-request',
  lastWithdrawal: (holder: MspId) => `last-withdrawal/${holder}`,
  inspection: (inspectionId: string) => `inspection/${inspectionId}`,
} as const;

/** Keys of the chaincode `keys`; shards are under `shardName` in their holder's collection. */
export const KEYS_KEY = {
  dealing: (depositTx: string) => `dealing/${depositTx}`,
  /** Where what is left of a holder's bundle is; written with the bundle, its holder's to change. */
  bundlePlace: (txId: string, holder: MspId) => `bundle/${txId}/${holder}`,
} as const;

/** A file's place in its source's list: the part after `timesOf`. Sorts by time, then by id. */
export function timePlace(timeMs: number, fileId: Hex): string {
  return `${padded(timeMs)}/${fileId}`;
}

/** In a list that is newest first: start of all places older than `timeMs`. */
export function olderThan(timeMs: number): string {
  return newestFirst(timeMs - 1);
}

/** Where a count stands among its gateway's anchors: the part after `anchorsOf`. */
export function countPlace(count: number): string {
  return padded(count);
}

/** Start of all places at `timeMs` or later. */
export function timeStart(timeMs: number): string {
  return padded(timeMs);
}

function padded(timeMs: number): string {
  return String(timeMs).padStart(TIME_DIGITS, '0');
}

function newestFirst(timeMs: number): string {
  return padded(NEWEST_FIRST - timeMs);
}
