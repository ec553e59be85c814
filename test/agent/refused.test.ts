/**
 * What the ledger refuses for good is given up, and only that; what waits for it goes on. Keys that
 * wait together are deposited together, and a crash finds each again.
 */
import { toHex } from '@blocktorrent/protocol/bytes.ts';
import { dealShards, depositIdOf } from '@blocktorrent/protocol/dealing.ts';
import type { Dealing, DepositInput, TransactionName } from '@blocktorrent/protocol/ledger-api.ts';
import { TRANSIENT } from '@blocktorrent/protocol/ledger-api.ts';
import { rangesOf } from '@blocktorrent/protocol/placement.ts';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ledgerError } from '../../agent/src/ledger/fabric-errors.ts';
import {
  type Ledger,
  LedgerError,
  type LedgerErrorCode,
  type SubmitOptions,
} from '../../agent/src/ledger/ledger.ts';
import { type DepositOptions, depositKey, redealShard } from '../../agent/src/record/deposit.ts';
import { DepositGroup } from '../../agent/src/record/deposit-group.ts';
import { signedManifestOf } from '../../agent/src/record/name.ts';
import { recordFiles } from '../../agent/src/record/record.ts';
import { isFinal, LAST_WORD_AFTER_MS, Refusals } from '../../agent/src/record/refused.ts';
import {
  BY_HAND,
  FILE_QUEUE_MIGRATIONS,
  FileQueue,
  type QueuedFile,
  REFUSALS_MAX,
  REFUSED,
} from '../../agent/src/runtime/file-queue.ts';
import { silentLog } from '../../agent/src/runtime/log.ts';
import { StageRunner, type StageStep } from '../../agent/src/runtime/stage-runner.ts';
import { POLICY } from '../support/consortium.ts';
import { namedFile } from '../support/named-file.ts';
import { Seeded } from '../support/seeded.ts';

const SOURCE = 'Org1MSP';
const random = new Seeded('refused');
const epoch = rangesOf(
  [1, 2, 3, 4].map((number) => ({ mspId: `Org${number}MSP`, weight: 1 })),
  1,
  0,
);
let queue: FileQueue;
let nowMs = 0;
/** The clock that does not jump, by which refusals are judged. */
let monotonicMs = 0;
let refusals: Refusals;
beforeEach(() => {
  nowMs = 1_000;
  monotonicMs = 0;
  refusals = new Refusals(() => monotonicMs);
  const db = new Database(':memory:');
  for (const migration of FILE_QUEUE_MIGRATIONS) db.exec(migration);
  queue = new FileQueue(db, () => nowMs);
});

const refusal = (code: LedgerErrorCode, text: string) => new LedgerError(code, text, 'ab');

/** A ledger that answers as told. */
function ledgerOf(
  answer: (name: TransactionName, argument: never, options?: SubmitOptions) => unknown,
): Ledger {
  return {
    mspId: SOURCE,
    evaluate: async (name, argument) => answer(name, argument as never) as never,
    submit: async (name, argument, options) => {
      const result = answer(name, argument as never, options);
      return { result: result as never, txId: 'ab' };
    },
    events: () => {
      throw new Error('nobody asks for events here');
    },
    close: () => undefined,
  };
}

const place = {
  ...{ channel: 'blocktorrent', source: SOURCE, gateway: 'gateway-1' },
  overlaySeed: random.bytes(32),
};

const named = () => namedFile(queue, place, random, () => nowMs);

function dealt(input: DepositInput, identity: Uint8Array, entropy: Uint8Array, txId: string) {
  return dealShards({ identity, entropy, txId, input }).dealing;
}

