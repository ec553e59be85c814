/**
 * Recording (P §3.2.3, step 4): the master table is completed, encrypted to the file's recipients
 * and submitted with everything that the contract checks.
 *
 * Enters: files whose keys are deposited, a consecutive run of this gateway's chain. Leaves: their
 * records. Always holds: the copy of the table is kept until the record is committed; a record that
 * is already there is not submitted twice; places that were given up are voided on the way.
 */
import { encrypt } from '@blocktorrent/protocol/age.ts';
import { toBase64, toHex } from '@blocktorrent/protocol/bytes.ts';
import { chunkCountOf, decodeInfo } from '@blocktorrent/protocol/chunking.ts';
import type { Epoch, Policy, RecordInput } from '@blocktorrent/protocol/ledger-api.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import { decodeManifest, manifestChunkDigests } from '@blocktorrent/protocol/manifest.ts';
import { encodeMasterTable } from '@blocktorrent/protocol/master-table.ts';
import { ownersOf } from '@blocktorrent/protocol/placement.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { FilePatch, FileQueue, QueuedFile } from '../runtime/file-queue.ts';
import type { Log } from '../runtime/log.ts';
import type { GivenUp } from '../runtime/stage-runner.ts';
import { type ManifestSigner, signedManifestOf } from './name.ts';
import { isFinal, type Refusals } from './refused.ts';

export interface RecordOptions extends ManifestSigner {
  readonly ledger: Ledger;
  readonly queue: FileQueue;
  readonly policy: () => Policy;
  readonly requireEpoch: (epoch: number) => Epoch;
  /** Whether the ledger still takes records of this epoch. */
  readonly takesEpoch: (epoch: number) => boolean;
  readonly random: (bytes: number) => Uint8Array;
  readonly sha256: (bytes: Uint8Array) => Uint8Array;
  readonly nowMs: () => number;
  readonly refusals: Refusals;
  readonly log: Log;
}

type RecordResult = FilePatch | GivenUp;

/** Places voided by one call. */
const VOIDS_AT_ONCE = 10;
/** Largest sum of encrypted tables sent in one transaction, bytes. */
const TRANSACTION_BYTES_MAX = 1024 * 1024;

/** Records a consecutive run of files; returns a patch for each one that is now on the ledger. */
export async function recordFiles(
  files: readonly QueuedFile[],
  options: RecordOptions,
): Promise<RecordResult[]> {
  const { ledger, source, gateway } = options;
  const head = await ledger.evaluate('ledger/records:GetChain', { source, gateway });
  const recorded = files.filter((file) => seqOf(file) <= head.seq);
  await requireRecorded(recorded, options);
  const patches: RecordResult[] = recorded.map(() => ({ masterTable: null }));
  const rest = files.slice(recorded.length);
  const stale = rest.findIndex((file) => !options.takesEpoch(file.epoch ?? 0));
  if (stale === 0) return [...patches, outlived(rest[0])];
  const run = stale === -1 ? rest : rest.slice(0, stale);
  if (run.length === 0) return patches;
  if (!(await voidGivenUp(head.seq, run, options))) return patches;

  const records: RecordInput[] = [];
  let bytes = 0;
  for (const file of run) {
    const table = file.masterTable ?? buildTable(file, options);
    bytes += table.length;
    if (records.length > 0 && bytes > TRANSACTION_BYTES_MAX) break;
    records.push(recordInput(file, table, options));
    const next = run[records.length];
    if (next !== undefined && seqOf(next) !== seqOf(file) + 1) break;
  }
  return [...patches, ...(await submitRun(records, run, options))];
}

/**
 * Submits the run. Where it is refused for good, its first file is tried alone: that one is recorded,
 * or given up once the refusal is the last word, and the others wait for the next call.
 */
async function submitRun(
  records: readonly RecordInput[],
  run: readonly QueuedFile[],
  options: RecordOptions,
): Promise<RecordResult[]> {
  const [only, ...others] = records;
  const [first] = run;
  if (only === undefined || first === undefined) return [];
  const { ledger, log, refusals } = options;
  const elsewhere = refusals.has(first.id);
  try {
    const { txId } =
      others.length === 0
        ? await ledger.submit('ledger/records:Record', only, { elsewhere })
        : await ledger.submit('ledger/records:RecordMany', { records }, { elsewhere });
    for (const { id, batch, fileId } of run.slice(0, records.length)) {
      refusals.forget(id);
      log.info('recorded on the ledger', { id, batch, fileId, txId });
    }
    return records.map(() => ({ masterTable: null }));
  } catch (error) {
    if (others.length === 0) return [refusals.judge(first.id, error)];
    if (!isFinal(error)) throw error;
    return submitRun([only], run, options);
  }
}

