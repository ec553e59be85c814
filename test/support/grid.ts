/**
 * The fault-injecting grid: N organisations' store nodes in one process, with real TLS, wire, DHT
 * and chunk stores on loopback, and a consortium in memory.
 *
 * Faults are verbs on a node: kill, restart, refuse, hang, corruptNext, wipe, rot, cutOff, lie; and on
 * the grid: partition, slowLine. Whatever is random comes from the seed; tests print it.
 */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Hex, MspId } from '@blocktorrent/protocol/ledger-api.ts';
import { rangesOf } from '@blocktorrent/protocol/placement.ts';
import type { DistributeTiming } from '../../agent/src/distribute/types.ts';
import { DhtAddressBook } from '../../agent/src/overlay/dht.ts';
import type { LinkLimits } from '../../agent/src/overlay/link-limits.ts';
import { TlsOverlay, type TlsOverlayOptions } from '../../agent/src/overlay/tls-overlay.ts';
import { type DialOptions, type Link, LinkError } from '../../agent/src/overlay/types.ts';
import { type Log, silentLog } from '../../agent/src/runtime/log.ts';
import { migrate } from '../../agent/src/runtime/migrate.ts';
import { type Database, openDatabase } from '../../agent/src/runtime/sqlite.ts';
import { STORE_MIGRATIONS } from '../../agent/src/store/catalog.ts';
import type { ChunkStore } from '../../agent/src/store/chunk-store.ts';
import { FileChunkStore } from '../../agent/src/store/file-chunk-store.ts';
import { StoreNode } from '../../agent/src/store/store-node.ts';
import type { StoreEvent, StoreNodeOptions, StoreTiming } from '../../agent/src/store/types.ts';
import { Upkeep, type UpkeepConfig } from '../../agent/src/store/upkeep.ts';
import type { UpkeepTiming } from '../../agent/src/store/upkeep-types.ts';
import { AUDITOR_MSP } from '../../devledger/src/pki.ts';
import { createTrialPeers, TrialMembership, type TrialPeer } from './membership.ts';
import { Seeded } from './seeded.ts';
import { type ProxyFaults, SlowProxy } from './slow-proxy.ts';
import { TrialLedger } from './trial-ledger.ts';

const LOOPBACK = { host: '127.0.0.1', port: 0 };

export interface GridOptions {
  readonly organisations: number;
  readonly seed: string;
  readonly log?: Log;
  readonly storeTiming?: Partial<StoreTiming>;
  readonly upkeepTiming?: Partial<UpkeepTiming>;
  /** Scrub and challenges; neither goes on by itself unless said. */
  readonly upkeep?: Partial<UpkeepConfig>;
  readonly limits?: Partial<LinkLimits>;
  /** Every node is reached through a proxy with these faults only. */
  readonly slowLine?: ProxyFaults;
}

/** What a peer's links together may send and receive. */
export type Rates = Pick<
  TlsOverlayOptions,
  'uploadBytesPerSecond' | 'downloadBytesPerSecond' | 'onThrottled'
>;

/** Overlay and address book of one peer that keeps nothing: a gateway or an auditor. */
export interface GridPeer {
  readonly overlay: TlsOverlay;
  readonly addressBook: DhtAddressBook;
  stop(): Promise<void>;
}

/** Short times, so that tests of lateness do not take long. */
export const GRID_STORE_TIMING: Partial<StoreTiming> = {
  lateMs: 700,
  partialMs: 700,
  retryMs: 100,
  retryMsMax: 1_000,
  yieldMs: 100,
};
export const GRID_UPKEEP_TIMING: UpkeepTiming = {
  rankMs: 300,
  tickMs: 250,
  stallMs: 5_000,
  askMs: 2_000,
  retryMs: 100,
  retryMsMax: 1_000,
};
const QUIET: UpkeepConfig = {
  scrubRoundMs: 30 * 86_400_000,
  challengeEveryMs: 0,
  silenceMs: 86_400_000,
};
export const GRID_DISTRIBUTE_TIMING: DistributeTiming = {
  graceMs: 20_000,
  retryMs: 100,
  retryMsMax: 1_000,
  lingerMs: 60_000,
};

export class Grid {
  readonly dir: string;
  readonly options: GridOptions;
  readonly peers: readonly TrialPeer[];
  readonly membership: TrialMembership;
  readonly ledger: TrialLedger;
  readonly nodes: GridNode[] = [];
  readonly random: (bytes: number) => Uint8Array;
  readonly #gridPeers: GridPeer[] = [];
  #island: ReadonlySet<MspId> = new Set();

