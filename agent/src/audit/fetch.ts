/**
 * Fetching a file's ciphertext from its owners (P §3.2.4; PROTOCOL §3.4), without the source.
 *
 * Enters: the manifest, each chunk's owners and their receipts. Leaves: the ciphertext in a file, and
 * the faults of owners that could not show what they signed for. Always holds: every chunk is
 * checked against three digests before it is written, and the whole against its SHA-256.
 */
import { type FileHandle, rename } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { toHex } from '@blocktorrent/protocol/bytes.ts';
import { chunkLengthOf, decodeInfo, infoHashOf } from '@blocktorrent/protocol/chunking.ts';
import { digestsEqual } from '@blocktorrent/protocol/digest.ts';
import type { Fault, MspId, SignedReceipt } from '@blocktorrent/protocol/ledger-api.ts';
import {
  type Manifest,
  manifestChunkCount,
  manifestChunkDigests,
} from '@blocktorrent/protocol/manifest.ts';
import { sharedBuffer } from '../crypto/chunk-thread.ts';
import type { AddressBook, Link, LinkHandler, Membership, Overlay } from '../overlay/types.ts';
import { FaultList } from './fault-list.ts';
import { openPart, sha256Of } from './part-file.ts';

export interface FetchOptions {
  readonly manifest: Manifest;
  readonly fileId: string;
  /** Owners of each chunk, by chunk index. */
  readonly owners: readonly (readonly MspId[])[];
  /** Owners' receipts: whoever signed for a chunk must show it. */
  readonly receipts: readonly SignedReceipt[];
  /** When the ledger took them: keys that were revoked later count. */
  readonly recordedAtMs: number;
  readonly outputPath: string;
  /** Ordinary clients that may have the ciphertext: asked like owners, but nothing is their fault. */
  readonly seeds?: readonly Seed[];
  readonly overlay: Overlay;
  readonly addressBook: AddressBook;
  readonly membership: Membership;
  readonly signal: AbortSignal;
  readonly onProgress?: (progress: FetchProgress) => void;
  readonly timing?: Partial<FetchTiming>;
}

/** A BitTorrent client of anybody; what it gives is checked like everything else. */
export interface Seed {
  /** Its address, for the report. */
  readonly name: string;
  /** Resolves once it has said what it has. @throws LinkError */
  readonly dial: (infoHash: string, handler: LinkHandler, signal: AbortSignal) => Promise<Link>;
}

export interface FetchTiming {
  /** An owner that could not be dialled for this long is unreachable. */
  readonly dialMs: number;
  /** Pause before another try. */
  readonly retryMs: number;
  /** A chunk that has not come by then, and the time for its bytes, is asked for elsewhere. */
  readonly slowMs: number;
}

const FETCH_TIMING: FetchTiming = { dialMs: 15_000, retryMs: 500, slowMs: 30_000 };
/** What a chunk may take on a poor line before another owner is asked for it. */
const SLOW_BYTES_PER_MS = 32;

/** Chunk bytes asked for and not written yet, over all owners. */
const FLIGHT_BYTES_MAX = 8 * 1024 * 1024;
/** Bytes queued at one owner before another is preferred, if there is one. */
const OWNER_BYTES_MAX = 2 * 1024 * 1024;

export interface FetchProgress {
  readonly chunksDone: number;
  readonly chunkCount: number;
  readonly bytes: number;
}

export interface FetchResult {
  readonly faults: readonly Fault[];
  /** Chunks that each owner gave, verified; one that was asked only to show that it can, too. */
  readonly fromOwner: Readonly<Record<MspId, number>>;
  readonly bytes: number;
}

/** `wrong-whole`: all chunks are the manifest's, and yet the whole is not: the source's doing. */
export type FetchErrorCode =
  | 'unavailable'
  | 'bad-file'
  | 'wrong-whole'
  | 'bad-argument'
  | 'aborted';

/** The file could not be had; `faults` says whose doing that is. */
export class FetchError extends Error {
  override readonly name = 'FetchError';
  readonly code: FetchErrorCode;
  readonly faults: readonly Fault[];

  constructor(code: FetchErrorCode, message: string, faults: readonly Fault[], cause?: unknown) {
    super(message, cause === undefined ? {} : { cause });
    this.code = code;
    this.faults = faults;
  }
}

/** Chunks in flight that may be lost to ended connections before an owner is given up. */
const HANG_UPS_MAX = 64;

