/**
 * Keeps this agent's entry on the ledger right: its overlay key, roles and DHT entrance.
 * Registers when the ledger does not say so yet; tries again until it does.
 */
import { setTimeout } from 'node:timers/promises';
import type { Peer, PeerInput } from '@blocktorrent/protocol/ledger-api.ts';
import type { Ledger } from './ledger/ledger.ts';
import type { ConsortiumView } from './ledger/membership.ts';
import type { Log } from './runtime/log.ts';

export interface RegistrationOptions {
  readonly ledger: Ledger;
  readonly view: ConsortiumView;
  readonly log: Log;
  readonly peer: PeerInput & Pick<Peer, 'mspId'>;
  readonly signal: AbortSignal;
}

const RETRY_MIN_MS = 200;
const RETRY_MAX_MS = 30_000;

/** Resolves when the ledger's entry equals `peer`, or when the signal is aborted. */
export async function keepRegistered(options: RegistrationOptions): Promise<void> {
  const { ledger, view, log, peer, signal } = options;
  for (let retryMs = RETRY_MIN_MS; !signal.aborted; retryMs = Math.min(retryMs * 2, RETRY_MAX_MS)) {
    try {
      const { peers } = await view.refresh();
      if (peers.some((known) => isSame(known, peer))) return;
      const { mspId: _, ...entry } = peer;
      await ledger.submit('ledger/consortium:RegisterPeer', entry);
      log.info('registered on the ledger', { peer: peer.name, dhtAddress: peer.dhtAddress });
      await view.refresh();
      return;
    } catch (error) {
      log.warn('not registered on the ledger yet, will be tried again', {
        code: (error as { code?: unknown }).code,
        error: error instanceof Error ? error.message : String(error),
        retryInMs: retryMs,
      });
    }
    await setTimeout(retryMs, undefined, { signal }).catch(() => undefined);
  }
}

function isSame(known: Peer, peer: RegistrationOptions['peer']): boolean {
  return (
    known.mspId === peer.mspId &&
    known.name === peer.name &&
    known.overlayKey === peer.overlayKey &&
    known.dhtAddress === peer.dhtAddress &&
    [...known.roles].sort().join() === [...peer.roles].sort().join()
  );
}
