/**
 * Recovering one file (P §3.2.4, steps 2 to 5): master table from the ledger, chunks from any
 * owners, every digest, the whole, the plaintext. The source takes no part and may be gone.
 *
 * Enters: a record and identities that open it. Leaves: in a folder of the file's own: `FILE.age`,
 * `identity.txt`, and `readings.sqlite` (a batch) or `content` (any other file), and the faults.
 * Always holds: nothing is decrypted before the ciphertext equals the manifest that fileId names.
 */
import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { decrypt, encodeIdentity } from '@blocktorrent/protocol/age.ts';
import { fromBase64 } from '@blocktorrent/protocol/bytes.ts';
import type {
  Consortium,
  Epoch,
  Fault,
  FileRecord,
  MspId,
  SignedReceipt,
} from '@blocktorrent/protocol/ledger-api.ts';
import type { Manifest } from '@blocktorrent/protocol/manifest.ts';
import {
  fileIdOf,
  manifestChunkCount,
  manifestChunkDigests,
  verifyManifest,
} from '@blocktorrent/protocol/manifest.ts';
import type { MasterTable } from '@blocktorrent/protocol/master-table.ts';
import { decodeMasterTable } from '@blocktorrent/protocol/master-table.ts';
import { keysOf } from '@blocktorrent/protocol/peer-keys.ts';
import { ownersNow } from '@blocktorrent/protocol/replacement.ts';
import { openFile } from '../crypto/open.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { AuditError } from './audit-error.ts';

/** What `fetchFile` needs to know of one file. */
export interface FetchTarget {
  readonly fileId: string;
  readonly receipts: readonly SignedReceipt[];
  /** When the ledger took the record: keys that were revoked later count. */
  readonly recordedAtMs: number;
  readonly manifest: Manifest;
  readonly owners: readonly (readonly MspId[])[];
  readonly outputPath: string;
}
export interface Fetched {
  readonly faults: readonly Fault[];
  /** Chunks accepted from each owner. */
  readonly fromOwner: Readonly<Record<MspId, number>>;
}

export interface RecoverOptions {
  readonly ledger: Ledger;
  readonly record: FileRecord;
  /** Identities that may open the file: the rebuilt one, or one's own. */
  readonly identities: readonly Uint8Array[];
  /** Folder for this file's results; made if missing. */
  readonly outputDir: string;
  readonly fetch: (target: FetchTarget) => Promise<Fetched>;
  readonly signal: AbortSignal;
}

export interface Recovered {
  readonly fileId: string;
  readonly kind: FileRecord['kind'];
  readonly chunkCount: number;
  readonly ciphertextPath: string;
  readonly identityPath: string;
  /** The plaintext: `readings.sqlite` for a batch, `content` for any other file. */
  readonly contentPath: string;
  readonly owners: readonly (readonly MspId[])[];
  readonly fromOwner: Readonly<Record<MspId, number>>;
  readonly faults: readonly Fault[];
}

/** @throws AuditError, ProtocolError: the message names the check that failed. */
export async function recoverFile(options: RecoverOptions): Promise<Recovered> {
  const { record, identities, outputDir, signal } = options;
  const consortium = await options.ledger.evaluate('ledger/consortium:GetConsortium', {});
  const { manifest } = await openTable(options, consortium);
  const owners = await ownersToAsk(manifest, options.ledger, consortium);

  await mkdir(outputDir, { recursive: true, mode: 0o700 });
  const ciphertextPath = join(outputDir, 'FILE.age');
  const identityPath = join(outputDir, 'identity.txt');
  const contentPath = join(outputDir, record.kind === 'batch' ? 'readings.sqlite' : 'content');
  const fetched = await options.fetch({
    fileId: record.fileId,
    manifest,
    owners,
    receipts: [...record.receipts, ...record.replacements.flatMap((one) => one.receipts)],
    recordedAtMs: record.recordedAtMs,
    outputPath: ciphertextPath,
  });
  const lines = identities.map((identity) => `${encodeIdentity(identity)}\n`);
  await writeFile(identityPath, lines.join(''), { mode: 0o600 });
  await openFile({ ciphertextPath, identities, outputPath: contentPath, signal });
  return {
    fileId: record.fileId,
    kind: record.kind,
    chunkCount: record.chunkCount,
    ciphertextPath,
    identityPath,
    contentPath,
    owners,
    ...fetched,
  };
}

