/** Files that lie on a grid's nodes, recorded, while their source is gone for good. */
import { join } from 'node:path';
import { distribute } from '../../agent/src/distribute/distribute.ts';
import type { DistributeOptions } from '../../agent/src/distribute/types.ts';
import { GRID_DISTRIBUTE_TIMING, type Grid, type GridPeer } from './grid.ts';
import { createTrialFile, type TrialFile } from './sealed-file.ts';

const SOURCE = 'Org1MSP';

/** What `distribute` takes to bring a file from a peer to its owners on the grid. */
export function distribution(
  { membership }: Grid,
  { overlay, addressBook }: Pick<GridPeer, 'overlay' | 'addressBook'>,
  file: TrialFile,
): DistributeOptions {
  const [epoch] = membership.epochs;
  if (epoch === undefined) throw new Error('no epoch');
  return {
    ...{ epoch, membership, overlay, addressBook },
    signal: new AbortController().signal,
    signedManifest: file.signed,
    ciphertextPath: file.path,
    policy: membership.policy(),
    timing: GRID_DISTRIBUTE_TIMING,
  };
}

/** Distributes files and records them; then the source is gone for good. */
export async function storeOn(
  grid: Grid,
  count: number,
  bytes: number,
  chunksTarget = 24,
): Promise<TrialFile[]> {
  const gateway = await grid.dialer(SOURCE);
  const files: TrialFile[] = [];
  for (let number = 0; number < count; number++) {
    const path = join(grid.dir, `file-${number}.age`);
    const file = await createTrialFile(path, bytes, grid.peer(SOURCE), { chunksTarget });
    const result = await distribute(distribution(grid, gateway, file));
    await result.background;
    grid.ledger.record(file, result.receipts);
    files.push(file);
  }
  await gateway.stop();
  await grid.node(SOURCE).kill();
  return files;
}
