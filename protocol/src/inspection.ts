/**
 * Random inspections (P §3.2.4): which recorded files a draw names.
 *
 * In: the draw's id (a transaction id), a file and the rate. Out: yes or no, the same for everybody
 * and for each file by itself, so that nobody has to list the files in the transaction that draws.
 */
import { sha256 } from '@noble/hashes/sha2.js';
import { fromHex } from './bytes.ts';
import { encodeCanonical } from './cbor.ts';
import type { Hex } from './ledger-api.ts';

const DOMAIN = 'blocktorrent/inspection/v1';
const PERMILLE = 1000;

/**
 * True if inspection `inspectionId` (32 bytes) draws file `fileId` (32 bytes) at `permille` of 1000
 * files. Throws ProtocolError `malformed` on ids of another length.
 */
export function isDrawn(inspectionId: Hex, fileId: Hex, permille: number): boolean {
  const digest = sha256(encodeCanonical([DOMAIN, fromHex(inspectionId, 32), fromHex(fileId, 32)]));
  const word = new DataView(digest.buffer, digest.byteOffset).getUint32(0);
  return word * PERMILLE < permille * 2 ** 32;
}
