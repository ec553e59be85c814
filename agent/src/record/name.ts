/**
 * Naming: a sealed file takes the next place in its gateway's chain (PROTOCOL §2.3).
 *
 * Enters: a sealed file. Leaves: the manifest and fileId = SHA-256 of the manifest; whoever hands it
 * on signs it with the overlay key of that day, so that files under way outlive a change of key.
 * Always holds: places are given in queue order, one at a time, each naming the one before.
 */
import {
  CHAIN_ROOT,
  decodeManifest,
  encodeManifest,
  fileIdOf,
  type SignedManifest,
} from '@blocktorrent/protocol/manifest.ts';
import { sign, signingInput } from '@blocktorrent/protocol/signing.ts';
import type { FilePatch, FileQueue, QueuedFile } from '../runtime/file-queue.ts';

export interface NamingOptions {
  readonly queue: FileQueue;
  readonly channel: string;
  readonly source: string;
  readonly gateway: string;
  /** Number of the epoch in force; throws while none is known. */
  readonly epoch: () => number;
  /** Head of this gateway's chain on the ledger; seq 0 where there is none. */
  readonly chainOnLedger: () => Promise<{ seq: number; fileId: string }>;
  readonly nowMs: () => number;
}

/** Who signs a manifest. */
export interface ManifestSigner {
  readonly channel: string;
  readonly source: string;
  readonly gateway: string;
  /** Ed25519 seed of this agent's overlay key, 32 bytes. */
  readonly overlaySeed: Uint8Array;
}

/** The manifest of a named file, signed with our present overlay key. */
export function signedManifestOf(file: QueuedFile, signer: ManifestSigner): SignedManifest {
  const { manifest } = file;
  if (manifest === null) throw new Error(`file ${file.id} has no manifest`);
  requireOurs(manifest, signer);
  const input = signingInput('blocktorrent/manifest/v1', signer.channel, manifest);
  const signature = sign(signer.overlaySeed, input);
  return { manifest, signature, mspId: signer.source, peer: signer.gateway };
}

/**
 * Throws where a manifest is of another gateway's chain, or of another channel: the queue was made
 * under another name, and its places are worth nothing here.
 */
function requireOurs(
  manifest: Uint8Array,
  { channel, source, gateway }: Pick<ManifestSigner, 'channel' | 'source' | 'gateway'>,
): void {
  const theirs = decodeManifest(manifest);
  if (theirs.channel === channel && theirs.source === source && theirs.gateway === gateway) return;
  throw new Error(
    `state.sqlite has the chain of ${theirs.source}/${theirs.gateway} on channel ${theirs.channel}, ` +
      `this is ${source}/${gateway} on channel ${channel}: give the agent its name back, or a ` +
      'dataDir of its own',
  );
}

/**
 * Gives one sealed file its place and its name. Where the queue knows no place yet (a new data
 * directory), the chain goes on where the ledger has it.
 */
export async function nameFile(file: QueuedFile, options: NamingOptions): Promise<FilePatch> {
  const { recipient, ciphertextBytes, ciphertextSha256, info, digests } = file;
  if (!recipient || !ciphertextBytes || !ciphertextSha256 || !info || !digests) {
    throw new Error(`file ${file.id} is not sealed: its recipient, size or digests are missing`);
  }
  const known = options.queue.chainHead();
  const last = known === null ? null : options.queue.manifestOf(known.fileId);
  if (last !== null) requireOurs(last, options);
  const head = known ?? (await options.chainOnLedger());
  const place = {
    seq: head.seq + 1,
    previous: head.seq === 0 ? CHAIN_ROOT : head.fileId,
    epoch: options.epoch(),
    timeMs: options.nowMs(),
  };
  const manifest = encodeManifest({
    version: 1,
    channel: options.channel,
    source: options.source,
    gateway: options.gateway,
    kind: file.kind,
    recipient,
    ciphertextBytes,
    ciphertextSha256,
    info,
    digests,
    ...place,
  });
  return {
    ...place,
    manifest,
    fileId: fileIdOf(manifest),
    // Both are inside the manifest from here on.
    info: null,
    digests: null,
  };
}
