/** Anchors: made every few seconds while the chain grows, and held against by an audit. */
import { verifyAnchored } from '@blocktorrent/agent/audit/verify-anchored.ts';
import { verifyBatch } from '@blocktorrent/agent/audit/verify-batch.ts';
import { Anchorer } from '@blocktorrent/agent/batch/anchorer.ts';
import { type Ledger, LedgerError } from '@blocktorrent/agent/ledger/ledger.ts';
import { silentLog } from '@blocktorrent/agent/runtime/log.ts';
import { toHex } from '@blocktorrent/protocol/bytes.ts';
import type { Anchor, AnchorInput } from '@blocktorrent/protocol/ledger-api.ts';
import type { Reading } from '@blocktorrent/protocol/reading.ts';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { openStore } from '../support/ingest.ts';
import { aFolder, aReading, readings } from '../support/readings.ts';

const cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

/** The ledger's side of anchors: grows only, as the contract does. */
function anchorLedger() {
  const anchors: Anchor[] = [];
  const world = { offline: false, pages: 0 };
  const answer = (name: string, argument: unknown): unknown => {
    if (world.offline) throw new LedgerError('unavailable', 'unavailable');
    if (name === 'ledger/records:GetAnchor') return anchors.at(-1) ?? null;
    if (name === 'ledger/records:ListAnchors') {
      const { fromCount } = argument as { fromCount: number };
      world.pages += 1;
      const found = anchors.filter(({ count }) => count >= fromCount);
      return { anchors: found.slice(0, 2), nextCount: found[2]?.count ?? null };
    }
    const input = argument as AnchorInput;
    if (input.count <= (anchors.at(-1)?.count ?? 0)) throw new Error('WRONG_CHAIN: only grows');
    anchors.push({ ...input, source: 'Org1MSP', atMs: 0 });
    return null;
  };
  const ledger = {
    submit: async (name: string, argument: unknown) => ({
      result: answer(name, argument),
      txId: '',
    }),
    evaluate: async (name: string, argument: unknown) => answer(name, argument),
  } as unknown as Ledger;
  return { ledger, anchors, world };
}

function aStore() {
  const [folder, remove] = aFolder();
  const store = openStore(folder);
  cleanUps.push(() => {
    store.stop();
    remove();
  });
  return store;
}

describe('the anchorer', () => {
  const memory = new Map<string, string>();
  beforeEach(() => {
    vi.useFakeTimers();
    memory.clear();
    cleanUps.push(() => vi.useRealTimers());
  });

  function started(ledger: Ledger, store = aStore(), everyMs = 1000) {
    const outcomes: string[] = [];
    const anchorer = new Anchorer({
      memory: {
        get: (key) => memory.get(key) ?? null,
        put: (key, value) => void memory.set(key, value),
      },
      ledger,
      source: 'Org1MSP',
      gateway: 'gateway-1',
      head: () => store.current,
      everyMs,
      nowMs: () => 7,
      onOutcome: (outcome) => outcomes.push(outcome),
      log: silentLog,
    });
    cleanUps.push(() => anchorer.stop());
    anchorer.start();
    return { anchorer, store, outcomes };
  }

  it('anchors the head every so often, only when it has changed', async () => {
    const { ledger, anchors } = anchorLedger();
    const { store, outcomes } = started(ledger);
    await vi.advanceTimersByTimeAsync(3000);
    expect(anchors).toEqual([]);
    store.append(readings(1, 3));
    await vi.advanceTimersByTimeAsync(3000);
    expect(anchors).toMatchObject([
      { gateway: 'gateway-1', batch: 1, count: 3, head: toHex(store.current.chainEnd) },
    ]);
    store.closeCurrent();
    store.append(readings(4, 4));
    await vi.advanceTimersByTimeAsync(3000);
    expect(anchors[1]).toMatchObject({ batch: 2, count: 4, head: toHex(store.current.chainEnd) });
    expect(outcomes).toEqual(['anchored', 'anchored']);
  });

  it('makes up for the time offline by one anchor', async () => {
    const { ledger, anchors, world } = anchorLedger();
    const { anchorer, store, outcomes } = started(ledger);
    world.offline = true;
    for (const seq of [1, 2, 3]) {
      store.append(readings(seq, seq));
      await vi.advanceTimersByTimeAsync(1000);
    }
    expect([anchorer.status, outcomes.length]).toEqual([
      { count: null, error: 'unavailable', alarm: null, alarmMs: null },
      3,
    ]);
    world.offline = false;
    await vi.advanceTimersByTimeAsync(1000);
    expect(anchors).toMatchObject([{ count: 3 }]);
    expect(anchorer.status).toEqual({ count: 3, error: null, alarm: null, alarmMs: null });
  });

  it('has nothing to say after a restart without a reading, and knows what is anchored', async () => {
    const { ledger, anchors } = anchorLedger();
    const { store } = started(ledger);
    store.append(readings(1, 3));
    await vi.advanceTimersByTimeAsync(1000);
    const again = started(ledger, store);
    await vi.advanceTimersByTimeAsync(3000);
    expect([anchors.length, again.outcomes, again.anchorer.status.count]).toEqual([1, [], 3]);
  });

  it('is back soon after the ledger is, however seldom it anchors', async () => {
    const { ledger, anchors, world } = anchorLedger();
    const { store } = started(ledger, aStore(), 3_600_000);
    store.append(readings(1, 3));
    world.offline = true;
    await vi.advanceTimersByTimeAsync(3_600_000);
    world.offline = false;
    await vi.advanceTimersByTimeAsync(10_000);
    expect(anchors).toMatchObject([{ count: 3 }]);
    store.append(readings(4, 4));
    await vi.advanceTimersByTimeAsync(3_500_000);
    expect(anchors).toHaveLength(1);
  });

  it('raises an alarm where the ledger knows of readings that are not here', async () => {
    const { ledger, anchors } = anchorLedger();
    anchors.push({
      source: 'Org1MSP',
      gateway: 'gateway-1',
      batch: 1,
      count: 9,
      head: 'x',
      atMs: 0,
    });
    const { anchorer, store } = started(ledger);
    store.append(readings(1, 3));
    await vi.advanceTimersByTimeAsync(1000);
    expect(anchorer.status.alarm).toMatch(/over 9 readings, here are 3: readings are missing/);
    anchors[0] = { ...anchors[0], count: 3 } as Anchor;
    const other = started(ledger, store);
    await vi.advanceTimersByTimeAsync(1000);
    expect(other.anchorer.status.alarm).toMatch(/another anchor over 3 readings/);
    // The next anchor is ours, and contradicts nothing; what it follows on is wrong still.
    store.append(readings(4, 4));
    await vi.advanceTimersByTimeAsync(1000);
    expect(anchors.at(-1)?.count).toBe(4);
    const again = started(ledger, store);
    await vi.advanceTimersByTimeAsync(1000);
    expect(again.anchorer.status.alarm).toMatch(/another anchor over 3 readings/);
  });

  it('does nothing where it is switched off', async () => {
    const { ledger, anchors } = anchorLedger();
    const { store } = started(ledger, aStore(), 0);
    store.append(readings(1, 3));
    await vi.advanceTimersByTimeAsync(100_000);
    expect(anchors).toEqual([]);
  });
});

