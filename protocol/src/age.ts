/**
 * Files in the age v1 format with X25519 recipients, whole or streamed.
 *
 * A stream's plaintext comes in authenticated chunks, but only a generator that ended without an
 * error has shown that nothing was cut off: take no result as whole before that. Encryption draws
 * the file key (16 bytes), one ephemeral key a recipient (32), then the nonce (16) from `random`.
 * Source: age-encryption.org/v1 (C2SP age.md); the file's identity is the key of P §3.2.2.
 */
import {
  encodeHeader,
  encodeMacInput,
  headerBytesOf,
  parseHeader,
  takeHeader,
} from './age-header.ts';
import { decodeRecipient, type Random } from './age-keys.ts';
import {
  type Aead,
  nobleAead,
  STREAM_CHUNK_BYTES,
  STREAM_TAG_BYTES,
  StreamOpener,
  StreamSealer,
} from './age-stream.ts';
import {
  FILE_KEY_BYTES,
  headerMac,
  payloadKey,
  requireHeaderMac,
  unwrapFileKey,
  wrapFileKey,
} from './age-x25519.ts';
import { ByteReader } from './byte-reader.ts';
import { concatBytes } from './bytes.ts';
import { ProtocolError } from './errors.ts';
import { LIMITS } from './limits.ts';

export {
  decodeIdentity,
  decodeRecipient,
  encodeIdentity,
  encodeRecipient,
  identityFromRandom,
  type Random,
  recipientOf,
} from './age-keys.ts';
export { type Aead, nobleAead } from './age-stream.ts';

const PAYLOAD_NONCE_BYTES = 16;
/** `age-encryption.org/v1` and `--- ` with 43 characters of MAC, each with a newline. */
const HEADER_FIXED_BYTES = 22 + 48;
/** `-> X25519 ` with 43 characters of share, and 43 of body, each with a newline. */
const STANZA_BYTES = 54 + 44;

/** An age file of `plaintext` to 1..64 recipients (`age1...`). Throws ProtocolError on a bad one. */
export function encrypt(
  plaintext: Uint8Array,
  recipients: readonly string[],
  random: Random,
  aead: Aead = nobleAead,
): Uint8Array {
  const { opening, sealer } = beginEncryption(recipients, random, aead);
  const parts = [opening];
  let start = 0;
  do {
    const end = Math.min(start + STREAM_CHUNK_BYTES, plaintext.length);
    parts.push(sealer.seal(plaintext.subarray(start, end), end === plaintext.length));
    start = end;
  } while (start < plaintext.length);
  return concatBytes(...parts);
}

/**
 * Plaintext of an age file, with the first identity that one of its stanzas is for.
 * Throws ProtocolError `no-identity-matched`; `bad-version`, `malformed`, `too-large`, `bad-key` or
 * `bad-digest` for a bad header; `truncated`, `bad-digest` or `malformed` for a bad payload.
 */
export function decrypt(
  file: Uint8Array,
  identities: readonly Uint8Array[],
  aead: Aead = nobleAead,
): Uint8Array {
  const header = headerBytesOf(file);
  const fileKey = openHeader(header, identities);
  const payloadStart = header.length + PAYLOAD_NONCE_BYTES;
  const opener = openerOf(fileKey, file.subarray(header.length, payloadStart), aead);
  const parts: Uint8Array[] = [];
  let start = payloadStart;
  do {
    const end = Math.min(start + STREAM_CHUNK_BYTES + STREAM_TAG_BYTES, file.length);
    const { chunk, fault } = opener.open(file.subarray(start, end), end === file.length);
    if (fault !== null) throw fault;
    parts.push(chunk);
    start = end;
  } while (start < file.length);
  return concatBytes(...parts);
}

/**
 * The age file of a source of any length, in pieces of at most 64 KiB + 16 bytes and a header.
 * Holds one chunk at a time, and asks the source for more only when asked for more itself.
 */
