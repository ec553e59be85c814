/** The part `overlay`: its lines, and the bounds that do not depend on how fast the machine is. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type Figure, figureOf, type Measured } from '../../bench/figures.ts';
import { BenchCast } from '../../bench/overlay/peers.ts';
import { split, uplinkWithLoss, writeCiphertext } from '../../bench/overlay/trials.ts';
import { measureGrid } from '../../bench/parts/overlay.ts';
import { requirePythonModule } from '../support/tools.ts';

const MIB = 1024 * 1024;

describe('the part overlay', () => {
  it('prints a line for each metric of a case, against libtorrent and a bare TLS copy', async (context) => {
    requirePythonModule('libtorrent', context);
    const figures: Figure[] = [];
    const notes: string[] = [];
    const emit = (measured: Omit<Measured, 'bench'>) =>
      void figures.push(figureOf({ bench: 'overlay', ...measured }));
    const note = (text: string) => void notes.push(text);
    await measureGrid([{ mib: 5, chunks: 12, runs: 1 }], { emit, note }, 0);
    const common = { bench: 'overlay', case: '5MB/12', runs: 1, baseline: 'libtorrent' };
    expect(figures).toMatchObject([
      { ...common, metric: 'splitSeconds', unit: 's' },
      {
        ...common,
        metric: 'distributeSeconds',
        unit: 's',
        others: { tlsCopy: expect.any(Number) },
      },
      {
        ...common,
        metric: 'regenerateSeconds',
        unit: 's',
        others: { tlsCopy: expect.any(Number) },
      },
      { ...common, metric: 'uplinkRatio', unit: 'x' },
    ]);
    for (const { value, ratio } of figures) {
      expect(value).toBeGreaterThan(0);
      expect(ratio).toBeGreaterThan(0);
    }
    expect(figures[3]?.value).toBeLessThanOrEqual(1.05);
    // The smallest piece that gives at most 12 chunks gives 12 of 432 KiB.
    expect(notes).toEqual(['5MB/12: 12 chunks of 432 KiB']);
  });
});

describe('a source of 50 MB in 200 chunks, with six owners in processes of their own', () => {
  it('sends at most 1.05 times the file, and 1.35 times when an owner dies half-way', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'blocktorrent-bench-'));
    const cast = await BenchCast.start({ dir, organisations: 7, bareSource: true });
    try {
      const { source } = cast;
      if (source === null) throw new Error('this cast has no bare source');
      const path = join(dir, 'ciphertext.age');
      await writeCiphertext(path, 50 * MIB);
      const { file } = await split(source, path, 200);
      expect(file.owners).toHaveLength(200);
      const { sentBytes, complete } = await source.tell('distribute', {
        files: [file],
        graceMs: null,
      });
      expect(complete).toBe(true);
      expect(sentBytes / file.ciphertextBytes).toBeGreaterThan(1);
      expect(sentBytes / file.ciphertextBytes).toBeLessThanOrEqual(1.05);
      await writeCiphertext(path, 20 * MIB);
      const { file: another } = await split(source, path, 200);
      const ratio = await uplinkWithLoss(cast, source, another);
      expect(ratio).toBeGreaterThan(1);
      expect(ratio).toBeLessThanOrEqual(1.35);
    } finally {
      await cast.stop();
      await rm(dir, { recursive: true, force: true });
    }
  });
});
