/**
 * The admin node's side of the overlay (P §3.1, §3.2.3): takes offers, keeps the chunks that
 * placement gives to this organisation, signs receipts, and serves blocks to whoever is known.
 *
 * Always holds: an offer is judged against the ledger as it is now; a repeated offer gets the same
 * receipt; everything that matters is on disk, so a restart goes on where it was.
 */

import { hasBit, indicesOf } from '@blocktorrent/protocol/bitfield.ts';
import { equalBytes } from '@blocktorrent/protocol/bytes.ts';
import type { Hex, MspId } from '@blocktorrent/protocol/ledger-api.ts';
import { fileIdOf, type SignedManifest } from '@blocktorrent/protocol/manifest.ts';
import { ownersHash } from '@blocktorrent/protocol/owner-messages.ts';
import type { Link, LinkHandler, ManifestMessage } from '../overlay/types.ts';
import { Catalog, type KeptFile } from './catalog.ts';
import { ChunkBuffers } from './chunk-buffers.ts';
import { FileKeeper } from './file-keeper.ts';
import {
  judgeOffer,
  type KeepPlan,
  planChunkLength,
  planOf,
  Refusal,
  requireOwned,
} from './offer.ts';
import { noRoom } from './quota.ts';
import {
  type Evidence,
  STORE_TIMING,
  type StoreNodeOptions,
  type StoreStatus,
  type StoreTiming,
} from './types.ts';

/** Chunk bytes in memory at once, over all files. */
const PULL_BYTES_MAX = 8 * 1024 * 1024;
/** Unfinished files that are gone on with at once after a restart; `Repairer` sees to the others. */
const RESUME_MAX = 16;

/** One torrent with open links or an unfinished file. */
interface Torrent {
  readonly infoHash: Hex;
  readonly links: Set<Link>;
  /** Ordinary clients: they are given blocks, and nothing is expected of them. */
  readonly readers: Set<Link>;
  readonly keepers: Map<Hex, FileKeeper>;
  /** Files on their way into `keepers`. */
  readonly starting: Map<Hex, Promise<FileKeeper>>;
  /** Who needs it at this moment: it is not forgotten meanwhile. */
  users: number;
  /** Ends when what the disk knows of it has been taken over; a later load begins another one. */
  loaded: Promise<void>;
}

export class StoreNode {
  readonly #options: StoreNodeOptions;
  readonly #timing: StoreTiming;
  readonly #catalog: Catalog;
  readonly #buffers: ChunkBuffers;
  readonly #abort = new AbortController();
  readonly #torrents = new Map<Hex, Torrent>();
  readonly #ownersHash: Hex;
  #acceptOwner: (link: Link) => LinkHandler | null = () => null;

  constructor(options: StoreNodeOptions) {
    this.#options = options;
    this.#timing = { ...STORE_TIMING, ...options.timing };
    this.#catalog = new Catalog(options.database);
    this.#buffers = new ChunkBuffers(PULL_BYTES_MAX, () => this.#scheduleAll());
    this.#ownersHash = ownersHash(options.membership.channel);
  }

