/**
 * What the overlay key signs, and how.
 *
 * Every signature is Ed25519 (RFC 8032) over canonical CBOR of [domain, channel, body]: the domain
 * keeps one kind of message from passing as another, the channel one consortium's from another's.
 * Verification is the strict one (not ZIP 215): no signature has two forms, no key of small order.
 */
import { ed25519 } from '@noble/curves/ed25519.js';
import { encodeCanonical } from './cbor.ts';
import { ProtocolError } from './errors.ts';

/** What is being signed; the version is that of the body's format. */
export type Domain =
  | 'blocktorrent/manifest/v1'
  | 'blocktorrent/receipt/v1'
  | 'blocktorrent/address/v1'
  | 'blocktorrent/challenge/v1'
  | 'blocktorrent/fault/v1';

/** Length of an Ed25519 seed and of a public key, in bytes. */
export const KEY_BYTES = 32;
/** Length of an Ed25519 signature, in bytes. */
export const SIGNATURE_BYTES = 64;

/** The bytes to sign: canonical CBOR of [domain, channel, body]. */
export function signingInput(domain: Domain, channel: string, body: Uint8Array): Uint8Array {
  return encodeCanonical([domain, channel, body]);
}

/** Ed25519 signature (64 bytes) of `input` by the 32-byte seed; the same each time. */
export function sign(seed: Uint8Array, input: Uint8Array): Uint8Array {
  requireSeed(seed);
  return ed25519.sign(input, seed);
}

/**
 * Whether `signature` (64 bytes) over `input` is by the owner of `publicKey` (32 bytes).
 * Anything malformed, including a wrong length, is simply not a valid signature.
 */
export function verify(publicKey: Uint8Array, signature: Uint8Array, input: Uint8Array): boolean {
  if (publicKey.length !== KEY_BYTES || signature.length !== SIGNATURE_BYTES) return false;
  return ed25519.verify(signature, input, publicKey, { zip215: false });
}

/** Public key (32 bytes) of the 32-byte seed. Throws ProtocolError `bad-key` on another length. */
export function publicKeyOf(seed: Uint8Array): Uint8Array {
  requireSeed(seed);
  return ed25519.getPublicKey(seed);
}

function requireSeed(seed: Uint8Array): void {
  if (seed.length !== KEY_BYTES) {
    throw new ProtocolError('bad-key', `seed: expected ${KEY_BYTES} bytes, got ${seed.length}`);
  }
}
