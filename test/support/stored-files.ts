/** Files that lie on a grid's nodes, recorded, while their source is gone for good. */
import { join } from 'node:path';
import { distribute } from '../../agent/src/distribute/distribute.ts';
import { GRID_DISTRIBUTE_TIMING, type Grid } from './grid.ts';
import { createTrialFile, type TrialFile } from './sealed-file.ts';

const SOURCE = 'Org1MSP';

/** Distributes files and records them; then the source is gone for good. */
export async function storeOn(
  grid: Grid,
  count: number,
  bytes: number,
  chunksTarget = 24,
): Promise<TrialFile[]> {
  const epoch = grid.membership.epochs[0];
  if (epoch === undefined) throw new Error('no epoch');
  const gateway = await grid.dialer(SOURCE);
  const files: TrialFile[] = [];
  for (let number = 0; number < count; number++) {
    const path = join(grid.dir, `file-${number}.age`);
    const file = await createTrialFile(path, bytes, grid.peer(SOURCE), { chunksTarget });
    const result = await distribute({
      epoch,
      signal: new AbortController().signal,
      signedManifest: file.signed,
      ciphertextPath: file.path,
      policy: grid.membership.policy(),
      overlay: gateway.overlay,
      addressBook: gateway.addressBook,
      membership: grid.membership,
      timing: GRID_DISTRIBUTE_TIMING,
    });
    await result.background;
    grid.ledger.record(file, result.receipts);
    files.push(file);
  }
  await gateway.stop();
  await grid.node(SOURCE).kill();
  return files;
}
