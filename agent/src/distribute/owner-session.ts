/**
 * One owner's part of a distribution: dial it, offer the manifest, serve its requests, until it has
 * signed for all its chunks; dial again, with backoff, whenever the link ends before that.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Hex, MspId, SignedReceipt } from '@blocktorrent/protocol/ledger-api.ts';
import type { SignedManifest } from '@blocktorrent/protocol/manifest.ts';
import type { AddressBook, Link, ManifestMessage, Overlay } from '../overlay/types.ts';
import type { DistributeTiming, OwnerState } from './types.ts';

export interface OwnerSessionOptions {
  readonly mspId: MspId;
  readonly infoHash: Hex;
  readonly chunkCount: number;
  readonly signedManifest: SignedManifest;
  readonly overlay: Overlay;
  readonly addressBook: AddressBook;
  readonly timing: DistributeTiming;
  readonly random: () => number;
  readonly signal: AbortSignal;
  readonly isDone: () => boolean;
  readonly read: (index: number, offset: number, length: number) => Promise<Uint8Array>;
  readonly onReceipt: (receipt: SignedReceipt) => void;
  readonly onState: () => void;
  readonly onUnreachable: (error: unknown) => void;
  readonly onRefused: (code: string, reason: string) => void;
}

export class OwnerSession {
  readonly mspId: MspId;
  readonly #options: OwnerSessionOptions;
  #state: OwnerState = 'dialing';
  #failures = 0;

  constructor(options: OwnerSessionOptions) {
    this.#options = options;
    this.mspId = options.mspId;
  }

  get state(): OwnerState {
    return this.#state;
  }

  /** Resolves when the owner is done or the signal is aborted. Never rejects. */
  async run(): Promise<void> {
    const { signal, isDone } = this.#options;
    while (!isDone() && !signal.aborted) {
      try {
        await this.#serve();
      } catch (error) {
        // Nobody is there, or not who we want: all there is to do is to try again.
        this.#options.onUnreachable(error);
        this.#failures += 1;
        this.#enter('unreachable');
      }
      if (!isDone() && !signal.aborted) await this.#pause();
    }
    if (isDone()) this.#enter('done');
  }

  /** One link from dialling to its end. @throws LinkError when it could not be had. */
  async #serve(): Promise<void> {
    const { overlay, addressBook, infoHash, mspId, signal, chunkCount } = this.#options;
    if (this.#failures === 0) this.#enter('dialing');
    const ended = Promise.withResolvers<void>();
    const link = await overlay.dialMember({
      mspId,
      infoHash,
      addressBook,
      signal,
      handler: {
        read: this.#options.read,
        onManifestMessage: (from, message) => this.#onMessage(from, message),
        onReceipt: (from, receipt) => {
          this.#options.onReceipt(receipt);
          if (this.#options.isDone()) from.close('signed for everything');
        },
        onClose: () => ended.resolve(),
      },
    });
    const onAbort = () => link.close('aborted');
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      link.announceAll(fullBits(chunkCount), chunkCount);
      const { manifest, signature, mspId: signer, peer } = this.#options.signedManifest;
      link.sendManifestMessage({ t: 'offer', manifest, signature, mspId: signer, peer });
      this.#enter('offered');
      if (signal.aborted) onAbort();
      await ended.promise;
    } finally {
      signal.removeEventListener('abort', onAbort);
      link.close('over');
    }
  }

  #onMessage(link: Link, message: ManifestMessage): void {
    if (message.t === 'accept') {
      this.#failures = 0;
      this.#enter('fetching');
    } else if (message.t === 'refuse') {
      this.#failures += 1;
      this.#enter('refused');
      this.#options.onRefused(message.code, message.reason);
      link.close('refused');
    }
  }

  async #pause(): Promise<void> {
    const { timing, random, signal } = this.#options;
    const longestMs = Math.min(
      timing.retryMsMax,
      timing.retryMs * 2 ** Math.min(this.#failures, 20),
    );
    const pauseMs = longestMs * (0.5 + random() / 2);
    // Rejects only when aborted, which the caller's loop sees.
    await pause(pauseMs, undefined, { signal }).catch(() => undefined);
  }

  #enter(state: OwnerState): void {
    if (this.#state === state) return;
    this.#state = state;
    this.#options.onState();
  }
}

function fullBits(chunkCount: number): Uint8Array {
  const bits = new Uint8Array(Math.ceil(chunkCount / 8)).fill(0xff);
  const spare = bits.length * 8 - chunkCount;
  bits[bits.length - 1] = (0xff << spare) & 0xff;
  return bits;
}
