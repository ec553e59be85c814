/**
 * The consortium's state: what was founded, the epochs, the registered peers.
 *
 * Read by every transaction, written rarely. A transaction that reads the epochs fails (and is
 * tried again) when another one opened an epoch in the same block: that is wanted.
 */
import type { Consortium, Epoch, MspId, Peer, Policy } from '@blocktorrent/protocol/ledger-api.ts';
import { rangesOf } from '@blocktorrent/protocol/placement.ts';
import type { Context } from 'fabric-contract-api';
import { Refusal } from './refusal.ts';
import { getJson, nowMs, putJson } from './state.ts';
import { KEY } from './state-keys.ts';

/** What `Found` wrote, as later decisions have changed it. */
export type Constitution = Pick<Consortium, 'members' | 'auditors' | 'policy'>;

/** Share of the ranges, by organisation. */
export type Weights = Readonly<Record<MspId, number>>;

/** The current epoch and the one before, if there is one. */
export interface Epochs {
  readonly current: Epoch;
  readonly previous: Epoch | null;
  /** The weights that the current epoch was made of. */
  readonly weights: Weights;
  /** The policy when the previous epoch ended; null in the first. */
  readonly previousPolicy: Policy | null;
}

/** What was founded; a Refusal NOT_FOUNDED before that. */
export async function loadConstitution(ctx: Context): Promise<Constitution> {
  const constitution = await getJson<Constitution>(ctx, KEY.constitution);
  if (constitution === null) throw new Refusal('NOT_FOUNDED', 'call consortium:Found first');
  return constitution;
}

/** The current epochs; a Refusal NOT_FOUNDED before the first. */
export async function loadEpochs(ctx: Context): Promise<Epochs> {
  const epochs = await getJson<Epochs>(ctx, KEY.epochs);
  if (epochs === null) throw new Refusal('NOT_FOUNDED', 'call consortium:Found first');
  return epochs;
}

/** Opens the first epoch (`before` null), or the one after `before`. */
export async function openEpoch(
  ctx: Context,
  weights: Weights,
  before: { readonly epochs: Epochs; readonly policy: Policy } | null,
): Promise<Epoch> {
  const previous = before?.epochs.current ?? null;
  const list = Object.entries(weights).map(([mspId, weight]) => ({ mspId, weight }));
  const current = rangesOf(list, (previous?.epoch ?? 0) + 1, nowMs(ctx));
  const previousPolicy = before?.policy ?? null;
  await putJson(ctx, KEY.epoch(current.epoch), current);
  const epochs: Epochs = { current, previous, weights, previousPolicy };
  await putJson(ctx, KEY.epochs, epochs);
  return current;
}

/**
 * The policies that a file of `epoch` may follow: today's, and for a file that was placed under the
 * previous epoch also the one of that time, so that a decision loses no file that is under way.
 */
export function policiesFor(
  constitution: Constitution,
  epochs: Epochs,
  epoch: number,
): readonly [Policy, ...Policy[]] {
  const { policy } = constitution;
  const { current, previousPolicy } = epochs;
  return epoch === current.epoch || previousPolicy === null ? [policy] : [policy, previousPolicy];
}

/** Epoch `number` if it is the current or the previous one; a Refusal WRONG_EPOCH otherwise. */
export function recentEpoch(epochs: Epochs, number: number): Epoch {
  const { current, previous } = epochs;
  if (number === current.epoch) return current;
  if (previous !== null && number === previous.epoch) return previous;
  throw new Refusal(
    'WRONG_EPOCH',
    `expected epoch ${current.epoch}${previous === null ? '' : ` or ${previous.epoch}`}, got ${number}`,
  );
}

/** Any epoch there ever was; a Refusal NOT_FOUND otherwise. */
export async function requireEpoch(ctx: Context, number: number): Promise<Epoch> {
  const epoch = await getJson<Epoch>(ctx, KEY.epoch(number));
  if (epoch === null) throw new Refusal('NOT_FOUND', `there is no epoch ${number}`);
  return epoch;
}

/** Looks up registered peers, each once a transaction. */
export type PeerLookup = (mspId: MspId, name: string) => Promise<Peer | null>;

/** A lookup for this transaction. */
export function peerLookup(ctx: Context): PeerLookup {
  const known = new Map<string, Peer | null>();
  return async (mspId, name) => {
    const key = KEY.peer(mspId, name);
    const before = known.get(key);
    if (before !== undefined) return before;
    const peer = await getJson<Peer>(ctx, key);
    known.set(key, peer);
    return peer;
  };
}
