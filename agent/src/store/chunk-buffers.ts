/**
 * Memory for chunks in flight, over all files: at most so many bytes, in buffers that are used
 * again, so that a large file makes no garbage. No organisation that chunks come from has more than
 * half of them: one that drips its bytes must not keep the others waiting. One chunk of each always
 * fits, though it be past the sum. They are shared memory, where `crypto/chunk-thread.ts` reads
 * them; what nobody used for a second is given back.
 */
import type { MspId } from '@blocktorrent/protocol/ledger-api.ts';
import { sharedBuffer } from '../crypto/chunk-thread.ts';

const IDLE_MS = 1_000;

export class ChunkBuffers {
  readonly #bytesMax: number;
  readonly #onFree: () => void;
  #free: Buffer[] = [];
  #takenBytes = 0;
  readonly #takenFrom = new Map<MspId, number>();
  #idleTimer: NodeJS.Timeout | null = null;

  constructor(bytesMax: number, onFree: () => void) {
    this.#bytesMax = bytesMax;
    this.#onFree = onFree;
  }

  /** A buffer of at least `bytes` with anything in it for a chunk of `from`, or null while too much is taken. */
  tryTake(bytes: number, from: MspId): Buffer | null {
    const own = this.#takenFrom.get(from) ?? 0;
    const leftBytes = Math.min(this.#bytesMax - this.#takenBytes, this.#bytesMax / 2 - own);
    if (own > 0 && bytes > leftBytes) return null;
    const at = this.#free.findIndex((free) => free.length >= bytes && free.length <= 2 * bytes);
    const buffer = at < 0 ? sharedBuffer(bytes) : this.#free.splice(at, 1)[0];
    if (buffer === undefined) return null;
    this.#takenBytes += buffer.length;
    this.#takenFrom.set(from, own + buffer.length);
    return buffer;
  }

  /** Takes a buffer back that nobody reads or writes any more. */
  give(buffer: Buffer, from: MspId): void {
    this.#takenBytes -= buffer.length;
    const own = (this.#takenFrom.get(from) ?? 0) - buffer.length;
    if (own > 0) this.#takenFrom.set(from, own);
    else this.#takenFrom.delete(from);
    this.#free.push(buffer);
    let freeBytes = this.#free.reduce((sum, free) => sum + free.length, 0);
    while (freeBytes + this.#takenBytes > this.#bytesMax) {
      freeBytes -= this.#free.shift()?.length ?? freeBytes;
      if (this.#free.length === 0) break;
    }
    if (this.#takenBytes === 0) this.#clearWhenIdle();
    this.#onFree();
  }

  #clearWhenIdle(): void {
    if (this.#idleTimer !== null) {
      this.#idleTimer.refresh();
      return;
    }
    this.#idleTimer = setTimeout(() => {
      this.#idleTimer = null;
      if (this.#takenBytes === 0) this.#free = [];
    }, IDLE_MS);
    this.#idleTimer.unref();
  }
}