/** What is known of one owner while fetching. */
interface Owner {
  /** Of a seed: its name, which is no organisation's. */
  readonly mspId: MspId;
  readonly seed: Seed | null;
  link: Link | null;
  /** No more tries: it could not be reached, hung, or hung up too often. */
  gone: boolean;
  /** It was reached, and then did not behave: there is a fault of its own for that. */
  unfit: boolean;
  /** Connections that ended while chunks were owed. */
  hangUps: number;
  /** Settled when the first try to reach it has ended, either way. */
  readonly tried: PromiseWithResolvers<void>;
  /** Gave a wrong chunk, or drips: asked only where nobody else is left. */
  suspect: boolean;
  /** Chunks asked for, whatever came of it. */
  asked: number;
  /** Chunks that it refused, or got wrong. */
  readonly barred: Set<number>;
}

/**
 * Fetches every chunk from its owners, least loaded first, and checks it; what one owner does not
 * give is fetched from another. Each owner that can be reached is asked for at least one chunk.
 * @throws FetchError 'unavailable' when a chunk cannot be had from any owner
 */
export async function fetchFile(options: FetchOptions): Promise<FetchResult> {
  const partPath = `${options.outputPath}.part`;
  const file = await openPart(partPath, options.outputPath);
  try {
    const fetching = new Fetching(options, file);
    const result = await fetching.run();
    const found = await sha256Of(file);
    const expected = toHex(options.manifest.ciphertextSha256);
    if (found !== expected) {
      const message = `the ciphertext hashes to ${found}, the manifest says ${expected}`;
      throw new FetchError('wrong-whole', message, result.faults);
    }
    await file.sync();
    await rename(partPath, options.outputPath);
    return result;
  } finally {
    await file.close();
  }
}

class Fetching {
  readonly #options: FetchOptions;
  readonly #timing: FetchTiming;
  readonly #file: FileHandle;
  readonly #infoHash: string;
  readonly #chunkBytes: number;
  readonly #chunkCount: number;
  readonly #owners: Map<MspId, Owner>;
  readonly #faults: FaultList;
  readonly #fromOwner = new Map<MspId, number>();
  readonly #waiting = new Set<number>();
  readonly #done = new Set<number>();
  readonly #abort = new AbortController();
  readonly #finished = Promise.withResolvers<void>();
  /** Chunk buffers to use again: as many as were ever in flight. */
  readonly #buffers: Buffer[] = [];
  #flightBytes = 0;
  #bytes = 0;

  constructor(options: FetchOptions, file: FileHandle) {
    const { manifest } = options;
    this.#options = options;
    this.#timing = { ...FETCH_TIMING, ...options.timing };
    this.#file = file;
    this.#infoHash = toHex(infoHashOf(manifest.info));
    this.#chunkBytes = decodeInfo(manifest.info).pieceLength;
    this.#chunkCount = manifestChunkCount(manifest);
    this.#faults = new FaultList(options);
    if (options.owners.length !== this.#chunkCount) {
      const found = `owners of ${options.owners.length} chunks, the file has ${this.#chunkCount}`;
      throw new FetchError('bad-argument', found, []);
    }
    const names = [...new Set(options.owners.flat())].sort();
    this.#owners = new Map(names.map((mspId) => [mspId, newOwner(mspId, null)]));
    for (const seed of options.seeds ?? []) {
      this.#owners.set(seed.name, newOwner(seed.name, seed));
    }
  }

