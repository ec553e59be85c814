/**
 * Keeps this agent's entry on the ledger right: its overlay key, roles and DHT entrance.
 * Registers when the ledger does not say so yet; tries again until it does.
 */
import { setTimeout } from 'node:timers/promises';
import { toHex } from '@blocktorrent/protocol/bytes.ts';
import type { Peer, PeerInput } from '@blocktorrent/protocol/ledger-api.ts';
import { publicKeyOf } from '@blocktorrent/protocol/signing.ts';
import { type Net, overlaySeed } from './assemble.ts';
import type { Config } from './config/schema.ts';
import type { Ledger } from './ledger/ledger.ts';
import type { ConsortiumView } from './ledger/membership.ts';
import type { Log } from './runtime/log.ts';

type OwnPeer = PeerInput & Pick<Peer, 'mspId'>;

export interface RegistrationOptions {
  readonly ledger: Ledger;
  readonly view: ConsortiumView;
  readonly log: Log;
  /** Null as long as its addresses are not known. */
  readonly peer: () => OwnPeer | null;
  readonly signal: AbortSignal;
}

const RETRY_MIN_MS = 200;
const RETRY_MAX_MS = 30_000;

/** See the header. */
export class Registration {
  readonly #options: RegistrationOptions;
  #failure: string | null = null;

  constructor(options: RegistrationOptions) {
    this.#options = options;
  }

  /** Why the last try failed; null once it is registered, and before the first. */
  get failure(): string | null {
    return this.#failure;
  }

  /** Resolves when the ledger's entry equals `peer`, or when the signal is aborted. */
  async run(): Promise<void> {
    const { log, signal } = this.#options;
    for (
      let retryMs = RETRY_MIN_MS;
      !signal.aborted;
      retryMs = Math.min(retryMs * 2, RETRY_MAX_MS)
    ) {
      try {
        await this.#register();
        this.#failure = null;
        return;
      } catch (error) {
        this.#failure = error instanceof Error ? error.message : String(error);
        log.warn('not registered on the ledger yet, will be tried again', {
          code: (error as { code?: unknown }).code,
          error: this.#failure,
          retryInMs: retryMs,
        });
      }
      await setTimeout(retryMs, undefined, { signal }).catch(() => undefined);
    }
  }

  async #register(): Promise<void> {
    const { ledger, view, log } = this.#options;
    const peer = this.#options.peer();
    if (peer === null) throw new Error('the DHT does not listen yet');
    const { peers } = await view.refresh();
    if (peers.some((known) => isSame(known, peer))) return;
    const { mspId: _, ...entry } = peer;
    await ledger.submit('ledger/consortium:RegisterPeer', entry);
    log.info('registered on the ledger', { peer: peer.name, dhtAddress: peer.dhtAddress });
    await view.refresh();
  }
}

function isSame(known: Peer, peer: OwnPeer): boolean {
  return (
    known.mspId === peer.mspId &&
    known.name === peer.name &&
    known.overlayKey === peer.overlayKey &&
    known.dhtAddress === peer.dhtAddress &&
    [...known.roles].sort().join() === [...peer.roles].sort().join()
  );
}

/** What the ledger is to say of us; null while our entrance to the DHT has no address. */
export function ownPeer(config: Config, net: Net): OwnPeer | null {
  const { dht, dialOutOnly } = config.overlay;
  const address = dialOutOnly ? null : (dht.advertise ?? net.addressBook.address);
  if (address === null && !dialOutOnly) return null;
  const host = address?.host.includes(':') ? `[${address.host}]` : address?.host;
  return {
    mspId: config.organisation.mspId,
    name: config.name,
    roles: config.roles.filter((role) => role !== 'audit'),
    overlayKey: toHex(publicKeyOf(overlaySeed(config))),
    dhtAddress: address === null ? '' : `${host}:${address.port}`,
  };
}
