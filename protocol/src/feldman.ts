/**
 * Feldman's verifiable secret sharing on edwards25519: the key scheme `feldman-25519`.
 *
 * In: an X25519 identity a (clamped). Its s = a mod l is shared by a polynomial of degree k - 1 over
 * the scalar field; the public commitments C_j = c_j * B let each holder check s_i * B = sum C_j i^j
 * alone. C_0's Montgomery u = (1 + y) / (1 - y) is the file's age recipient, so shares that fit the
 * commitments rebuild that recipient's key, and nobody learns it. Beyond P §3.2.2: PROTOCOL §4.
 * Sources: Feldman 1987; RFC 7748 §4.1 (the map), RFC 8032 §5.1.3 (strict decoding).
 */
import type { EdwardsPoint } from '@noble/curves/abstract/edwards.js';
import { ed25519 } from '@noble/curves/ed25519.js';
import { bytesToNumberLE, numberToBytesLE } from '@noble/curves/utils.js';
import { identityFromRandom } from './age-keys.ts';
import { equalBytes } from './bytes.ts';
import { ProtocolError } from './errors.ts';
import { LIMITS } from './limits.ts';
import {
  COEFFICIENT_BYTES,
  type Coefficients,
  type IndexedShare,
  requireSecret,
  requireShares,
  requireThreshold,
  SECRET_BYTES,
} from './sharing.ts';

/** Length of a share: a scalar below l, little-endian. */
export const FELDMAN_SHARE_BYTES = 32;
/** Length of a commitment: a compressed point. */
export const COMMITMENT_BYTES = 32;

const { Point } = ed25519;
const { Fp, Fn } = Point;
const COFACTOR = 8n;
/** 8l: the order of the whole group, and above every clamped scalar. */
const GROUP_ORDER = COFACTOR * Fn.ORDER;
const CLAMPED_MIN = 1n << 254n;
const CLAMPED_END = 1n << 255n;
/**
 * The base point with a table of its own, wider than the library's and without its random blinding:
 * made at the first deal or check, and then a multiplication is 33 additions, whatever the scalar.
 */
const BASE = Point.fromAffine(Point.BASE.toAffine()).precompute(8);

/** Commitments that `openCommitments` has found to be good; only it makes them. */
export interface Commitments {
  readonly points: readonly EdwardsPoint[];
}

/** A share, its place, and the commitments that it must fit. */
export interface CommittedShare extends IndexedShare {
  readonly commitments: Commitments;
}

/** What dealing gives. */
export interface FeldmanDeal {
  /** Share i + 1. */
  readonly shares: Uint8Array[];
  /** C_0..C_{k-1}. */
  readonly commitments: Uint8Array[];
  /** Montgomery u of C_0: the recipient of the identity, 32 bytes. */
  readonly recipient: Uint8Array;
}

/**
 * Splits an identity (32 bytes, clamped here if it was not) into n shares, any k of which rebuild
 * it. Throws ProtocolError `bad-argument` unless 2 <= k <= n <= 64 and the sizes fit.
 */
export function dealFeldman(
  identity: Uint8Array,
  k: number,
  n: number,
  coefficients: Coefficients,
): FeldmanDeal {
  requireSecret(identity);
  requireThreshold(k, n);
  const polynomial = [Fn.create(bytesToNumberLE(identityFromRandom(identity)))];
  for (let index = 1; index < k; index++) polynomial.push(reduced(coefficients(index), index));
  const points = polynomial.map((coefficient) => BASE.multiply(coefficient));
  const [constant] = points;
  if (constant === undefined) throw new Error('a polynomial without a constant term');
  return {
    shares: Array.from({ length: n }, (_, i) => Fn.toBytes(valueAt(polynomial, BigInt(i + 1)))),
    commitments: points.map((point) => point.toBytes()),
    recipient: montgomeryOf(constant),
  };
}

/**
 * The commitments of a dealing with threshold k to the key of `recipient` (32 bytes). Throws
 * ProtocolError `bad-commitment` unless they are exactly k canonical encodings (not ZIP 215) of
 * points of the prime-order subgroup other than the identity, and `bad-key` where C_0 is not
 * the recipient's.
 *
 * `recorded` says that all this was checked when the dealing was recorded: then only C_0's subgroup
 * is looked at again, which is what it takes to check a share. The share's equation lies in the
 * subgroup, so it holds for the commitments' parts there or not at all.
 */
export function openCommitments(
  encoded: readonly Uint8Array[],
  k: number,
  recipient: Uint8Array,
  recorded = false,
): Commitments {
  if (encoded.length !== k || k < 1 || k > LIMITS.shardsMax) {
    throw new ProtocolError(
      'bad-commitment',
      `expected k = ${k} commitments, got ${encoded.length}`,
    );
  }
  const points = encoded.map((one, index) => openPoint(one, index, recorded && index > 0));
  const [constant] = points;
  if (constant === undefined || !equalBytes(montgomeryOf(constant), recipient)) {
    throw new ProtocolError('bad-key', 'commitment 0 is not that of the recipient');
  }
  return { points };
}

