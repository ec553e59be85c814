/**
 * Where peers are: a DHT (BEP 5) among the consortium's peers only, in which each peer keeps one
 * signed mutable item (BEP 44) with its name and address.
 *
 * Enters: bootstrap addresses and overlay keys from the ledger. Leaves: addresses, signed by their
 * peers. Always holds: no host is contacted that neither the ledger nor another peer named, only
 * items under registered keys are kept, and a lookup asks the network, not the library's cache.
 */
import { createHash, type KeyObject } from 'node:crypto';
import {
  type AddressItem,
  decodeAddressItem,
  encodeAddressItem,
} from '@blocktorrent/protocol/overlay-messages.ts';
import { Client, type DhtNode, type MutableItem } from 'bittorrent-dht';
import type { Log } from '../runtime/log.ts';
import { createGuardedSocket } from './dht-socket.ts';
import { privateKeyOf, rawPublicKeyOf, signRaw, verifyRaw } from './ed25519.ts';
import type { Address, AddressBook, Membership, OverlayIdentity, PeerAddress } from './types.ts';

export interface DhtOptions {
  readonly identity: OverlayIdentity;
  readonly membership: Membership;
  /** UDP; port 0 takes a free one. */
  readonly listen: Address;
  /** Nodes of the consortium to enter by, besides those that the ledger names. */
  readonly bootstrap?: readonly Address[];
  readonly nowMs: () => number;
  /** Never goes back: how old a looked-up address is. */
  readonly monotonicMs: () => number;
  readonly log: Log;
  readonly timing?: Partial<DhtTiming>;
}

export interface DhtTiming {
  /** Our item is put again this often. */
  readonly refreshMs: number;
  /** An item that was not put again for this long is let go (BEP 44: two hours). */
  readonly expireMs: number;
  /** A looked-up address is believed this long. */
  readonly maxAgeMs: number;
  /** A `fresh` look-up this soon after the last fresh one would find the same: it is spared. */
  readonly freshAgeMs: number;
  /** After a put that nobody took: first and longest pause. */
  readonly retryMs: number;
  readonly retryMsMax: number;
  /** After a new node appeared, so that it gets our item as well. */
  readonly joinMs: number;
  /** A node that does not answer within this is passed over. */
  readonly queryMs: number;
}

const DHT_TIMING: DhtTiming = {
  refreshMs: 15 * 60_000,
  expireMs: 2 * 60 * 60_000,
  maxAgeMs: 60_000,
  freshAgeMs: 2_000,
  retryMs: 500,
  retryMsMax: 30_000,
  joinMs: 250,
  queryMs: 2_000,
};

/** An address that was looked up, and whether for a dial that had just failed. */
interface Found {
  readonly address: PeerAddress;
  readonly fresh: boolean;
  readonly atMs: number;
}

export class DhtAddressBook implements AddressBook {
  readonly #options: DhtOptions;
  readonly #timing: DhtTiming;
  readonly #privateKey: KeyObject;
  readonly #publicKey: Buffer;
  readonly #cache = new Map<string, Found>();
  readonly #running = new Map<string, Promise<PeerAddress | null>>();
  readonly #known = new Set<string>();
  #dht: Client | null = null;
  #endMembership: () => void = () => undefined;
  #announced: PeerAddress | null = null;
  #sequence = 0;
  #timer: NodeJS.Timeout | null = null;
  #putting = false;
  #putAgain = false;
  #failures = 0;

  constructor(options: DhtOptions) {
    this.#options = options;
    this.#timing = { ...DHT_TIMING, ...options.timing };
    this.#privateKey = privateKeyOf(options.identity.overlaySeed);
    this.#publicKey = rawPublicKeyOf(this.#privateKey);
  }

  /** Where this node's DHT is bound; null before `start`. */
  get address(): Address | null {
    if (this.#dht === null) return null;
    const { address, port } = this.#dht.address();
    return { host: address, port };
  }

  async start(): Promise<void> {
    const { log, membership, listen } = this.#options;
    const dht = new Client({
      // The library's own default is public routers: an empty list is what keeps it home.
      bootstrap: this.#bootstrapNodes(),
      verify: (signature, input, key) =>
        this.#isRegistered(key) && verifyRaw(key, signature, input),
      timeout: this.#timing.queryMs,
      socket: createGuardedSocket((reason) => log.debug('dropped a DHT packet', { reason })),
    });
    dht._values.maxAge = this.#timing.expireMs;
    dht.on('warning', (error: Error) => log.debug('DHT', { reason: error.message }));
    await new Promise<void>((resolve, reject) => {
      const fail = (error: Error) => dht.destroy(() => reject(error));
      dht.once('error', fail);
      // The library's word for an address that cannot be bound, but for EACCES and EADDRINUSE.
      dht.once('warning', fail);
      dht.listen(listen.port, listen.host, () => {
        dht.off('error', fail).off('warning', fail);
        resolve();
      });
    });
    dht.on('error', (error: Error) => log.error('DHT', { error }));
    dht.on('node', () => this.#schedule(this.#timing.joinMs));
    this.#dht = dht;
    this.#endMembership = membership.onChange(() => this.#meet());
  }

  async stop(): Promise<void> {
    this.#endMembership();
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#announced = null;
    const dht = this.#dht;
    this.#dht = null;
    if (dht !== null) await new Promise<void>((resolve) => dht.destroy(resolve));
  }

  /** Resolves after the first try; what nobody took is tried again in the background. */
  async announce(address: PeerAddress): Promise<void> {
    this.#announced = address;
    await this.#put();
  }

  async lookup(
    overlayKey: Uint8Array,
    options: { fresh?: boolean } = {},
  ): Promise<PeerAddress | null> {
    const name = Buffer.from(overlayKey).toString('hex');
    const cached = this.#cache.get(name);
    const ageMs = cached === undefined ? 0 : this.#options.monotonicMs() - cached.atMs;
    const { freshAgeMs, maxAgeMs } = this.#timing;
    const believedMs = options.fresh ? (cached?.fresh ? freshAgeMs : 0) : maxAgeMs;
    if (cached !== undefined && ageMs < believedMs) return cached.address;
    const running = this.#running.get(name);
    if (running !== undefined) return running;
    const lookup = this.#lookup(overlayKey, name, options.fresh === true).finally(() =>
      this.#running.delete(name),
    );
    this.#running.set(name, lookup);
    return lookup;
  }

  async #lookup(overlayKey: Uint8Array, name: string, fresh: boolean): Promise<PeerAddress | null> {
    const found = await this.#get(overlayKey);
    if (found === null) return null;
    const { name: _name, mspId: _mspId, timeMs: _timeMs, ...address } = found;
    this.#cache.set(name, { address, fresh, atMs: this.#options.monotonicMs() });
    return address;
  }

