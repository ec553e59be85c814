/**
 * Serving blocks to one link: requests in, blocks out, in order, no faster than the other side reads.
 *
 * Always holds: at most `requestsMax` requests wait, at most `readBytesMax` are read at once, and no
 * block is read while more than `sendHighBytes` wait in the socket, or before the uplink's limit
 * lets it out. Adjacent requests share a read.
 */
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import type { LinkLimits } from './link-limits.ts';
import type { RateLimit } from './rate-limit.ts';

/** A block's message header (BEP 3) and its TLS record's frame: they use the uplink, too. */
const FRAME_BYTES = 13 + 22;

/** One request of the other side and the way to answer it. */
export interface BlockRequest {
  readonly index: number;
  readonly offset: number;
  readonly length: number;
  readonly respond: (error: Error | null, block?: Uint8Array) => void;
}

export interface BlockServerOptions {
  readonly limits: Pick<LinkLimits, 'requestsMax' | 'readBytesMax'>;
  readonly read: (index: number, offset: number, length: number) => Promise<Uint8Array>;
  /** Resolves when the socket takes more; rejects when it is closed. */
  readonly writable: () => Promise<void>;
  /** What all links together may send. */
  readonly uplink: RateLimit | null;
}

export class BlockServer {
  readonly #options: BlockServerOptions;
  #queue: BlockRequest[] = [];
  #running = false;
  #stopped = false;

  constructor(options: BlockServerOptions) {
    this.#options = options;
  }

  /** @throws RangeError for a request that no honest peer makes. */
  add(request: BlockRequest): void {
    const { index, offset, length } = request;
    if (length < 1 || length > LIMITS.blockBytes) {
      throw new RangeError(`request of ${length} bytes, expected 1 to ${LIMITS.blockBytes}`);
    }
    if (index < 0 || index >= LIMITS.chunksPerFileMax) {
      throw new RangeError(`request for chunk ${index}, at most ${LIMITS.chunksPerFileMax} exist`);
    }
    if (offset < 0 || offset + length > LIMITS.chunkBytesMax) {
      throw new RangeError(
        `request at ${offset}, a chunk has at most ${LIMITS.chunkBytesMax} bytes`,
      );
    }
    if (this.#queue.length >= this.#options.limits.requestsMax) {
      throw new RangeError(`more than ${this.#options.limits.requestsMax} unanswered requests`);
    }
    if (this.#stopped) return;
    this.#queue.push(request);
    if (!this.#running) {
      this.#running = true;
      // After the requests that came in the same packet, so that they share a read.
      setImmediate(() => void this.#run());
    }
  }

  /** Drops a request that was taken back (BEP 3 `cancel`). */
  cancel(index: number, offset: number, length: number): void {
    this.#queue = this.#queue.filter(
      (r) => r.index !== index || r.offset !== offset || r.length !== length,
    );
  }

  stop(): void {
    this.#stopped = true;
    this.#queue = [];
  }

  async #run(): Promise<void> {
    while (this.#queue.length > 0 && !this.#stopped) {
      const run = this.#takeRun();
      const first = run[0] as BlockRequest;
      const bytes = run.reduce((sum, request) => sum + request.length, 0);
      try {
        await this.#options.writable();
        await this.#options.uplink?.take(bytes + run.length * FRAME_BYTES);
        const data = await this.#options.read(first.index, first.offset, bytes);
        if (this.#stopped) break;
        for (const request of run) {
          const at = request.offset - first.offset;
          request.respond(null, data.subarray(at, at + request.length));
        }
      } catch (error) {
        if (this.#stopped) break;
        const reason = error instanceof Error ? error : new Error(String(error));
        for (const request of run) request.respond(reason);
      }
    }
    this.#running = false;
  }

  /** The oldest request and those that go on where it ends. */
  #takeRun(): BlockRequest[] {
    const { limits, uplink } = this.#options;
    const bytesMax = Math.min(limits.readBytesMax, uplink?.turnBytes ?? limits.readBytesMax);
    const run: BlockRequest[] = [];
    let bytes = 0;
    for (const request of this.#queue) {
      const previous = run.at(-1);
      const adjacent =
        previous === undefined ||
        (request.index === previous.index && request.offset === previous.offset + previous.length);
      if (!adjacent || (bytes > 0 && bytes + request.length > bytesMax)) break;
      run.push(request);
      bytes += request.length;
    }
    this.#queue.splice(0, run.length);
    return run;
  }
}
