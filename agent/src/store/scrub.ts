/**
 * The scrub: every stored chunk is read again and compared with its digests, one after the other,
 * slowly, round after round.
 *
 * Enters: what the catalog says is here. Leaves: chunks that are rotten or gone, to `StoreNode.lost`,
 * which deletes them and has them fetched again. Always holds: where a round stands is on disk; one
 * chunk is read at a time, and no faster than a round's time or the command's rate asks for.
 */
import { indicesOf } from '@blocktorrent/protocol/bitfield.ts';
import { chunkLengthOf, decodeInfo } from '@blocktorrent/protocol/chunking.ts';
import { digestsEqual } from '@blocktorrent/protocol/digest.ts';
import type { Hex } from '@blocktorrent/protocol/ledger-api.ts';
import {
  decodeManifest,
  type Manifest,
  manifestChunkCount,
  manifestChunkDigests,
} from '@blocktorrent/protocol/manifest.ts';
import type { KeptFile } from './catalog.ts';
import { Lane } from './lane.ts';
import type { UpkeepParts } from './upkeep-types.ts';

/** Bytes a second of a round that was asked for. */
const NOW_RATE = 64 * 1024 * 1024;
/** Longest pause between two chunks; with little to check a round is sooner over. */
const PAUSE_MS_MAX = 600_000;
/** With nothing to check. */
const EMPTY_MS = 60_000;

export interface ScrubStatus {
  /** Rounds completed since ever. */
  readonly rounds: number;
  /** When the last one ended, by our clock; null before. */
  readonly lastRoundMs: number | null;
  /** Bytes checked in the round under way, and how many there are. */
  readonly checkedBytes: number;
  readonly totalBytes: number;
  /** Chunks found rotten or gone since ever, by anybody: the scrub, a reader, a start. */
  readonly lost: number;
  /** Those of them that are not yet replaced. */
  readonly open: number;
}

/** What a round that was asked for has found. */
export interface ScrubResult {
  readonly chunks: number;
  readonly bytes: number;
  readonly lost: number;
}

/** A file's chunks, with what is needed to check them. */
interface Opened {
  readonly file: KeptFile;
  readonly manifest: Manifest;
  readonly chunkBytes: number;
  readonly indices: readonly number[];
}
interface Cursor {
  readonly fileId: Hex;
  /** Chunks of that file before this one are checked. */
  readonly index: number;
}

const START: Cursor = { fileId: '', index: 0 };

export class Scrub {
  readonly #parts: UpkeepParts;
  readonly #roundMs: () => number;
  readonly #lane: Lane;
  #opened: Opened | null = null;
  #running: Promise<unknown> = Promise.resolve();

  /** @param roundMs a whole round's time, as it is configured now. */
  constructor(parts: UpkeepParts, roundMs: () => number) {
    this.#parts = parts;
    this.#roundMs = roundMs;
    this.#lane = new Lane('scrubbing', () => this.#round(), parts.log);
  }

  start(): void {
    this.#lane.start();
  }
  async stop(): Promise<void> {
    await this.#lane.stop();
    await this.#running;
  }

  /** One whole round at once, beside the slow one. Ends early when `signal` is aborted. */
  async now(signal: AbortSignal, onProgress: (sofar: ScrubResult) => void): Promise<ScrubResult> {
    const round = this.#roundNow(signal, onProgress);
    this.#running = round.catch(() => undefined);
    return round;
  }

  status(): ScrubStatus {
    const { list, store } = this.#parts;
    return {
      rounds: list.count('scrub/rounds'),
      lastRoundMs: list.note('scrub/ended') === null ? null : list.count('scrub/ended'),
      checkedBytes: list.count('scrub/bytes'),
      totalBytes: store.status().bytes,
      lost: list.count('lost/chunks'),
      open: list.lostCount(),
    };
  }