/**
 * Checks one share, `index` from 1, by s_i * B = sum C_j * i^j. Throws ProtocolError `bad-shard`
 * where it does not hold, or the share is no scalar below l.
 */
export function verifyFeldmanShare({ index, share, commitments }: CommittedShare): void {
  requireIndex(index);
  const scalar = scalarOf(share, index);
  const shown = scalar === 0n ? Point.ZERO : BASE.multiply(scalar);
  const factor = BigInt(index);
  let committed = Point.ZERO;
  for (const point of commitments.points.toReversed()) {
    committed = committed.multiplyUnsafe(factor).add(point);
  }
  if (!shown.equals(committed)) {
    throw new ProtocolError('bad-shard', `share ${index} does not fit the commitments`);
  }
}

/**
 * The identity behind exactly k shares, in clamped form: the number a below 8l with a = s mod l and
 * a = 0 mod 8, or 8l - a, as u forgets the sign. Other shares than k right ones give another
 * identity or an error: compare its recipient. Throws ProtocolError `bad-shard` on a share that is
 * none, on a repeated or impossible index, and `bad-key` where neither number has clamped form.
 */
export function rebuildFeldman(shares: readonly IndexedShare[]): Uint8Array {
  requireShares(shares, FELDMAN_SHARE_BYTES, LIMITS.shardsMax);
  let secret = 0n;
  for (const { index, share } of shares) {
    let numerator = 1n;
    let denominator = 1n;
    for (const other of shares) {
      if (other.index === index) continue;
      numerator = Fn.mul(numerator, BigInt(other.index));
      denominator = Fn.mul(denominator, Fn.create(BigInt(other.index - index)));
    }
    const weight = Fn.mul(numerator, Fn.inv(denominator));
    secret = Fn.add(secret, Fn.mul(scalarOf(share, index), weight));
  }
  const scalar = COFACTOR * Fn.mul(secret, Fn.inv(COFACTOR));
  const clamped = [scalar, GROUP_ORDER - scalar].find(
    (one) => one >= CLAMPED_MIN && one < CLAMPED_END,
  );
  if (clamped === undefined) {
    throw new ProtocolError('bad-key', 'the shared secret is no X25519 key in clamped form');
  }
  return numberToBytesLE(clamped, SECRET_BYTES);
}

/** The polynomial's value at x, by Horner's rule. */
function valueAt(polynomial: readonly bigint[], x: bigint): bigint {
  return polynomial.reduceRight((value, coefficient) => Fn.add(Fn.mul(value, x), coefficient), 0n);
}

function reduced(bytes: Uint8Array, index: number): bigint {
  if (bytes.length !== COEFFICIENT_BYTES) {
    throw new ProtocolError(
      'bad-argument',
      `coefficient ${index}: expected ${COEFFICIENT_BYTES} bytes, got ${bytes.length}`,
    );
  }
  const coefficient = Fn.create(bytesToNumberLE(bytes));
  if (coefficient === 0n) {
    throw new ProtocolError('bad-argument', `coefficient ${index} is zero: take other entropy`);
  }
  return coefficient;
}

function openPoint(encoded: Uint8Array, index: number, inSubgroup: boolean): EdwardsPoint {
  let point: EdwardsPoint;
  try {
    point = Point.fromBytes(encoded, false);
  } catch (cause) {
    throw new ProtocolError('bad-commitment', `commitment ${index} is no canonical point`, {
      cause,
    });
  }
  if (point.is0() || !(inSubgroup || point.isTorsionFree())) {
    throw new ProtocolError(
      'bad-commitment',
      `commitment ${index} is the identity, or not in the prime-order subgroup`,
    );
  }
  return point;
}

function montgomeryOf({ Y, Z }: EdwardsPoint): Uint8Array {
  return Fp.toBytes(Fp.div(Fp.add(Z, Y), Fp.sub(Z, Y)));
}

function scalarOf(share: Uint8Array, index: number): bigint {
  if (share.length !== FELDMAN_SHARE_BYTES) {
    throw new ProtocolError(
      'bad-shard',
      `share ${index}: expected ${FELDMAN_SHARE_BYTES} bytes, got ${share.length}`,
    );
  }
  const scalar = bytesToNumberLE(share);
  if (scalar >= Fn.ORDER) {
    throw new ProtocolError('bad-shard', `share ${index} is not below the group's order`);
  }
  return scalar;
}

function requireIndex(index: number): void {
  if (!Number.isInteger(index) || index < 1 || index > LIMITS.shardsMax) {
    throw new ProtocolError('bad-shard', `share index ${index} is not in 1..${LIMITS.shardsMax}`);
  }
}
