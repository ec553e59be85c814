/**
 * Deterministic CBOR (RFC 8949 §4.2.1), the only encoding that goes into a hash or a signature.
 *
 * In: null, booleans, numbers, strings, Uint8Array, arrays and plain objects with string keys.
 * Out: shortest forms, definite lengths, keys in bytewise order of their encodings.
 * Decoding takes exactly the bytes that encoding would have made, nothing else: no tag, no
 * undefined, no NaN or infinity, no integer beyond 2^53 - 1, no duplicate key, nothing behind.
 */
import { decode, encode, rfc8949EncodeOptions } from 'cborg';
import { equalBytes } from './bytes.ts';
import { ProtocolError } from './errors.ts';

const DEPTH_MAX = 16;
/** Values in one encoding, keys included: a master table of 16,384 chunks has some 20,000. */
const VALUES_MAX = 65_536;

const DECODE_OPTIONS = {
  strict: true,
  allowIndefinite: false,
  allowUndefined: false,
  allowInfinity: false,
  allowNaN: false,
  allowBigInt: false,
  rejectDuplicateMapKeys: true,
} as const;

/**
 * Canonical CBOR of `value`. Throws ProtocolError `bad-argument` for a value outside the subset
 * above (undefined, bigint, NaN, a lone surrogate, a class instance, more than 16 levels).
 */
export function encodeCanonical(value: unknown): Uint8Array {
  requireEncodable(value, 0);
  // cborg gives a Node Buffer for small values, whose memory is shared with others.
  return Uint8Array.from(encode(value, rfc8949EncodeOptions));
}

/**
 * The value of canonical CBOR. Throws ProtocolError `malformed` where the bytes are no CBOR of the
 * subset above, `too-large` for more than 65,536 values in it, and `not-canonical` where another
 * spelling of the same value is the right one. Byte strings inside may share memory with `bytes`.
 */
export function decodeCanonical(bytes: Uint8Array): unknown {
  requireFewValues(bytes);
  let value: unknown;
  let again: Uint8Array;
  try {
    value = decode(bytes, DECODE_OPTIONS);
    again = encodeCanonical(value);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new ProtocolError('malformed', `CBOR: ${reason}`, { cause });
  }
  if (!equalBytes(again, bytes)) {
    throw new ProtocolError('not-canonical', 'CBOR: not the deterministic encoding of its value');
  }
  return value;
}

/**
 * Follows the heads alone and makes nothing: four million empty maps fit into a message of ours, and
 * decoding them takes seconds and half a GiB. What is no CBOR is left to the decoder.
 */
function requireFewValues(bytes: Uint8Array): void {
  let count = 0;
  for (let at = 0; at < bytes.length; count += 1) {
    if (count === VALUES_MAX) {
      throw new ProtocolError('too-large', `CBOR: expected at most ${VALUES_MAX} values`);
    }
    const head = bytes[at] ?? 0;
    const info = head & 31;
    const argumentBytes = info < 24 || info > 27 ? 0 : 1 << (info - 24);
    let argument = argumentBytes === 0 ? info : 0;
    for (let i = 1; i <= argumentBytes; i += 1) argument = argument * 256 + (bytes[at + i] ?? 0);
    const isString = head >> 5 === 2 || head >> 5 === 3;
    at += 1 + argumentBytes + (isString ? argument : 0);
  }
}

function requireEncodable(value: unknown, depth: number): void {
  switch (typeof value) {
    case 'boolean':
      return;
    case 'number':
      if (Number.isSafeInteger(value) || (Number.isFinite(value) && !Number.isInteger(value))) {
        return;
      }
      throw unencodable(`number ${value}, expected finite and, if whole, within 2^53 - 1`);
    case 'string':
      if (value.isWellFormed()) return;
      throw unencodable('text with a lone surrogate');
    case 'object':
      requireEncodableObject(value, depth);
      return;
    default:
      throw unencodable(`a value of type ${typeof value}`);
  }
}

function requireEncodableObject(value: object | null, depth: number): void {
  if (value === null || value instanceof Uint8Array) return;
  if (depth >= DEPTH_MAX) throw unencodable(`more than ${DEPTH_MAX} levels`);
  if (Array.isArray(value)) {
    for (const item of value) requireEncodable(item, depth + 1);
    return;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) {
    throw unencodable('an object that is neither plain, an array nor Uint8Array');
  }
  for (const [key, item] of Object.entries(value)) {
    requireEncodable(key, depth + 1);
    requireEncodable(item, depth + 1);
  }
}

function unencodable(what: string): ProtocolError {
  return new ProtocolError('bad-argument', `CBOR: cannot encode ${what}`);
}