  /** Certificates, then every organisation's node, all announced. */
  static async start(options: GridOptions): Promise<Grid> {
    const dir = await mkdtemp(join(tmpdir(), 'blocktorrent-grid-'));
    const peers = await createTrialPeers(join(dir, 'pki'), options.organisations);
    const grid = new Grid(dir, peers, options);
    for (const peer of peers) {
      if (peer.mspId !== AUDITOR_MSP) grid.nodes.push(new GridNode(grid, peer));
    }
    for (const node of grid.nodes) await node.start();
    return grid;
  }

  private constructor(dir: string, peers: readonly TrialPeer[], options: GridOptions) {
    this.dir = dir;
    this.options = options;
    this.peers = peers;
    this.membership = new TrialMembership(peers);
    this.ledger = new TrialLedger(this.membership, () => {
      for (const node of this.nodes) node.hear();
    });
    this.random = new Seeded(options.seed).bytes;
  }

  /** A new epoch with equal ranges for these organisations; the others are members no longer. */
  openEpoch(members: readonly MspId[]): void {
    const { membership } = this;
    const weights = members.map((mspId) => ({ mspId, weight: 1 }));
    membership.epochs.push(rangesOf(weights, membership.epoch() + 1, Date.now()));
    const stays = ({ mspId }: { mspId: MspId }) => members.includes(mspId) || mspId === AUDITOR_MSP;
    membership.roots = membership.roots.filter(stays);
    membership.registered = membership.registered.filter(stays);
    membership.changed();
  }

  node(mspId: MspId): GridNode {
    const node = this.nodes.find((one) => one.mspId === mspId);
    if (node === undefined) throw new Error(`no node of ${mspId} in the grid`);
    return node;
  }

  peer(mspId: MspId): TrialPeer {
    const peer = this.peers.find((one) => one.mspId === mspId);
    if (peer === undefined) throw new Error(`no peer of ${mspId} in the grid`);
    return peer;
  }

  /** A peer that only dials out, with an organisation's certificate. */
  async dialer(
    mspId: MspId = AUDITOR_MSP,
    limits?: Partial<LinkLimits>,
    rates?: Rates,
  ): Promise<GridPeer> {
    const peer = await startPeer(this, this.peer(mspId), null, limits, rates);
    this.#gridPeers.push(peer);
    return peer;
  }

  /**
   * Nobody of `island` reaches anybody else, nor they them, from now on; an empty one heals. Links
   * that are open end. Needs `slowLine` (a share of 0 will do).
   */
  partition(island: readonly MspId[]): void {
    this.#island = new Set(island);
    for (const node of this.nodes) node.cutLine();
  }

  /** Whether a partition is between the two. */
  isApart(one: MspId, other: MspId): boolean {
    return this.#island.has(one) !== this.#island.has(other);
  }

  /** TLS records that were held back on the way to or from a node. */
  get delayedRecords(): number {
    return this.nodes.reduce((sum, node) => sum + node.delayedRecords, 0);
  }

  async stop(): Promise<void> {
    await Promise.all(this.#gridPeers.map((peer) => peer.stop()));
    await Promise.all(this.nodes.map((node) => node.kill()));
    await rm(this.dir, { recursive: true, force: true });
  }
}

/** One organisation's node and the faults that can befall it. */
export class GridNode {
  readonly mspId: MspId;
  readonly events: StoreEvent[] = [];
  /** Organisations that met their quota of requests here. */
  readonly throttled: MspId[] = [];
  readonly #grid: Grid;
  readonly #peer: TrialPeer;
  #net: GridPeer | null = null;
  readonly #line: SlowProxy | null;
  #store: StoreNode | null = null;
  #upkeep: Upkeep | null = null;
  #database: Database | null = null;
  #heard = 0;
  #corrupt = 0;
  #hang = false;
  #failing = 0;
  #synced: Promise<void> = Promise.resolve();
  #refuse = false;

  constructor(grid: Grid, peer: TrialPeer) {
    this.#grid = grid;
    this.#peer = peer;
    this.mspId = peer.mspId;
    const { slowLine } = grid.options;
    this.#line = slowLine === undefined ? null : new SlowProxy(slowLine);
  }

