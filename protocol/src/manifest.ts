/**
 * The manifest: what a file is, chunk by chunk, signed by its source when distribution starts.
 *
 * Canonical CBOR; fileId = SHA-256 of those bytes. Decoding checks every bound and that the parts
 * agree: the infodict's length, piece length and pieces with the ciphertext's size and the digests
 * (design: PROTOCOL §2.3). Whatever decodes, encodes to the same bytes.
 */
import { sha256 } from '@noble/hashes/sha2.js';
import { decodeRecipient } from './age.ts';
import { fromHex, toHex } from './bytes.ts';
import { decodeCanonical, encodeCanonical } from './cbor.ts';
import { chunkCountOf, decodeInfo } from './chunking.ts';
import { type ChunkDigests, DIGEST_BYTES, unpackDigests } from './digest.ts';
import { ProtocolError } from './errors.ts';
import { Fields } from './fields.ts';
import type { Hex, MspId } from './ledger-api.ts';
import { LIMITS } from './limits.ts';
import { sign, signingInput, verify } from './signing.ts';

/** Everything that is public about a file before it is recorded. */
export interface Manifest {
  readonly version: 1;
  readonly channel: string;
  readonly source: MspId;
  /** Peer name of the gateway whose chain the file extends. */
  readonly gateway: string;
  /** Position in the gateway's chain, from 1. */
  readonly seq: number;
  /** fileId of `seq - 1`; 64 zeros at 1. */
  readonly previous: Hex;
  readonly kind: 'batch' | 'file';
  /** Epoch of the chunks' placement. */
  readonly epoch: number;
  /** When it was signed, by the source's clock. */
  readonly timeMs: number;
  /** `age1...` of the file's own identity: commits to the key. */
  readonly recipient: string;
  readonly ciphertextBytes: number;
  /** 32 bytes. */
  readonly ciphertextSha256: Uint8Array;
  /** Bencoded infodict (`chunking.ts`). */
  readonly info: Uint8Array;
  /** 144 bytes for each chunk (`packDigests`). */
  readonly digests: Uint8Array;
}

/** A manifest on its way: its canonical bytes, and who signed them. */
export interface SignedManifest {
  readonly manifest: Uint8Array;
  /** Ed25519, 64 bytes. */
  readonly signature: Uint8Array;
  readonly mspId: MspId;
  readonly peer: string;
}

/** `previous` of the first file of a chain. */
export const CHAIN_ROOT: Hex = '0'.repeat(64);

const KEYS = [
  'version',
  'channel',
  'source',
  'gateway',
  'seq',
  'previous',
  'kind',
  'epoch',
  'timeMs',
  'recipient',
  'ciphertextBytes',
  'ciphertextSha256',
  'info',
  'digests',
] as const;
const INFO_BYTES_MAX = 512 * 1024;

/** Canonical CBOR of `m`. Throws ProtocolError where it breaks a bound or contradicts itself. */
export function encodeManifest(m: Manifest): Uint8Array {
  const bytes = encodeCanonical({ ...m, previous: fromHex(m.previous, 32) });
  decodeManifest(bytes);
  return bytes;
}

/** The manifest in `bytes`; ProtocolError `malformed`, `too-large`, `not-canonical` or `bad-version`. */
export function decodeManifest(bytes: Uint8Array): Manifest {
  if (bytes.length > LIMITS.manifestBytesMax) {
    throw new ProtocolError(
      'too-large',
      `manifest: expected at most ${LIMITS.manifestBytesMax} bytes, got ${bytes.length}`,
    );
  }
  const fields = new Fields('manifest', decodeCanonical(bytes), KEYS);
  const manifest: Manifest = {
    version: fields.version('version', 1),
    channel: fields.text('channel', 249),
    source: fields.text('source'),
    gateway: fields.text('gateway'),
    seq: fields.integer('seq', 1, Number.MAX_SAFE_INTEGER),
    previous: toHex(fields.bytes('previous', 32)),
    kind: fields.oneOf('kind', ['batch', 'file']),
    epoch: fields.integer('epoch', 1, Number.MAX_SAFE_INTEGER),
    timeMs: fields.integer('timeMs', 0, Number.MAX_SAFE_INTEGER),
    recipient: fields.text('recipient', 128),
    ciphertextBytes: fields.integer('ciphertextBytes', 1, LIMITS.fileBytesMax),
    ciphertextSha256: fields.bytes('ciphertextSha256', 32),
    info: fields.bytesWithin('info', 1, INFO_BYTES_MAX),
    digests: fields.bytesWithin('digests', DIGEST_BYTES, DIGEST_BYTES * LIMITS.chunksPerFileMax),
  };
  requireAgreement(manifest);
  return manifest;
}

