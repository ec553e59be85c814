/**
 * The table of contents: the way of a file from MQTT to the ledger, in reading order (P §3.2.3).
 *
 *   collect    ingest/  batch/   readings become a closed batch: a file, `queued`
 *   seal       seal/             compressed, padded, encrypted, cut into chunks
 *   name       record/name       a place in the gateway's chain, a signed manifest, fileId
 *   distribute distribute/       every chunk at its owners, signed receipts back
 *   deposit    record/deposit    the key split on chain, the public dealing back
 *   record     record/record     the encrypted master table on the ledger
 *   settle     record/settle     holders have confirmed: available; our copy is erased
 *
 * Each row below takes files at one stage of the queue and leaves them at the next, durably.
 */
import { statSync } from 'node:fs';
import { chunkBoundsOf } from '@blocktorrent/protocol/chunking.ts';
import { ProtocolError } from '@blocktorrent/protocol/errors.ts';
import { distribute } from './distribute/distribute.ts';
import {
  DistributeError,
  type DistributeOptions,
  type DistributeResult,
} from './distribute/types.ts';
import type { House } from './house.ts';
import { depositKey } from './record/deposit.ts';
import { nameFile, signedManifestOf } from './record/name.ts';
import { outlived, recordFiles } from './record/record.ts';
import { type ReissueTimes, settleFile } from './record/settle.ts';
import { type FilePatch, type QueuedFile, UNREADABLE } from './runtime/file-queue.ts';
import { type GivenUp, GiveUp, type StageStep, type Waits } from './runtime/stage-runner.ts';
import { SealError, type SealFileOptions, sealFile } from './seal/seal.ts';

/** Deposits under way at once: those that wait together share a transaction. */
const DEPOSITS_AT_ONCE = 100;
/** Files recorded by one transaction at most. */
const RECORDS_AT_ONCE = 20;
/** Why a file cannot be read for a moment, through no fault of its own. */
const TRANSIENT: ReadonlySet<unknown> = new Set(['EMFILE', 'ENFILE', 'ENOMEM', 'EAGAIN']);
const SPOOL_IS_FULL =
  'what is sealed, and not yet with owners and ledger, takes its half of batch.disk.maxBytes';

export function pipeline(house: House): StageStep[] {
  const { config } = house;
  const reissued: ReissueTimes = new Map();
  return [
    step('seal', 'queued', 'sealed', { inOrder: true }, async (file, signal) =>
      house.spool.isFull() ? { waitsFor: SPOOL_IS_FULL } : seal(file, house, signal),
    ),
    {
      ...step('name', 'sealed', 'named', { inOrder: true }, (file) => nameFile(file, house.record)),
      // A name binds a file to the epoch: what waits for owners without one outlives any number of them.
      hasRoom: () => house.queue.countAt('named') < config.distribute.filesInFlight,
    },
    step(
      'distribute',
      'named',
      'distributed',
      { concurrency: config.distribute.filesInFlight },
      (file, signal) => untilOver(file, house, signal, (until) => spread(file, house, until)),
    ),
    step('deposit', 'distributed', 'deposited', { concurrency: DEPOSITS_AT_ONCE }, async (file) =>
      isOver(file, house) ? outlived(file) : depositKey(file, house.record),
    ),
    {
      name: 'record',
      from: 'deposited',
      to: 'recorded',
      concurrency: 1,
      inOrder: true,
      runMax: RECORDS_AT_ONCE,
      run: (files) => recordFiles(files, house.record),
    },
    step('settle', 'recorded', 'available', { concurrency: 8 }, (file) =>
      settleFile(file, house.record, reissued),
    ),
  ];
}

function step(
  name: string,
  from: StageStep['from'],
  to: StageStep['to'],
  { concurrency = 1, inOrder = false }: { concurrency?: number; inOrder?: boolean },
  work: (file: QueuedFile, signal: AbortSignal) => Promise<FilePatch | 'wait' | Waits | GivenUp>,
): StageStep {
  return {
    name,
    from,
    to,
    concurrency,
    inOrder,
    run: (files, signal) => Promise.all(files.map((file) => work(file, signal))),
  };
}