  /** Ends every connection to it. */
  cutLine(): void {
    if (this.#line === null) throw new Error('a partition needs the option slowLine');
    this.#line.cut();
  }

  /** Records held back by its slow line. */
  get delayedRecords(): number {
    return this.#line?.delayed ?? 0;
  }

  get alive(): boolean {
    return this.#store !== null;
  }

  get store(): StoreNode {
    if (this.#store === null) throw new Error(`${this.mspId} is not running`);
    return this.#store;
  }

  get upkeep(): Upkeep {
    if (this.#upkeep === null) throw new Error(`${this.mspId} is not running`);
    return this.#upkeep;
  }

  /** Takes every ledger event since the last one that it has seen. */
  hear(): void {
    if (this.#upkeep === null) return;
    const { events } = this.#grid.ledger;
    for (; this.#heard < events.length; this.#heard++) {
      const event = events[this.#heard];
      if (event !== undefined) this.#upkeep.noteLedger(event);
    }
  }

  get net(): GridPeer {
    if (this.#net === null) throw new Error(`${this.mspId} is not running`);
    return this.#net;
  }

  /** Folder of its chunk files. */
  get chunksDir(): string {
    return join(this.#grid.dir, this.mspId, 'chunks');
  }

  async start(): Promise<void> {
    const { options, membership, random } = this.#grid;
    await mkdir(join(this.#grid.dir, this.mspId), { recursive: true });
    const net = await startPeer(this.#grid, this.#peer, LOOPBACK, options.limits, {
      onThrottled: (mspId) => this.throttled.push(mspId),
    });
    const database = openDatabase(join(this.#grid.dir, this.mspId, 'store.sqlite'));
    migrate(database, STORE_MIGRATIONS);
    const node: StoreNodeOptions = {
      random,
      membership,
      database,
      overlay: net.overlay,
      addressBook: net.addressBook,
      chunks: this.#faulty(new FileChunkStore(this.chunksDir)),
      overlaySeed: this.#peer.identity.overlaySeed,
      nowMs: () => Date.now(),
      monotonicMs: () => performance.now(),
      log: (options.log ?? silentLog).child({ component: 'store', node: this.mspId }),
      timing: { ...GRID_STORE_TIMING, ...options.storeTiming },
      onEvent: (event) => {
        this.events.push(event);
        this.#upkeep?.noteStore(event);
      },
      admit: () => (this.#refuse ? 'told to refuse' : null),
    };
    const store = new StoreNode(node);
    const upkeep = new Upkeep({
      node,
      store,
      ledger: this.#grid.ledger.as(this.mspId),
      timing: { ...GRID_UPKEEP_TIMING, ...options.upkeepTiming },
      config: { ...QUIET, ...options.upkeep },
    });
    await store.start();
    this.#upkeep = upkeep;
    this.#net = net;
    this.#store = store;
    this.#database = database;
    await this.announce();
    upkeep.start();
    this.hear();
  }

  /** Puts its address into the DHT; its DHT address becomes a bootstrap for the others. */
  async announce(): Promise<void> {
    const { overlay, addressBook } = this.net;
    const dht = addressBook.address;
    const { registered } = this.#grid.membership;
    const at = registered.findIndex((peer) => peer.mspId === this.mspId);
    const known = registered[at];
    if (known !== undefined && dht !== null) {
      registered[at] = { ...known, dhtAddress: `${dht.host}:${dht.port}` };
      this.#grid.membership.changed();
    }
    if (overlay.address === null) return;
    const port = await this.#line?.start(overlay.address.port);
    await addressBook.announce(port === undefined ? overlay.address : { ...overlay.address, port });
  }

  /** Off the net at once; its disk stays. */
  async kill(): Promise<void> {
    const [net, store, database] = [this.#net, this.#store, this.#database];
    const upkeep = this.#upkeep;
    this.#upkeep = null;
    await upkeep?.stop();
    this.#net = null;
    this.#store = null;
    this.#database = null;
    await this.#line?.stop();
    await net?.stop();
    await store?.stop();
    database?.close();
  }

  async restart(): Promise<void> {
    await this.kill();
    await this.start();
  }

  /** A chunk as its disk has it, checked by the store. */
  async chunk(fileId: Hex, index: number, bytes: number): Promise<Uint8Array> {
    const chunks = new FileChunkStore(this.chunksDir);
    const found = await chunks.read(fileId, index, 0, bytes);
    await chunks.close();
    return found;
  }

  /** Killed, its disk lost, and started again with an empty one. */
  async wipe(): Promise<void> {
    await this.kill();
    await rm(join(this.#grid.dir, this.mspId), { recursive: true, force: true });
    this.#heard = 0;
    await this.start();
  }

  /** Flips one byte of a stored chunk, past the store's back. */
  async rot(fileId: Hex, index: number, at = 100): Promise<void> {
    const path = join(this.chunksDir, fileId.slice(0, 2), fileId, `${index}.chunk`);
    const bytes = await readFile(path);
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    await writeFile(path, bytes);
  }

  /** Puts other bytes in place of a stored chunk, with checksums that fit. */
  async forge(fileId: Hex, index: number, bytes: Uint8Array): Promise<void> {
    const chunks = new FileChunkStore(this.chunksDir);
    await chunks.put(fileId, index, bytes);
    await chunks.close();
  }

  /** The next `blocks` reads that it serves are altered. */
  corruptNext(blocks = Number.POSITIVE_INFINITY): void {
    this.#corrupt = blocks;
  }

  /** From now until a restart it says of every offer that the chunks are wrong, unseen. */
  accuse(): void {
    const reason = 'chunk 0: SHA3-256 differs';
    this.net.overlay.onIncoming(() => ({
      onManifestMessage: (link) =>
        link.sendManifestMessage({ t: 'refuse', code: 'bad-digest', reason }),
    }));
  }

  /** Offers are refused from now on. */
  refuse(on = true): void {
    this.#refuse = on;
  }

  /** Nothing that it writes is synced before the returned function is called. */
  holdSyncs(): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#synced = promise;
    return resolve;
  }

  /** The disk takes nothing the next `times` that it is asked to sync. */
  failSyncs(times: number): void {
    this.#failing = times;
  }

  /** Requests are never answered from now on. */
  hang(on = true): void {
    this.#hang = on;
  }

  #faulty(chunks: ChunkStore): ChunkStore {
    return {
      put: (...args) => chunks.put(...args),
      sync: async (...args) => {
        await this.#synced;
        this.#failing -= 1;
        if (this.#failing >= 0) throw new Error('EIO: i/o error, fsync');
        await chunks.sync(...args);
      },
      chunksOf: (...args) => chunks.chunksOf(...args),
      delete: (...args) => chunks.delete(...args),
      list: () => chunks.list(),
      close: () => chunks.close(),
      read: async (...args) => {
        if (this.#hang) return new Promise<never>(() => undefined);
        const bytes = await chunks.read(...args);
        if (this.#corrupt <= 0) return bytes;
        this.#corrupt -= 1;
        const altered = Uint8Array.from(bytes);
        altered[0] = (altered[0] ?? 0) ^ 1;
        return altered;
      },
    };
  }
}

/** An overlay whose dials stop at a partition. */
class PartedOverlay extends TlsOverlay {
  readonly #grid: Grid;

  constructor(grid: Grid, options: TlsOverlayOptions) {
    super(options);
    this.#grid = grid;
  }

  override dial(options: DialOptions): Promise<Link> {
    if (this.#grid.isApart(this.mspId, options.mspId)) {
      const message = `${options.mspId} is beyond a partition`;
      return Promise.reject(new LinkError('unreachable', message));
    }
    return super.dial(options);
  }
}

async function startPeer(
  grid: Grid,
  peer: TrialPeer,
  listen: { host: string; port: number } | null,
  limits: Partial<LinkLimits> = {},
  rates: Rates = {},
): Promise<GridPeer> {
  const log = grid.options.log ?? silentLog;
  const overlay = new PartedOverlay(grid, {
    listen,
    identity: peer.identity,
    membership: grid.membership,
    random: grid.random,
    log: log.child({ component: 'overlay', node: peer.mspId }),
    limits: { ...grid.options.limits, ...limits },
    ...rates,
  });
  const addressBook = new DhtAddressBook({
    identity: peer.identity,
    membership: grid.membership,
    listen: LOOPBACK,
    nowMs: () => Date.now(),
    monotonicMs: () => performance.now(),
    log: log.child({ component: 'dht', node: peer.mspId }),
    timing: { retryMs: 100, joinMs: 50, queryMs: 400, maxAgeMs: 2_000, freshAgeMs: 0 },
  });
  await overlay.start();
  await addressBook.start();
  return {
    overlay,
    addressBook,
    async stop() {
      await addressBook.stop();
      await overlay.stop();
    },
  };
}