  async #roundNow(
    signal: AbortSignal,
    onProgress: (sofar: ScrubResult) => void,
  ): Promise<ScrubResult> {
    let result: ScrubResult = { chunks: 0, bytes: 0, lost: 0 };
    for (let file = this.#after(''); file !== null; file = this.#after(file.fileId)) {
      const opened = open(file);
      for (const index of opened.indices) {
        if (signal.aborted) return result;
        const startedMs = performance.now();
        const whole = await this.#check(opened, index);
        const bytes = lengthOf(opened, index);
        result = {
          chunks: result.chunks + 1,
          bytes: result.bytes + bytes,
          lost: result.lost + (whole ? 0 : 1),
        };
        const leastMs = (bytes / NOW_RATE) * 1000 - (performance.now() - startedMs);
        await new Promise((resolve) => setTimeout(resolve, Math.max(0, leastMs)));
      }
      onProgress(result);
    }
    this.#end();
    return result;
  }

  /** One chunk of the slow round. */
  async #round(): Promise<number> {
    const { list, store } = this.#parts;
    const cursor = this.#cursor();
    const opened = this.#open(cursor);
    if (opened === null) {
      if (cursor.fileId !== '') this.#end();
      return Math.min(EMPTY_MS, this.#roundMs() / 4);
    }
    const index = opened.indices.find((each) => each >= cursor.index);
    const { fileId } = opened.file;
    if (index === undefined) {
      this.#opened = null;
      list.setNote('scrub/cursor', JSON.stringify({ fileId, index: Number.MAX_SAFE_INTEGER }));
      return 0;
    }
    await this.#check(opened, index);
    const bytes = lengthOf(opened, index);
    list.together(() => {
      list.addCount('scrub/bytes', bytes);
      list.setNote('scrub/cursor', JSON.stringify({ fileId, index: index + 1 }));
    });
    const share = bytes / Math.max(bytes, store.status().bytes);
    return Math.min(PAUSE_MS_MAX, share * this.#roundMs());
  }

  #cursor(): Cursor {
    const note = this.#parts.list.note('scrub/cursor');
    return note === null ? START : (JSON.parse(note) as Cursor);
  }

  /** The file that the cursor is in, or the next one; null at the end. */
  #open(cursor: Cursor): Opened | null {
    const { catalog } = this.#parts;
    const { fileId } = cursor;
    if (this.#opened?.file.fileId === fileId && cursor.index > 0) return this.#opened;
    const inside = cursor.index < Number.MAX_SAFE_INTEGER ? catalog.get(fileId) : null;
    const file = inside ?? this.#after(fileId);
    this.#opened = file === null ? null : open(file);
    return this.#opened;
  }

  #after(fileId: Hex): KeptFile | null {
    return this.#parts.catalog.after(fileId, 1)[0] ?? null;
  }

  #end(): void {
    const { list, nowMs } = this.#parts;
    this.#opened = null;
    list.together(() => {
      list.addCount('scrub/rounds', 1);
      list.setNote('scrub/ended', String(nowMs()));
      list.setNote('scrub/bytes', '0');
      list.setNote('scrub/cursor', JSON.stringify(START));
    });
  }

  /** Whether the chunk is as the manifest says; one that is not is lost, and fetched again. */
  async #check(opened: Opened, index: number): Promise<boolean> {
    const { chunks, overlay, store } = this.#parts;
    const { file, manifest } = opened;
    const reason = await damageOf();
    if (reason === null) return true;
    await store.lost(file, index, reason);
    return false;

    async function damageOf(): Promise<string | null> {
      try {
        const length = lengthOf(opened, index);
        const bytes = await chunks.read(file.fileId, index, 0, length, { fresh: true });
        const found = await overlay.digestChunk(bytes);
        const right = digestsEqual(found, manifestChunkDigests(manifest, index));
        return right ? null : 'its digests differ';
      } catch (error) {
        const code = error instanceof Error && 'code' in error ? error.code : null;
        if (code === 'rotten' || code === 'missing' || code === 'range') return code;
        throw error;
      }
    }
  }
}

function open(file: KeptFile): Opened {
  const manifest = decodeManifest(file.signed.manifest);
  const chunkBytes = decodeInfo(manifest.info).pieceLength;
  return {
    file,
    manifest,
    chunkBytes,
    indices: indicesOf(file.have, manifestChunkCount(manifest)),
  };
}

function lengthOf({ manifest, chunkBytes }: Opened, index: number): number {
  return chunkLengthOf(manifest.ciphertextBytes, chunkBytes, index);
}
