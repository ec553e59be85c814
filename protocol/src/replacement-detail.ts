/**
 * The detail of a re-placement: which chunks an owner keeps now that were not its own when the file
 * was placed. It goes to the ledger encrypted to the file's recipient, beside the owner's receipt
 * in clear, so that only who may read the file learns where its chunks went.
 */
import { indicesOf } from './bitfield.ts';
import { fromHex, toHex } from './bytes.ts';
import { decodeCanonical, encodeCanonical } from './cbor.ts';
import { Fields } from './fields.ts';
import type { Hex, MspId } from './ledger-api.ts';
import { LIMITS } from './limits.ts';

export interface ReplacementDetail {
  readonly version: 1;
  readonly fileId: Hex;
  /** Epoch under which the chunks were placed anew. */
  readonly epoch: number;
  readonly owner: MspId;
  readonly chunkCount: number;
  /** The chunks that came to the owner: BEP 3 bitfield. */
  readonly chunks: Uint8Array;
}

/** Canonical CBOR of `detail`. */
export function encodeReplacementDetail(detail: ReplacementDetail): Uint8Array {
  return encodeCanonical({ ...detail, fileId: fromHex(detail.fileId, 32) });
}

/** The detail in `bytes`; ProtocolError `malformed`, `not-canonical` or `bad-version`. */
export function decodeReplacementDetail(bytes: Uint8Array): ReplacementDetail {
  const fields = new Fields('replacement', decodeCanonical(bytes), [
    'version',
    'fileId',
    'epoch',
    'owner',
    'chunkCount',
    'chunks',
  ]);
  const chunkCount = fields.integer('chunkCount', 1, LIMITS.chunksPerFileMax);
  const chunks = fields.bytes('chunks', Math.ceil(chunkCount / 8));
  indicesOf(chunks, chunkCount);
  return {
    version: fields.version('version', 1),
    fileId: toHex(fields.bytes('fileId', 32)),
    epoch: fields.integer('epoch', 1, Number.MAX_SAFE_INTEGER),
    owner: fields.text('owner'),
    chunkCount,
    chunks,
  };
}
