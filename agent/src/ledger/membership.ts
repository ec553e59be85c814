/**
 * Who belongs to the consortium, as the ledger last said: members, policy, epochs, peers' keys.
 *
 * Enters: `GetConsortium`, asked at start and after each `consortium-changed`. Leaves: answers
 * without waiting. Always holds: the last answer is on disk, so that a gateway that starts offline
 * still knows its epoch and its peers.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { fromHex } from '@blocktorrent/protocol/bytes.ts';
import type {
  Consortium,
  Epoch,
  Hex,
  MspId,
  Peer,
  Policy,
} from '@blocktorrent/protocol/ledger-api.ts';
import { keysOf } from '@blocktorrent/protocol/peer-keys.ts';
import type { Ledger } from './ledger.ts';

export class ConsortiumView {
  readonly channel: string;
  readonly #ledger: Ledger;
  readonly #cacheFile: string | null;
  readonly #listeners = new Set<() => void>();
  #consortium: Consortium | null;
  readonly #epochs = new Map<number, Epoch>();
  #refreshing: Promise<unknown> = Promise.resolve();

  /** `cacheFile`: where the last answer is kept; null keeps it in memory only. */
  constructor(ledger: Ledger, channel: string, cacheFile: string | null) {
    this.#ledger = ledger;
    this.channel = channel;
    this.#cacheFile = cacheFile;
    const cache = cacheFile === null ? null : readCache(cacheFile, channel);
    this.#consortium = cache?.consortium ?? null;
    this.#note(cache?.epochs ?? []);
  }

  /**
   * Asks the ledger, also for epochs that were missed; one question after the other, so that the last
   * one has the last word. @throws LedgerError; the system's error where the answer cannot be kept
   */
  refresh(): Promise<Consortium> {
    const refreshed = this.#refreshing.then(() => this.#refresh());
    this.#refreshing = refreshed.catch(() => undefined);
    return refreshed;
  }

  async #refresh(): Promise<Consortium> {
    const consortium = await this.#ledger.evaluate('ledger/consortium:GetConsortium', {});
    this.#note(consortium.epochs);
    const newest = consortium.epochs[0]?.epoch ?? 0;
    for (let epoch = 1; epoch <= newest; epoch += 1) {
      if (this.#epochs.has(epoch)) continue;
      this.#note([await this.#ledger.evaluate('ledger/consortium:GetEpoch', { epoch })]);
    }
    this.#consortium = consortium;
    for (const listener of this.#listeners) listener();
    if (this.#cacheFile !== null) {
      const cache: Cache = { consortium, epochs: [...this.#epochs.values()] };
      writeFileSync(`${this.#cacheFile}.part`, JSON.stringify(cache));
      renameSync(`${this.#cacheFile}.part`, this.#cacheFile);
    }
    return consortium;
  }

  /** Calls back after each refresh; returns the way to stop that. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  get known(): boolean {
    return this.#consortium !== null;
  }

  /** @throws Error while the ledger has never been reached. */
  current(): Consortium {
    if (this.#consortium === null) {
      throw new Error('the consortium is not known yet: the ledger has never been reached');
    }
    return this.#consortium;
  }

  /** When the newest known epoch was opened, ms since 1970 by the ledger's time; 0: none is known. */
  get newestEpochMs(): number {
    return this.#consortium?.epochs[0]?.openedAtMs ?? 0;
  }

  policy(): Policy {
    return this.current().policy;
  }

  /** Number of the epoch in force. */
  epoch(): number {
    const newest = this.current().epochs[0];
    if (newest === undefined) throw new Error('the consortium has no epoch: it is not founded');
    return newest.epoch;
  }

  /** Any epoch up to the one in force (chunks of old files stay placed by theirs), or null. */
  epochOf(epoch: number): Epoch | null {
    return this.#epochs.get(epoch) ?? null;
  }

  /** As `epochOf`. @throws Error for an epoch that this agent has not seen. */
  requireEpoch(epoch: number): Epoch {
    const found = this.epochOf(epoch);
    if (found === null) throw new Error(`epoch ${epoch} is not known here`);
    return found;
  }

  /** Every root that issues overlay certificates: participants' and auditors'. */
  rootsOf(): { mspId: MspId; pem: string }[] {
    const { members, auditors } = this.#consortium ?? { members: [], auditors: [] };
    return [...members, ...auditors].flatMap(({ mspId, overlayRoots }) =>
      overlayRoots.map((pem) => ({ mspId, pem })),
    );
  }

  peers(): readonly Peer[] {
    return this.#consortium?.peers ?? [];
  }

  /** Ed25519 key that a member's registered peer signs with now, 32 bytes, or null. */
  overlayKeyOf(mspId: MspId, peer: string): Uint8Array | null {
    const found = this.peers().find((one) => one.mspId === mspId && one.name === peer);
    return found === undefined ? null : fromHex(found.overlayKey, 32);
  }

  /** Whether an organisation has taken one of its overlay certificates back. */
  isRevoked(mspId: MspId, serial: Hex): boolean {
    return this.#consortium?.revoked?.[mspId]?.includes(serial) ?? false;
  }

  /** Every key of a peer that counts, former members' too: `Membership.keysOf`. */
  keysOf(mspId: MspId, peer: string, takenAtMs: number | null = null): readonly Uint8Array[] {
    return this.#consortium === null ? [] : keysOf(this.#consortium, mspId, peer, takenAtMs);
  }

  /**
   * Whether the ledger still takes records of an epoch: the one in force and the one before. One that
   * is newer than all we were told of is not over: a peer that is behind was asked last.
   */
  takesEpoch(epoch: number): boolean {
    const { epochs } = this.current();
    return epoch > (epochs[0]?.epoch ?? 0) || epochs.some((known) => known.epoch === epoch);
  }

  #note(epochs: readonly Epoch[]): void {
    for (const epoch of epochs) this.#epochs.set(epoch.epoch, epoch);
  }
}

interface Cache {
  readonly consortium: Consortium;
  readonly epochs: readonly Epoch[];
}

function readCache(path: string, channel: string): Cache | null {
  try {
    const cache = JSON.parse(readFileSync(path, 'utf8')) as Cache;
    // Of another channel: other epochs under the same numbers.
    return cache.consortium.channel === channel ? cache : null;
  } catch {
    // Missing or torn: the ledger is asked again.
    return null;
  }
}