  async run(): Promise<FetchResult> {
    const { signal } = this.#options;
    const onAbort = () => {
      this.#finished.reject(aborted());
      this.#hangUp();
    };
    // Awaited below; until then an early failure is nobody's unhandled rejection.
    this.#finished.promise.catch(() => undefined);
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      await this.#resume();
      const connecting = [...this.#owners.values()].map((owner) => this.#connect(owner));
      this.#spread();
      await this.#finished.promise;
      await this.#probe();
      this.#hangUp();
      await Promise.all(connecting);
      if (signal.aborted) throw aborted();
    } finally {
      signal.removeEventListener('abort', onAbort);
      this.#hangUp();
    }
    return {
      faults: this.#faults.list(),
      fromOwner: Object.fromEntries(this.#fromOwner),
      bytes: this.#bytes,
    };
  }

  #hangUp(): void {
    this.#abort.abort();
    for (const owner of this.#owners.values()) owner.link?.close('fetched');
  }

  /** What an earlier run left is taken over after the same checks. */
  async #resume(): Promise<void> {
    const { size } = await this.#file.stat();
    for (let index = 0; index < this.#chunkCount; index++) {
      if (this.#abort.signal.aborted) return;
      const position = index * this.#chunkBytes;
      const length = this.#lengthOf(index);
      if (size >= position + length) {
        const bytes = Buffer.alloc(length);
        await this.#file.read(bytes, 0, length, position);
        if (await this.#isRight(index, bytes)) {
          this.#done.add(index);
          continue;
        }
      }
      this.#waiting.add(index);
    }
    await this.#file.truncate(this.#options.manifest.ciphertextBytes);
  }

  /** Keeps one link to an owner until it is gone or the work is done. */
  async #connect(owner: Owner): Promise<void> {
    const { overlay, addressBook } = this.#options;
    let reachedMs = performance.now();
    let reason = '';
    while (!owner.gone && !this.#abort.signal.aborted) {
      const ended = Promise.withResolvers<void>();
      try {
        const { signal } = this.#abort;
        const infoHash = this.#infoHash;
        const handler = { onClose: () => ended.resolve(), onHave: () => this.#spread() };
        const link =
          owner.seed === null
            ? await overlay.dialMember({
                mspId: owner.mspId,
                infoHash,
                addressBook,
                signal,
                handler,
              })
            : await owner.seed.dial(infoHash, handler, signal);
        owner.link = link;
        owner.tried.resolve();
        if (this.#abort.signal.aborted) link.close('fetched');
        this.#spread();
        await ended.promise;
        owner.link = null;
        reachedMs = performance.now();
        reason = 'the connection ended';
      } catch (error) {
        reason = error instanceof Error ? error.message : String(error);
      }
      owner.tried.resolve();
      if (this.#abort.signal.aborted) break;
      if (performance.now() - reachedMs >= this.#timing.dialMs) owner.gone = true;
      else await this.#pause();
    }
    const silent = owner.gone || owner.asked === 0;
    if (silent && !owner.unfit && !this.#options.signal.aborted) {
      this.#fault('unreachable', owner, null, reason || 'no address is known');
    }
    this.#spread();
  }

  async #pause(): Promise<void> {
    const { signal } = this.#abort;
    await pause(this.#timing.retryMs, undefined, { signal }).catch(() => undefined);
  }

  /** Asks for as much as may be in flight. */
  #spread(): void {
    if (this.#abort.signal.aborted) return;
    if (this.#done.size === this.#chunkCount) {
      this.#finished.resolve();
      return;
    }
    for (const index of this.#waiting) {
      const length = this.#lengthOf(index);
      if (this.#flightBytes > 0 && this.#flightBytes + length > FLIGHT_BYTES_MAX) return;
      const owner = this.#choose(index);
      if (owner === 'nobody') {
        this.#finished.reject(
          new FetchError(
            'unavailable',
            `chunk ${index} of ${this.#options.fileId} cannot be had from any of its owners`,
            this.#faults.list(),
          ),
        );
        return;
      }
      if (owner === 'later') continue;
      this.#waiting.delete(index);
      this.#fetch(index, owner).catch((error: unknown) => this.#fail(error));
    }
  }

  /** The least loaded owner that can be asked; those never asked come first, suspects last. */
  #choose(index: number): Owner | 'later' | 'nobody' {
    const possible = this.#possible(index);
    if (possible.length === 0) return 'nobody';
    const trusted = possible.filter((owner) => !owner.suspect);
    const candidates = (trusted.length > 0 ? trusted : possible).filter(
      ({ link }) => link !== null && !link.closed && link.queuedBytes < OWNER_BYTES_MAX,
    );
    candidates.sort(
      (a, b) =>
        Math.min(a.asked, 1) - Math.min(b.asked, 1) ||
        (a.link?.queuedBytes ?? 0) - (b.link?.queuedBytes ?? 0) ||
        a.asked - b.asked,
    );
    return candidates[0] ?? 'later';
  }

  /** Who may have a chunk, and has not failed with it yet. */
  #possible(index: number): Owner[] {
    const names = this.#options.owners[index] ?? [];
    return [...this.#owners.values()].filter((owner) => {
      const { mspId, seed, link } = owner;
      if (owner.gone || owner.barred.has(index)) return false;
      return seed === null ? names.includes(mspId) : link === null || link.has(index);
    });
  }

  async #fetch(index: number, owner: Owner): Promise<void> {
    const length = this.#lengthOf(index);
    this.#flightBytes += length;
    const buffer = this.#buffers.pop() ?? sharedBuffer(this.#chunkBytes);
    const bytes = await this.#ask(index, owner, buffer);
    if (bytes === null) {
      this.#waiting.add(index);
    } else {
      await this.#file.write(bytes, 0, length, index * this.#chunkBytes);
      this.#take(index, owner, length);
    }
    this.#buffers.push(buffer);
    this.#flightBytes -= length;
    this.#spread();
  }