  /** Takes incoming links from now on, and goes on with unfinished files. */
  async start(): Promise<void> {
    this.#options.overlay.onIncoming((link) => this.#accept(link));
    for (const file of this.#catalog.incomplete(RESUME_MAX)) this.resume(file);
  }

  /** Who takes links that are about no torrent (`bt_owner`). */
  onOwnerLink(acceptor: (link: Link) => LinkHandler | null): void {
    this.#acceptOwner = acceptor;
  }

  /** For an ordinary client: blocks of a file that is kept here; null for any other. */
  acceptReader(link: Link): LinkHandler | null {
    if (this.#abort.signal.aborted || !this.knows(link.infoHash)) return null;
    const torrent = this.#torrent(link.infoHash);
    torrent.readers.add(link);
    void torrent.loaded.then(() => this.#greet(torrent, link));
    return {
      read: (index, offset, length) => this.#read(torrent, index, offset, length),
      onClose: () => {
        torrent.readers.delete(link);
        this.#tidy(torrent);
      },
    };
  }

  /** Whether chunks of this torrent are kept here, or will be. */
  knows(infoHash: Hex): boolean {
    return this.#catalog.byInfoHash(infoHash).length > 0;
  }

  /** Canonical bytes of a kept file's manifest, or null. */
  manifestOf(fileId: Hex): Uint8Array | null {
    return this.#catalog.get(fileId)?.signed.manifest ?? null;
  }

  /** Goes on with an unfinished file, if it is not under way. */
  resume({ infoHash }: Pick<KeptFile, 'infoHash'>): void {
    if (this.#abort.signal.aborted) return;
    const torrent = this.#torrent(infoHash);
    // Loaded again: the torrent may be older than the file, from a link that came for it too early.
    torrent.loaded = torrent.loaded.then(async () => {
      await this.#load(torrent);
      for (const keeper of torrent.keepers.values()) keeper.schedule();
    });
  }

  /** Unfinished files that are under way. */
  underWay(): Hex[] {
    return [...this.#torrents.values()].flatMap(({ keepers }) =>
      [...keepers.values()].flatMap((keeper) => (keeper.complete ? [] : [keeper.plan.fileId])),
    );
  }

  /** Puts an unfinished file aside, for others to have their turn, unless its source is here. */
  async rest({ fileId, infoHash, source }: KeptFile): Promise<void> {
    const torrent = this.#torrents.get(infoHash);
    const keeper = torrent?.keepers.get(fileId);
    if (torrent === undefined || keeper === undefined) return;
    if ([...torrent.links].some(({ mspId }) => mspId === source)) return;
    torrent.keepers.delete(fileId);
    await keeper.stop();
    if (torrent.keepers.size > 0 || torrent.starting.size > 0 || torrent.users > 0) return;
    for (const link of [...torrent.links, ...torrent.readers]) link.close('the file rests');
    this.#forget(torrent);
  }

  /**
   * What a kept file asks of us under the epoch in force, written down and gone by from now on.
   * @throws Refusal where an epoch is not known
   */
  replan(file: KeptFile): KeepPlan {
    const { overlay, membership } = this.#options;
    const plan = planOf(file.signed, overlay.mspId, membership);
    this.#catalog.setOwned(file.fileId, {
      owned: plan.ownedBits,
      ownedCount: plan.owned.length,
      missing: plan.owned.filter((index) => !hasBit(file.have, index)).length,
      workedOut: plan.epoch,
    });
    this.#torrents.get(file.infoHash)?.keepers.get(file.fileId)?.replan(plan);
    return plan;
  }

  /**
   * Takes a file that another owner says is ours now. `vouched`: its record on the ledger names the
   * manifest, so that the signature need not be asked. @throws Refusal
   */
  async keep(signed: SignedManifest, vouched: boolean): Promise<KeptFile> {
    const { overlay, membership } = this.#options;
    const plan = vouched
      ? planOf(signed, overlay.mspId, membership)
      : judgeOffer(signed, overlay.mspId, membership);
    requireOwned(plan, overlay.mspId);
    if (this.#catalog.get(plan.fileId) === null) this.#note(plan);
    const kept = this.#catalog.get(plan.fileId);
    if (kept === null) throw new Error(`file ${plan.fileId} was not written down`);
    return kept;
  }

  /** A stored chunk turned out to be damaged or gone: it is deleted, and fetched again in time. */
  async lost(
    { fileId, infoHash }: Pick<KeptFile, 'fileId' | 'infoHash'>,
    index: number,
    reason: string,
  ): Promise<void> {
    if (this.#abort.signal.aborted) return;
    const torrent = this.#torrent(infoHash);
    torrent.users += 1;
    try {
      await torrent.loaded;
      await torrent.keepers.get(fileId)?.lost(index, reason);
    } finally {
      torrent.users -= 1;
      this.#tidy(torrent);
    }
    this.resume({ infoHash });
  }

  /** Stops pulling and serving; the overlay's links are its owner's to close. */
  async stop(): Promise<void> {
    this.#abort.abort();
    this.#options.overlay.onIncoming(() => null);
    for (const torrent of this.#torrents.values()) {
      await torrent.loaded;
      for (const link of [...torrent.links, ...torrent.readers]) link.close('stopping');
      for (const keeper of torrent.keepers.values()) await keeper.stop();
    }
    this.#torrents.clear();
    await this.#options.chunks.close();
  }

  status(): StoreStatus {
    return this.#catalog.status();
  }

  /** Newest first. */
  evidence(limit = 100): Evidence[] {
    return this.#catalog.evidence(limit);
  }

  #scheduleAll(): void {
    for (const torrent of this.#torrents.values()) {
      for (const keeper of torrent.keepers.values()) keeper.schedule();
    }
  }

  #torrent(infoHash: Hex): Torrent {
    const known = this.#torrents.get(infoHash);
    if (known !== undefined) return known;
    const torrent: Torrent = {
      infoHash,
      keepers: new Map(),
      starting: new Map(),
      links: new Set(),
      readers: new Set(),
      users: 0,
      loaded: Promise.resolve().then(() => this.#load(torrent)),
    };
    this.#torrents.set(infoHash, torrent);
    return torrent;
  }

  async #load(torrent: Torrent): Promise<void> {
    if (this.#abort.signal.aborted) return;
    for (const file of this.#catalog.byInfoHash(torrent.infoHash)) {
      try {
        const { overlay, membership } = this.#options;
        const known = torrent.keepers.get(file.fileId);
        if (known !== undefined && known.plan.epoch >= membership.epoch()) continue;
        const plan = planOf(file.signed, overlay.mspId, membership);
        const keeper = known ?? (await this.#keep(torrent, plan));
        // One that was made before the last change of epoch goes on under the new one.
        if (keeper.plan.epoch < plan.epoch) keeper.replan(plan);
      } catch (error) {
        this.#options.log.warn('a kept file cannot be gone on with', {
          fileId: file.fileId,
          error,
        });
      }
    }
  }

  /** The keeper of a file, made once however often it is asked for. */
  #keep(torrent: Torrent, plan: KeepPlan): Promise<FileKeeper> {
    const { fileId } = plan;
    const starting = torrent.starting.get(fileId);
    if (starting !== undefined) return starting;
    const keeper = this.#startKeeper(torrent, plan).finally(() => torrent.starting.delete(fileId));
    torrent.starting.set(fileId, keeper);
    return keeper;
  }

  async #startKeeper(torrent: Torrent, plan: KeepPlan): Promise<FileKeeper> {
    const keeper = new FileKeeper({
      plan,
      node: this.#options,
      timing: this.#timing,
      catalog: this.#catalog,
      buffers: this.#buffers,
      signal: this.#abort.signal,
      links: () => [...torrent.links],
      onLink: (link) => this.#adopt(torrent, link),
      dial: (mspId) => this.#dial(torrent, mspId),
      announce: (index) => {
        for (const link of [...torrent.links, ...torrent.readers]) link.announceOne(index);
      },
      onComplete: () => {
        this.#options.onEvent?.({ type: 'complete', fileId: plan.fileId });
        this.#tidy(torrent);
      },
    });
    await keeper.load();
    torrent.keepers.set(plan.fileId, keeper);
    for (const index of indicesOf(keeper.haveBits(), plan.chunkCount)) {
      for (const link of torrent.links) link.announceOne(index);
    }
    return keeper;
  }