describe('a final refusal', () => {
  it.each([
    ...['BAD_ARGUMENT', 'TOO_LARGE', 'WRONG_RECEIPT', 'TOO_FEW_RECEIPTS', 'WRONG_DEALING'],
    ...['BAD_SIGNATURE', 'ALREADY_EXISTS', 'BAD_KEY'],
  ])('is the contract’s %s', (code) => {
    expect(isFinal(refusal('rejected', `${code}: whatever`))).toBe(true);
  });

  it.each(['NOT_ALLOWED', 'NOT_FOUNDED', 'WRONG_CHAIN', 'WRONG_EPOCH', 'TOO_EARLY', 'INTERNAL'])(
    'is not %s, which others or time can mend',
    (code) => expect(isFinal(refusal('rejected', `${code}: whatever`))).toBe(false),
  );

  it.each<LedgerErrorCode>(['unavailable', 'endorse', 'submit', 'commit', 'timeout', 'conflict'])(
    'is never one of the ledger’s own failures: %s',
    (code) => expect(isFinal(refusal(code, 'BAD_ARGUMENT: whatever'))).toBe(false),
  );
});

describe('a refusal by other organisations’ peers', () => {
  const TEXT = 'chaincode response 500, BAD_ARGUMENT: I say so';
  /** What the gateway client throws where these organisations' endorsers failed. */
  const thrown = (...details: { mspId: string; message: string }[]) =>
    Object.assign(new Error('failed to collect enough endorsements'), { code: 10, details });
  const from = (error: Error) => ledgerError('endorse', error, { txId: 'ab', own: SOURCE });

  it('never makes us give a file up while ours says nothing, however long', () => {
    // Ours endorsed; of the others one refuses whatever it is asked, and one is away.
    const error = from(
      thrown({ mspId: 'Org2MSP', message: TEXT }, { mspId: 'Org3MSP', message: 'unavailable' }),
    );
    expect(error).toMatchObject({ code: 'rejected', hearsay: true });
    for (let minute = 0; minute < 60; minute += 1) {
      expect(() => refusals.judge(1, error)).toThrow(/I say so/);
      expect(refusals.has(1)).toBe(false);
      monotonicMs += 60_000;
    }
  });

  it('counts after ours, and ours is shown', () => {
    const ours = { mspId: SOURCE, message: 'chaincode response 500, BAD_KEY: ours' };
    const error = from(thrown({ mspId: 'Org2MSP', message: TEXT }, ours));
    expect(error.message).toMatch(/^BAD_KEY: ours/);
    expect(() => refusals.judge(1, error)).toThrow();
    monotonicMs += LAST_WORD_AFTER_MS;
    const others = from(thrown({ mspId: 'Org2MSP', message: TEXT }));
    expect(refusals.judge(1, others)).toMatchObject({ giveUp: expect.stringMatching(/I say so/) });
  });
});

describe('a stranger’s void of our file', () => {
  it('is not taken for our record where another file has our place', async () => {
    const file = await named();
    const ledger = ledgerOf((name) =>
      name === 'ledger/records:GetChain'
        ? { seq: file.seq, fileId: 'ee'.repeat(32) }
        : { fileId: file.fileId, source: 'Org4MSP', void: 'because' },
    );
    const recording = recordFiles([file], {
      ...{ ledger, queue, ...place, policy: () => POLICY, requireEpoch: () => epoch },
      ...{ takesEpoch: () => true, random: random.bytes, nowMs: () => nowMs },
      sha256: () => new Uint8Array(32),
      ...{ refusals, log: silentLog },
    });
    await expect(recording).rejects.toThrow(/taken on the ledger by another file/);
  });
});

describe('a queue that was made under another name', () => {
  it.each([
    ['gateway', { gateway: 'gateway-2' }],
    ['channel', { channel: 'another' }],
  ])('is not gone on with, and says what to do: %s', async (_, change) => {
    const file = await named();
    const renamed = { ...place, ...change };
    expect(() => signedManifestOf(file, renamed)).toThrow(/a dataDir of its own/);
    const next = namedFile(queue, renamed, random, () => nowMs);
    await expect(next).rejects.toThrow(/state\.sqlite has the chain of Org1MSP\/gateway-1 on/);
  });
});

