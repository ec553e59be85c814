/**
 * The master table: a file's table of contents (P §3.2.3, M_mastertable): its signed manifest with
 * every chunk's digests, the owners of each chunk, and their receipts.
 *
 * Canonical CBOR; goes to the ledger only encrypted. Organisations are named once, sorted, and
 * chunks refer to them by position. Decoding checks every bound and that the parts are of one
 * file; signatures are for whoever has the keys (`verifyManifest`, `verifyReceipt`).
 */
import { fromBase64, fromHex, toBase64, toHex } from './bytes.ts';
import { decodeCanonical, encodeCanonical } from './cbor.ts';
import { ProtocolError } from './errors.ts';
import { Fields } from './fields.ts';
import type { MspId, SignedReceipt } from './ledger-api.ts';
import { LIMITS } from './limits.ts';
import {
  decodeManifest,
  fileIdOf,
  type Manifest,
  manifestChunkCount,
  type SignedManifest,
} from './manifest.ts';
import { REPLICAS_MAX } from './placement.ts';
import { openReceipt } from './receipt.ts';
import { SIGNATURE_BYTES } from './signing.ts';

/** Everything that is needed to fetch a file's ciphertext and to check it. */
export interface MasterTable {
  readonly version: 1;
  readonly manifest: SignedManifest;
  /** The organisations that must keep each chunk, by chunk index. */
  readonly owners: readonly (readonly MspId[])[];
  readonly receipts: readonly SignedReceipt[];
  /** When it was completed, by the source's clock. */
  readonly timeMs: number;
}

const KEYS = ['version', 'manifest', 'names', 'owners', 'receipts', 'timeMs'] as const;
const SIGNED_MANIFEST_KEYS = ['manifest', 'signature', 'mspId', 'peer'] as const;
const SIGNED_RECEIPT_KEYS = ['receipt', 'signature', 'mspId', 'peer'] as const;

/** Canonical CBOR of `table`. Throws ProtocolError where it breaks a bound or contradicts itself. */
export function encodeMasterTable(table: MasterTable): Uint8Array {
  const names = [...new Set(table.owners.flat())].sort();
  const places = new Map(names.map((name, place) => [name, place]));
  const { manifest, signature, mspId, peer } = table.manifest;
  const bytes = encodeCanonical({
    version: table.version,
    manifest: { manifest, signature, mspId, peer },
    names,
    owners: table.owners.map((owners) =>
      Uint8Array.from(owners.map((owner) => places.get(owner) ?? 0)),
    ),
    receipts: table.receipts.map((signed) => ({
      receipt: fromBase64(signed.receipt),
      signature: fromHex(signed.signature, SIGNATURE_BYTES),
      mspId: signed.mspId,
      peer: signed.peer,
    })),
    timeMs: table.timeMs,
  });
  decodeMasterTable(bytes);
  return bytes;
}

/** The table in `bytes`; ProtocolError `malformed`, `too-large`, `not-canonical`, `bad-version`. */
export function decodeMasterTable(bytes: Uint8Array): MasterTable {
  if (bytes.length > LIMITS.masterTableBytesMax) {
    throw new ProtocolError(
      'too-large',
      `master table: expected at most ${LIMITS.masterTableBytesMax} bytes, got ${bytes.length}`,
    );
  }
  const fields = new Fields('master table', decodeCanonical(bytes), KEYS);
  const version = fields.version('version', 1);
  const signed = signedManifestOf(fields.raw('manifest'));
  const manifest = decodeManifest(signed.manifest);
  const chunkCount = manifestChunkCount(manifest);
  const names = namesOf(fields.list('names', 1, LIMITS.membersMax));
  const owners = fields
    .list('owners', chunkCount, chunkCount)
    .map((places, index) => ownersAt(places, names, index));
  if (names.some((name) => !owners.some((chunk) => chunk.includes(name)))) {
    throw new ProtocolError('not-canonical', 'master table.names: names one that owns no chunk');
  }
  const receipts = fields.list('receipts', 0, LIMITS.receiptsPerFileMax).map(signedReceiptOf);
  requireReceiptsOf(receipts, signed, manifest);
  const timeMs = fields.integer('timeMs', 0, Number.MAX_SAFE_INTEGER);
  return { version, manifest: signed, owners, receipts, timeMs };
}

function signedManifestOf(value: unknown): SignedManifest {
  const fields = new Fields('master table.manifest', value, SIGNED_MANIFEST_KEYS);
  return {
    manifest: fields.bytesWithin('manifest', 1, LIMITS.manifestBytesMax),
    signature: fields.bytes('signature', SIGNATURE_BYTES),
    mspId: fields.text('mspId'),
    peer: fields.text('peer'),
  };
}

function signedReceiptOf(value: unknown): SignedReceipt {
  const fields = new Fields('master table.receipts', value, SIGNED_RECEIPT_KEYS);
  return {
    receipt: toBase64(fields.bytesWithin('receipt', 1, LIMITS.receiptBytesMax)),
    signature: toHex(fields.bytes('signature', SIGNATURE_BYTES)),
    mspId: fields.text('mspId'),
    peer: fields.text('peer'),
  };
}

function namesOf(values: readonly unknown[]): MspId[] {
  let before = '';
  return values.map((value) => {
    if (typeof value !== 'string' || value.length > LIMITS.nameCharsMax || value <= before) {
      throw new ProtocolError('malformed', 'master table.names: expected distinct, sorted MSP ids');
    }
    before = value;
    return value;
  });
}

function ownersAt(places: unknown, names: readonly MspId[], index: number): MspId[] {
  const owners = places instanceof Uint8Array ? Array.from(places, (place) => names[place]) : [];
  const known = owners.filter((owner) => owner !== undefined);
  if (
    known.length < 1 ||
    known.length > REPLICAS_MAX ||
    known.length !== owners.length ||
    new Set(known).size !== known.length
  ) {
    throw new ProtocolError(
      'malformed',
      `master table.owners: chunk ${index} needs 1..${REPLICAS_MAX} distinct, known owners`,
    );
  }
  return known;
}

function requireReceiptsOf(
  receipts: readonly SignedReceipt[],
  signed: SignedManifest,
  manifest: Manifest,
): void {
  const fileId = fileIdOf(signed.manifest);
  const chunkCount = manifestChunkCount(manifest);
  for (const one of receipts) {
    const receipt = openReceipt(one);
    if (
      receipt.fileId !== fileId ||
      receipt.chunkCount !== chunkCount ||
      receipt.channel !== manifest.channel
    ) {
      throw new ProtocolError(
        'malformed',
        `master table: receipt of ${receipt.owner} is for another file (${receipt.fileId})`,
      );
    }
  }
}
