/**
 * Hashed sharding (P §3.2.1): which organisation owns a chunk, and who holds a key's shards.
 *
 * In: an epoch's table of hash ranges and digests. Out: organisations, always distinct, in the
 * order in which the digests name them. Where a digest names one that cannot be taken (chosen
 * already, or the source), the next one in range order is taken instead. The source is taken only
 * where there are not enough others, and then last (design: PROTOCOL §2.4).
 */
import { sha3_256 } from '@noble/hashes/sha3.js';
import { fromHex, toHex } from './bytes.ts';
import { encodeCanonical } from './cbor.ts';
import type { ChunkDigests } from './digest.ts';
import { ProtocolError } from './errors.ts';
import type { Epoch, HashRange, Hex, MspId } from './ledger-api.ts';
import { LIMITS } from './limits.ts';

/** An organisation's share of the hash values, 1..1000 (`LIMITS.weightMax`). */
export interface Weight {
  readonly mspId: MspId;
  readonly weight: number;
}

/** Most owners that one chunk's digests can name: four 8-byte words of each of three digests. */
export const REPLICAS_MAX = 12;

/** Length of the part of a digest that places it, in bytes. */
const WORD_BYTES = 8;
const SPACE = 1n << 64n;
const HOLDER_DOMAIN = 'blocktorrent/holder/v1';

/**
 * The table of epoch `epoch`: the 64-bit space split in proportion to the weights, in order of
 * MSP id. Throws ProtocolError `bad-argument` on no members, a repeated one, or a weight out of
 * bounds.
 */
export function rangesOf(weights: readonly Weight[], epoch: number, openedAtMs: number): Epoch {
  requireInteger('epoch', epoch, 1);
  requireInteger('openedAtMs', openedAtMs, 0);
  if (weights.length === 0 || weights.length > LIMITS.membersMax) {
    throw new ProtocolError(
      'bad-argument',
      `ranges: expected 1..${LIMITS.membersMax} members, got ${weights.length}`,
    );
  }
  const sorted = [...weights].sort((a, b) => compareText(a.mspId, b.mspId));
  let total = 0n;
  for (const [index, { mspId, weight }] of sorted.entries()) {
    if (mspId === '' || sorted[index - 1]?.mspId === mspId) {
      throw new ProtocolError('bad-argument', `ranges: member "${mspId}" is empty or repeated`);
    }
    if (!Number.isInteger(weight) || weight < 1 || weight > LIMITS.weightMax) {
      throw new ProtocolError(
        'bad-argument',
        `ranges: ${mspId}'s weight must be 1..${LIMITS.weightMax}, got ${weight}`,
      );
    }
    total += BigInt(weight);
  }
  const ranges: HashRange[] = [];
  let before = 0n;
  for (const { mspId, weight } of sorted) {
    ranges.push({ mspId, start: ((SPACE * before) / total).toString(16).padStart(16, '0') });
    before += BigInt(weight);
  }
  return { epoch, ranges, openedAtMs };
}

/**
 * Index of the range that holds a digest's first 8 bytes (big-endian). Throws ProtocolError
 * `bad-argument` on a shorter digest or a table whose first range does not start at 0.
 */
export function rangeIndexOf(epoch: Epoch, digest: Uint8Array): number {
  if (digest.length < WORD_BYTES) {
    throw new ProtocolError('bad-argument', `digest: expected 8 bytes, got ${digest.length}`);
  }
  const { ranges } = epoch;
  if (ranges[0]?.start !== '0000000000000000') {
    throw new ProtocolError('bad-argument', `epoch ${epoch.epoch}: first range must start at 0`);
  }
  const word = toHex(digest.subarray(0, WORD_BYTES));
  let low = 0;
  let high = ranges.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    const start = ranges[middle]?.start ?? '';
    if (start <= word) low = middle;
    else high = middle - 1;
  }
  return low;
}

/**
 * The organisations that must keep a chunk, distinct, first the one that SHA3-256 names, then
 * SHA-384's and SHA-512's; past three, the digests' next 8 bytes are used in the same order.
 * The source is no owner where at least `replicas` others exist; otherwise all others and, last,
 * the source. Never more than the epoch has members.
 */
export function ownersOf(
  digests: ChunkDigests,
  epoch: Epoch,
  source: MspId,
  replicas: number,
): MspId[] {
  requireInteger('replicas', replicas, 1, REPLICAS_MAX);
  const three = [digests.sha3, digests.sha384, digests.sha512];
  return place(epoch, source, replicas, (turn) => {
    const word = Math.floor(turn / 3) * WORD_BYTES;
    return (three[turn % 3] ?? digests.sha3).subarray(word);
  });
}

/** How many owners each chunk of `source` has in `epoch`: `replicas` or all members if fewer. */
export function ownerCountOf(epoch: Epoch, replicas: number): number {
  return Math.min(replicas, epoch.ranges.length);
}

/**
 * The holders of shards 1..n of a file's key: placement of SHA3-256 over the file, the receipts'
 * nonces (16 bytes each, in any order) and the shard's index. Distinct; never the source unless
 * there are fewer than n others, then last; never more than the epoch has members.
 */
export function holdersOf(
  fileId: Hex,
  nonces: readonly Uint8Array[],
  epoch: Epoch,
  source: MspId,
  n: number,
): MspId[] {
  requireInteger('n', n, 1, LIMITS.shardsMax);
  const file = fromHex(fileId, 32);
  const sorted = nonces
    .map(toHex)
    .sort(compareText)
    .map((nonce) => fromHex(nonce));
  return place(epoch, source, n, (turn) =>
    sha3_256(encodeCanonical([HOLDER_DOMAIN, file, sorted, turn + 1])),
  );
}

/** Takes `count` organisations, each turn's digest naming where in range order to start. */
function place(
  epoch: Epoch,
  source: MspId,
  count: number,
  digestOf: (turn: number) => Uint8Array,
): MspId[] {
  const { ranges } = epoch;
  const others = ranges.filter((range) => range.mspId !== source).length;
  const chosen: MspId[] = [];
  for (let turn = 0; turn < Math.min(count, others); turn++) {
    const start = rangeIndexOf(epoch, digestOf(turn));
    for (let step = 0; step < ranges.length; step++) {
      const mspId = ranges[(start + step) % ranges.length]?.mspId;
      if (mspId === undefined || mspId === source || chosen.includes(mspId)) continue;
      chosen.push(mspId);
      break;
    }
  }
  if (chosen.length < count && others < ranges.length) chosen.push(source);
  return chosen;
}

/** Order by UTF-16 code units, the same on every machine. */
function compareText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

function requireInteger(name: string, value: number, min: number, max?: number): void {
  if (!Number.isSafeInteger(value) || value < min || (max !== undefined && value > max)) {
    throw new ProtocolError(
      'bad-argument',
      `${name}: expected a whole number ${min}..${max ?? ''}, got ${value}`,
    );
  }
}