/** Name of the file whose manifest has these canonical bytes: SHA-256. */
export function fileIdOf(manifestBytes: Uint8Array): Hex {
  return toHex(sha256(manifestBytes));
}

/** How many chunks the file has. */
export function manifestChunkCount(manifest: Manifest): number {
  return manifest.digests.length / DIGEST_BYTES;
}

/** The digests of chunk `index` (from 0). Throws ProtocolError `bad-argument` past the end. */
export function manifestChunkDigests(manifest: Manifest, index: number): ChunkDigests {
  const count = manifestChunkCount(manifest);
  if (!Number.isInteger(index) || index < 0 || index >= count) {
    throw new ProtocolError('bad-argument', `chunk ${index} is not in 0..${count - 1}`);
  }
  return unpackDigests(manifest.digests.subarray(index * DIGEST_BYTES, (index + 1) * DIGEST_BYTES));
}

/** Signs canonical manifest bytes as the source's gateway, with its 32-byte overlay seed. */
export function signManifest(manifestBytes: Uint8Array, seed: Uint8Array): SignedManifest {
  const { channel, source, gateway } = decodeManifest(manifestBytes);
  const input = signingInput('blocktorrent/manifest/v1', channel, manifestBytes);
  return { manifest: manifestBytes, signature: sign(seed, input), mspId: source, peer: gateway };
}

/**
 * The manifest that `signed` carries, if the source's gateway signed it with one of `overlayKeys`
 * (32 bytes each, from the ledger: `countingKeys`). Throws ProtocolError `bad-signature` otherwise,
 * also where it was sent in the name of another peer than its own gateway.
 */
export function verifyManifest(
  signed: SignedManifest,
  overlayKeys: readonly Uint8Array[],
): Manifest {
  const manifest = decodeManifest(signed.manifest);
  if (signed.mspId !== manifest.source || signed.peer !== manifest.gateway) {
    throw new ProtocolError(
      'bad-signature',
      `manifest of ${manifest.source}/${manifest.gateway} is signed as ${signed.mspId}/${signed.peer}`,
    );
  }
  const input = signingInput('blocktorrent/manifest/v1', manifest.channel, signed.manifest);
  if (!overlayKeys.some((key) => verify(key, signed.signature, input))) {
    throw new ProtocolError(
      'bad-signature',
      `manifest ${fileIdOf(signed.manifest)} is not signed by ${signed.mspId}/${signed.peer}`,
    );
  }
  return manifest;
}

function requireAgreement(manifest: Manifest): void {
  decodeRecipient(manifest.recipient);
  if ((manifest.seq === 1) !== (manifest.previous === CHAIN_ROOT)) {
    throw new ProtocolError(
      'malformed',
      `manifest: previous must be ${CHAIN_ROOT.length} zeros exactly at seq 1, seq is ${manifest.seq}`,
    );
  }
  const info = decodeInfo(manifest.info);
  if (info.length !== manifest.ciphertextBytes) {
    throw new ProtocolError(
      'malformed',
      `manifest: infodict has ${info.length} bytes, ciphertext ${manifest.ciphertextBytes}`,
    );
  }
  const chunkCount = chunkCountOf(info.length, info.pieceLength);
  if (manifest.digests.length !== chunkCount * DIGEST_BYTES) {
    throw new ProtocolError(
      'malformed',
      `manifest: expected digests of ${chunkCount} chunks, got ${manifest.digests.length} bytes`,
    );
  }
}
