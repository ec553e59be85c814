/**
 * Recorded files in the world state, and how one is read back.
 *
 * The record, its table, late receipts, replacements and each holder's confirmation have keys of
 * their own; `available` is computed when read, from the confirmations.
 */

import type {
  Dealing,
  FileRecord,
  Hex,
  MspId,
  RecordInput,
  Replacement,
  SignedReceipt,
  VoidInput,
  Withdrawal,
} from '@blocktorrent/protocol/ledger-api.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import { CHAIN_ROOT } from '@blocktorrent/protocol/manifest.ts';
import { owesShard } from '@blocktorrent/protocol/withdrawal.ts';
import type { Context } from 'fabric-contract-api';
import { Refusal } from './refusal.ts';
import { getJson, nowMs, putJson, scanGroups, scanValues } from './state.ts';
import { KEY, timePlace } from './state-keys.ts';

/** A record as it is stored: what never changes about it. */
export type StoredRecord = Omit<
  FileRecord,
  'confirmedBy' | 'withdrawals' | 'available' | 'replacements'
>;

/** What a holder has said of its shard of a file; one key, so that a record is read as fast as before. */
interface StoredHolding {
  /** When it confirmed; absent where it gave its shard up before. */
  readonly atMs?: number;
  readonly txId?: string;
  readonly withdrawn?: Withdrawal;
}

/** The end of a gateway's chain. */
export interface ChainHead {
  readonly seq: number;
  readonly fileId: Hex;
}

const REPLACEMENTS_MAX = 100;

/** The record of `fileId`; a Refusal NOT_FOUND where there is none: what was given up has none. */
export async function requireRecord(ctx: Context, fileId: Hex): Promise<StoredRecord> {
  const record = await getJson<StoredRecord>(ctx, KEY.record(fileId));
  if (record === null) throw new Refusal('NOT_FOUND', `file ${fileId} is not recorded`);
  return record;
}

/** What `holder` has said of its shard of a file, or null. */
export function loadHolding(
  ctx: Context,
  fileId: Hex,
  holder: MspId,
): Promise<StoredHolding | null> {
  return getJson<StoredHolding>(ctx, KEY.confirmation(fileId, holder));
}

/** Writes that a holder has checked its shard. */
export async function putConfirmation(ctx: Context, fileId: Hex, holder: MspId): Promise<void> {
  const holding: StoredHolding = { atMs: nowMs(ctx), txId: ctx.stub.getTxID() };
  await putJson(ctx, KEY.confirmation(fileId, holder), holding);
}

/** Notes beside an earlier confirmation, if there is one, that a holder gives its shard up. */
export async function putWithdrawal(
  ctx: Context,
  fileId: Hex,
  before: StoredHolding | null,
  { mspId, reason }: Pick<Withdrawal, 'mspId' | 'reason'>,
): Promise<void> {
  const withdrawn: Withdrawal = { mspId, reason, atMs: nowMs(ctx), txId: ctx.stub.getTxID() };
  const holding: StoredHolding = { ...before, withdrawn };
  await putJson(ctx, KEY.confirmation(fileId, mspId), holding);
}

/** Whether a release for a request of that time has to hold `holder`'s shard of a file. */
export async function owesShardOf(
  ctx: Context,
  fileId: Hex,
  holder: MspId,
  requestedAtMs: number,
): Promise<boolean> {
  const holding = await loadHolding(ctx, fileId, holder);
  if (holding === null) return false;
  const { withdrawn } = holding;
  const withdrawals = withdrawn === undefined ? [] : [withdrawn];
  return owesShard({ confirmedBy: [holder], withdrawals }, holder, requestedAtMs);
}

/** Where the gateway's chain ends: seq 0 and zeros before its first file. */
export async function chainHead(ctx: Context, source: MspId, gateway: string): Promise<ChainHead> {
  const head = await getJson<ChainHead>(ctx, KEY.chain(source, gateway));
  return head ?? { seq: 0, fileId: CHAIN_ROOT };
}

/** Throws unless the step goes on where `head` is. */
export function requireNext(head: ChainHead, step: { seq: number; previous: Hex }): void {
  if (step.seq !== head.seq + 1 || step.previous !== head.fileId) {
    throw new Refusal(
      'WRONG_CHAIN',
      `expected seq ${head.seq + 1} after ${head.fileId}, got seq ${step.seq} after ${step.previous}`,
    );
  }
}

/** Writes a new record, its table, and its place in its source's list. */
export async function putRecord(
  ctx: Context,
  record: StoredRecord,
  masterTable: string,
): Promise<void> {
  await requireNew(ctx, record);
  const { fileId } = record;
  await putJson(ctx, KEY.record(fileId), record);
  await putJson(ctx, KEY.masterTable(fileId), { masterTable });
  await putPlace(ctx, record);
}

