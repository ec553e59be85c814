/**
 * Reads a stream of byte pieces of any sizes in the sizes that a format needs.
 *
 * The result never depends on how the source cuts its bytes. It holds one piece of the source and
 * one answer at a time; callers bound both `take` and `takeLine`. After use, `close()` tells the
 * source that no more is wanted.
 */
import { ProtocolError } from './errors.ts';

const EMPTY = new Uint8Array(0);
const NEWLINE = 0x0a;

/** A cursor over the bytes of an async source; one reader a source, one call at a time. */
export class ByteReader {
  readonly #pieces: AsyncIterator<Uint8Array>;
  #current: Uint8Array = EMPTY;
  #done = false;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#pieces = source[Symbol.asyncIterator]();
  }

  /** The next `byteCount` bytes, or fewer where the source ends. May share the source's memory. */
  async take(byteCount: number): Promise<Uint8Array> {
    if (byteCount === 0 || (await this.atEnd())) return EMPTY;
    if (this.#current.length >= byteCount) return this.#cut(byteCount);
    const taken = new Uint8Array(byteCount);
    let filled = 0;
    while (filled < byteCount && !(await this.atEnd())) {
      const piece = this.#cut(Math.min(byteCount - filled, this.#current.length));
      taken.set(piece, filled);
      filled += piece.length;
    }
    return taken.subarray(0, filled);
  }

  /** As much of the piece at hand as `lengthOf` says, 1 byte at least; empty at the end of the source. */
  async takePiece(lengthOf: (piece: Uint8Array) => number): Promise<Uint8Array> {
    return (await this.atEnd()) ? EMPTY : this.#cut(lengthOf(this.#current));
  }

  /** Exactly `byteCount` bytes. Throws ProtocolError `truncated`, naming `what`, if they are not there. */
  async takeExactly(byteCount: number, what: string): Promise<Uint8Array> {
    const taken = await this.take(byteCount);
    if (taken.length < byteCount) {
      throw new ProtocolError(
        'truncated',
        `${what}: expected ${byteCount} bytes, got ${taken.length}`,
      );
    }
    return taken;
  }

  /**
   * Bytes up to and including the next newline. Throws ProtocolError `truncated` where the source
   * ends first and `too-large` where `byteCountMax` bytes hold none; `what` names the format.
   */
  async takeLine(byteCountMax: number, what: string): Promise<Uint8Array> {
    let line = new Uint8Array(128);
    let filled = 0;
    while (!(await this.atEnd())) {
      const newline = this.#current.indexOf(NEWLINE);
      const length = newline === -1 ? this.#current.length : newline + 1;
      if (filled + length > byteCountMax) {
        throw new ProtocolError(
          'too-large',
          `${what}: expected a newline within ${byteCountMax} bytes`,
        );
      }
      if (filled + length > line.length) line = grown(line, filled + length);
      line.set(this.#cut(length), filled);
      filled += length;
      if (newline !== -1) return line.subarray(0, filled);
    }
    throw new ProtocolError('truncated', `${what}: ended within a line`);
  }

  /** Whether the source has nothing more; waits for it to say so. */
  async atEnd(): Promise<boolean> {
    while (this.#current.length === 0 && !this.#done) {
      const next = await this.#pieces.next();
      if (next.done === true) this.#done = true;
      else this.#current = next.value;
    }
    return this.#current.length === 0;
  }

  /** Everything that is left, in the source's own pieces. */
  async *rest(): AsyncGenerator<Uint8Array, void, undefined> {
    while (!(await this.atEnd())) yield this.#cut(this.#current.length);
  }

  /** Tells the source to stop; harmless after its end and when repeated. */
  async close(): Promise<void> {
    if (this.#done) return;
    this.#done = true;
    this.#current = EMPTY;
    await this.#pieces.return?.();
  }

  #cut(byteCount: number): Uint8Array {
    const piece = this.#current.subarray(0, byteCount);
    this.#current = this.#current.subarray(byteCount);
    return piece;
  }
}

function grown(bytes: Uint8Array, byteCount: number): Uint8Array<ArrayBuffer> {
  const larger = new Uint8Array(Math.max(2 * bytes.length, byteCount));
  larger.set(bytes);
  return larger;
}