/** Fetches and opens the master table; checks that it is about this record and rightly signed. */
async function openTable(
  options: RecoverOptions,
  consortium: Consortium,
): Promise<{ manifest: Manifest; table: MasterTable }> {
  const { ledger, record, identities } = options;
  const { fileId } = record;
  const found = await ledger.evaluate('ledger/records:GetMasterTable', { fileId });
  if (found === null) throw new AuditError('unknown-file', `the ledger has no table for ${fileId}`);
  const encrypted = fromBase64(found.masterTable);
  const hash = createHash('sha256').update(encrypted).digest('hex');
  if (hash !== record.masterTableHash) {
    // The contract has compared them: it is the peer that was asked which differs.
    throw new AuditError(
      'unknown-file',
      `the encrypted master table of ${fileId} hashes to ${hash}, its record says ` +
        record.masterTableHash,
    );
  }
  const table = decodeMasterTable(decrypt(encrypted, identities));
  if (fileIdOf(table.manifest.manifest) !== fileId) {
    throw new AuditError('wrong-table', `the master table of ${fileId} holds another manifest`);
  }
  const { source, gateway, recordedAtMs } = record;
  const keys = keysOf(consortium, source, gateway, recordedAtMs);
  if (keys.length === 0) {
    throw new AuditError(
      'wrong-table',
      `${source}/${gateway} has no key that counts on the ledger`,
    );
  }
  const manifest = verifyManifest(table.manifest, keys);
  requireSame(manifest, record);
  return { manifest, table };
}

/** The ledger cannot see the manifest: what the record says of it is compared here. */
function requireSame(manifest: Manifest, record: FileRecord): void {
  const pairs: readonly (readonly [string, unknown, unknown])[] = [
    ['source', manifest.source, record.source],
    ['gateway', manifest.gateway, record.gateway],
    ['seq', manifest.seq, record.seq],
    ['previous', manifest.previous, record.previous],
    ['kind', manifest.kind, record.kind],
    ['epoch', manifest.epoch, record.epoch],
    ['timeMs', manifest.timeMs, record.timeMs],
    ['recipient', manifest.recipient, record.recipient],
    ['bytes', manifest.ciphertextBytes, record.bytes],
    ['chunkCount', manifestChunkCount(manifest), record.chunkCount],
  ];
  for (const [name, inManifest, inRecord] of pairs) {
    if (inManifest === inRecord) continue;
    throw new AuditError(
      'wrong-table',
      `${name} of ${record.fileId} is ${inManifest} in its manifest, ${inRecord} in its record`,
    );
  }
}

/**
 * Today's owners of each chunk, then those of its placement that are still members: whoever has
 * gone since cannot be asked.
 */
async function ownersToAsk(
  manifest: Manifest,
  ledger: Ledger,
  consortium: Consortium,
): Promise<MspId[][]> {
  const current = consortium.epochs[0];
  const epochs: Epoch[] = [];
  for (let epoch = manifest.epoch; epoch < (current?.epoch ?? 0); epoch += 1) {
    epochs.push(await ledger.evaluate('ledger/consortium:GetEpoch', { epoch }));
  }
  if (current !== undefined) epochs.push(current);
  const members = new Set(consortium.members.map(({ mspId }) => mspId));
  const { replicas } = consortium.policy;
  return Array.from({ length: manifestChunkCount(manifest) }, (_, index) => {
    const digests = manifestChunkDigests(manifest, index);
    const now = ownersNow(digests, epochs, manifest.source, replicas);
    const placed = ownersNow(digests, epochs.slice(0, 1), manifest.source, replicas);
    return [...new Set([...now, ...placed])].filter((mspId) => members.has(mspId));
  });
}
