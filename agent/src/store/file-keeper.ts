/**
 * Keeping one file: pull our chunks, check all three digests, store them durably, sign for them
 * (P §3.2.3, steps 2 and 3; PROTOCOL §2.5).
 *
 * Enters: an accepted plan and the torrent's links. Leaves: chunks in the store, receipts to the
 * source. Always holds: no receipt names a chunk that was not compared and synced; a chunk that
 * differs is never stored, and whoever gave it is named in the evidence.
 */
import { bitfieldOf, indicesOf } from '@blocktorrent/protocol/bitfield.ts';
import { equalBytes } from '@blocktorrent/protocol/bytes.ts';
import type { ChunkDigests } from '@blocktorrent/protocol/digest.ts';
import type { MspId, SignedReceipt } from '@blocktorrent/protocol/ledger-api.ts';
import { manifestChunkDigests } from '@blocktorrent/protocol/manifest.ts';
import { NONCE_BYTES, signReceipt } from '@blocktorrent/protocol/receipt.ts';
import type { Link } from '../overlay/types.ts';
import type { Catalog } from './catalog.ts';
import type { ChunkBuffers } from './chunk-buffers.ts';
import { chooseSource } from './chunk-source.ts';
import { type KeepPlan, planChunkLength } from './offer.ts';
import { OwnerDialer } from './owner-dialer.ts';
import type { StoreNodeOptions, StoreTiming } from './types.ts';

/** A chunk is late after this many times what our own chunks took from the source. */
const LATE_FACTOR = 4;

export interface KeeperOptions {
  readonly plan: KeepPlan;
  readonly node: StoreNodeOptions;
  readonly timing: StoreTiming;
  readonly catalog: Catalog;
  readonly buffers: ChunkBuffers;
  readonly signal: AbortSignal;
  /** Open links of this torrent. */
  readonly links: () => Link[];
  /** Takes a link that we dialled into the torrent. */
  readonly onLink: (link: Link) => void;
  readonly dial: (mspId: MspId) => Promise<Link>;
  /** Tells every link that we have one more chunk. */
  readonly announce: (index: number) => void;
  /** Everything is here and signed for. */
  readonly onComplete: (keeper: FileKeeper) => void;
}

export class FileKeeper {
  readonly #options: KeeperOptions;
  readonly #signal: AbortSignal;
  readonly #ending = new AbortController();
  #plan: KeepPlan;
  readonly #dialer: OwnerDialer;
  readonly #have = new Set<number>();
  #missing: Set<number>;
  /** Lost chunks whose files are still being removed: what came now would go with them. */
  readonly #deleting = new Set<number>();
  readonly #pulling = new Map<number, { readonly link: Link; readonly sinceMs: number }>();
  readonly #distrusted = new Set<MspId>();
  readonly #barred = new WeakMap<Link, Map<number, number>>();
  readonly #newsMs = new Map<MspId, number>();
  readonly #startedMs: number;
  #sourcePullMs = 0;
  #receipt: { signed: SignedReceipt; chunks: Uint8Array } | null = null;
  #failed = false;
  #scheduled = false;
  #wakeTimer: NodeJS.Timeout | null = null;
  #partialTimer: NodeJS.Timeout | null = null;
  #committing: Promise<void> = Promise.resolve();
  /** Begun or waiting for their turn. */
  #commits = 0;
  /** The catalogue names exactly the chunks that we have. */
  #isNoted = false;
  readonly #running = new Set<Promise<void>>();