  #accept(link: Link): LinkHandler | null {
    if (link.infoHash === this.#ownersHash) return this.#acceptOwner(link);
    const torrent = this.#torrent(link.infoHash);
    torrent.links.add(link);
    void torrent.loaded.then(() => this.#greet(torrent, link));
    return this.#handler(torrent);
  }

  #adopt(torrent: Torrent, link: Link): void {
    torrent.links.add(link);
    this.#greet(torrent, link);
    for (const keeper of torrent.keepers.values()) keeper.news(link);
  }

  /** Tells the other side what we have (BEP 3 bitfield, BEP 6 have-none). */
  #greet(torrent: Torrent, link: Link): void {
    const [first, ...others] = torrent.keepers.values();
    const have = first?.haveBits() ?? new Uint8Array(1);
    for (const other of others) {
      other.haveBits().forEach((bits, at) => {
        have[at] = (have[at] ?? 0) | bits;
      });
    }
    link.announceAll(have, first?.plan.chunkCount ?? 8);
  }

  #dial(torrent: Torrent, mspId: MspId): Promise<Link> {
    const { overlay, addressBook } = this.#options;
    return overlay.dialMember({
      mspId,
      addressBook,
      infoHash: torrent.infoHash,
      handler: this.#handler(torrent),
      signal: this.#abort.signal,
    });
  }

  #handler(torrent: Torrent): LinkHandler {
    return {
      read: (index, offset, length) => this.#read(torrent, index, offset, length),
      onManifestMessage: (link, message) => void this.#onMessage(torrent, link, message),
      onHave: (link) => {
        for (const keeper of torrent.keepers.values()) keeper.news(link);
        this.#tidy(torrent);
      },
      onClose: (link) => {
        torrent.links.delete(link);
        for (const keeper of torrent.keepers.values()) keeper.schedule();
        this.#tidy(torrent);
      },
    };
  }

  async #read(
    torrent: Torrent,
    index: number,
    offset: number,
    length: number,
  ): Promise<Uint8Array> {
    await torrent.loaded;
    for (const keeper of torrent.keepers.values()) {
      if (!keeper.has(index)) continue;
      try {
        return await this.#options.chunks.read(keeper.plan.fileId, index, offset, length);
      } catch (error) {
        const code = error instanceof Error && 'code' in error ? error.code : null;
        if (code === 'rotten' || code === 'missing') await keeper.lost(index, `${code}`);
        throw error;
      }
    }
    throw new Refusal('missing', `chunk ${index} is not here`);
  }

  async #onMessage(torrent: Torrent, link: Link, message: ManifestMessage): Promise<void> {
    if (message.t !== 'offer') return;
    await torrent.loaded;
    if (this.#abort.signal.aborted || link.closed) return;
    const { manifest, signature, mspId, peer } = message;
    try {
      const keeper = await this.#take(torrent, { manifest, signature, mspId, peer });
      if (link.closed) return;
      keeper.offered(link);
    } catch (error) {
      if (!(error instanceof Refusal)) this.#options.log.error('an offer failed', { error });
      const code = error instanceof Refusal ? error.code : 'internal';
      const reason = error instanceof Refusal ? error.message : 'the offer could not be taken now';
      this.#options.log.warn('refused an offer', { mspId: link.mspId, code, reason });
      this.#options.onEvent?.({ type: 'refused', fileId: null, mspId: link.mspId, reason });
      if (link.closed) return;
      link.sendManifestMessage({ t: 'refuse', code, reason: reason.slice(0, 900) });
    }
  }

  /** @throws Refusal */
  async #take(torrent: Torrent, signed: SignedManifest): Promise<FileKeeper> {
    const { overlay, membership } = this.#options;
    // The very same offer again: it was judged, and judging costs a signature.
    const again = torrent.keepers.get(fileIdOf(signed.manifest));
    if (again !== undefined && equalBytes(again.plan.signed.signature, signed.signature)) {
      return again;
    }
    const plan = judgeOffer(signed, overlay.mspId, membership);
    if (plan.infoHash !== torrent.infoHash) {
      throw new Refusal('malformed', `the manifest is of torrent ${plan.infoHash}`);
    }
    const known = torrent.keepers.get(plan.fileId);
    if (known !== undefined) return known;
    this.#note(plan);
    return this.#keep(torrent, plan);
  }

  /** Writes a file down, if there is room for it. @throws Refusal */
  #note(plan: KeepPlan): void {
    const { nowMs, admit, onEvent, membership, freeBytes } = this.#options;
    const { fileId, infoHash, manifest, owned, ownedBits } = plan;
    const ownedBytes = owned.reduce((sum, index) => sum + planChunkLength(plan, index), 0);
    const offer = { fileId, source: manifest.source, ownedBytes };
    const usage = this.#catalog.usageOf(manifest.source);
    const { quotas } = membership.policy();
    const reason =
      noRoom(offer, usage, quotas, freeBytes?.() ?? Number.POSITIVE_INFINITY) ??
      admit?.(offer) ??
      null;
    if (reason !== null) throw new Refusal('quota', reason);
    this.#catalog.add({
      fileId,
      infoHash,
      source: manifest.source,
      epoch: manifest.epoch,
      signed: plan.signed,
      owned: ownedBits,
      ownedCount: owned.length,
      have: new Uint8Array(ownedBits.length),
      haveCount: 0,
      missing: owned.length,
      workedOut: manifest.epoch,
      offeredMs: nowMs(),
    });
    onEvent?.({ type: 'offered', fileId, source: manifest.source });
  }

  /** Ends links between owners that have all they need, and forgets torrents without work. */
  #tidy(torrent: Torrent): void {
    const keepers = [...torrent.keepers.values()];
    const isUsed = torrent.users > 0 || torrent.starting.size > 0;
    if (isUsed || keepers.some((keeper) => !keeper.settled)) return;
    for (const link of torrent.links) {
      const isOwner = keepers.some((keeper) => isOwnerOf(keeper, link.mspId));
      const isSource = keepers.some((keeper) => keeper.plan.manifest.source === link.mspId);
      if (!isOwner || isSource || keepers.some((keeper) => keeper.isNeededBy(link))) continue;
      link.close('both have everything');
    }
    if (torrent.links.size + torrent.readers.size === 0) this.#forget(torrent);
  }

  /** Not one that has come in its place since. */
  #forget(torrent: Torrent): void {
    const { infoHash } = torrent;
    if (this.#torrents.get(infoHash) === torrent) this.#torrents.delete(infoHash);
  }
}

function isOwnerOf(keeper: FileKeeper, mspId: MspId): boolean {
  return keeper.plan.owners.some((owners) => owners.includes(mspId));
}
