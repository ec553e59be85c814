/**
 * Naming: a sealed file takes the next place in its gateway's chain (PROTOCOL §2.3).
 *
 * Enters: a sealed file. Leaves: the signed manifest and fileId = SHA-256 of the manifest.
 * Always holds: places are given in queue order, one at a time, each naming the one before.
 */
import { CHAIN_ROOT, encodeManifest, fileIdOf } from '@blocktorrent/protocol/manifest.ts';
import { sign, signingInput } from '@blocktorrent/protocol/signing.ts';
import type { FilePatch, FileQueue, QueuedFile } from '../runtime/file-queue.ts';

export interface NamingOptions {
  readonly queue: FileQueue;
  readonly channel: string;
  readonly source: string;
  readonly gateway: string;
  /** Ed25519 seed of this agent's overlay key, 32 bytes. */
  readonly overlaySeed: Uint8Array;
  /** Number of the epoch in force; throws while none is known. */
  readonly epoch: () => number;
  /** Head of this gateway's chain on the ledger; seq 0 where there is none. */
  readonly chainOnLedger: () => Promise<{ seq: number; fileId: string }>;
  readonly nowMs: () => number;
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
  const head = options.queue.chainHead() ?? (await options.chainOnLedger());
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
  const input = signingInput('blocktorrent/manifest/v1', options.channel, manifest);
  return {
    ...place,
    manifest,
    manifestSignature: sign(options.overlaySeed, input),
    fileId: fileIdOf(manifest),
    // Both are inside the manifest from here on.
    info: null,
    digests: null,
  };
}
