/**
 * ChaCha20-Poly1305 (RFC 8439) by node:crypto: about ten times as fast as the pure JavaScript one.
 *
 * Same in and out as protocol's `nobleAead`, which tests compare it with.
 */
import { createCipheriv, createDecipheriv } from 'node:crypto';
import type { Aead } from '@blocktorrent/protocol/age.ts';
import { giveBack } from './files.ts';

const ALGORITHM = 'chacha20-poly1305';
const TAG_BYTES = 16;
const OPTIONS = { authTagLength: TAG_BYTES } as const;

/** For the hot path: sealing and opening files. */
export const nodeAead: Aead = {
  seal(key, nonce, plaintext) {
    const cipher = createCipheriv(ALGORITHM, key, nonce, OPTIONS);
    const ciphertext = cipher.update(plaintext);
    cipher.final();
    const sealed = Buffer.allocUnsafeSlow(ciphertext.length + TAG_BYTES);
    sealed.set(ciphertext);
    sealed.set(cipher.getAuthTag(), plaintext.length);
    giveBack(ciphertext);
    return sealed;
  },
  open(key, nonce, ciphertext) {
    const tagStart = ciphertext.length - TAG_BYTES;
    const decipher = createDecipheriv(ALGORITHM, key, nonce, OPTIONS);
    decipher.setAuthTag(ciphertext.subarray(tagStart));
    const plaintext = decipher.update(ciphertext.subarray(0, tagStart));
    decipher.final();
    return plaintext;
  },
};
