/**
 * A file whose epoch is over before it is recorded: nobody is waited for on its account, and few files
 * are bound to an epoch before they can go to their owners.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Consortium } from '@blocktorrent/protocol/ledger-api.ts';
import { rangesOf } from '@blocktorrent/protocol/placement.ts';
import Database from 'better-sqlite3';
import { beforeEach, describe, expect, it } from 'vitest';
import type { House } from '../../agent/src/house.ts';
import type { Ledger } from '../../agent/src/ledger/ledger.ts';
import { ConsortiumView } from '../../agent/src/ledger/membership.ts';
import { pipeline } from '../../agent/src/pipeline.ts';
import { recordFiles } from '../../agent/src/record/record.ts';
import { Refusals } from '../../agent/src/record/refused.ts';
import {
  FILE_QUEUE_MIGRATIONS,
  FileQueue,
  type QueuedFile,
} from '../../agent/src/runtime/file-queue.ts';
import { silentLog } from '../../agent/src/runtime/log.ts';
import { POLICY } from '../support/consortium.ts';
import { namedFile } from '../support/named-file.ts';
import { aFolder } from '../support/readings.ts';
import { Seeded } from '../support/seeded.ts';

const random = new Seeded('epoch-over');
const place = { channel: 'blocktorrent', source: 'Org1MSP', gateway: 'gateway-1' };
const OVER = { giveUp: expect.stringMatching(/^epoch 1 is over: /) };
const epochOf = (epoch: number) =>
  rangesOf(
    [1, 2, 3, 4].map((number) => ({ mspId: `Org${number}MSP`, weight: 1 })),
    epoch,
    0,
  );
let newest: number;
let view: ConsortiumView;
let queue: FileQueue;

beforeEach(async () => {
  newest = 1;
  const evaluate = async () => {
    const epochs = [newest, newest - 1].filter((epoch) => epoch > 0).map(epochOf);
    return { epochs, policy: POLICY, members: [], peers: [] } as unknown as Consortium;
  };
  view = new ConsortiumView({ evaluate } as unknown as Ledger, 'blocktorrent', null);
  await view.refresh();
  const db = new Database(':memory:');
  for (const migration of FILE_QUEUE_MIGRATIONS) db.exec(migration);
  queue = new FileQueue(db, () => 1_000);
});

/** Two epochs at once: the ledger's answer has the newest two, and none that was missed is asked for. */
async function openTwo(): Promise<void> {
  newest += 1;
  await view.refresh();
  newest += 1;
  await view.refresh();
}

/** A stage of the pipeline where nobody answers, and the file it is to take. */
async function stageOf(name: string, folder: string, dialled: () => void = () => undefined) {
  const file = await namedFile(queue, place, random, () => 1_000);
  writeFileSync(join(folder, `${file.id}.age`), new Uint8Array(16_384));
  const record = {
    ...{ ...place, queue, overlaySeed: random.bytes(32) },
    takesEpoch: (epoch: number) => view.takesEpoch(epoch),
  };
  const house = {
    ...{ config: { distribute: { filesInFlight: 1 }, overlay: { graceMs: 1 } }, view, record },
    queue,
    spool: { pathOf: (id: number) => join(folder, `${id}.age`) },
    overlay: {
      accounts: { of: () => ({ sentBytes: 0 }) },
      dialMember: async () => {
        dialled();
        throw new Error('it has left the consortium');
      },
    },
    ...{ progress: new Map(), log: { ...silentLog, child: () => silentLog } },
  } as unknown as House;
  const step = pipeline(house).find((one) => one.name === name);
  const run = (signal = new AbortController().signal) => step?.run([file as QueuedFile], signal);
  return { run, step };
}

describe('a file whose epoch is over', () => {
  it.each(['distribute', 'deposit'])('is given up before the stage %s', async (name) => {
    const [folder, remove] = aFolder();
    const { run } = await stageOf(name, folder);
    await openTwo();
    expect(await run()).toEqual([OVER]);
    remove();
  });

  it('is given up while owners are waited for that will never sign', async () => {
    const [folder, remove] = aFolder();
    const dialled = Promise.withResolvers<void>();
    const { run } = await stageOf('distribute', folder, () => dialled.resolve());
    const distributing = run();
    await dialled.promise;
    newest = 2;
    await view.refresh();
    expect(await Promise.race([distributing, 'still waiting'])).toBe('still waiting');
    newest = 3;
    await view.refresh();
    expect(await distributing).toEqual([OVER]);
    remove();
  });

  it('is tried again, not given up, where the agent stops meanwhile', async () => {
    const [folder, remove] = aFolder();
    const dialled = Promise.withResolvers<void>();
    const { run } = await stageOf('distribute', folder, () => dialled.resolve());
    const stop = new AbortController();
    const distributing = run(stop.signal);
    await dialled.promise;
    stop.abort();
    await expect(distributing).rejects.toThrow('aborted');
    remove();
  });

  it('is not one whose epoch a peer that is behind has not heard of yet', async () => {
    await openTwo();
    newest = 1;
    await view.refresh();
    expect([1, 2, 3].map((epoch) => view.takesEpoch(epoch))).toEqual([true, true, true]);
    newest = 3;
    await view.refresh();
    expect([1, 2, 3].map((epoch) => view.takesEpoch(epoch))).toEqual([false, true, true]);
  });

  it('is one of few: what has no owners to go to yet gets no place in the chain, and no epoch', async () => {
    const [folder, remove] = aFolder();
    const { step } = await stageOf('name', folder);
    expect(step?.hasRoom?.()).toBe(true);
    queue.update(1, { stage: 'named' });
    expect(step?.hasRoom?.()).toBe(false);
    remove();
  });
});

describe('many places that were given up', () => {
  it('are made void a few at a call of the stage, which has its time', async () => {
    const files: QueuedFile[] = [];
    for (let n = 0; n < 26; n += 1) files.push(await namedFile(queue, place, random, () => 1_000));
    const last = files.at(-1);
    if (last === undefined) throw new Error('no file');
    for (const { id } of files.slice(0, -1)) queue.giveUp(id, 'epoch 1 is over');
    let seq = 0;
    let voids = 0;
    const counts: number[] = [];
    const ledger = {
      evaluate: async () => ({ seq, fileId: '' }),
      submit: async (name: string) => {
        if (name !== 'ledger/records:Void') throw new Error(`${name} is next`);
        seq += 1;
        voids += 1;
      },
    } as unknown as Ledger;
    const options = {
      ...{ ledger, queue, ...place, overlaySeed: random.bytes(32), policy: () => POLICY },
      ...{ requireEpoch: epochOf, takesEpoch: () => true, random: random.bytes },
      ...{ nowMs: () => 0, sha256: () => new Uint8Array(32), log: silentLog },
      refusals: new Refusals(() => 0),
    };
    const call = async () => {
      voids = 0;
      const results = await recordFiles([{ ...last, stage: 'deposited' }], options);
      counts.push(voids);
      return results;
    };
    expect([await call(), await call()]).toEqual([[], []]);
    await expect(call()).rejects.toThrow('its key is not deposited');
    expect([counts, seq]).toEqual([[10, 10], 25]);
  });
});
