/**
 * When an agent collects its garbage: in idle times that come after work, once when it bounds V8's growth,
 * and never else; and that what libc holds for nobody goes back to the system.
 */
import { execFileSync } from 'node:child_process';
import { pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import { MemoryKeeper } from '../../agent/src/runtime/memory-keeper.ts';

const TRIM = pathToFileURL(`${import.meta.dirname}/../../agent/src/runtime/malloc-trim.ts`).href;

/** Looks every 5 s, before each of which so many milliseconds of processor time were used. */
function collectionsIn(usedMs: readonly number[], collectionMs = 0): number[] {
  return lookedAt(usedMs, collectionMs).collections;
}

function lookedAt(usedMs: readonly number[], collectionMs = 0) {
  let cpuMs = 300;
  let nowMs = 0;
  const collections: number[] = [];
  const bounds: number[] = [];
  let trims = 0;
  const memory = new MemoryKeeper({
    collect: () => {
      cpuMs += collectionMs;
      collections.push(nowMs / 5_000);
    },
    boundGrowth: () => bounds.push(nowMs / 5_000),
    trim: () => {
      trims += 1;
    },
    cpuMs: () => cpuMs,
    monotonicMs: () => nowMs,
  });
  memory.start();
  memory.stop();
  for (const used of usedMs) {
    cpuMs += used;
    nowMs += 5_000;
    memory.look();
  }
  return { collections, bounds, trims };
}

describe('an idle agent', () => {
  it('collects at once, with the bound on V8’s growth, and not again while it has done nothing', () => {
    expect(collectionsIn([10, 10, 10, 10])).toEqual([1, 2]);
  });

  it('does not collect while there is work, but to put the bound on V8’s growth into effect', () => {
    const work = Array.from({ length: 30 }, () => 4_000);
    expect(lookedAt(work)).toEqual({ collections: [2], bounds: [2], trims: 30 });
    expect(collectionsIn([260, 260, 260, 260])).toEqual([2]);
  });

  it('collects after each piece of work, when that is over', () => {
    expect(collectionsIn([10, 4_000, 4_000, 10, 10, 4_000, 10])).toEqual([1, 2, 4, 7]);
  });

  it('collects also where little work has come together, without counting its own', () => {
    const little = Array.from({ length: 14 }, () => 100);
    expect(collectionsIn([10, ...little], 2_000)).toEqual([1, 2, 12]);
  });
});

/** RSS in MiB of a process that has freed 62 of 64 MiB, but for a little on each page or two. */
const HOLES = `
  import { setTimeout } from 'node:timers/promises';
  import { mallocTrim } from ${JSON.stringify(TRIM)};
  const rss = () => process.memoryUsage.rss() / 2 ** 20;
  const trim = mallocTrim();
  trim();
  await setTimeout(500);
  let blocks = Array.from({ length: 4_096 }, () => Buffer.allocUnsafeSlow(16_000).fill(1));
  const pins = blocks.filter((_, index) => index % 32 === 0);
  blocks = [];
  globalThis.gc();
  await setTimeout(500);
  const held = rss();
  trim();
  console.log(JSON.stringify({ held, left: rss(), pinned: pins.length }));
`;

describe('memory that libc holds', () => {
  const report = process.report?.getReport() as { header?: { glibcVersionRuntime?: string } };
  const noGlibc = report?.header?.glibcVersionRuntime === undefined;

  it.skipIf(noGlibc)('goes back to the system, also where it has holes (needs glibc)', () => {
    const args = ['--expose-gc', '--input-type=module', '--eval', HOLES];
    const env = { ...process.env, MALLOC_ARENA_MAX: '1' };
    const { held, left } = JSON.parse(
      execFileSync(process.execPath, args, { env, encoding: 'utf8' }),
    );
    expect(held - left, `${held} MiB, then ${left}`).toBeGreaterThan(40);
  });
});