describe('recording', () => {
  const stopping: AbortController[] = [];
  afterEach(() => {
    for (const one of stopping.splice(0)) one.abort();
  });

  /** Runs the stage until `until` holds of the queue. */
  async function run(ledger: Ledger, until: () => boolean): Promise<void> {
    const stop = new AbortController();
    stopping.push(stop);
    const options = {
      ...{ ledger, queue, ...place, policy: () => POLICY, requireEpoch: () => epoch },
      ...{ takesEpoch: () => true, random: random.bytes, nowMs: () => nowMs },
      sha256: () => new Uint8Array(32),
      ...{ refusals, log: silentLog },
    };
    const step: StageStep = {
      ...{ name: 'record', from: 'deposited', to: 'recorded', concurrency: 1, inOrder: true },
      runMax: 20,
      run: (files) => recordFiles(files, options),
    };
    const done = Promise.withResolvers<void>();
    const runner = new StageRunner(step, {
      ...{ queue, log: silentLog, signal: stop.signal, random: () => 0, retryMinMs: 10 },
      retryMaxMs: 20,
      onAdvance: () => {
        runner.wake();
        if (until()) done.resolve();
      },
    });
    const running = runner.run();
    await done.promise;
    stop.abort();
    await running;
  }

  async function deposited(count: number): Promise<QueuedFile[]> {
    const files: QueuedFile[] = [];
    for (let i = 0; i < count; i++) {
      const file = await named();
      const holders = ['Org2MSP', 'Org3MSP', 'Org4MSP'];
      const { fileId, recipient, identity } = file;
      const input = {
        ...{ fileId: fileId ?? '', recipient: recipient ?? '', holders },
        ...{ scheme: POLICY.scheme, k: 2, n: 3 },
      };
      const id = toHex(random.bytes(32));
      const dealing = dealt(input, identity ?? new Uint8Array(), random.bytes(32), id);
      const masterTable = random.bytes(10);
      files.push(queue.update(file.id, { stage: 'deposited', dealing, masterTable }));
    }
    return files;
  }

  it('gives the one file up that is refused for good; those around it are recorded', async () => {
    const [first, bad, third] = await deposited(3);
    const chain: string[] = [];
    let failures = 0;
    const ledger = ledgerOf((name, argument) => {
      if (name === 'ledger/records:GetChain') {
        return { seq: chain.length, fileId: chain.at(-1) ?? '' };
      }
      if (failures++ < 3) throw refusal('unavailable', 'WRONG_RECEIPT: nobody is there');
      const { records, fileId } = argument as { records?: { fileId: string }[]; fileId?: string };
      const ids = records?.map((one) => one.fileId) ?? [fileId ?? ''];
      if (name !== 'ledger/records:Void' && ids.includes(bad?.fileId ?? '')) {
        monotonicMs += LAST_WORD_AFTER_MS / 4;
        throw refusal('rejected', 'WRONG_RECEIPT: receipt 0: expected epoch 1, got 2');
      }
      chain.push(...ids);
      return null;
    });
    await run(ledger, () => queue.counts().recorded === 2);
    expect(chain).toEqual([first, bad, third].map((file) => file?.fileId));
    const { stage, error, identity } = queue.get(bad?.id ?? 0);
    expect([stage, identity]).toEqual(['void', null]);
    expect(error).toBe(`${REFUSED}WRONG_RECEIPT: receipt 0: expected epoch 1, got 2`);
  });

  it('asks again, elsewhere, before a refusal is the last word: a peer may be behind', async () => {
    const [file] = await deposited(1);
    const asked: (boolean | undefined)[] = [];
    const ledger = ledgerOf((name, _, options) => {
      if (name === 'ledger/records:GetChain') return { seq: 0, fileId: '' };
      asked.push(options?.elsewhere);
      monotonicMs += LAST_WORD_AFTER_MS / 3;
      if (asked.length < 3) throw refusal('rejected', 'WRONG_RECEIPT: no registered peer');
      return null;
    });
    await run(ledger, () => queue.counts().recorded === 1);
    expect(asked).toEqual([false, true, true]);
    expect(queue.get(file?.id ?? 0).error).toBeNull();
    expect(refusals.has(file?.id ?? 0)).toBe(false);
  });

  it('lets go of a file that was given up while it was in hand', async () => {
    const [file] = await deposited(1);
    const given = Promise.withResolvers<void>();
    const ledger = ledgerOf((name) => {
      if (name === 'ledger/records:GetChain') return { seq: 0, fileId: '' };
      queue.update(file?.id ?? 0, { stage: 'void', error: `${BY_HAND}no need` });
      setImmediate(() => given.resolve());
      return null;
    });
    void run(ledger, () => false);
    await given.promise;
    await new Promise((resolve) => setImmediate(resolve));
    expect(queue.get(file?.id ?? 0).stage).toBe('void');
  });
});

