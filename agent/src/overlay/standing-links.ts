/**
 * For a peer that only dials out (behind NAT, in a truck): one standing link to every other store
 * peer, over which those ask to be dialled about a torrent.
 *
 * Enters: the registered peers and their addresses. Leaves: links, dialled when called, that are then
 * served as if they had come in. Always holds: at most one standing link to a peer; one that ends is
 * dialled again, with a growing pause.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { fromHex, toHex } from '@blocktorrent/protocol/bytes.ts';
import type { Hex, Peer } from '@blocktorrent/protocol/ledger-api.ts';
import { standingHash } from '@blocktorrent/protocol/overlay-messages.ts';
import type { Log } from '../runtime/log.ts';
import type { TlsOverlay } from './tls-overlay.ts';
import type { Address, AddressBook, Membership } from './types.ts';

const PEERS_MAX = 128;

export interface StandingLinksOptions {
  readonly overlay: TlsOverlay;
  readonly addressBook: Pick<AddressBook, 'lookup'>;
  readonly membership: Membership;
  readonly log: Log;
  /** First and longest pause before a peer is dialled again. */
  readonly retryMs?: number;
  readonly retryMsMax?: number;
}

export class StandingLinks {
  readonly #options: StandingLinksOptions;
  readonly #abort = new AbortController();
  readonly #kept = new Map<string, Promise<void>>();
  #endMembership: () => void = () => undefined;

  constructor(options: StandingLinksOptions) {
    this.#options = options;
  }

  start(): void {
    this.#endMembership = this.#options.membership.onChange(() => this.#meet());
    this.#meet();
  }

  async stop(): Promise<void> {
    this.#endMembership();
    this.#abort.abort();
    await Promise.all(this.#kept.values());
  }

  #meet(): void {
    for (const peer of this.#others()) {
      const name = `${peer.mspId}/${peer.name}`;
      if (this.#kept.has(name) || this.#kept.size >= PEERS_MAX) continue;
      this.#kept.set(
        name,
        this.#keep(peer).finally(() => this.#kept.delete(name)),
      );
    }
  }

  #others(): Peer[] {
    const { overlay, membership } = this.#options;
    return membership
      .peers()
      .filter(({ mspId, roles }) => mspId !== overlay.mspId && roles.includes('store'));
  }

  /** Until the peer is registered no more, or we stop. Never rejects. */
  async #keep(peer: Peer): Promise<void> {
    const { log, retryMs = 1_000, retryMsMax = 60_000 } = this.#options;
    const { signal } = this.#abort;
    const isRegistered = () =>
      this.#others().some(({ overlayKey }) => overlayKey === peer.overlayKey);
    for (let pauseMs = retryMs; !signal.aborted && isRegistered(); ) {
      try {
        await this.#stand(peer, () => {
          pauseMs = retryMs;
        });
      } catch (error) {
        log.debug('no standing link', { mspId: peer.mspId, error });
      }
      // Rejects only when aborted, which the loop sees.
      await pause(pauseMs, undefined, { signal }).catch(() => undefined);
      pauseMs = Math.min(2 * pauseMs, retryMsMax);
    }
  }

  /** One standing link from dialling to its end. @throws LinkError */
  async #stand(peer: Peer, onOpen: () => void): Promise<void> {
    const { overlay, addressBook, membership } = this.#options;
    const { signal } = this.#abort;
    const address = await addressBook.lookup(fromHex(peer.overlayKey, 32), { fresh: true });
    if (address === null || signal.aborted) return;
    const ended = Promise.withResolvers<void>();
    const link = await overlay.dial({
      address,
      signal,
      mspId: peer.mspId,
      infoHash: toHex(standingHash(membership.channel)),
      handler: {
        onCall: (_, infoHash) => void this.#answer(peer, address, infoHash),
        onClose: () => ended.resolve(),
      },
    });
    onOpen();
    const onAbort = () => link.close('stopping');
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    await ended.promise;
    signal.removeEventListener('abort', onAbort);
  }

  async #answer({ mspId }: Peer, address: Address, infoHash: Hex): Promise<void> {
    const { overlay, log } = this.#options;
    try {
      const handler = (link: Parameters<TlsOverlay['accept']>[0]) => overlay.accept(link);
      await overlay.dial({ address, mspId, infoHash, handler, signal: this.#abort.signal });
    } catch (error) {
      log.debug('a call could not be answered', { mspId, infoHash, error });
    }
  }
}