/** Its place becomes void, and the batch is sealed, placed and named anew. */
export function outlived(file: QueuedFile | undefined): GivenUp {
  const giveUp = `epoch ${file?.epoch} is over: the chunks were placed by ranges that the ledger takes no more`;
  return { giveUp };
}

async function requireRecorded(files: readonly QueuedFile[], options: RecordOptions) {
  for (const file of files) {
    const fileId = file.fileId ?? '';
    const record = await options.ledger.evaluate('ledger/records:GetRecord', { fileId });
    // A void may be anybody's: it says nothing of ours.
    if (record === null || record.void !== null || record.source !== options.source) {
      throw new Error(
        `place ${file.seq} of ${options.gateway}'s chain is taken on the ledger by another file ` +
          `than ${fileId}: two agents may be running under one name`,
      );
    }
  }
}

/**
 * Voids the places between the ledger's head and the run: files that were given up. Whether that is
 * all of them: hundreds take long, and each call of a stage has its time.
 */
async function voidGivenUp(
  headSeq: number,
  run: readonly QueuedFile[],
  options: RecordOptions,
): Promise<boolean> {
  const { ledger, queue, gateway } = options;
  const firstSeq = seqOf(run[0] as QueuedFile);
  const lastSeq = Math.min(firstSeq, headSeq + 1 + VOIDS_AT_ONCE);
  const places = queue.bySeq(headSeq + 1, lastSeq);
  for (const file of places) {
    if (file.stage !== 'void' || file.fileId === null || file.previous === null) {
      throw new Error(`place ${file.seq} of the chain is neither recorded nor given up`);
    }
    await ledger.submit('ledger/records:Void', {
      fileId: file.fileId,
      gateway,
      seq: seqOf(file),
      previous: file.previous,
      reason: (file.error ?? 'given up').slice(0, LIMITS.reasonCharsMax),
    });
  }
  // Where the queue knows none of them, the contract says what is wrong.
  return lastSeq === firstSeq || places.length === 0;
}

function buildTable(file: QueuedFile, options: RecordOptions): Uint8Array {
  const { epoch, recipient } = file;
  const signed = signedManifestOf(file, options);
  if (epoch === null || recipient === null) throw new Error(`file ${file.id} has no place`);
  const decoded = decodeManifest(signed.manifest);
  const { replicas } = options.policy();
  const ranges = options.requireEpoch(epoch);
  const info = decodeInfo(decoded.info);
  const chunkCount = chunkCountOf(info.length, info.pieceLength);
  const owners = Array.from({ length: chunkCount }, (_, index) =>
    ownersOf(manifestChunkDigests(decoded, index), ranges, options.source, replicas),
  );
  const table = encodeMasterTable({
    version: 1,
    manifest: signed,
    owners,
    receipts: [...file.receipts],
    timeMs: options.nowMs(),
  });
  const encrypted = encrypt(table, [recipient, ...file.recipients], options.random);
  options.queue.update(file.id, { masterTable: encrypted });
  return encrypted;
}

function recordInput(file: QueuedFile, table: Uint8Array, options: RecordOptions): RecordInput {
  const { fileId, recipient, ciphertextBytes, epoch, previous, timeMs, manifest, dealing } = file;
  if (!fileId || !recipient || !ciphertextBytes || !previous || !manifest || !dealing) {
    throw new Error(`file ${file.id} is not ready to be recorded: its key is not deposited`);
  }
  if (epoch === null || timeMs === null) throw new Error(`file ${file.id} has no place`);
  const info = decodeInfo(decodeManifest(manifest).info);
  return {
    fileId,
    kind: file.kind,
    recipient,
    bytes: ciphertextBytes,
    chunkCount: chunkCountOf(info.length, info.pieceLength),
    epoch,
    gateway: options.gateway,
    seq: seqOf(file),
    previous,
    timeMs,
    receipts: file.receipts,
    dealing,
    masterTableHash: toHex(options.sha256(table)),
    masterTable: toBase64(table),
  };
}

function seqOf(file: QueuedFile): number {
  if (file.seq === null) throw new Error(`file ${file.id} has no place in the chain`);
  return file.seq;
}
