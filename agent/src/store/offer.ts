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
import { ownersOf } from '@blocktorrent/protocol/placement.ts';
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
  /** Owners of each chunk in placement order, by chunk index. */
  readonly owners: readonly (readonly MspId[])[];
  /** Indices of our own chunks, ascending. */
  readonly owned: readonly number[];
  readonly ownedBits: Uint8Array;
}

/** Checks an offer against the ledger as it is now. @throws Refusal */
export function judgeOffer(signed: SignedManifest, self: MspId, membership: Membership): KeepPlan {
  const key = membership.overlayKeyOf(signed.mspId, signed.peer);
  if (key === null) {
    throw new Refusal('not-a-member', `${signed.mspId}/${signed.peer} has no key on the ledger`);
  }
  try {
    verifyManifest(signed, key);
  } catch (error) {
    if (error instanceof ProtocolError) throw new Refusal(error.code, error.message);
    throw error;
  }
  return planOf(signed, self, membership);
}

/** The plan for a manifest whose signature was checked before. @throws Refusal */
export function planOf(signed: SignedManifest, self: MspId, membership: Membership): KeepPlan {
  const manifest = decodeManifest(signed.manifest);
  if (manifest.channel !== membership.channel) {
    throw new Refusal(
      'wrong-channel',
      `channel ${manifest.channel}, ours is ${membership.channel}`,
    );
  }
  const epoch = membership.epochOf(manifest.epoch);
  if (epoch === null) throw new Refusal('unknown-epoch', `epoch ${manifest.epoch} is not known`);
  const owners = ownersByChunk(manifest, epoch, membership.policy().replicas);
  const owned = owners.flatMap((names, index) => (names.includes(self) ? [index] : []));
  if (owned.length === 0) {
    throw new Refusal(
      'not-responsible',
      `${self} owns no chunk of this file in epoch ${epoch.epoch}`,
    );
  }
  const chunkCount = owners.length;
  return {
    fileId: fileIdOf(signed.manifest),
    infoHash: toHex(infoHashOf(manifest.info)),
    signed,
    manifest,
    chunkCount,
    chunkBytes: decodeInfo(manifest.info).pieceLength,
    owners,
    owned,
    ownedBits: bitfieldOf(owned, chunkCount),
  };
}

/** Length of one chunk: the last may be shorter. */
export function planChunkLength(plan: KeepPlan, index: number): number {
  return chunkLengthOf(plan.manifest.ciphertextBytes, plan.chunkBytes, index);
}

function ownersByChunk(manifest: Manifest, epoch: Epoch, replicas: number): MspId[][] {
  return Array.from({ length: manifestChunkCount(manifest) }, (_, index) =>
    ownersOf(manifestChunkDigests(manifest, index), epoch, manifest.source, replicas),
  );
}
