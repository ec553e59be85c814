/** A trial file for overlay tests: random "ciphertext" on disk with a signed manifest over it. */
import { createHash, randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { identityFromRandom, recipientOf } from '@blocktorrent/protocol/age.ts';
import { concatBytes } from '@blocktorrent/protocol/bytes.ts';
import { chunkBytesFor, encodeInfo } from '@blocktorrent/protocol/chunking.ts';
import { packDigests } from '@blocktorrent/protocol/digest.ts';
import {
  CHAIN_ROOT,
  decodeManifest,
  encodeManifest,
  fileIdOf,
  type Manifest,
  type SignedManifest,
  signManifest,
} from '@blocktorrent/protocol/manifest.ts';
import { CHANNEL, type TrialPeer } from './membership.ts';
import { nodeDigests } from './node-digests.ts';

const hash = (name: string) => (bytes: Uint8Array) =>
  new Uint8Array(createHash(name).update(bytes).digest());

export interface TrialFile {
  readonly path: string;
  readonly fileId: string;
  readonly manifest: Manifest;
  readonly signed: SignedManifest;
  readonly bytes: Buffer;
}

/** Writes `bytes` random bytes at `path` and signs a manifest for them as `source`. */
export async function createTrialFile(
  path: string,
  bytes: number,
  source: TrialPeer,
  options: { chunksTarget?: number; change?: (manifest: Manifest) => Manifest } = {},
): Promise<TrialFile> {
  const data = randomBytes(bytes);
  await writeFile(path, data);
  const chunkBytes = chunkBytesFor(bytes, options.chunksTarget ?? 24);
  const chunks: Buffer[] = [];
  for (let at = 0; at < bytes; at += chunkBytes) chunks.push(data.subarray(at, at + chunkBytes));
  const manifest = encodeManifest({
    version: 1,
    channel: CHANNEL,
    source: source.mspId,
    gateway: source.peer.name,
    seq: 1,
    previous: CHAIN_ROOT,
    kind: 'file',
    epoch: 1,
    timeMs: 1_000,
    recipient: recipientOf(identityFromRandom(new Uint8Array(randomBytes(32)))),
    ciphertextBytes: bytes,
    ciphertextSha256: hash('sha256')(data),
    info: encodeInfo({
      name: 'trial.age',
      pieceLength: chunkBytes,
      length: bytes,
      pieces: concatBytes(...chunks.map(hash('sha1'))),
    }),
    digests: concatBytes(...chunks.map((chunk) => packDigests(nodeDigests(chunk)))),
  });
  const changed = options.change?.(decodeManifest(manifest));
  const final = changed === undefined ? manifest : encodeManifest(changed);
  return {
    path,
    fileId: fileIdOf(final),
    manifest: decodeManifest(final),
    signed: signManifest(final, source.identity.overlaySeed),
    bytes: data,
  };
}
