/**
 * A 200 MB file through `put` and `audit fetch`: it comes back equal, and no process of those that
 * took part grows by more than 60 MB over what a small file made of it.
 */
import { createHash, randomFillSync } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Network } from '../../devledger/src/network.ts';
import { audit, useCast } from '../support/cast.ts';
import { watchMemory } from '../support/memory.ts';

const MB = 1_000_000;
const GROWTH_MIB_MAX = (60 * MB) / 2 ** 20;

describe.skipIf(process.platform !== 'linux')('a 200 MB file', () => {
  const stage = useCast({});

  /** Puts a file of random bytes, audits it, compares; returns each process's peak, MiB. */
  async function roundTrip(bytes: number): Promise<ReadonlyMap<string, number>> {
    const cast = stage();
    const { processes, workDir } = cast;
    const path = join(workDir, `${bytes}.bin`);
    const sent = await writeRandom(path, bytes);
    const ledger = cast.network instanceof Network ? cast.network.processes : [];
    const everyone = () => [...processes.running, ...ledger];
    const watch = watchMemory(everyone);
    const put = JSON.parse(await cast.command(cast.source, ['put', path, '--json']));
    const report = await audit(cast, [put.fileId]);
    watch.stop();
    expect(report.ok).toBe(true);
    expect(await sha256Of(report.files[0]?.contentPath ?? '')).toBe(sent);
    return watch.peaks;
  }

  it('comes back equal while no process grows by more than 60 MB', async () => {
    const small = await roundTrip(1 * MB);
    const large = await roundTrip(200 * MB);
    const growth = [...large].map(([name, mib]) => ({ name, mib: mib - (small.get(name) ?? 0) }));
    const most = Math.max(...growth.map(({ mib }) => mib));
    console.log(`200 MB: no process grew by more than ${most.toFixed(1)} MiB`);
    expect(growth.length).toBeGreaterThanOrEqual(9);
    const grown = growth.filter(({ mib }) => mib > GROWTH_MIB_MAX);
    expect(grown, JSON.stringify(growth)).toEqual([]);
  }, 240_000);
});

async function writeRandom(path: string, bytes: number): Promise<string> {
  const hash = createHash('sha256');
  const file = await open(path, 'w');
  const block = Buffer.alloc(MB);
  for (let written = 0; written < bytes; written += block.length) {
    randomFillSync(block);
    hash.update(block);
    await file.write(block);
  }
  await file.close();
  return hash.digest('hex');
}

async function sha256Of(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(path)) hash.update(piece as Buffer);
  return hash.digest('hex');
}