describe('the queue', () => {
  const batch = { kind: 'batch', inputPath: '/b1', batch: 1, recipients: [] } as const;

  it('seals a refused batch anew, a few times', () => {
    const tries = new Set<number>();
    for (let i = 0; i < REFUSALS_MAX + 3; i++) {
      const { id, stage } = queue.add(batch);
      tries.add(id);
      if (stage !== 'void') queue.update(id, { stage: 'void', error: `${REFUSED}X: y` });
    }
    expect(tries.size).toBe(REFUSALS_MAX);
    expect(queue.add(batch).stage).toBe('void');
  });

  it('leaves one alone that was given up by hand', () => {
    const { id } = queue.add(batch);
    queue.update(id, { stage: 'void', error: `${BY_HAND}of no use` });
    expect(queue.add(batch).id).toBe(id);
  });

  it('seals one anew as often as need be whose placement or sealed copy is gone', () => {
    for (let i = 0; i < REFUSALS_MAX + 3; i++) {
      const { id, stage } = queue.add(batch);
      expect(stage).toBe('queued');
      queue.update(id, { stage: 'void', error: 'epoch 1 is over' });
    }
  });

  it('counts what is late, and since when', () => {
    for (const [atMs, stage] of [
      [10, 'queued'],
      [20, 'void'],
      [30, 'recorded'],
      [40, 'sealed'],
    ] as const) {
      nowMs = atMs;
      const { id } = queue.add({ kind: 'file', inputPath: '/x', batch: null, recipients: [] });
      queue.update(id, { stage });
    }
    expect(queue.overdue(40)).toEqual({ count: 2, oldestMs: 10 });
    expect(queue.overdue(5)).toEqual({ count: 0, oldestMs: null });
  });
});

