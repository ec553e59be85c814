/** The bench frame: lines as docs/BENCHMARKS.md describes them, and nothing else. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { figureOf, interleave, median, percentile } from '../../bench/figures.ts';
import { measureCases, measureStart } from '../../bench/parts/footprint.ts';
import { partNames } from '../../bench/run.ts';

const RUN = join(import.meta.dirname, '../../bench/run.ts');
const LOG = join(import.meta.dirname, '../../agent/src/runtime/clock.ts');

describe('a figure', () => {
  it('is the median with its spread, and its ratio to the baseline', () => {
    const figure = figureOf({
      bench: 'overlay',
      metric: 'distributeSeconds',
      case: '50MB/200',
      unit: 's',
      samples: [3, 1, 2],
      baseline: { name: 'libtorrent', samples: [4, 4, 1] },
      others: { tlsCopy: [9, 8] },
    });
    expect(figure).toEqual({
      bench: 'overlay',
      metric: 'distributeSeconds',
      case: '50MB/200',
      value: 2,
      unit: 's',
      p5: 1.1,
      p95: 2.9,
      runs: 3,
      baseline: 'libtorrent',
      baselineValue: 4,
      ratio: 0.5,
      others: { tlsCopy: 8.5 },
    });
    expect(Object.keys(figure)[0]).toBe('bench');
  });

  it('without a baseline has no ratio, and without samples does not exist', () => {
    const measured = { bench: 'b', metric: 'm', case: 'c', unit: 's', samples: [1] };
    expect(figureOf(measured)).not.toHaveProperty('ratio');
    expect(() => figureOf({ ...measured, samples: [] })).toThrow(RangeError);
  });

  it('is interpolated between samples', () => {
    expect(percentile([10, 20], 0.25)).toBe(12.5);
    expect(median([4, 1, 3, 2])).toBe(2.5);
  });
});

describe('contenders', () => {
  it('run in turn, in changing order, warm-ups not counted', async () => {
    const order: string[] = [];
    const contender = (name: string) => async (run: number) => {
      order.push(`${name}${run}`);
      return run;
    };
    const samples = await interleave({ a: contender('a'), b: contender('b') }, 2, 1);
    expect(order).toEqual(['b-1', 'a-1', 'a0', 'b0', 'b1', 'a1']);
    expect(samples).toEqual({ a: [0, 1], b: [0, 1] });
  });
});

describe('the part footprint', () => {
  it('measures time and memory of fresh processes against a bare Node', async () => {
    const figures: { metric: string; case: string; samples: readonly number[] }[] = [];
    const emit = (measured: (typeof figures)[number]) => void figures.push(measured);
    await measureCases({ clock: { modules: [LOG], kept: true } }, { quick: true, emit });
    expect(figures.map(({ metric, case: name }) => `${metric} ${name}`)).toEqual([
      'readySeconds clock',
      'rssMiB clock',
    ]);
    for (const { samples } of figures) {
      expect(samples).toHaveLength(5);
      for (const sample of samples) expect(sample).toBeGreaterThan(0);
    }
  });

  it('says which modules do not load', async () => {
    await expect(measureStart(['/no/such.ts'], null)).rejects.toThrow(/such\.ts did not load/);
  });
});

describe('npm run bench', () => {
  it('knows its parts, refuses others, and leaves standard output to the figures', () => {
    expect(partNames()).toContain('footprint');
    const { status, stdout, stderr } = spawnSync(process.execPath, [RUN, 'nothing'], {
      encoding: 'utf8',
    });
    expect([status, stdout]).toEqual([2, '']);
    expect(stderr).toContain("there is no part 'nothing'");
    expect(stderr).toContain('footprint');
  });
});
