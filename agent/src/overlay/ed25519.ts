/** Ed25519 (RFC 8032) by node:crypto over raw keys, as BEP 44 has them. */
import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto';

/** DER up to the raw key (RFC 8410). */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');
const SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex');

/** @param seed 32 bytes */
export function privateKeyOf(seed: Uint8Array): KeyObject {
  return createPrivateKey({
    key: Buffer.concat([PKCS8_PREFIX, seed]),
    format: 'der',
    type: 'pkcs8',
  });
}

/** Raw public key, 32 bytes. */
export function rawPublicKeyOf(privateKey: KeyObject): Buffer {
  const spki = createPublicKey(privateKey).export({ format: 'der', type: 'spki' });
  return spki.subarray(SPKI_PREFIX.length);
}

/** Signature, 64 bytes. */
export function signRaw(privateKey: KeyObject, input: Uint8Array): Buffer {
  return sign(null, input, privateKey);
}

/** False for anything that is no good signature, whatever its shape. */
export function verifyRaw(
  publicKey: Uint8Array,
  signature: Uint8Array,
  input: Uint8Array,
): boolean {
  if (publicKey.length !== 32 || signature.length !== 64) return false;
  const key = createPublicKey({
    key: Buffer.concat([SPKI_PREFIX, publicKey]),
    format: 'der',
    type: 'spki',
  });
  return verify(null, input, key, signature);
}
