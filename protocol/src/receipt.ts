/**
 * The receipt: an owner's signed word that it keeps certain chunks of a file (P §3.2.3, step 3).
 *
 * Canonical CBOR, signed by the owner's overlay key; chunks are a BEP 3 bitfield. It is given only
 * after the chunks' digests were compared and the bytes made durable. The nonce is the owner's own:
 * it takes part in choosing the key's holders, out of the source's hands.
 */
import { hasBit, indicesOf } from './bitfield.ts';
import { fromBase64, fromHex, toBase64, toHex } from './bytes.ts';
import { decodeCanonical, encodeCanonical } from './cbor.ts';
import { ProtocolError } from './errors.ts';
import { Fields } from './fields.ts';
import type { Hex, MspId, SignedReceipt } from './ledger-api.ts';
import { LIMITS } from './limits.ts';
import { SIGNATURE_BYTES, sign, signingInput, verify } from './signing.ts';

/** What an owner's peer confirms about one file. */
export interface Receipt {
  readonly version: 1;
  readonly channel: string;
  readonly fileId: Hex;
  /** Whose file it is, by its manifest: nobody else can record the file with this receipt. */
  readonly source: MspId;
  readonly owner: MspId;
  /** Name of the owner's peer that keeps the chunks and signs. */
  readonly peer: string;
  readonly epoch: number;
  /** Chunks of the whole file: length of the bitfield. */
  readonly chunkCount: number;
  /** Which chunks are kept: BEP 3 bitfield, at least one set. */
  readonly chunks: Uint8Array;
  /** 16 random bytes of the owner's. */
  readonly nonce: Uint8Array;
  /** When it was signed, by the owner's clock. */
  readonly timeMs: number;
}

/** Length of a receipt's nonce, in bytes. */
export const NONCE_BYTES = 16;

const KEYS = [
  'version',
  'channel',
  'fileId',
  'source',
  'owner',
  'peer',
  'epoch',
  'chunkCount',
  'chunks',
  'nonce',
  'timeMs',
] as const;

/** Canonical CBOR of `receipt`. Throws ProtocolError where it breaks a bound. */
export function encodeReceipt(receipt: Receipt): Uint8Array {
  const bytes = encodeCanonical({ ...receipt, fileId: fromHex(receipt.fileId, 32) });
  decodeReceipt(bytes);
  return bytes;
}

/** The receipt in `bytes`; ProtocolError `malformed`, `too-large`, `not-canonical`, `bad-version`. */
export function decodeReceipt(bytes: Uint8Array): Receipt {
  if (bytes.length > LIMITS.receiptBytesMax) {
    throw new ProtocolError(
      'too-large',
      `receipt: expected at most ${LIMITS.receiptBytesMax} bytes, got ${bytes.length}`,
    );
  }
  const fields = new Fields('receipt', decodeCanonical(bytes), KEYS);
  const chunkCount = fields.integer('chunkCount', 1, LIMITS.chunksPerFileMax);
  const chunks = fields.bytes('chunks', Math.ceil(chunkCount / 8));
  if (indicesOf(chunks, chunkCount).length === 0) {
    throw new ProtocolError('malformed', 'receipt.chunks: expected at least one chunk');
  }
  return {
    version: fields.version('version', 1),
    channel: fields.text('channel', 249),
    fileId: toHex(fields.bytes('fileId', 32)),
    source: fields.text('source'),
    owner: fields.text('owner'),
    peer: fields.text('peer'),
    epoch: fields.integer('epoch', 1, Number.MAX_SAFE_INTEGER),
    chunkCount,
    chunks,
    nonce: fields.bytes('nonce', NONCE_BYTES),
    timeMs: fields.integer('timeMs', 0, Number.MAX_SAFE_INTEGER),
  };
}

/** Signs `receipt` as its owner's peer, with that peer's 32-byte overlay seed. */
export function signReceipt(receipt: Receipt, seed: Uint8Array): SignedReceipt {
  const bytes = encodeReceipt(receipt);
  const input = signingInput('blocktorrent/receipt/v1', receipt.channel, bytes);
  return {
    receipt: toBase64(bytes),
    signature: toHex(sign(seed, input)),
    mspId: receipt.owner,
    peer: receipt.peer,
  };
}

/**
 * The receipt that `signed` carries, without looking at its signature: for finding out whose key
 * to ask for. Throws ProtocolError `malformed` (and the like), and `bad-signature` where it is
 * sent in the name of another peer than its own.
 */
export function openReceipt(signed: SignedReceipt): Receipt {
  if (signed.receipt.length > Math.ceil(LIMITS.receiptBytesMax / 3) * 4) {
    throw new ProtocolError('too-large', `receipt: ${signed.receipt.length} characters of base64`);
  }
  const receipt = decodeReceipt(fromBase64(signed.receipt));
  if (signed.mspId !== receipt.owner || signed.peer !== receipt.peer) {
    throw new ProtocolError(
      'bad-signature',
      `receipt of ${receipt.owner}/${receipt.peer} is signed as ${signed.mspId}/${signed.peer}`,
    );
  }
  return receipt;
}

/**
 * The receipt that `signed` carries, if its owner's peer signed it with one of `overlayKeys` (32
 * bytes each, from the ledger: `countingKeys`). Throws ProtocolError `bad-signature` otherwise.
 */
export function verifyReceipt(signed: SignedReceipt, overlayKeys: readonly Uint8Array[]): Receipt {
  const receipt = openReceipt(signed);
  const input = signingInput(
    'blocktorrent/receipt/v1',
    receipt.channel,
    fromBase64(signed.receipt),
  );
  const signature = fromHex(signed.signature, SIGNATURE_BYTES);
  if (!overlayKeys.some((key) => verify(key, signature, input))) {
    throw new ProtocolError(
      'bad-signature',
      `receipt for ${receipt.fileId} is not signed by ${receipt.owner}/${receipt.peer}`,
    );
  }
  return receipt;
}

/**
 * For each chunk, by how many distinct organisations it is kept according to the receipts.
 * Throws ProtocolError `bad-argument` where a receipt is for another number of chunks.
 */
export function coverage(receipts: readonly Receipt[], chunkCount: number): number[] {
  const bitsOf = new Map<MspId, Uint8Array[]>();
  for (const receipt of receipts) {
    if (receipt.chunkCount !== chunkCount) {
      throw new ProtocolError(
        'bad-argument',
        `receipt of ${receipt.owner}: expected ${chunkCount} chunks, got ${receipt.chunkCount}`,
      );
    }
    bitsOf.set(receipt.owner, [...(bitsOf.get(receipt.owner) ?? []), receipt.chunks]);
  }
  const owners = [...bitsOf.values()];
  return Array.from(
    { length: chunkCount },
    (_, index) => owners.filter((all) => all.some((bits) => hasBit(bits, index))).length,
  );
}
