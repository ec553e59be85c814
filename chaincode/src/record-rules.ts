/**
 * What has to be true before a file can be recorded (design: PROTOCOL §2.7).
 *
 * In: the record and what the ledger knows. Throws a Refusal, or a ProtocolError from the check
 * that failed. That owners are the right ones for each chunk the owners checked themselves, before
 * they signed: digests stay off the ledger.
 */

import { createHash } from 'node:crypto';
import { chunkBoundsOf } from '@blocktorrent/protocol/chunking.ts';
import { verifyDealing } from '@blocktorrent/protocol/dealing.ts';
import type {
  Epoch,
  MspId,
  Policy,
  RecordInput,
  SignedReceipt,
} from '@blocktorrent/protocol/ledger-api.ts';
import { countingKeys } from '@blocktorrent/protocol/peer-keys.ts';
import { holdersOf, ownerCountOf } from '@blocktorrent/protocol/placement.ts';
import {
  coverage,
  openReceipt,
  type Receipt,
  verifyReceipt,
} from '@blocktorrent/protocol/receipt.ts';
import type { PeerLookup } from './consortium-state.ts';
import { Refusal, within } from './refusal.ts';

/** How far a source's clock may be ahead of the transaction's time. */
export const CLOCK_AHEAD_MS_MAX = 120_000;

/** What receipts must be for. */
export interface ReceiptsFor {
  readonly channel: string;
  readonly fileId: string;
  readonly chunkCount: number;
  readonly epoch: Epoch;
  readonly source: MspId;
  readonly policy: Policy;
}

/**
 * The receipts, each signed by a registered store peer of an organisation of the epoch, for this
 * file, epoch, channel and chunk count. The source's own count only where too few others exist.
 */
export async function checkReceipts(
  receipts: readonly SignedReceipt[],
  expected: ReceiptsFor,
  peers: PeerLookup,
): Promise<Receipt[]> {
  const checked: Receipt[] = [];
  const seen = new Set<string>();
  for (const [index, signed] of receipts.entries()) {
    const place = `receipt ${index}`;
    if (seen.has(signed.receipt)) throw new Refusal('WRONG_RECEIPT', `${place} is there twice`);
    seen.add(signed.receipt);
    requireReceiptFor(
      within(place, () => openReceipt(signed)),
      expected,
      place,
    );
    const peer = await peers(signed.mspId, signed.peer);
    if (peer === null || !peer.roles.includes('store')) {
      throw new Refusal(
        'WRONG_RECEIPT',
        `${place}: ${signed.mspId}/${signed.peer} is no registered peer with role store`,
      );
    }
    checked.push(within(place, () => verifyReceipt(signed, countingKeys(peer, null))));
  }
  return checked;
}

/** Throws unless every chunk is kept by as many organisations as the policy asks for. */
function requireCoverage(receipts: readonly Receipt[], expected: ReceiptsFor): void {
  const { epoch, policy, chunkCount } = expected;
  const needed = Math.min(policy.receiptsMin, ownerCountOf(epoch, policy.replicas));
  const kept = coverage(receipts, chunkCount);
  const short = kept.findIndex((owners) => owners < needed);
  if (short >= 0) {
    throw new Refusal(
      'TOO_FEW_RECEIPTS',
      `chunk ${short}: expected receipts of ${needed} organisations, got ${kept[short]}`,
    );
  }
}

/**
 * As `checkRecord`, under any one of the policies: today's, or that of the file's epoch. Throws what
 * the first one finds.
 */
export async function checkUnderOneOf(
  policies: readonly [Policy, ...Policy[]],
  record: RecordInput,
  expected: Omit<ReceiptsFor, 'policy'>,
  peers: PeerLookup,
  atMs: number,
): Promise<void> {
  const [policy, ...older] = policies;
  try {
    await checkRecord(record, { ...expected, policy }, peers, atMs);
  } catch (error) {
    for (const other of older) {
      if (await passes(() => checkRecord(record, { ...expected, policy: other }, peers, atMs))) {
        return;
      }
    }
    throw error;
  }
}

