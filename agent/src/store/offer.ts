/**
 * Judging an offer: a signed manifest comes in, a plan of what we have to keep goes out, or a
 * refusal that names the failing check (P §3.2.3, step 2; PROTOCOL §2.5).
 */
import { bitfieldOf } from '@blocktorrent/protocol/bitfield.ts';
import { toHex } from '@blocktorrent/protocol/bytes.ts';
import { chunkLengthOf, decodeInfo, infoHashOf } from '@blocktorrent/protocol/chunking.ts';
import { ProtocolError } from '@blocktorrent/protocol/errors.ts';
import type { Epoch, Hex, MspId } from '@blocktorrent/protocol/ledger-api.ts';
import {
  decodeManifest,
  fileIdOf,
  type Manifest,
  manifestChunkCount,
  manifestChunkDigests,
  type SignedManifest,
  verifyManifest,
} from '@blocktorrent/protocol/manifest.ts';
import { ownersNow } from '@blocktorrent/protocol/replacement.ts';
import type { Membership } from '../overlay/types.ts';

/** Why an offer is not taken; both parts go back to the source. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly code: string;

  constructor(code: string, reason: string) {
    super(reason);
    this.code = code;
  }
}

/** What one file asks of us. */
export interface KeepPlan {
  readonly fileId: Hex;
  readonly infoHash: Hex;
  readonly signed: SignedManifest;
  readonly manifest: Manifest;
  readonly chunkCount: number;
  readonly chunkBytes: number;
  /** Epoch that the owners below are of: the one in force when this was planned. */
  readonly epoch: number;
  /** Today's owners of each chunk, by chunk index (`ownersNow`). */
  readonly owners: readonly (readonly MspId[])[];
  /** Indices of our own chunks, ascending; none where we are an owner no longer. */
  readonly owned: readonly number[];
  readonly ownedBits: Uint8Array;
  /** Those that were ours when the file was placed: what the source has a receipt for. */
  readonly placedBits: Uint8Array;
}

/** Checks an offer against the ledger as it is now. @throws Refusal */
export function judgeOffer(signed: SignedManifest, self: MspId, membership: Membership): KeepPlan {
  const keys = membership.keysOf(signed.mspId, signed.peer);
  if (keys.length === 0) {
    throw new Refusal('not-a-member', `${signed.mspId}/${signed.peer} has no key on the ledger`);
  }
  try {
    verifyManifest(signed, keys);
  } catch (error) {
    if (error instanceof ProtocolError) throw new Refusal(error.code, error.message);
    throw error;
  }
  const plan = planOf(signed, self, membership);
  requireOwned(plan, self);
  return plan;
}

/** @throws Refusal where a plan gives us nothing to keep. */
export function requireOwned(plan: KeepPlan, self: MspId): void {
  if (plan.owned.length > 0) return;
  throw new Refusal('not-responsible', `${self} owns no chunk of this file in epoch ${plan.epoch}`);
}

/**
 * The plan for a manifest that was vouched for before, by its signature or by its record on the
 * ledger. It may give us nothing. @throws Refusal
 */
export function planOf(signed: SignedManifest, self: MspId, membership: Membership): KeepPlan {
  const manifest = decodeManifest(signed.manifest);
  if (manifest.channel !== membership.channel) {
    throw new Refusal(
      'wrong-channel',
      `channel ${manifest.channel}, ours is ${membership.channel}`,
    );
  }
  const epochs = epochsFrom(manifest.epoch, membership);
  const { replicas } = membership.policy();
  const placed = ownersUnder(manifest, epochs.slice(0, 1), replicas);
  const owners = epochs.length === 1 ? placed : ownersUnder(manifest, epochs, replicas);
  const chunkCount = owners.length;
  const own = (names: readonly (readonly MspId[])[]) =>
    names.flatMap((each, index) => (each.includes(self) ? [index] : []));
  const owned = own(owners);
  return {
    fileId: fileIdOf(signed.manifest),
    infoHash: toHex(infoHashOf(manifest.info)),
    signed,
    manifest,
    chunkCount,
    chunkBytes: decodeInfo(manifest.info).pieceLength,
    epoch: epochs.at(-1)?.epoch ?? manifest.epoch,
    owners,
    owned,
    ownedBits: bitfieldOf(owned, chunkCount),
    placedBits: bitfieldOf(own(placed), chunkCount),
  };
}

/** The epochs from `first` to the one in force, or to `until`. @throws Refusal for one not known */
export function epochsFrom(
  first: number,
  membership: Pick<Membership, 'epoch' | 'epochOf'>,
  until: number = membership.epoch(),
): Epoch[] {
  const epochs: Epoch[] = [];
  for (let number = first; number <= Math.max(first, until); number += 1) {
    const epoch = membership.epochOf(number);
    if (epoch === null) throw new Refusal('unknown-epoch', `epoch ${number} is not known`);
    epochs.push(epoch);
  }
  return epochs;
}

/** Owners of each chunk of a file under the last of `epochs`. */
export function ownersUnder(
  manifest: Manifest,
  epochs: readonly Epoch[],
  replicas: number,
): MspId[][] {
  return Array.from({ length: manifestChunkCount(manifest) }, (_, index) =>
    ownersNow(manifestChunkDigests(manifest, index), epochs, manifest.source, replicas),
  );
}

/** Length of one chunk: the last may be shorter. */
export function planChunkLength(plan: KeepPlan, index: number): number {
  return chunkLengthOf(plan.manifest.ciphertextBytes, plan.chunkBytes, index);
}
