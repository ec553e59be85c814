/**
 * Reading by ordinary BitTorrent clients: joins the plain listener and the tracker with the store,
 * and finds the other owners' by the addresses that their peers signed.
 *
 * The other way round, an auditor may fetch from an ordinary client that has a ciphertext.
 *
 * Enters: a configuration with `overlay.plain`. Leaves: blocks of kept files, lists of owners, .torrent
 * files. Always holds: what is given away is ciphertext, and only of files that are kept here.
 */
import { isIPv6 } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { fromHex } from '@blocktorrent/protocol/bytes.ts';
import type { Hex } from '@blocktorrent/protocol/ledger-api.ts';
import { decodeManifest } from '@blocktorrent/protocol/manifest.ts';
import { encodeTorrent, TRACKERS_MAX } from '@blocktorrent/protocol/torrent-file.ts';
import type { Seed } from './audit/fetch.ts';
import { dialPlain, type PlainListener } from './overlay/plain-listener.ts';
import type { Tracker } from './overlay/tracker.ts';
import type { Address, AddressBook, Membership, PeerAddress } from './overlay/types.ts';
import type { StoreNode } from './store/store-node.ts';

/** What is known of the owners' addresses is asked for anew after this. */
const FRESH_MS = 2_000;
/** A client waits at most this long for owners that do not answer. */
const PATIENCE_MS = 3_000;

export interface ReadersOptions {
  readonly store: Pick<StoreNode, 'acceptReader' | 'knows'>;
  readonly plain: PlainListener;
  readonly tracker: Tracker;
  readonly owners: OwnersDirectory;
}

/** From now on ordinary clients are served. */
export function serveReaders({ store, plain, tracker, owners }: ReadersOptions): void {
  plain.onIncoming((link) => store.acceptReader(link));
  tracker.onAsked(async (infoHash) => {
    if (!store.knows(infoHash)) return null;
    const doors = new Map<string, Address>();
    for (const { plain: door } of await owners.all()) {
      if (door !== undefined) doors.set(`${door.host} ${door.port}`, door);
    }
    return [...doors.values()];
  });
}

export interface OwnersDirectoryOptions {
  readonly membership: Pick<Membership, 'peers'>;
  readonly addressBook: Pick<AddressBook, 'lookup'>;
  /** What we announce of ourselves; null while nothing listens. */
  readonly own: () => PeerAddress | null;
  readonly monotonicMs: () => number;
}

/**
 * The addresses of every store peer of the consortium, ours first. Who does not keep a file hangs up
 * on a client, so that nobody needs to know who does.
 */
export class OwnersDirectory {
  readonly #options: OwnersDirectoryOptions;
  readonly #found = new Map<string, PeerAddress>();
  #asking: Promise<void> | null = null;
  #askedMs = Number.NEGATIVE_INFINITY;

  constructor(options: OwnersDirectoryOptions) {
    this.#options = options;
  }

  /** As known now; waits a little where the last look is old. */
  async all(): Promise<PeerAddress[]> {
    const { monotonicMs, own } = this.#options;
    if (monotonicMs() - this.#askedMs > FRESH_MS) {
      this.#asking ??= this.#ask().finally(() => {
        this.#askedMs = monotonicMs();
        this.#asking = null;
      });
      await Promise.race([this.#asking, pause(PATIENCE_MS, undefined, { ref: false })]);
    }
    const ours = own();
    return [...(ours === null ? [] : [ours]), ...this.#found.values()];
  }

  async #ask(): Promise<void> {
    const { membership, addressBook } = this.#options;
    const stores = membership.peers().filter(({ roles }) => roles.includes('store'));
    const keys = new Set(stores.map(({ overlayKey }) => overlayKey));
    for (const key of this.#found.keys()) if (!keys.has(key)) this.#found.delete(key);
    await Promise.all(
      stores.map(async ({ overlayKey }) => {
        const address = await addressBook.lookup(fromHex(overlayKey, 32));
        if (address === null) this.#found.delete(overlayKey);
        else this.#found.set(overlayKey, address);
      }),
    );
  }
}

/** Why no .torrent can be made; switch on `code`. */
export class TorrentError extends Error {
  override readonly name = 'TorrentError';
  readonly code: 'unknown-here' | 'no-tracker';

  constructor(code: TorrentError['code'], message: string) {
    super(message);
    this.code = code;
  }
}

/** What `export-torrent` makes. */
export interface ExportedTorrent {
  readonly torrent: Uint8Array;
  readonly trackers: readonly string[];
}

/**
 * The .torrent of a file, by the first manifest there is of it, with the owners' trackers in it.
 * @throws TorrentError `unknown-here` without a manifest, `no-tracker` where no owner has one
 */
export async function exportTorrent(
  fileId: Hex,
  manifests: readonly (Uint8Array | null | undefined)[],
  owners: OwnersDirectory,
): Promise<ExportedTorrent> {
  const manifest = manifests.find((one) => one !== null && one !== undefined);
  if (manifest === null || manifest === undefined) {
    const message = `this agent neither stored file ${fileId} nor keeps chunks of it`;
    throw new TorrentError('unknown-here', message);
  }
  const doors = (await owners.all()).flatMap(({ tracker }) =>
    tracker === undefined ? [] : [announceUrl(tracker)],
  );
  const trackers = [...new Set(doors)].slice(0, TRACKERS_MAX);
  if (trackers.length === 0) {
    const message = `no owner of ${fileId} has a tracker: no ordinary client could find its chunks`;
    throw new TorrentError('no-tracker', message);
  }
  return { torrent: encodeTorrent(decodeManifest(manifest).info, trackers), trackers };
}

function announceUrl({ host, port }: Address): string {
  return `http://${isIPv6(host) ? `[${host}]` : host}:${port}/announce`;
}

/** A client that does not say what it has within this has nothing. */
const SEED_MS = 5_000;

/** An ordinary client at an address, to fetch a ciphertext from (`audit fetch --peer`). */
export function seedAt(address: Address, random: (bytes: number) => Uint8Array): Seed {
  return {
    name: `${isIPv6(address.host) ? `[${address.host}]` : address.host}:${address.port}`,
    async dial(infoHash, handler, signal) {
      const said = Promise.withResolvers<void>();
      const link = await dialPlain({
        address,
        infoHash,
        random,
        signal,
        handler: {
          ...handler,
          onHave: (from) => {
            said.resolve();
            handler.onHave?.(from);
          },
          onClose: (from, reason) => {
            said.resolve();
            handler.onClose?.(from, reason);
          },
        },
      });
      await Promise.race([said.promise, pause(SEED_MS, undefined, { ref: false })]);
      return link;
    },
  };
}
