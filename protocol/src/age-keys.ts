/**
 * age's X25519 identities (32 secret bytes) and recipients (32 public bytes) and their Bech32 text.
 *
 * An identity of a file is *the key* of P §3.2.2. It is clamped when it is made, so that one key has
 * one form; an identity from elsewhere may be unclamped and works all the same. Compare recipients,
 * never identities. Source: age-encryption.org/v1, "The X25519 recipient type"; RFC 7748 §5.
 */
import { x25519 } from '@noble/curves/ed25519.js';
import { bytesToNumberLE } from '@noble/curves/utils.js';
import { bech32 } from '@scure/base';
import { ProtocolError } from './errors.ts';

/** Length of an identity and of a recipient, in bytes. */
export const AGE_KEY_BYTES = 32;

const FIELD_ORDER = 2n ** 255n - 19n;
/**
 * The u of every point of low order, on the curve and on its twist: X25519 of any key and one of
 * these is all zeros. Those of order 8 are known from "May the Fourth Be With You" (2017), §6.
 */
const LOW_ORDER: ReadonlySet<bigint> = new Set([
  0n,
  1n,
  FIELD_ORDER - 1n,
  325606250916557431795983626356110631294008115727848805560023387167927233504n,
  39382357235489614581723060781553021112529911719440698176882885853963445705823n,
]);

/** Source of unpredictable bytes; passed in, as the protocol has none of its own. */
export type Random = (byteCount: number) => Uint8Array;

/** Identity, clamped (RFC 7748 §5), from 32 random bytes; the argument is left as it is. */
export function identityFromRandom(random32: Uint8Array): Uint8Array {
  requireKey(random32, 'identity');
  const identity = random32.slice();
  identity[0] = (identity[0] ?? 0) & 0b1111_1000;
  identity[31] = ((identity[31] ?? 0) & 0b0111_1111) | 0b0100_0000;
  return identity;
}

/** `AGE-SECRET-KEY-1...` of an identity of 32 bytes. */
export function encodeIdentity(identity: Uint8Array): string {
  requireKey(identity, 'identity');
  return bech32.encodeFromBytes('age-secret-key-', identity).toUpperCase();
}

/** Identity of `AGE-SECRET-KEY-1...`. Throws ProtocolError `malformed`, without quoting the text. */
export function decodeIdentity(text: string): Uint8Array {
  if (!text.startsWith('AGE-SECRET-KEY-1')) {
    throw new ProtocolError('malformed', 'age identity: expected AGE-SECRET-KEY-1...');
  }
  return decodeKey(text, 'age-secret-key-', 'age identity');
}

/** Recipient (32 bytes) of an identity: X25519 of it and the base point. */
export function recipientBytesOf(identity: Uint8Array): Uint8Array {
  requireKey(identity, 'identity');
  return x25519.getPublicKey(identity);
}

/** `age1...` of an identity: public, and commits to the key. */
export function recipientOf(identity: Uint8Array): string {
  return encodeRecipient(recipientBytesOf(identity));
}

/** `age1...` of a recipient of 32 bytes. */
export function encodeRecipient(recipient: Uint8Array): string {
  requireKey(recipient, 'recipient');
  return bech32.encodeFromBytes('age', recipient);
}

/**
 * Recipient (32 bytes) of `age1...`. Throws ProtocolError `malformed` for other text and `bad-key`
 * for a point of low order, to which nothing can be encrypted.
 */
export function decodeRecipient(text: string): Uint8Array {
  if (!text.startsWith('age1')) {
    throw new ProtocolError('malformed', 'age recipient: expected age1...');
  }
  const recipient = decodeKey(text, 'age', 'age recipient');
  if (LOW_ORDER.has(fieldValueOf(recipient))) {
    throw new ProtocolError('bad-key', 'age recipient: the point has low order');
  }
  return recipient;
}

/** X25519 of a scalar and a point, 32 bytes. Throws ProtocolError `bad-key` where it is all zeros. */
export function sharedSecretOf(scalar: Uint8Array, point: Uint8Array): Uint8Array {
  try {
    return x25519.getSharedSecret(scalar, point);
  } catch (cause) {
    throw new ProtocolError('bad-key', 'X25519: the point has low order', { cause });
  }
}

function decodeKey(text: string, prefix: string, what: string): Uint8Array {
  let decoded: { prefix: string; bytes: Uint8Array } | undefined;
  try {
    decoded = bech32.decodeToBytes(text);
  } catch {
    // The library's message quotes the text, which may be secret: say no more than that it failed.
    decoded = undefined;
  }
  if (decoded?.prefix !== prefix || decoded.bytes.length !== AGE_KEY_BYTES) {
    throw new ProtocolError('malformed', `${what}: expected Bech32 of ${AGE_KEY_BYTES} bytes`);
  }
  return decoded.bytes;
}

/** The field element that X25519 reads: without the top bit, and reduced (RFC 7748 §5). */
function fieldValueOf(point: Uint8Array): bigint {
  return (bytesToNumberLE(point) & (2n ** 255n - 1n)) % FIELD_ORDER;
}

function requireKey(key: Uint8Array, what: string): void {
  if (key.length !== AGE_KEY_BYTES) {
    throw new ProtocolError(
      'bad-key',
      `${what}: expected ${AGE_KEY_BYTES} bytes, got ${key.length}`,
    );
  }
}