describe('depositing the keys of files that wait', () => {
  const dealings = new Map<string, Dealing>();
  let sent: string[] = [];
  beforeEach(() => {
    dealings.clear();
    sent = [];
  });

  /** The chaincode, as far as deposits go; `fate` may fail after the id is known. */
  function keys(
    fate: (txId: string, argument: DepositInput[]) => 'lost' | 'done' | 'known' = () => 'done',
  ) {
    return ledgerOf((name, argument, options) => {
      if (name === 'keys/keys:GetDealing') {
        return dealings.get((argument as { depositTx: string }).depositTx) ?? null;
      }
      const txId = toHex(random.bytes(32));
      options?.onTransactionId?.(txId);
      sent.push(name);
      const isMany = name === 'keys/keys:DepositMany';
      const inputs = isMany
        ? (argument as { deposits: DepositInput[] }).deposits
        : [argument as DepositInput];
      const outcome = fate(txId, inputs);
      if (outcome === 'lost') throw refusal('timeout', 'nobody knows');
      const { [TRANSIENT.identity]: identities, [TRANSIENT.entropy]: entropy } =
        options?.transient ?? {};
      if (identities === undefined || entropy === undefined) throw new Error('nothing transient');
      const made = inputs.map((input, i) => {
        const id = isMany ? depositIdOf(txId, input.fileId) : txId;
        return dealt(input, identities.subarray(i * 32, (i + 1) * 32), entropy, id);
      });
      for (const dealing of made) dealings.set(dealing.depositTx, dealing);
      if (outcome === 'known') throw refusal('timeout', 'nobody knows');
      return isMany ? made : made[0];
    });
  }
  const optionsWith = (ledger: Ledger, policy = POLICY): DepositOptions => ({
    ...{ ledger, queue, source: SOURCE, policy: () => policy, requireEpoch: () => epoch },
    ...{ random: random.bytes, refusals, log: silentLog },
    deposits: new DepositGroup(ledger, random.bytes),
  });
  const depositKeys = (files: readonly QueuedFile[], options: DepositOptions) =>
    Promise.all(files.map((file) => depositKey(file, options)));
  const again = (files: readonly QueuedFile[]) => files.map(({ id }) => queue.get(id));
  const dealingOf = (result: object | undefined) =>
    (result as { dealing?: Dealing } | undefined)?.dealing;

  it('sends one alone, and many together, each with a deposit of its own that can be dealt again', async () => {
    const one = await named();
    const options = optionsWith(keys());
    await depositKeys([one], options);
    const many = [await named(), await named(), await named()];
    const results = await depositKeys(many, options);
    expect(sent).toEqual(['keys/keys:Deposit', 'keys/keys:DepositMany']);
    for (const [i, file] of again(many).entries()) {
      const dealing = dealingOf(results[i]);
      expect(dealing?.fileId).toBe(file.fileId);
      expect(file.deposit?.txId).toBe(dealing?.depositTx);
      if (dealing === undefined) throw new Error('no dealing');
      expect(redealShard(file, dealing, 2).length).toBeGreaterThan(60);
    }
  });

  it('finds what was ordered before a crash, and sends only the others', async () => {
    const files = [await named(), await named()];
    const crash = depositKeys(files, optionsWith(keys(() => 'known')));
    await expect(crash).rejects.toThrow(/nobody knows/);
    const third = await named();
    const results = await depositKeys([...again(files), third], optionsWith(keys()));
    expect(sent).toEqual(['keys/keys:DepositMany', 'keys/keys:Deposit']);
    expect(results.map((result) => dealingOf(result)?.fileId)).toEqual(
      [...files, third].map((file) => file.fileId),
    );
  });

  it('asks for the same holders, k and n again where the fate of the last is not known', async () => {
    const files = [await named(), await named()];
    const asked: DepositInput[][] = [];
    const lost = keys((_, inputs) => {
      asked.push(inputs);
      return 'lost';
    });
    await expect(depositKeys(files, optionsWith(lost))).rejects.toThrow();
    const changed = { ...POLICY, k: 3 };
    await expect(depositKeys(again(files), optionsWith(lost, changed))).rejects.toThrow();
    expect(asked[1]).toEqual(asked[0]);
  });

  it('gives up the one that is refused for good, and deposits the others', async () => {
    const files = [await named(), await named(), await named()];
    const bad = files[1]?.fileId;
    const ledger = keys((_, inputs) => {
      if (inputs.some(({ fileId }) => fileId === bad)) throw refusal('rejected', 'BAD_KEY: not it');
      return 'done';
    });
    const options = optionsWith(ledger);
    const once = await Promise.allSettled(files.map((file) => depositKey(file, options)));
    expect(once.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    monotonicMs += LAST_WORD_AFTER_MS;
    const results = await depositKeys(again(files), options);
    expect(results[1]).toEqual({ giveUp: 'BAD_KEY: not it', byLedger: true });
    for (const i of [0, 2]) expect(dealingOf(results[i])?.fileId).toBe(files[i]?.fileId);
  });
});