export async function* encryptStream(
  source: AsyncIterable<Uint8Array>,
  recipients: readonly string[],
  random: Random,
  aead: Aead = nobleAead,
): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = new ByteReader(source);
  try {
    const { opening, sealer } = beginEncryption(recipients, random, aead);
    yield opening;
    for (let last = false; !last; ) {
      const chunk = await reader.take(STREAM_CHUNK_BYTES);
      last = await reader.atEnd();
      yield sealer.seal(chunk, last);
    }
  } finally {
    await reader.close();
  }
}

/**
 * The plaintext of a streamed age file, in authenticated pieces of at most 64 KiB; errors as
 * `decrypt`. Whether the file was cut off between two pieces shows only after the last one.
 */
export async function* decryptStream(
  source: AsyncIterable<Uint8Array>,
  identities: readonly Uint8Array[],
  aead: Aead = nobleAead,
): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = new ByteReader(source);
  try {
    const fileKey = openHeader(await takeHeader(reader), identities);
    const opener = openerOf(fileKey, await reader.take(PAYLOAD_NONCE_BYTES), aead);
    for (let last = false; !last; ) {
      const sealed = await reader.take(STREAM_CHUNK_BYTES + STREAM_TAG_BYTES);
      last = await reader.atEnd();
      const { chunk, fault } = opener.open(sealed, last);
      if (chunk.length > 0) yield chunk;
      if (fault !== null) throw fault;
    }
  } finally {
    await reader.close();
  }
}

/**
 * Size in bytes of the age file of `plainBytes` to `recipientCount` X25519 recipients: a header of
 * fixed size, the nonce, and a tag for each 64 KiB.
 */
export function encryptedBytesOf(plainBytes: number, recipientCount: number): number {
  const chunkCount = Math.max(1, Math.ceil(plainBytes / STREAM_CHUNK_BYTES));
  const headerBytes = HEADER_FIXED_BYTES + STANZA_BYTES * recipientCount;
  return headerBytes + PAYLOAD_NONCE_BYTES + plainBytes + STREAM_TAG_BYTES * chunkCount;
}

function beginEncryption(
  recipients: readonly string[],
  random: Random,
  aead: Aead,
): { opening: Uint8Array; sealer: StreamSealer } {
  if (recipients.length === 0 || recipients.length > LIMITS.recipientsPerFileMax) {
    throw new ProtocolError(
      'bad-argument',
      `age: expected 1..${LIMITS.recipientsPerFileMax} recipients, got ${recipients.length}`,
    );
  }
  const fileKey = random(FILE_KEY_BYTES);
  const stanzas = recipients.map((text) => wrapFileKey(fileKey, decodeRecipient(text), random));
  const macInput = encodeMacInput(stanzas);
  const nonce = random(PAYLOAD_NONCE_BYTES);
  return {
    opening: concatBytes(encodeHeader(macInput, headerMac(fileKey, macInput)), nonce),
    sealer: new StreamSealer(payloadKey(fileKey, nonce), aead),
  };
}

function openHeader(bytes: Uint8Array, identities: readonly Uint8Array[]): Uint8Array {
  const { stanzas, mac, macInput } = parseHeader(bytes);
  for (const identity of identities) {
    const fileKey = unwrapFileKey(stanzas, identity);
    if (fileKey === null) continue;
    requireHeaderMac(fileKey, macInput, mac);
    return fileKey;
  }
  throw new ProtocolError('no-identity-matched', 'age: the file is for none of the identities');
}

function openerOf(fileKey: Uint8Array, nonce: Uint8Array, aead: Aead): StreamOpener {
  if (nonce.length < PAYLOAD_NONCE_BYTES) {
    throw new ProtocolError(
      'truncated',
      `age payload: expected a nonce of ${PAYLOAD_NONCE_BYTES} bytes, got ${nonce.length}`,
    );
  }
  return new StreamOpener(payloadKey(fileKey, nonce), aead);
}
