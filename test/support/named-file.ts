/** A file of one chunk as the queue has it after naming: with a key, a manifest and its place. */
import { identityFromRandom, recipientOf } from '@blocktorrent/protocol/age.ts';
import { encodeInfo } from '@blocktorrent/protocol/chunking.ts';
import { nameFile } from '../../agent/src/record/name.ts';
import type { FileQueue, QueuedFile } from '../../agent/src/runtime/file-queue.ts';
import type { Seeded } from './seeded.ts';

/** Whose chain the file is in. */
export interface Place {
  readonly channel: string;
  readonly source: string;
  readonly gateway: string;
}

/** Adds the file to the queue, at the stage `distributed`, without receipts. */
export async function namedFile(
  queue: FileQueue,
  place: Place,
  random: Seeded,
  nowMs: () => number,
): Promise<QueuedFile> {
  const identity = identityFromRandom(random.bytes(32));
  const { id } = queue.add({
    ...{ kind: 'file', inputPath: `/f${random.bytes(4).join('')}`, batch: null, recipients: [] },
  });
  const pieces = random.bytes(20);
  const sealed = queue.update(id, {
    ...{ identity, recipient: recipientOf(identity), ciphertextBytes: 16_384 },
    ...{ ciphertextSha256: random.bytes(32), digests: random.bytes(144) },
    info: encodeInfo({ length: 16_384, name: 'x', pieceLength: 16_384, pieces }),
  });
  const chainOnLedger = async () => ({ seq: 0, fileId: '00'.repeat(32) });
  const options = { ...place, queue, epoch: () => 1, chainOnLedger, nowMs };
  return queue.update(id, { stage: 'distributed', ...(await nameFile(sealed, options)) });
}
