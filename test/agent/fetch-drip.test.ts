/** An owner that neither gives a chunk nor stalls, while another one has the same chunks. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { decodeInfo } from '@blocktorrent/protocol/chunking.ts';
import { digestChunk } from '@blocktorrent/protocol/digest.ts';
import { manifestChunkCount } from '@blocktorrent/protocol/manifest.ts';
import { expect, it, onTestFinished } from 'vitest';
import { fetchFile } from '../../agent/src/audit/fetch.ts';
import {
  type AddressBook,
  type Link,
  LinkError,
  type LinkHandler,
  type Overlay,
} from '../../agent/src/overlay/types.ts';
import { createTrialPeers, TrialMembership } from '../support/membership.ts';
import { aFolder } from '../support/readings.ts';
import { createTrialFile } from '../support/sealed-file.ts';

it('holds each chunk up only so long, and then another one is asked', async () => {
  const [folder, remove] = aFolder();
  onTestFinished(remove);
  const [source] = await createTrialPeers(folder, 1);
  if (source === undefined) throw new Error('one peer');
  const path = join(folder, 'file.age');
  const file = await createTrialFile(path, 400_000, source, { chunksTarget: 10 });
  const { pieceLength } = decodeInfo(file.manifest.info);
  const asked = { Org2MSP: 0, Org3MSP: 0 };
  const linkOf = (mspId: 'Org2MSP' | 'Org3MSP', handler: LinkHandler): Link => {
    const link = {
      ...{ mspId, closed: false, queuedBytes: 0, has: () => true },
      close: () => handler.onClose?.(link as unknown as Link, 'over'),
      fetchChunk: async (index: number, bytes: number, signal: AbortSignal, into: Buffer) => {
        asked[mspId] += 1;
        if (mspId === 'Org2MSP') {
          await new Promise((resolve) => signal.addEventListener('abort', resolve));
          throw new LinkError('aborted', 'it was aborted');
        }
        const start = index * pieceLength;
        into.set(file.bytes.subarray(start, start + bytes));
        return into.subarray(0, bytes);
      },
    };
    return link as unknown as Link;
  };
  const overlay = {
    dialMember: async ({ mspId, handler }: { mspId: 'Org2MSP'; handler: LinkHandler }) =>
      linkOf(mspId, handler),
    digestChunk: async (bytes: Uint8Array) => digestChunk(bytes),
  } as unknown as Overlay;
  const outputPath = join(folder, 'fetched.age');
  const owners = Array.from({ length: manifestChunkCount(file.manifest) }, () => [
    'Org2MSP',
    'Org3MSP',
  ]);
  await fetchFile({
    ...{ manifest: file.manifest, fileId: file.fileId, owners, receipts: [], recordedAtMs: 0 },
    ...{ outputPath, overlay, addressBook: {} as AddressBook },
    membership: new TrialMembership([source]),
    signal: AbortSignal.timeout(60_000),
    timing: { slowMs: 100 },
  });
  expect(file.bytes.equals(await readFile(outputPath))).toBe(true);
  expect(asked).toEqual({ Org2MSP: owners.length, Org3MSP: owners.length });
});
