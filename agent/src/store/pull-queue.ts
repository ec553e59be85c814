/**
 * Which unfinished files are pulled now: a few at a time, so that repairing thousands of files
 * takes neither thousands of links nor all of the disk. One that does not get on makes room.
 */
import type { Hex } from '@blocktorrent/protocol/ledger-api.ts';
import type { UpkeepParts } from './upkeep-types.ts';

/** Unfinished files pulled at once. */
const FILES_AT_ONCE = 8;
/** Unfinished files looked at in one round. */
const LOOK_MAX = 2_000;

interface Patience {
  /** When a chunk last came, or it was begun. */
  sinceMs: number;
  /** Not before this, after it did not get on. */
  restUntilMs: number;
  rests: number;
}

export class PullQueue {
  readonly #parts: UpkeepParts;
  readonly #patience = new Map<Hex, Patience>();

  constructor(parts: UpkeepParts) {
    this.#parts = parts;
  }

  /** A chunk of the file has come. */
  progressed(fileId: Hex): void {
    const patience = this.#patience.get(fileId);
    if (patience === undefined) return;
    patience.sinceMs = this.#parts.monotonicMs();
    patience.rests = 0;
  }

  /** Begins what may begin, rests what does not get on; returns when to look again. */
  async round(): Promise<number> {
    const { catalog, store, monotonicMs, timing } = this.#parts;
    const files = catalog.incomplete(LOOK_MAX);
    const open = new Set(files.map((file) => file.fileId));
    for (const fileId of this.#patience.keys()) {
      if (!open.has(fileId)) this.#patience.delete(fileId);
    }
    const underWay = new Set(store.underWay());
    const waiting = files.filter(
      ({ fileId }) => !underWay.has(fileId) && this.#of(fileId).restUntilMs <= monotonicMs(),
    );
    for (const file of files) {
      const patience = this.#of(file.fileId);
      if (!underWay.has(file.fileId) || waiting.length === 0) continue;
      if (monotonicMs() - patience.sinceMs < timing.stallMs) continue;
      patience.restUntilMs = monotonicMs() + timing.stallMs * 2 ** Math.min(patience.rests, 6);
      patience.rests += 1;
      underWay.delete(file.fileId);
      await store.rest(file);
    }
    for (const file of waiting.slice(0, Math.max(0, FILES_AT_ONCE - underWay.size))) {
      this.#of(file.fileId).sinceMs = monotonicMs();
      store.resume(file);
    }
    return timing.tickMs;
  }

  #of(fileId: Hex): Patience {
    const patience = this.#patience.get(fileId) ?? {
      sinceMs: this.#parts.monotonicMs(),
      restUntilMs: 0,
      rests: 0,
    };
    this.#patience.set(fileId, patience);
    return patience;
  }
}
