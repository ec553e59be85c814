/**
 * Sets of chunk indices as BitTorrent's bitfield (BEP 3): index 0 is the high bit of byte 0.
 *
 * A bitfield of `count` chunks has exactly ceil(count / 8) bytes and its spare bits are zero, so
 * that a set has one encoding; anything else is a ProtocolError `malformed`.
 */
import { ProtocolError } from './errors.ts';

/** Bitfield of `count` chunks in which exactly `indices` are set; repeats are harmless. */
export function bitfieldOf(indices: Iterable<number>, count: number): Uint8Array {
  requireCount(count);
  const bits = new Uint8Array(Math.ceil(count / 8));
  for (const index of indices) {
    if (!Number.isInteger(index) || index < 0 || index >= count) {
      throw new ProtocolError('bad-argument', `bitfield: index ${index} is not in 0..${count - 1}`);
    }
    bits[index >> 3] = (bits[index >> 3] ?? 0) | (0x80 >> (index & 7));
  }
  return bits;
}

/** Indices that are set, ascending. Throws `malformed` for a wrong length or a set spare bit. */
export function indicesOf(bits: Uint8Array, count: number): number[] {
  requireBitfield(bits, count);
  const indices: number[] = [];
  for (let index = 0; index < count; index++) {
    if (hasBit(bits, index)) indices.push(index);
  }
  return indices;
}

/** Whether `index` is set; false beyond the end. */
export function hasBit(bits: Uint8Array, index: number): boolean {
  return ((bits[index >> 3] ?? 0) & (0x80 >> (index & 7))) !== 0;
}

/** Throws `malformed` unless `bits` is a bitfield of `count` chunks: length and spare bits. */
export function requireBitfield(bits: Uint8Array, count: number): void {
  requireCount(count);
  const expected = Math.ceil(count / 8);
  if (bits.length !== expected) {
    throw new ProtocolError(
      'malformed',
      `bitfield: expected ${expected} bytes for ${count} chunks, got ${bits.length}`,
    );
  }
  const spareBits = expected * 8 - count;
  const last = bits[expected - 1] ?? 0;
  if ((last & ((1 << spareBits) - 1)) !== 0) {
    throw new ProtocolError('malformed', `bitfield: the last ${spareBits} bits must be zero`);
  }
}

function requireCount(count: number): void {
  if (!Number.isSafeInteger(count) || count < 0) {
    throw new ProtocolError('bad-argument', `bitfield: count ${count} is not a whole number >= 0`);
  }
}
