/**
 * Distributing one file (P §3.2.3, step 2; PROTOCOL §2.5): dial every owner, offer the manifest,
 * serve blocks, collect receipts.
 *
 * Enters: a signed manifest and its ciphertext on disk. Leaves: verified receipts. Always holds:
 * a receipt counts only if its owner's key on the ledger signed it for this file; memory does not
 * grow with the file; running it again continues, since owners say what they have.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { toHex } from '@blocktorrent/protocol/bytes.ts';
import { chunkLengthOf, decodeInfo, infoHashOf } from '@blocktorrent/protocol/chunking.ts';
import { digestsEqual } from '@blocktorrent/protocol/digest.ts';
import type { MspId } from '@blocktorrent/protocol/ledger-api.ts';
import {
  decodeManifest,
  fileIdOf,
  manifestChunkCount,
  manifestChunkDigests,
} from '@blocktorrent/protocol/manifest.ts';
import { ownersOf } from '@blocktorrent/protocol/placement.ts';
import { OwnerSession } from './owner-session.ts';
import { ReceiptLedger } from './receipt-ledger.ts';
import {
  DISTRIBUTE_TIMING,
  DistributeError,
  type DistributeOptions,
  type DistributeResult,
  type DistributeTiming,
  type OwnerState,
} from './types.ts';

export * from './types.ts';

/**
 * Resolves when every chunk has receipts from all its owners, or `graceMs` after each has them from
 * `receiptsMin`; the rest goes on in the background. @throws DistributeError
 */
export async function distribute(options: DistributeOptions): Promise<DistributeResult> {
  const distribution = await Distribution.open(options);
  return distribution.run();
}

class Distribution {
  readonly #options: DistributeOptions;
  readonly #timing: DistributeTiming;
  readonly #fileId: string;
  readonly #infoHash: string;
  readonly #file: FileHandle;
  readonly #receipts: ReceiptLedger;
  readonly #sessions: OwnerSession[] = [];
  readonly #abort = new AbortController();
  readonly #sentBefore: number;
  readonly #settled = Promise.withResolvers<void>();
  #graceTimer: NodeJS.Timeout | null = null;
  #resolved = false;
  #intact: Promise<boolean> | null = null;

  static async open(options: DistributeOptions): Promise<Distribution> {
    const fileId = fileIdOf(options.signedManifest.manifest);
    if (options.signal.aborted) throw new DistributeError('aborted', fileId, 'aborted');
    const manifest = decodeManifest(options.signedManifest.manifest);
    if (manifest.epoch !== options.epoch.epoch) {
      throw new DistributeError(
        'bad-manifest',
        fileId,
        `the manifest names epoch ${manifest.epoch}, got epoch ${options.epoch.epoch}`,
      );
    }
    const file = await open(options.ciphertextPath, 'r').catch((cause: Error) => {
      throw new DistributeError('bad-file', fileId, cause.message, { cause });
    });
    const { size } = await file.stat();
    if (size !== manifest.ciphertextBytes) {
      await file.close();
      const message = `${options.ciphertextPath} has ${size} bytes, manifest says ${manifest.ciphertextBytes}`;
      throw new DistributeError('bad-file', fileId, message);
    }
    return new Distribution(options, fileId, file);
  }