  #fail(error: unknown): void {
    const message = error instanceof Error ? error.message : String(error);
    this.#finished.reject(new FetchError('bad-file', message, this.#faults.list(), error));
  }

  #take(index: number, owner: Owner, length: number): void {
    this.#done.add(index);
    this.#bytes += length;
    this.#fromOwner.set(owner.mspId, (this.#fromOwner.get(owner.mspId) ?? 0) + 1);
    this.#options.onProgress?.({
      chunksDone: this.#done.size,
      chunkCount: this.#chunkCount,
      bytes: this.#bytes,
    });
  }

  /** One chunk from one owner, checked; null, with the fault noted, when it did not give it. */
  async #ask(index: number, owner: Owner, into?: Buffer): Promise<Uint8Array | null> {
    const { link } = owner;
    if (link === null) return null;
    owner.asked += 1;
    const length = this.#lengthOf(index);
    const patience = new AbortController();
    // Who gives a block now and then never stalls: it may not hold what others have.
    const timer = setInterval(
      () => {
        const others = this.#possible(index).filter((one) => one !== owner && one.link !== null);
        if (others.length > 0) patience.abort();
      },
      this.#timing.slowMs + length / SLOW_BYTES_PER_MS,
    );
    try {
      const signal = AbortSignal.any([this.#abort.signal, patience.signal]);
      const bytes = await link.fetchChunk(index, length, signal, into);
      if (await this.#isRight(index, bytes)) return bytes;
      owner.suspect = true;
      owner.barred.add(index);
      this.#fault('bad-chunk', owner, index, 'differs from the manifest’s digests');
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : null;
      if (code === 'rejected' && owner.seed === null) {
        owner.barred.add(index);
        this.#fault('missing-chunk', owner, index, 'it does not show the chunk');
      } else if (code === 'stalled') {
        this.#giveUp(owner, index, 'it does not answer');
      } else if (code === 'rejected' || code === 'closed' || code === 'violation') {
        // A seed also rejects what it was asked for before it choked us (BEP 6).
        owner.hangUps += 1;
        if (owner.hangUps > HANG_UPS_MAX) this.#giveUp(owner, index, 'it hangs up');
      } else if (code !== 'aborted') {
        throw error;
      } else if (!this.#abort.signal.aborted) {
        owner.suspect = true;
        owner.barred.add(index);
      }
    } finally {
      clearInterval(timer);
    }
    return null;
  }

  #fault(kind: Fault['kind'], owner: Owner, index: number | null, detail: string): void {
    if (owner.seed === null) this.#faults.add(kind, owner.mspId, index, detail);
  }

  #giveUp(owner: Owner, index: number, detail: string): void {
    owner.gone = true;
    owner.unfit = true;
    this.#fault('missing-chunk', owner, index, detail);
  }

  /** Owners that happened not to be asked for anything show one chunk each. */
  async #probe(): Promise<void> {
    await Promise.all(
      [...this.#owners.values()].map(async (owner) => {
        await owner.tried.promise;
        if (owner.asked > 0 || owner.link === null) return;
        const index = this.#options.owners.findIndex((names) => names.includes(owner.mspId));
        if (index < 0 || (await this.#ask(index, owner)) === null) return;
        this.#fromOwner.set(owner.mspId, 1);
      }),
    );
  }

  async #isRight(index: number, bytes: Uint8Array): Promise<boolean> {
    const found = await this.#options.overlay.digestChunk(bytes);
    return digestsEqual(found, manifestChunkDigests(this.#options.manifest, index));
  }

  #lengthOf(index: number): number {
    return chunkLengthOf(this.#options.manifest.ciphertextBytes, this.#chunkBytes, index);
  }
}

function aborted(): FetchError {
  return new FetchError('aborted', 'fetching was aborted', []);
}

function newOwner(mspId: MspId, seed: Seed | null): Owner {
  return {
    mspId,
    seed,
    link: null,
    gone: false,
    unfit: false,
    hangUps: 0,
    tried: Promise.withResolvers<void>(),
    suspect: false,
    asked: 0,
    barred: new Set(),
  };
}
