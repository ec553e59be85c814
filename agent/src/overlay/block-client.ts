/**
 * Fetching chunks over one link: a chunk in, pipelined 16 KiB block requests out, the bytes back.
 *
 * Always holds: at most `depth` blocks are asked for at once; every chunk asked for is settled; when
 * blocks are owed and none comes for `stallMs`, the link is closed. Nothing is verified here.
 */
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import type { LinkLimits } from './link-limits.ts';
import { LinkError } from './types.ts';
import type { GuardedWire } from './wire.ts';

interface Job {
  readonly index: number;
  readonly buffer: Buffer;
  missing: number;
  settled: boolean;
  readonly resolve: (bytes: Uint8Array) => void;
  readonly reject: (error: LinkError) => void;
}
interface Block {
  readonly job: Job;
  readonly offset: number;
  readonly length: number;
}

export class BlockClient {
  readonly #wire: GuardedWire;
  readonly #limits: Pick<LinkLimits, 'depth' | 'stallMs'>;
  readonly #onStall: () => void;
  #queue: Block[] = [];
  readonly #asked = new Set<Block>();
  /** Blocks that we took back but that may be on their way. */
  #forgiven = 0;
  #matched = false;
  #queuedBytes = 0;
  #closed: LinkError | null = null;
  #stallTimer: NodeJS.Timeout | null = null;

  constructor(
    wire: GuardedWire,
    limits: Pick<LinkLimits, 'depth' | 'stallMs'>,
    onStall: () => void,
  ) {
    this.#wire = wire;
    this.#limits = limits;
    this.#onStall = onStall;
    wire.on('unchoke', () => this.#pump());
    wire.on('piece', () => this.#requireMatched());
  }

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Nothing is written into `into` any more once the promise has settled. */
  fetch(index: number, bytes: number, signal?: AbortSignal, into?: Buffer): Promise<Uint8Array> {
    if (this.#closed !== null) return Promise.reject(this.#closed);
    if (signal?.aborted) return Promise.reject(aborted(index));
    return new Promise((resolve, reject) => {
      const onAbort = () => this.#fail(job, aborted(index));
      const finish = () => signal?.removeEventListener('abort', onAbort);
      const job: Job = {
        index,
        buffer:
          into === undefined || into.length < bytes
            ? Buffer.allocUnsafeSlow(bytes)
            : into.subarray(0, bytes),
        missing: Math.ceil(bytes / LIMITS.blockBytes),
        settled: false,
        resolve: (data) => {
          finish();
          resolve(data);
        },
        reject: (error) => {
          finish();
          reject(error);
        },
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      for (let offset = 0; offset < bytes; offset += LIMITS.blockBytes) {
        this.#queue.push({ job, offset, length: Math.min(LIMITS.blockBytes, bytes - offset) });
      }
      this.#queuedBytes += bytes;
      this.#pump();
    });
  }

  /** Settles everything that is still open. */
  close(error: LinkError): void {
    if (this.#closed !== null) return;
    this.#closed = error;
    const jobs = new Set([...this.#queue, ...this.#asked].map((block) => block.job));
    this.#queue = [];
    this.#asked.clear();
    for (const job of jobs) this.#fail(job, error);
    this.#resetStall();
  }

  #pump(): void {
    while (this.#asked.size < this.#limits.depth && !this.#wire.peerChoking) {
      const block = this.#queue.shift();
      if (block === undefined) break;
      if (block.job.settled) continue;
      this.#asked.add(block);
      this.#wire.request(block.job.index, block.offset, block.length, (error, data) =>
        this.#onBlock(block, error, data),
      );
    }
    if (this.#stallTimer === null) this.#resetStall();
  }

  #onBlock(block: Block, error: Error | null, data: Uint8Array | null): void {
    if (error === null) this.#matched = true;
    if (!this.#asked.delete(block)) return;
    const { job } = block;
    if (!job.settled) {
      this.#queuedBytes -= block.length;
      if (error !== null || data === null) {
        this.#fail(
          job,
          new LinkError('rejected', `chunk ${job.index} was refused: ${error?.message}`),
        );
      } else {
        job.buffer.set(data, block.offset);
        job.missing -= 1;
        if (job.missing === 0) {
          job.settled = true;
          job.resolve(job.buffer);
        }
      }
    }
    this.#pump();
    this.#resetStall();
  }

  #fail(job: Job, error: LinkError): void {
    if (job.settled) return;
    job.settled = true;
    const asked = [...this.#asked].filter((block) => block.job === job);
    const waiting = this.#queue.filter((block) => block.job === job);
    for (const block of [...asked, ...waiting]) this.#queuedBytes -= block.length;
    if (waiting.length > 0) this.#queue = this.#queue.filter((block) => block.job !== job);
    for (const block of asked) {
      this.#asked.delete(block);
      this.#forgiven += 1;
      this.#wire.cancel(job.index, block.offset, block.length);
    }
    job.reject(error);
  }

  /** The library emits `piece` for blocks that nobody asked for as well. */
  #requireMatched(): void {
    if (this.#matched) {
      this.#matched = false;
      return;
    }
    this.#forgiven -= 1;
    if (this.#forgiven < 0) throw new Error('a block that was not asked for');
  }

  /** Called on every sign of life, and when the first block is owed or the last one came. */
  #resetStall(): void {
    const owed = this.#asked.size > 0 || this.#queue.length > 0;
    if (!owed || this.#closed !== null) {
      if (this.#stallTimer !== null) clearTimeout(this.#stallTimer);
      this.#stallTimer = null;
    } else if (this.#stallTimer !== null) {
      this.#stallTimer.refresh();
    } else {
      this.#stallTimer = setTimeout(() => this.#onStall(), this.#limits.stallMs);
    }
  }
}

function aborted(index: number): LinkError {
  return new LinkError('aborted', `fetching chunk ${index} was aborted`);
}
