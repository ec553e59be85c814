/**
 * When an agent collects its garbage: in idle times that come after work, and in no others; and how
 * long it leaves V8 alone.
 */
import { describe, expect, it } from 'vitest';
import { MemoryKeeper } from '../../agent/src/runtime/memory-keeper.ts';

/** Looks every 5 s, before each of which so many milliseconds of processor time were used. */
function collectionsIn(usedMs: readonly number[], collectionMs = 0): number[] {
  return lookedAt(usedMs, collectionMs).collections;
}

function lookedAt(usedMs: readonly number[], collectionMs = 0) {
  let cpuMs = 300;
  let nowMs = 0;
  const collections: number[] = [];
  const bounds: number[] = [];
  const memory = new MemoryKeeper({
    collect: () => {
      cpuMs += collectionMs;
      collections.push(nowMs / 5_000);
    },
    boundGrowth: () => bounds.push(nowMs / 5_000),
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
  return { collections, bounds };
}

describe('an idle agent', () => {
  it('collects once after its start, and not again while it has done nothing', () => {
    expect(collectionsIn([10, 10, 10, 10])).toEqual([1]);
  });

  it('does not collect while there is work', () => {
    expect(collectionsIn([4_000, 500, 260, 260])).toEqual([]);
  });

  it('collects after each piece of work, when that is over', () => {
    expect(collectionsIn([10, 4_000, 4_000, 10, 10, 4_000, 10])).toEqual([1, 4, 7]);
  });

  it('collects also where little work has come together, without counting its own', () => {
    const little = Array.from({ length: 14 }, () => 100);
    expect(collectionsIn([10, ...little], 2_000)).toEqual([1, 11]);
  });

  it('bounds V8’s growth once, after a minute, and with work as well', () => {
    const work = Array.from({ length: 30 }, () => 4_000);
    expect(lookedAt(work)).toEqual({ collections: [], bounds: [12] });
  });
});
