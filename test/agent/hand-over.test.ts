/** Closed batches on their way into the queue, and out of the folder: what the disk does meanwhile. */
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { gatewayConfig, startGateway, type TestGateway } from '../support/gateway.ts';
import { openStore } from '../support/ingest.ts';
import { aFolder, readings } from '../support/readings.ts';

let folder: string;
let remove: () => void;
let test: TestGateway;
/** What the start said of itself. */
let said: string[];
beforeEach(() => {
  [folder, remove] = aFolder();
});
afterEach(async () => {
  await test.stop();
  remove();
});

/** A gateway with closed batches of ten readings each, and another; its broker is not there. */
function begin(closed: number, more = ''): void {
  const store = openStore(join(folder, 'batches'));
  for (let batch = 0; batch <= closed; batch += 1) {
    store.append(readings(batch * 10 + 1, batch * 10 + 10));
    if (batch < closed) store.closeCurrent();
  }
  store.stop();
  const rules = "[{ topic: 'site/#', value: /v }]";
  const text = gatewayConfig(folder, rules, ['mqtt://127.0.0.1:1'], more);
  said = [];
  test = startGateway(folder, text, {}, { start: false, starting: (what) => said.push(what) });
}
const isThere = (batch: number) => existsSync(join(folder, `batches/${batch}.sqlite`));

describe('a closed batch', () => {
  it('is queued once the disk takes that, if it did not at first', async () => {
    begin(1);
    const add = vi.spyOn(test.queue, 'add').mockImplementation(() => {
      throw Object.assign(new Error('database or disk is full'), { code: 'SQLITE_FULL' });
    });
    test.gateway.start();
    expect([add.mock.calls.length, test.queue.batchStage(1)]).toEqual([1, null]);
    add.mockRestore();
    await vi.waitFor(() => expect(test.queue.batchStage(1)).toBe('queued'), 5_000);
  });

  it('is counted as the start opens it, for there may be thousands', () => {
    begin(3);
    expect(said).toEqual(['closed batch 1 of 3', 'closed batch 2 of 3', 'closed batch 3 of 3']);
  });

  it('is not tried again and again where somebody has deleted it', () => {
    begin(1);
    test.gateway.queueAgain();
    rmSync(join(folder, 'batches/1.sqlite'));
    test.queue.giveUp(1, 'it is not there any more');
    test.gateway.queueAgain();
    const tries = test.queue.list(9).filter(({ inputPath }) => inputPath.endsWith('/1.sqlite'));
    expect(tries.map(({ stage, batch }) => [stage, batch])).toEqual([['void', 1]]);
    expect(test.queue.problems(9)).toHaveLength(1);
  });

  it('goes at the start where it is available, and a kill came before', () => {
    begin(4);
    test.gateway.queueAgain();
    test.queue.update(1, { stage: 'available' });
    test.gateway.start();
    expect([1, 2].map(isThere)).toEqual([false, true]);
  });

  it('is not dropped for what sealing has on the disk in between', () => {
    mkdirSync(join(folder, 'spool'));
    for (const name of ['7.age.zst', '7.age.partial']) {
      writeFileSync(join(folder, 'spool', name), new Uint8Array(900_000));
    }
    begin(3, 'batch: { maxBytes: 524288, disk: { maxBytes: 1048576, reserveBytes: 0 } }');
    const { usedBytes, droppedReadings } = test.gateway.counts().disk;
    expect([usedBytes < 900_000, droppedReadings]).toEqual([true, 0]);
    expect([1, 2, 3].map(isThere)).toEqual([true, true, true]);
  });
});
