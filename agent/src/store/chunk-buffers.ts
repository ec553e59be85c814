/**
 * Memory for chunks in flight, over all files: at most so many bytes, in buffers that are used again,
 * so that a large file makes no garbage. One chunk always fits.
 */
export class ChunkBuffers {
  readonly #bytesMax: number;
  readonly #onFree: () => void;
  #free: Buffer[] = [];
  #takenBytes = 0;

  constructor(bytesMax: number, onFree: () => void) {
    this.#bytesMax = bytesMax;
    this.#onFree = onFree;
  }

  /** A buffer of at least `bytes` with anything in it, or null while too much is taken. */
  tryTake(bytes: number): Buffer | null {
    if (this.#takenBytes > 0 && this.#takenBytes + bytes > this.#bytesMax) return null;
    const at = this.#free.findIndex((free) => free.length >= bytes && free.length <= 2 * bytes);
    const buffer = at < 0 ? Buffer.allocUnsafeSlow(bytes) : this.#free.splice(at, 1)[0];
    if (buffer === undefined) return null;
    this.#takenBytes += buffer.length;
    return buffer;
  }

  /** Takes a buffer back that nobody reads or writes any more. */
  give(buffer: Buffer): void {
    this.#takenBytes -= buffer.length;
    this.#free.push(buffer);
    let freeBytes = this.#free.reduce((sum, free) => sum + free.length, 0);
    while (freeBytes + this.#takenBytes > this.#bytesMax) {
      freeBytes -= this.#free.shift()?.length ?? freeBytes;
      if (this.#free.length === 0) break;
    }
    if (this.#takenBytes === 0) this.#free = [];
    this.#onFree();
  }
}