  private constructor(options: DistributeOptions, fileId: string, file: FileHandle) {
    this.#options = options;
    this.#timing = { ...DISTRIBUTE_TIMING, ...options.timing };
    this.#fileId = fileId;
    this.#file = file;
    const manifest = decodeManifest(options.signedManifest.manifest);
    this.#infoHash = toHex(infoHashOf(manifest.info));
    this.#sentBefore = options.overlay.accounts.of(this.#infoHash).sentBytes;
    const owners = Array.from({ length: manifestChunkCount(manifest) }, (_, index) =>
      ownersOf(
        manifestChunkDigests(manifest, index),
        options.epoch,
        manifest.source,
        options.policy.replicas,
      ),
    );
    this.#receipts = new ReceiptLedger({
      fileId,
      source: manifest.source,
      owners,
      epoch: manifest.epoch,
      channel: manifest.channel,
      membership: options.membership,
    });
    for (const receipt of options.receipts ?? []) this.#receipts.add(receipt);
    const { pieceLength } = decodeInfo(manifest.info);
    for (const mspId of this.#receipts.ownerIds()) {
      if (!this.#receipts.isDone(mspId)) this.#sessions.push(this.#session(mspId, pieceLength));
    }
  }

  async run(): Promise<DistributeResult> {
    const { signal } = this.#options;
    const onAbort = () => this.#fail('aborted', 'distribution was aborted');
    signal.addEventListener('abort', onAbort, { once: true });
    const ends = this.#sessions.map((session) => session.run());
    const background = Promise.all(ends).then(async () => {
      signal.removeEventListener('abort', onAbort);
      if (this.#graceTimer !== null) clearTimeout(this.#graceTimer);
      await this.#file.close();
    });
    this.#consider();
    try {
      await this.#settled.promise;
    } catch (error) {
      await background;
      throw error;
    }
    this.#resolved = true;
    if (!this.#receipts.complete) {
      const linger = setTimeout(() => this.#abort.abort(), this.#timing.lingerMs);
      void background.finally(() => clearTimeout(linger));
    }
    return {
      receipts: this.#receipts.best(),
      complete: this.#receipts.complete,
      missing: this.#receipts.missing(),
      sentBytes: this.#sentBytes(),
      background,
    };
  }

  #session(mspId: MspId, chunkBytes: number): OwnerSession {
    const { overlay, addressBook, signedManifest } = this.#options;
    return new OwnerSession({
      mspId,
      signedManifest,
      overlay,
      addressBook,
      infoHash: this.#infoHash,
      chunkCount: this.#receipts.chunkCount,
      timing: this.#timing,
      random: this.#options.random ?? Math.random,
      signal: this.#abort.signal,
      isDone: () => this.#receipts.isDone(mspId),
      read: (index, offset, length) => this.#read(index * chunkBytes + offset, length),
      onReceipt: (signed) => this.#takeReceipt(mspId, signed),
      onState: () => this.#report(),
      onUnreachable: (error) => {
        if (this.#abort.signal.aborted) return;
        this.#options.log?.debug('an owner cannot be reached', { mspId, error });
      },
      onRefused: (code, reason) => this.#refused(mspId, code, reason),
    });
  }

  async #read(position: number, length: number): Promise<Uint8Array> {
    const data = Buffer.allocUnsafe(length);
    const { bytesRead } = await this.#file.read(data, 0, length, position);
    if (bytesRead !== length) throw new RangeError(`no ${length} bytes at ${position} of the file`);
    return data;
  }

  #takeReceipt(from: MspId, signed: Parameters<ReceiptLedger['add']>[0]): void {
    const problem = signed.mspId === from ? this.#receipts.add(signed) : `not a receipt of ${from}`;
    if (problem !== null) {
      this.#options.log?.warn('a receipt was not taken', { mspId: from, reason: problem });
      return;
    }
    if (this.#resolved) this.#options.onLateReceipt?.(signed);
    this.#report();
    this.#consider();
  }

  #refused(mspId: MspId, code: string, reason: string): void {
    this.#options.log?.warn('an owner refused', { mspId, code, reason });
    if (code !== 'bad-digest') return;
    this.#checkOwn()
      .then((intact) => {
        // An owner that refuses good bytes must not stop the file: the others go on.
        if (intact) this.#options.log?.warn('an owner refused good chunks', { mspId });
        else this.#fail('digest-mismatch', `${mspId} refused ${this.#fileId}: ${reason}`);
      })
      .catch((error: Error) => this.#fail('bad-file', error.message));
  }

  /** Whether the ciphertext on our disk is what the manifest says; looked at once. */
  #checkOwn(): Promise<boolean> {
    this.#intact ??= this.#isIntact();
    return this.#intact;
  }

  async #isIntact(): Promise<boolean> {
    const { overlay, signedManifest } = this.#options;
    const manifest = decodeManifest(signedManifest.manifest);
    const { pieceLength } = decodeInfo(manifest.info);
    for (let index = 0; index < this.#receipts.chunkCount; index++) {
      const length = chunkLengthOf(manifest.ciphertextBytes, pieceLength, index);
      const chunk = await this.#read(index * pieceLength, length);
      const found = await overlay.digestChunk(chunk);
      if (!digestsEqual(found, manifestChunkDigests(manifest, index))) return false;
    }
    return true;
  }

  /** Resolves when there is enough: everything, or enough for long enough. */
  #consider(): void {
    if (this.#receipts.complete) {
      this.#settled.resolve();
    } else if (this.#graceTimer === null && this.#isCovered()) {
      this.#graceTimer = setTimeout(() => this.#settled.resolve(), this.#timing.graceMs);
    }
  }

  #isCovered(): boolean {
    return this.#receipts.covered(this.#options.policy.receiptsMin) === this.#receipts.chunkCount;
  }

  #fail(code: 'digest-mismatch' | 'bad-file' | 'aborted', message: string): void {
    this.#settled.reject(new DistributeError(code, this.#fileId, message));
    this.#abort.abort();
  }

  #sentBytes(): number {
    return this.#options.overlay.accounts.of(this.#infoHash).sentBytes - this.#sentBefore;
  }

  #report(): void {
    const { onProgress, policy } = this.#options;
    if (onProgress === undefined) return;
    const states: Record<MspId, OwnerState> = {};
    for (const mspId of this.#receipts.ownerIds()) states[mspId] = 'done';
    for (const session of this.#sessions) states[session.mspId] = session.state;
    onProgress({
      states,
      owners: this.#receipts.ownerIds().length,
      ownersDone: this.#receipts.ownerIds().filter((mspId) => this.#receipts.isDone(mspId)).length,
      chunkCount: this.#receipts.chunkCount,
      chunksCovered: this.#receipts.covered(policy.receiptsMin),
      sentBytes: this.#sentBytes(),
    });
  }
}