  constructor(options: KeeperOptions) {
    this.#options = options;
    this.#signal = AbortSignal.any([options.signal, this.#ending.signal]);
    this.#plan = options.plan;
    this.#missing = new Set(options.plan.owned);
    this.#startedMs = performance.now();
    this.#dialer = new OwnerDialer({
      self: options.node.overlay.mspId,
      timing: options.timing,
      nowMs: () => performance.now(),
      dial: options.dial,
      onFailure: (mspId, error) => {
        if (this.#signal.aborted) return;
        options.node.log.debug('an owner cannot be reached', { mspId, error });
      },
      onLink: options.onLink,
      onSettled: () => this.schedule(),
    });
  }

  get plan(): KeepPlan {
    return this.#plan;
  }

  get complete(): boolean {
    return this.#missing.size === 0;
  }

  /** Complete, written down and signed for: nothing is left to do. */
  get settled(): boolean {
    if (!this.complete || this.#commits > 0 || !this.#isNoted) return false;
    const owed = this.#owedBits();
    return isEmpty(owed) || (this.#receipt !== null && equalBytes(this.#receipt.chunks, owed));
  }

  /** Goes on under another plan for the same file, after a change of epoch. */
  replan(plan: KeepPlan): void {
    this.#plan = plan;
    this.#missing = new Set(plan.owned.filter((index) => !this.#have.has(index)));
    if (this.complete) this.#commit();
    this.schedule();
  }

  /** Chunks that can be served, as a BEP 3 bitfield. */
  haveBits(): Uint8Array {
    return bitfieldOf(this.#have, this.plan.chunkCount);
  }

  has(index: number): boolean {
    return this.#have.has(index);
  }

  /** Takes over what the disk has: known chunks by size, others only after their digests match. */
  async load(): Promise<void> {
    const { catalog, node } = this.#options;
    const { fileId, chunkCount } = this.plan;
    const known = catalog.get(fileId);
    const durable = new Set(known === null ? [] : indicesOf(known.have, chunkCount));
    for (const { index, bytes } of await node.chunks.chunksOf(fileId)) {
      if (!this.#missing.has(index) && !durable.has(index)) continue;
      if (bytes !== planChunkLength(this.plan, index)) continue;
      if (!durable.has(index) && !(await this.#reclaim(index, bytes))) continue;
      this.#missing.delete(index);
      this.#have.add(index);
    }
    this.#receipt = catalog.receipt(fileId);
    const gone = [...durable].filter((index) => !this.#have.has(index));
    for (const index of gone) this.#tellLost(index, 'missing');
    const kept = [...durable].filter((index) => this.#have.has(index));
    if (gone.length > 0) this.#noteHave(bitfieldOf(kept, chunkCount));
    if (this.complete) this.#commit();
  }

  /** The source (or somebody for it) offers the file, again or for the first time. */
  offered(link: Link): void {
    this.#failed = false;
    link.sendManifestMessage({ t: 'accept', have: this.haveBits() });
    this.#newsMs.clear();
    if (this.complete) this.#commit();
    this.schedule();
  }

  /** A link has chunks that it did not have before, or is new. */
  news(link: Link): void {
    this.#newsMs.set(link.mspId, performance.now());
    this.schedule();
  }

  /** A stored chunk turned out to be damaged or gone: fetch it again. */
  async lost(index: number, reason: string): Promise<void> {
    if (!this.#have.delete(index)) return;
    const { node } = this.#options;
    this.#tellLost(index, reason);
    if (this.plan.owned.includes(index)) this.#missing.add(index);
    this.#noteHave();
    this.#deleting.add(index);
    await node.chunks.delete(this.plan.fileId, index).finally(() => this.#deleting.delete(index));
    this.schedule();
  }

  #tellLost(index: number, reason: string): void {
    const { node } = this.#options;
    const { fileId } = this.plan;
    node.log.warn('lost a chunk', { fileId, index, reason });
    node.onEvent?.({ type: 'lost', fileId, index, reason });
  }

  /** Thinks again soon; many calls are one. */
  schedule(): void {
    if (this.#scheduled || this.#signal.aborted) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#pump();
    });
  }

  /** Gives up what is running and waits for its end; what the disk has stays. */
  async stop(): Promise<void> {
    this.#ending.abort();
    this.#setWake(Number.POSITIVE_INFINITY);
    if (this.#partialTimer !== null) clearTimeout(this.#partialTimer);
    await Promise.all(this.#running);
    await this.#committing;
  }

  /** True while another owner's link lacks chunks that it has to keep: it may want ours. */
  isNeededBy(link: Link): boolean {
    return this.plan.owners.some(
      (owners, index) => owners.includes(link.mspId) && !link.has(index) && this.has(index),
    );
  }

  /** True while a link to `mspId` may bring something. */
  needs(mspId: MspId): boolean {
    if (mspId === this.plan.manifest.source) return !this.complete;
    for (const index of this.#missing) {
      if (this.plan.owners[index]?.includes(mspId)) return true;
    }
    return false;
  }

  #pump(): void {
    if (this.#failed || this.complete || this.#signal.aborted) return;
    const { node, buffers } = this.#options;
    const links = this.#options.links();
    const nowMs = performance.now();
    const wanted = new Set<MspId>();
    let waitMs = Number.POSITIVE_INFINITY;
    // Organisations that have their share of the memory: others are asked, or they later.
    const full = new Set<MspId>();
    for (const index of this.#missing) {
      const owners = this.plan.owners[index] ?? [];
      for (const mspId of owners) wanted.add(mspId);
      if (this.#pulling.has(index) || this.#deleting.has(index)) continue;
      const choose = () =>
        chooseSource({
          index,
          owners,
          links,
          nowMs,
          self: node.overlay.mspId,
          source: this.plan.manifest.source,
          isBarred: (link, chunk) =>
            full.has(link.mspId) || (this.#barred.get(link)?.get(chunk) ?? 0) > nowMs,
          distrusted: this.#distrusted,
          newsAtMs: (mspId) => this.#newsMs.get(mspId) ?? this.#startedMs,
          lateMs: this.#lateMs(nowMs),
        });
      for (let answer = choose(); ; answer = choose()) {
        const { link } = answer;
        if (link === null) {
          waitMs = Math.min(waitMs, answer.waitMs);
          break;
        }
        const buffer = buffers.tryTake(planChunkLength(this.plan, index), link.mspId);
        if (buffer !== null) {
          this.#start(index, link, buffer);
          break;
        }
        full.add(link.mspId);
      }
    }
    for (const mspId of [node.overlay.mspId, this.plan.manifest.source, ...this.#distrusted]) {
      wanted.delete(mspId);
    }
    this.#setWake(Math.min(waitMs, this.#dialer.ensure(wanted, links)));
  }

  /** Late is relative: on a slow uplink every chunk takes its time. */
  #lateMs(nowMs: number): number {
    let slowestMs = this.#sourcePullMs;
    for (const { link, sinceMs } of this.#pulling.values()) {
      if (link.mspId === this.plan.manifest.source)
        slowestMs = Math.max(slowestMs, nowMs - sinceMs);
    }
    return Math.max(this.#options.timing.lateMs, LATE_FACTOR * slowestMs);
  }

  #start(index: number, link: Link, buffer: Buffer): void {
    const sinceMs = performance.now();
    this.#pulling.set(index, { link, sinceMs });
    const running = this.#pull(index, link, buffer).finally(() => {
      this.#running.delete(running);
      this.#pulling.delete(index);
      this.#options.buffers.give(buffer, link.mspId);
      if (this.complete && this.#pulling.size === 0) this.#commit();
      else this.schedule();
    });
    this.#running.add(running);
  }

  async #pull(index: number, link: Link, buffer: Buffer): Promise<void> {
    const { node, timing } = this.#options;
    const signal = this.#signal;
    const { fileId, manifest } = this.plan;
    try {
      const sinceMs = performance.now();
      const length = planChunkLength(this.plan, index);
      const bytes = await link.fetchChunk(index, length, signal, buffer);
      if (link.mspId === manifest.source) this.#sourcePullMs = performance.now() - sinceMs;
      const found = await node.overlay.digestChunk(bytes);
      const wrong = differing(found, manifestChunkDigests(manifest, index));
      if (wrong.length > 0) {
        this.#badChunk(link, index, wrong);
        return;
      }
      await node.chunks.put(fileId, index, bytes);
      this.#missing.delete(index);
      this.#have.add(index);
      this.#isNoted = false;
      this.#options.announce(index);
      const source = this.#options.links().some(({ mspId }) => mspId === manifest.source);
      node.onEvent?.({ type: 'stored', fileId, index, bytes: bytes.length, repair: !source });
      this.#armPartial();
    } catch (error) {
      if (signal.aborted) return;
      const barred = this.#barred.get(link) ?? new Map<number, number>();
      barred.set(index, performance.now() + timing.retryMs);
      this.#barred.set(link, barred);
      this.#setWake(timing.retryMs);
      node.log.debug('a chunk did not come', { fileId, index, mspId: link.mspId, error });
    }
  }

  #badChunk(link: Link, index: number, wrong: readonly string[]): void {
    const { node, catalog } = this.#options;
    const { fileId, manifest, signed } = this.plan;
    const detail = `chunk ${index} of ${fileId}: ${wrong.join(', ')} differ${wrong.length === 1 ? 's' : ''} from the manifest`;
    const atMs = node.nowMs();
    catalog.addEvidence(
      { fileId, mspId: link.mspId, kind: 'bad-chunk', detail, atMs },
      signed.manifest,
    );
    node.log.warn('refused a chunk', { fileId, mspId: link.mspId, detail });
    node.onEvent?.({ type: 'evidence', fileId, mspId: link.mspId, detail });
    if (link.mspId === manifest.source) {
      this.#failed = true;
      node.onEvent?.({ type: 'refused', fileId, mspId: link.mspId, reason: detail });
      if (!link.closed) {
        link.sendManifestMessage({ t: 'refuse', code: 'bad-digest', reason: detail });
      }
    } else {
      this.#distrusted.add(link.mspId);
    }
    link.close(detail);
  }

  /** Syncs, writes down what is durable, signs for it and tells the source; one at a time. */
  #commit(): void {
    this.#commits += 1;
    this.#committing = this.#committing.then(async () => {
      const done = await this.#commitNow();
      this.#commits -= 1;
      if (done && this.complete) this.#options.onComplete(this);
    });
  }

  async #commitNow(): Promise<boolean> {
    const { node } = this.#options;
    const signal = this.#signal;
    if (this.#have.size === 0) {
      this.#isNoted = true;
      return false;
    }
    const chunks = this.haveBits();
    const owed = this.#owedBits();
    try {
      await node.chunks.sync(this.plan.fileId);
      this.#noteHave(chunks);
      const known = this.#receipt !== null && equalBytes(this.#receipt.chunks, owed);
      if (!known && !isEmpty(owed)) this.#sign(owed);
      this.#sendReceipt();
      return true;
    } catch (error) {
      node.log.error('could not sign for a file', { fileId: this.plan.fileId, error });
      if (!signal.aborted) this.#armPartial();
      return false;
    }
  }

  #noteHave(chunks = this.haveBits()): void {
    const { fileId, chunkCount } = this.plan;
    const indices = indicesOf(chunks, chunkCount);
    this.#options.catalog.setHave(fileId, {
      have: chunks,
      haveCount: indices.length,
      haveBytes: indices.reduce((sum, index) => sum + planChunkLength(this.plan, index), 0),
    });
    this.#isNoted = equalBytes(chunks, this.haveBits());
  }

  /** What the source has a claim to a receipt for: what was placed here, and is here. */
  #owedBits(): Uint8Array {
    const { placedBits } = this.plan;
    return this.haveBits().map((bits, at) => bits & (placedBits[at] ?? 0));
  }

  #sign(chunks: Uint8Array): void {
    const { node, catalog } = this.#options;
    const { fileId, manifest, chunkCount, placedBits } = this.plan;
    const timeMs = node.nowMs();
    const signed = signReceipt(
      {
        version: 1,
        channel: manifest.channel,
        fileId,
        source: manifest.source,
        owner: node.overlay.mspId,
        peer: node.overlay.peer,
        epoch: manifest.epoch,
        chunkCount,
        chunks,
        nonce: node.random(NONCE_BYTES),
        timeMs,
      },
      node.overlaySeed,
    );
    catalog.setReceipt(fileId, signed, chunks, timeMs);
    this.#receipt = { signed, chunks };
    const count = indicesOf(chunks, chunkCount).length;
    const complete = equalBytes(chunks, placedBits);
    node.onEvent?.({ type: 'receipt', fileId, chunks: count, complete });
  }

  #sendReceipt(): void {
    if (this.#receipt === null) return;
    for (const link of this.#options.links()) {
      if (link.mspId !== this.plan.manifest.source) continue;
      link.sendReceipt(this.#receipt.signed);
    }
  }

  /** Signs for a part when nothing more came for a while, and again where the disk did not take it. */
  #armPartial(): void {
    if (this.#partialTimer !== null) {
      this.#partialTimer.refresh();
      return;
    }
    this.#partialTimer = setTimeout(() => {
      this.#partialTimer = null;
      if (!this.settled && !this.#signal.aborted) this.#commit();
    }, this.#options.timing.partialMs);
  }

  #setWake(afterMs: number): void {
    if (this.#wakeTimer !== null) clearTimeout(this.#wakeTimer);
    this.#wakeTimer = null;
    if (afterMs === Number.POSITIVE_INFINITY || this.#signal.aborted) return;
    this.#wakeTimer = setTimeout(() => this.schedule(), Math.max(1, afterMs));
  }

  /** A chunk that an earlier process left without noting it as durable. */
  async #reclaim(index: number, bytes: number): Promise<boolean> {
    const { node } = this.#options;
    const { fileId, manifest } = this.plan;
    try {
      const data = await node.chunks.read(fileId, index, 0, bytes);
      const found = await node.overlay.digestChunk(data);
      if (differing(found, manifestChunkDigests(manifest, index)).length > 0) return false;
      // Written again, so that the next sync covers it.
      await node.chunks.put(fileId, index, data);
      return true;
    } catch (error) {
      node.log.warn('a chunk on disk cannot be used', { fileId, index, error });
      return false;
    }
  }
}

function isEmpty(bits: Uint8Array): boolean {
  return bits.every((byte) => byte === 0);
}

/** Names of the digests that differ. */
function differing(found: ChunkDigests, expected: ChunkDigests): string[] {
  const names: string[] = [];
  if (!equalBytes(found.sha3, expected.sha3)) names.push('SHA3-256');
  if (!equalBytes(found.sha384, expected.sha384)) names.push('SHA-384');
  if (!equalBytes(found.sha512, expected.sha512)) names.push('SHA-512');
  return names;
}