async function seal(file: QueuedFile, house: House, signal: AbortSignal): Promise<FilePatch> {
  const { config, random, metrics, view, spool, record } = house;
  const copy = sealedCopyOf(file, house);
  if (copy === null) requireFile(file.inputPath);
  const recipients = [...new Set([...config.seal.recipients, ...file.recipients])];
  const startedMs = performance.now();
  const sealed = await sealFile({
    inputPath: file.inputPath,
    ...copy,
    outputPath: spool.pathOf(file.id),
    workDir: spool.folder,
    recipients,
    random,
    chunksTarget: config.seal.chunksTarget,
    // Before the ledger was ever reached: the protocol's own bounds.
    ...(view.known ? { chunkBounds: chunkBoundsOf(view.policy()) } : {}),
    signal,
  }).catch((error: unknown) => {
    throw hopeless(file, error, house) ?? error;
  });
  record.refusals.forget(file.id);
  metrics.add('sealFiles', 1, { kind: file.kind });
  metrics.add('sealPlaintextBytes', sealed.plainBytes ?? 0);
  metrics.add('sealCiphertextBytes', sealed.ciphertextBytes);
  metrics.observe('sealSeconds', (performance.now() - startedMs) / 1000);
  const { identity, recipient, ciphertextBytes, ciphertextSha256, info, digests } = sealed;
  return { recipients, identity, recipient, ciphertextBytes, ciphertextSha256, info, digests };
}

/** What a batch is sealed from that was given up after its own file had been dropped; else null. */
function sealedCopyOf(
  file: QueuedFile,
  { queue, spool }: House,
): Pick<SealFileOptions, 'inputPath' | 'inputIdentity'> | null {
  const before = file.identity === null ? null : queue.givenUpBefore(file);
  if (before === null || file.identity === null) return null;
  return { inputPath: spool.pathOf(before.id), inputIdentity: file.identity };
}

/** Why a file that could not be sealed never will be, or null: a full disk is no reason. */
function hopeless(file: QueuedFile, error: unknown, { record }: House): GiveUp | null {
  if (!(error instanceof SealError)) return null;
  const { code, cause, message } = error;
  if (code === 'open' && (cause instanceof ProtocolError || Object(cause).code === 'ENOENT')) {
    const what = 'its own file was dropped to make room, and the sealed copy cannot be opened';
    return new GiveUp(`the readings of batch ${file.batch} are lost: ${what}: ${message}`);
  }
  if (code !== 'read' || TRANSIENT.has(Object(cause).code)) return null;
  // All others wait for it meanwhile. Whoever put a file can put it again; a batch gets its time.
  const isLast = file.kind === 'file' || record.refusals.isLastWord(file.id, error);
  return isLast ? new GiveUp(`${UNREADABLE}${message}`) : null;
}

function requireFile(path: string): void {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) throw new GiveUp(`${path} is not there any more; it was not sealed`);
  // A pipe would be waited for, and a device read, without an end.
  if (!found.isFile()) throw new GiveUp(`${path} is no file; it was not sealed`);
}

/** A ciphertext that is no longer what its manifest says cannot be mended: it is sealed anew. */
async function distributed(options: DistributeOptions): Promise<DistributeResult> {
  try {
    return await distribute(options);
  } catch (error) {
    if (!(error instanceof DistributeError) || error.code === 'aborted') throw error;
    throw new GiveUp(`the sealed file is damaged: ${error.message}`, { cause: error });
  }
}

/** Whether the ledger takes no record of the file any more, whatever becomes of it. */
function isOver({ epoch }: QueuedFile, { record }: House): boolean {
  return epoch !== null && !record.takesEpoch(epoch);
}

/**
 * Does the work for as long as it is of use: where the file's epoch is over, owners may be waited for
 * that the consortium has let go.
 */
async function untilOver(
  file: QueuedFile,
  house: House,
  signal: AbortSignal,
  work: (until: AbortSignal) => Promise<FilePatch>,
): Promise<FilePatch | GivenUp> {
  if (isOver(file, house)) return outlived(file);
  const over = new AbortController();
  const endWatch = house.view.onChange(() => {
    if (isOver(file, house)) over.abort();
  });
  try {
    return await work(AbortSignal.any([signal, over.signal]));
  } catch (error) {
    if (over.signal.aborted && !signal.aborted) return outlived(file);
    throw error;
  } finally {
    endWatch();
  }
}

async function spread(file: QueuedFile, house: House, signal: AbortSignal): Promise<FilePatch> {
  const { config, view, metrics } = house;
  const { epoch } = file;
  if (epoch === null) throw new Error(`file ${file.id} has no place`);
  const startedMs = performance.now();
  const result = await distributed({
    signedManifest: signedManifestOf(file, house.record),
    ciphertextPath: house.spool.pathOf(file.id),
    epoch: view.requireEpoch(epoch),
    policy: view.policy(),
    overlay: house.overlay,
    addressBook: house.addressBook,
    membership: view,
    signal,
    receipts: file.receipts,
    onProgress: (progress) => house.progress.set(file.id, progress),
    onLateReceipt: (receipt) => house.lateReceipt(file.id, receipt),
    log: house.log.child({ component: 'distribute', id: file.id, fileId: file.fileId }),
    timing: { graceMs: config.overlay.graceMs },
  });
  void result.background.then(() => house.progress.delete(file.id));
  metrics.observe('distributeSeconds', (performance.now() - startedMs) / 1000);
  return { receipts: result.receipts, uplinkBytes: file.uplinkBytes + result.sentBytes };
}
