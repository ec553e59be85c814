/**
 * A chunk of our own that is to stand as evidence against others.
 *
 * Enters: a file that we keep, and the number of a chunk. Leaves: its bytes. Always holds: they are
 * what the manifest says; where they are not it is we who have lost the chunk, and repair is told.
 */
import { chunkLengthOf, decodeInfo } from '@blocktorrent/protocol/chunking.ts';
import { digestsEqual } from '@blocktorrent/protocol/digest.ts';
import { decodeManifest, manifestChunkDigests } from '@blocktorrent/protocol/manifest.ts';
import type { KeptFile } from './catalog.ts';
import type { UpkeepParts } from './upkeep-types.ts';

/** The chunk's bytes; null where we have lost it. */
export async function ownChunk(
  { chunks, overlay, store }: Pick<UpkeepParts, 'chunks' | 'overlay' | 'store'>,
  file: KeptFile,
  index: number,
): Promise<Uint8Array | null> {
  const manifest = decodeManifest(file.signed.manifest);
  const { pieceLength } = decodeInfo(manifest.info);
  const bytes = chunkLengthOf(manifest.ciphertextBytes, pieceLength, index);
  try {
    const chunk = await chunks.read(file.fileId, index, 0, bytes);
    const expected = manifestChunkDigests(manifest, index);
    if (digestsEqual(await overlay.digestChunk(chunk), expected)) return chunk;
    await store.lost(file, index, 'its digests differ');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : null;
    if (code !== 'rotten' && code !== 'missing') throw error;
    await store.lost(file, index, code);
  }
  return null;
}