describe('an audit of a batch', () => {
  const record = { source: 'Org1MSP', gateway: 'gateway-1' } as const;

  /** Batch 2 with readings 6 to 20, as its gateway wrote it, and with some readings changed. */
  function batchOf(
    change: (reading: Reading) => Reading,
    anchored: (count: number, head: string) => void,
  ) {
    const store = aStore();
    store.append(readings(1, 5));
    store.closeCurrent();
    anchored(5, toHex(store.current.chainEnd));
    for (let seq = 6; seq <= 20; seq += 1) {
      store.append([change(aReading(seq))]);
      anchored(seq, toHex(store.current.chainEnd));
    }
    return store.closeCurrent()?.path ?? '';
  }

  function anchoredBatch() {
    const { ledger, anchors, world } = anchorLedger();
    const path = batchOf(
      (reading) => reading,
      (count, head) => {
        if (count % 5 === 0) anchors.push({ ...record, batch: 2, count, head, atMs: 0 });
      },
    );
    return { ledger, anchors, world, path };
  }

  it('holds it against every anchor in it and at its beginning, page by page', async () => {
    const { ledger, anchors, world, path } = anchoredBatch();
    anchors.push({ ...record, batch: 3, count: 30, head: 'later', atMs: 0 });
    const verified = await verifyAnchored(path, record, ledger);
    expect([verified.anchors, verified.readings, world.pages]).toEqual([4, 15, 2]);
  });

  it('finds a reading that was changed after its anchor, though the chain was made to fit', async () => {
    const { ledger } = anchoredBatch();
    const forged = batchOf(
      (reading) =>
        reading.seq === 8 ? { ...reading, payload: Buffer.from('{"value":0}') } : reading,
      () => undefined,
    );
    expect(verifyBatch(forged).readings).toBe(15);
    await expect(verifyAnchored(forged, record, ledger)).rejects.toMatchObject({
      code: 'bad-chain',
      message: expect.stringMatching(/not what was anchored: after reading 10 /),
    });
  });

  it('finds a batch that does not follow what was anchored before it', async () => {
    const { ledger, anchors, path } = anchoredBatch();
    anchors[0] = { ...record, batch: 1, count: 5, head: 'ab', atMs: 0 };
    await expect(verifyAnchored(path, record, ledger)).rejects.toThrow('after reading 5 ');
  });

  it('finds a batch of another gateway', async () => {
    const { path } = anchoredBatch();
    const { ledger } = anchorLedger();
    const other = { ...record, gateway: 'gateway-2' };
    await expect(verifyAnchored(path, other, ledger)).rejects.toThrow(
      'of Org1MSP/gateway-1, but recorded by Org1MSP/gateway-2',
    );
  });
});