  /** The newest item under a key that is signed and belongs to the key's registered peer. */
  async #get(overlayKey: Uint8Array): Promise<AddressItem | null> {
    const item = await this.#getItem(overlayKey);
    if (item === null) return null;
    try {
      const address = decodeAddressItem(item.v);
      const registered = this.#options.membership.overlayKeyOf(address.mspId, address.name);
      if (registered !== null && Buffer.from(registered).equals(overlayKey)) return address;
      this.#options.log.warn('an address under another peer’s name', { mspId: address.mspId });
    } catch (error) {
      this.#options.log.warn('an address item that does not decode', { error });
    }
    return null;
  }

  #getItem(overlayKey: Uint8Array): Promise<MutableItem | null> {
    const dht = this.#dht;
    if (dht === null) return Promise.resolve(null);
    const target = createHash('sha1').update(overlayKey).digest();
    return new Promise((resolve) => {
      dht.get(target, { cache: false }, (error, item) => {
        if (error !== null) this.#options.log.debug('DHT get', { reason: error.message });
        resolve(error === null && item?.k !== undefined ? item : null);
      });
    });
  }

  /** Puts our item at the nodes closest to it; one at a time. */
  async #put(): Promise<void> {
    if (this.#putting) {
      this.#putAgain = true;
      return;
    }
    this.#putting = true;
    try {
      do {
        this.#putAgain = false;
        await this.#putOnce();
      } while (this.#putAgain);
    } finally {
      this.#putting = false;
    }
  }

  async #putOnce(): Promise<void> {
    // Asking first finds the closest nodes of now, and the sequence number to go beyond.
    const current = await this.#getItem(this.#publicKey);
    const dht = this.#dht;
    const address = this.#announced;
    if (dht === null || address === null) return;
    const { mspId, peer } = this.#options.identity;
    const timeMs = this.#options.nowMs();
    this.#sequence = Math.max(timeMs, this.#sequence + 1, (current?.seq ?? 0) + 1);
    const stored = await new Promise<number>((resolve) => {
      dht.put(
        {
          k: this.#publicKey,
          v: Buffer.from(encodeAddressItem({ name: peer, mspId, ...address, timeMs })),
          seq: this.#sequence,
          sign: (input) => signRaw(this.#privateKey, input),
        },
        (error, _key, count) => {
          if (error !== null) this.#options.log.debug('DHT put', { reason: error.message });
          resolve(error === null ? count : 0);
        },
      );
    });
    this.#failures = stored > 0 ? 0 : this.#failures + 1;
    const { retryMs, retryMsMax, refreshMs } = this.#timing;
    if (stored === 0) this.#meet();
    this.#schedule(
      stored > 0 ? refreshMs : Math.min(retryMsMax, retryMs * 2 ** Math.min(this.#failures, 16)),
    );
  }

  #schedule(afterMs: number): void {
    if (this.#announced === null || this.#dht === null) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#put(), afterMs);
  }

  #isRegistered(key: Uint8Array): boolean {
    const name = Buffer.from(key).toString('hex');
    return this.#options.membership.peers().some((peer) => peer.overlayKey === name);
  }

  #bootstrapNodes(): DhtNode[] {
    const { mspId, peer: ownName } = this.#options.identity;
    const registered = this.#options.membership
      .peers()
      .filter((peer) => peer.mspId !== mspId || peer.name !== ownName)
      .flatMap((peer) => parseAddress(peer.dhtAddress));
    return [...(this.#options.bootstrap ?? []), ...registered];
  }

  /** Makes itself known to every bootstrap address that the ledger has now. */
  #meet(): void {
    const nodes = this.#bootstrapNodes();
    for (const node of nodes) this.#dht?.addNode(node);
    if (nodes.length > this.#known.size) this.#schedule(this.#timing.joinMs);
    for (const node of nodes) this.#known.add(`${node.host}:${node.port}`);
  }
}

/** `host:port` -> one node; '', an IPv6 address or anything else -> none: the DHT speaks IPv4. */
function parseAddress(text: string): DhtNode[] {
  const at = text.lastIndexOf(':');
  const port = Number(text.slice(at + 1));
  if (at < 1 || text.startsWith('[') || !Number.isInteger(port) || port < 1 || port > 65_535)
    return [];
  return [{ host: text.slice(0, at), port }];
}
