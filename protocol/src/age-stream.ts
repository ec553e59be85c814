/**
 * age's payload: STREAM over ChaCha20-Poly1305 in chunks of 64 KiB.
 *
 * The nonce is an 11-byte counter and a flag that marks the last chunk, so that chunks can be
 * neither moved nor left out, and an end that is cut off shows. The last chunk is never empty,
 * except that of an empty file. The cipher is pluggable; each use has a fresh key.
 * Source: age-encryption.org/v1, "Payload".
 */
import { chacha20poly1305 } from '@noble/ciphers/chacha.js';
import { ProtocolError } from './errors.ts';

/** Plaintext bytes of every chunk of the STREAM but the last. */
export const STREAM_CHUNK_BYTES = 64 * 1024;
/** Poly1305 tag behind each chunk, in bytes. */
export const STREAM_TAG_BYTES = 16;

/** ChaCha20-Poly1305 (RFC 8439): 32-byte key, 12-byte nonce, 16-byte tag behind the ciphertext. */
export interface Aead {
  seal(key: Uint8Array, nonce: Uint8Array, plaintext: Uint8Array): Uint8Array;
  /** Throws, whatever it likes, when the tag is not right. */
  open(key: Uint8Array, nonce: Uint8Array, ciphertext: Uint8Array): Uint8Array;
}

/** Pure JavaScript, for places without node:crypto, and as a cross-check of it. */
export const nobleAead: Aead = {
  seal: (key, nonce, plaintext) => chacha20poly1305(key, nonce).encrypt(plaintext),
  open: (key, nonce, ciphertext) => chacha20poly1305(key, nonce).decrypt(ciphertext),
};

/** Encrypts a payload's chunks in their order; one sealer a key. */
export class StreamSealer {
  readonly #key: Uint8Array;
  readonly #aead: Aead;
  readonly #counter = new StreamCounter();

  constructor(key: Uint8Array, aead: Aead) {
    this.#key = key;
    this.#aead = aead;
  }

  /** The next chunk, sealed: 16 bytes longer. All but the last are exactly 64 KiB. */
  seal(chunk: Uint8Array, last: boolean): Uint8Array {
    return this.#aead.seal(this.#key, this.#counter.next(last), chunk);
  }
}

/** Decrypts a payload's chunks in their order; one opener a key. */
export class StreamOpener {
  readonly #key: Uint8Array;
  readonly #aead: Aead;
  readonly #counter = new StreamCounter();

  constructor(key: Uint8Array, aead: Aead) {
    this.#key = key;
    this.#aead = aead;
  }

  /**
   * The next chunk in clear, and what is wrong with where it stands: an authentic chunk that should
   * not be the last is `truncated`, one that should be is `malformed`, as is an empty last one.
   * Throws ProtocolError `bad-digest` where the tag is wrong, and `truncated` where there is none
   * or a short chunk claims that more follows.
   */
  open(sealed: Uint8Array, last: boolean): { chunk: Uint8Array; fault: ProtocolError | null } {
    const index = this.#counter.index;
    if (sealed.length < STREAM_TAG_BYTES) {
      throw new ProtocolError('truncated', `age payload: chunk ${index} is shorter than its tag`);
    }
    const nonce = this.#counter.next(last);
    const chunk = this.#tryOpen(nonce, sealed);
    if (chunk !== null) {
      const isEmpty = last && index > 0 && chunk.length === 0;
      return { chunk, fault: isEmpty ? malformed(`the last chunk, ${index}, is empty`) : null };
    }
    nonce[nonce.length - 1] = last ? 0 : 1;
    const misplaced = this.#tryOpen(nonce, sealed);
    if (misplaced === null) {
      throw new ProtocolError('bad-digest', `age payload: chunk ${index} was altered or moved`);
    }
    const fault = last
      ? new ProtocolError('truncated', `age payload: ends at chunk ${index}, which is not the last`)
      : malformed(`bytes after the last chunk, ${index}`);
    if (misplaced.length < STREAM_CHUNK_BYTES && last) throw fault;
    return { chunk: misplaced, fault };
  }

  #tryOpen(nonce: Uint8Array, sealed: Uint8Array): Uint8Array | null {
    try {
      return this.#aead.open(this.#key, nonce, sealed);
    } catch {
      // The one thing that opening can fail at is the tag; the caller says what that means.
      return null;
    }
  }
}

/** Nonces of one STREAM: 11 bytes of counter, big-endian, and 1 for the last chunk, else 0. */
class StreamCounter {
  #next = 0;

  /** Number of the chunk that comes next, from 0. */
  get index(): number {
    return this.#next;
  }

  next(last: boolean): Uint8Array {
    const nonce = new Uint8Array(12);
    const view = new DataView(nonce.buffer);
    view.setBigUint64(3, BigInt(this.#next));
    view.setUint8(11, last ? 1 : 0);
    this.#next++;
    return nonce;
  }
}

function malformed(what: string): ProtocolError {
  return new ProtocolError('malformed', `age payload: ${what}`);
}
