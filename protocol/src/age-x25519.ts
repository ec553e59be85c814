/**
 * How a file key (16 bytes) is wrapped to an X25519 recipient, and how it authenticates the header.
 *
 * `null` says "not for this identity"; a throw says "for X25519, but broken".
 * Source: age-encryption.org/v1, "The X25519 recipient type" and "Header MAC".
 */
import { chacha20poly1305 } from '@noble/ciphers/chacha.js';
import { hkdf } from '@noble/hashes/hkdf.js';
import { hmac } from '@noble/hashes/hmac.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { base64nopad } from '@scure/base';
import { decodeBase64, type Stanza } from './age-header.ts';
import { AGE_KEY_BYTES, type Random, recipientBytesOf, sharedSecretOf } from './age-keys.ts';
import { concatBytes, equalBytes, utf8 } from './bytes.ts';
import { ProtocolError } from './errors.ts';

/** Length of a file key, in bytes. */
export const FILE_KEY_BYTES = 16;
const TAG_BYTES = 16;
const TYPE = 'X25519';
const WRAP_INFO = utf8('age-encryption.org/v1/X25519');
const ZERO_NONCE = new Uint8Array(12);

/** Stanza that gives `fileKey` to the recipient (32 bytes). Throws `bad-key` for low order. */
export function wrapFileKey(fileKey: Uint8Array, recipient: Uint8Array, random: Random): Stanza {
  const ephemeral = random(AGE_KEY_BYTES);
  const share = recipientBytesOf(ephemeral);
  const shared = sharedSecretOf(ephemeral, recipient);
  const key = hkdf(sha256, shared, concatBytes(share, recipient), WRAP_INFO, 32);
  const body = chacha20poly1305(key, ZERO_NONCE).encrypt(fileKey);
  return { type: TYPE, args: [base64nopad.encode(share)], body };
}

/**
 * File key that one of `stanzas` holds for `identity`, or null. Throws ProtocolError `malformed` for
 * an X25519 stanza of a wrong shape and `bad-key` for a share of low order.
 */
export function unwrapFileKey(stanzas: readonly Stanza[], identity: Uint8Array): Uint8Array | null {
  const recipient = recipientBytesOf(identity);
  for (const stanza of stanzas) {
    if (stanza.type !== TYPE) continue;
    const share = shareOf(stanza);
    const shared = sharedSecretOf(identity, share);
    const key = hkdf(sha256, shared, concatBytes(share, recipient), WRAP_INFO, 32);
    const fileKey = tryOpen(key, stanza.body);
    if (fileKey !== null) return fileKey;
  }
  return null;
}

/** HMAC-SHA-256 (32 bytes) of a header's bytes up to `---`, under the file key. */
export function headerMac(fileKey: Uint8Array, macInput: Uint8Array): Uint8Array {
  return hmac(sha256, hkdf(sha256, fileKey, undefined, utf8('header'), 32), macInput);
}

/** Throws ProtocolError `bad-digest` unless `mac` is the header's. */
export function requireHeaderMac(fileKey: Uint8Array, macInput: Uint8Array, mac: Uint8Array): void {
  if (!equalBytes(headerMac(fileKey, macInput), mac)) {
    throw new ProtocolError('bad-digest', 'age header: the MAC does not match, it was altered');
  }
}

/** Key of the payload's STREAM, 32 bytes, from the file key and the payload's nonce (16 bytes). */
export function payloadKey(fileKey: Uint8Array, nonce: Uint8Array): Uint8Array {
  return hkdf(sha256, fileKey, nonce, utf8('payload'), 32);
}

function tryOpen(key: Uint8Array, body: Uint8Array): Uint8Array | null {
  try {
    return chacha20poly1305(key, ZERO_NONCE).decrypt(body);
  } catch {
    // A bad tag is how a stanza says that it is somebody else's.
    return null;
  }
}

function shareOf(stanza: Stanza): Uint8Array {
  const [text, ...more] = stanza.args;
  if (text === undefined || more.length > 0) {
    throw new ProtocolError('malformed', 'age header: X25519 stanza: expected one argument');
  }
  const share = decodeBase64(text, 'X25519 share');
  if (share.length !== AGE_KEY_BYTES || stanza.body.length !== FILE_KEY_BYTES + TAG_BYTES) {
    throw new ProtocolError(
      'malformed',
      `age header: X25519 stanza: expected 32 and 32 bytes, got ${share.length} and ${stanza.body.length}`,
    );
  }
  return share;
}