async function passes(check: () => Promise<void>): Promise<boolean> {
  try {
    await check();
    return true;
  } catch {
    // The first policy's error is the one that is shown.
    return false;
  }
}

/** Checks everything about a record but its place in the gateway's chain. */
async function checkRecord(
  record: RecordInput,
  expected: ReceiptsFor,
  peers: PeerLookup,
  atMs: number,
): Promise<void> {
  const { bytes, chunkCount } = record;
  const { bytesMin, bytesMax } = chunkBoundsOf(expected.policy);
  const most = Math.ceil(bytes / bytesMin);
  const least = Math.ceil(bytes / bytesMax);
  if (chunkCount < least || chunkCount > most) {
    throw new Refusal(
      'BAD_ARGUMENT',
      `chunkCount: expected ${least}..${most} for ${bytes} bytes, got ${chunkCount}`,
    );
  }
  if (record.timeMs > atMs + CLOCK_AHEAD_MS_MAX) {
    throw new Refusal('TOO_EARLY', `timeMs: ${record.timeMs} is after ${atMs}, the ledger's time`);
  }
  const hash = createHash('sha256').update(Buffer.from(record.masterTable, 'base64')).digest('hex');
  if (hash !== record.masterTableHash) {
    throw new Refusal(
      'BAD_DIGEST',
      `masterTableHash: expected SHA-256 ${hash} of the table, got ${record.masterTableHash}`,
    );
  }
  const receipts = await checkReceipts(record.receipts, expected, peers);
  requireCoverage(receipts, expected);
  checkDealing(record, receipts, expected);
}

/** The dealing must be whole, of this file and recipient, by the policy, to the right holders. */
function checkDealing(
  record: RecordInput,
  receipts: readonly Receipt[],
  { epoch, source, policy }: ReceiptsFor,
): void {
  const { dealing, fileId, recipient } = record;
  verifyDealing(dealing);
  const nonces = receipts.map((receipt) => receipt.nonce);
  const holders = holdersOf(fileId, nonces, epoch, source, policy.n);
  const pairs: readonly (readonly [string, unknown, unknown])[] = [
    ['fileId', fileId, dealing.fileId],
    ['recipient', recipient, dealing.recipient],
    ['scheme', policy.scheme, dealing.scheme],
    ['k', policy.k, dealing.k],
    ['n', holders.length, dealing.n],
    ['holders', holders.join(', '), dealing.holders.join(', ')],
  ];
  for (const [name, wanted, got] of pairs) {
    if (wanted !== got) {
      throw new Refusal('WRONG_DEALING', `dealing.${name}: expected ${wanted}, got ${got}`);
    }
  }
}

function requireReceiptFor(receipt: Receipt, expected: ReceiptsFor, place: string): void {
  const { epoch, source, policy } = expected;
  const pairs: readonly (readonly [string, unknown, unknown])[] = [
    ['channel', expected.channel, receipt.channel],
    ['fileId', expected.fileId, receipt.fileId],
    ['source', source, receipt.source],
    ['epoch', epoch.epoch, receipt.epoch],
    ['chunkCount', expected.chunkCount, receipt.chunkCount],
  ];
  for (const [name, wanted, got] of pairs) {
    if (wanted !== got) {
      throw new Refusal('WRONG_RECEIPT', `${place}: expected ${name} ${wanted}, got ${got}`);
    }
  }
  const others = epoch.ranges.filter((range) => range.mspId !== source).length;
  const isOwner = epoch.ranges.some((range) => range.mspId === receipt.owner);
  if (!isOwner || (receipt.owner === source && others >= policy.replicas)) {
    throw new Refusal(
      'WRONG_RECEIPT',
      `${place}: ${receipt.owner} owns no chunks of ${source} in epoch ${epoch.epoch}`,
    );
  }
}