/** Writes that a file was given up, under its source's own key, and its place in the list. */
export async function putVoid(ctx: Context, record: StoredRecord): Promise<void> {
  await requireNew(ctx, record);
  await putJson(ctx, KEY.voided(record.fileId, record.source), record);
  await putPlace(ctx, record);
}

/** A recorded file, or else one that was given up (by anybody), as it is read back; or null. */
export async function readRecord(ctx: Context, fileId: Hex): Promise<FileRecord | null> {
  const stored = await getJson<StoredRecord>(ctx, KEY.record(fileId));
  if (stored !== null) return withLater(ctx, stored);
  const [given] = await scanValues<StoredRecord>(ctx, KEY.voidsOf(fileId), 1);
  return given === undefined ? null : withLater(ctx, given);
}

/**
 * As `readRecord`, of one source, without late receipts and replacements: a list opens one range,
 * not two more for each of its files.
 */
export async function readListed(
  ctx: Context,
  fileId: Hex,
  source: MspId,
): Promise<FileRecord | null> {
  const stored = await getJson<StoredRecord>(ctx, KEY.record(fileId));
  const own =
    stored?.source === source
      ? stored
      : await getJson<StoredRecord>(ctx, KEY.voided(fileId, source));
  if (own === null) return null;
  return { ...(await withConfirmations(ctx, own)), replacements: [] };
}

async function requireNew(ctx: Context, { fileId, source }: StoredRecord): Promise<void> {
  if ((await getJson(ctx, KEY.record(fileId))) !== null) {
    throw new Refusal('ALREADY_EXISTS', `file ${fileId} is recorded already`);
  }
  if ((await getJson(ctx, KEY.voided(fileId, source))) !== null) {
    throw new Refusal('ALREADY_EXISTS', `file ${fileId} was given up by ${source}`);
  }
}

async function putPlace(ctx: Context, { source, timeMs, fileId }: StoredRecord): Promise<void> {
  await putJson(ctx, `${KEY.timesOf(source)}/${timePlace(timeMs, fileId)}`, { fileId });
}

/** Who confirmed, and whether that is enough. */
async function withConfirmations(
  ctx: Context,
  stored: StoredRecord,
): Promise<Omit<FileRecord, 'replacements'>> {
  const { fileId } = stored;
  const confirmedBy: MspId[] = [];
  const withdrawals: Withdrawal[] = [];
  for (const holder of stored.dealing.holders) {
    const holding = await loadHolding(ctx, fileId, holder);
    if (holding?.withdrawn !== undefined) withdrawals.push(holding.withdrawn);
    else if (holding !== null) confirmedBy.push(holder);
  }
  const { k, n } = stored.dealing;
  const available = stored.void === null && confirmedBy.length >= Math.min(n, k + 1);
  const withdrawn = withdrawals.length === 0 ? {} : { withdrawals };
  return { ...stored, confirmedBy, ...withdrawn, available };
}

/** What came after the record: confirmations, late receipts, replacements; each bounded. */
async function withLater(ctx: Context, stored: StoredRecord): Promise<FileRecord> {
  const { fileId } = stored;
  const late = LIMITS.receiptsPerFileMax - stored.receipts.length;
  const receipts = await scanGroups<SignedReceipt>(
    ctx,
    KEY.receiptsOf(fileId),
    LIMITS.lateReceiptsPerOwnerMax,
    late,
  );
  return {
    ...(await withConfirmations(ctx, stored)),
    receipts: [...stored.receipts, ...receipts],
    replacements: await scanGroups<Replacement>(
      ctx,
      KEY.replacementsOf(fileId),
      LIMITS.replacementsPerMemberMax,
      REPLACEMENTS_MAX,
    ),
  };
}

/** What is stored of a record: everything but the table, and what the ledger adds. */
export function storedRecord(
  { masterTable: _elsewhere, ...record }: RecordInput,
  added: Pick<StoredRecord, 'source' | 'recordedAtMs' | 'txId'>,
): StoredRecord {
  return { ...record, ...added, void: null };
}

/** The record of a file that was given up: a step of the chain with nothing behind it. */
export function voidRecord(
  input: VoidInput,
  epoch: number,
  added: Pick<StoredRecord, 'source' | 'recordedAtMs' | 'txId'>,
): StoredRecord {
  const { fileId, gateway, seq, previous, reason } = input;
  const dealing: Dealing = {
    version: 1,
    scheme: 'shamir-gf256',
    k: 0,
    n: 0,
    fileId,
    recipient: '',
    depositTx: '',
    holders: [],
    shardHashes: [],
    merkleRoot: '',
    proofs: [],
    commitments: [],
  };
  return {
    fileId,
    kind: 'file',
    recipient: '',
    bytes: 0,
    chunkCount: 0,
    epoch,
    gateway,
    seq,
    previous,
    timeMs: added.recordedAtMs,
    receipts: [],
    dealing,
    masterTableHash: '',
    ...added,
    void: reason,
  };
}
