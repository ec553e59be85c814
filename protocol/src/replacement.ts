/**
 * Who owns a chunk today, after members came and went since it was placed (P §3.2.1, §5.2;
 * docs/PROTOCOL.md, "Repair").
 *
 * In: a chunk's digests and the epochs from its placement to today. Out: owners, as `ownersOf` gives
 * them. Always holds: who was an owner and is still in the ranges stays one; only places that have
 * become free are given anew, so no repair can move fewer bytes and leave as many owners.
 */
import { sha3_256 } from '@noble/hashes/sha3.js';
import { encodeCanonical } from './cbor.ts';
import type { ChunkDigests } from './digest.ts';
import { ProtocolError } from './errors.ts';
import type { Epoch, MspId } from './ledger-api.ts';
import { ownersOf, rangeIndexOf } from './placement.ts';

const DOMAIN = 'blocktorrent/successor/v1';

/**
 * The owners of a chunk under the last of `epochs`, which begin with the epoch of its placement and
 * ascend. In each later epoch the place of an owner who is gone goes to the first in range order who
 * has no copy yet, from where SHA3-256 over the chunk's SHA3-256, the epoch and the place points: the
 * digest that named the one who is gone would always name its neighbour. The source counts as gone
 * where enough others exist.
 * Throws ProtocolError `bad-argument` without epochs or where they do not ascend.
 */
export function ownersNow(
  digests: ChunkDigests,
  epochs: readonly Epoch[],
  source: MspId,
  replicas: number,
): MspId[] {
  const [placed, ...later] = epochs;
  if (placed === undefined)
    throw new ProtocolError('bad-argument', 'epochs: expected at least one');
  let owners = ownersOf(digests, placed, source, replicas);
  let before = placed.epoch;
  for (const epoch of later) {
    if (epoch.epoch <= before) {
      throw new ProtocolError('bad-argument', `epochs: ${epoch.epoch} does not follow ${before}`);
    }
    before = epoch.epoch;
    owners = ownersAfter(owners, digests, epoch, source, replicas);
  }
  return owners;
}

function ownersAfter(
  owners: readonly MspId[],
  digests: ChunkDigests,
  epoch: Epoch,
  source: MspId,
  replicas: number,
): MspId[] {
  const present = new Set(epoch.ranges.map((range) => range.mspId));
  const others = present.size - (present.has(source) ? 1 : 0);
  const stays = (mspId: MspId) => present.has(mspId) && (mspId !== source || others < replicas);
  const chosen = new Set(owners.filter(stays));
  const places = Array.from({ length: Math.min(replicas, present.size) }, (_, turn) => {
    const owner = owners[turn];
    return owner !== undefined && chosen.has(owner) ? owner : null;
  });
  const next = places.map((place, turn) => {
    if (place !== null) return place;
    const successor = successorOf(successorWord(digests, epoch, turn), epoch, chosen, source);
    if (successor !== null) chosen.add(successor);
    return successor;
  });
  const named = next.filter((owner) => owner !== null);
  const needsSource = present.has(source) && others < replicas && !named.includes(source);
  return needsSource ? [...named, source] : named;
}

function successorWord(digests: ChunkDigests, { epoch }: Epoch, place: number): Uint8Array {
  return sha3_256(encodeCanonical([DOMAIN, digests.sha3, epoch, place]));
}

/** The first in range order from where the digest points that is not chosen and not the source. */
function successorOf(
  digest: Uint8Array,
  epoch: Epoch,
  chosen: ReadonlySet<MspId>,
  source: MspId,
): MspId | null {
  const { ranges } = epoch;
  const start = rangeIndexOf(epoch, digest);
  for (let step = 0; step < ranges.length; step++) {
    const mspId = ranges[(start + step) % ranges.length]?.mspId;
    if (mspId !== undefined && mspId !== source && !chosen.has(mspId)) return mspId;
  }
  return null;
}
