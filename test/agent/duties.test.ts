/** Duties towards the others (agent/src/consortium), where the peer that is asked is behind. */
import type { FileRecord } from '@blocktorrent/protocol/ledger-api.ts';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { Duties } from '../../agent/src/consortium/duties.ts';
import { DUTY_LIST_MIGRATION, DutyList } from '../../agent/src/consortium/duty-list.ts';
import type { Ledger, LedgerEvent } from '../../agent/src/ledger/ledger.ts';
import { silentLog } from '../../agent/src/runtime/log.ts';
import { migrate } from '../../agent/src/runtime/migrate.ts';
import { openDatabase } from '../../agent/src/runtime/sqlite.ts';

const FILE_ID = 'ab'.repeat(32);
const RECORDED: LedgerEvent = {
  name: 'recorded',
  payload: { files: [{ fileId: FILE_ID, holders: ['Org2MSP'] }] },
  txId: 'tx',
  blockNumber: 7n,
};
const DEALING = { depositTx: 'tx', holders: ['Org2MSP'], shardHashes: ['ef'.repeat(32)] };
const REQUESTED: LedgerEvent = {
  name: 'audit-requested',
  payload: { requestId: 'cd'.repeat(32) },
  txId: 'tx',
  blockNumber: 8n,
};

/** Duties of Org2MSP at a ledger that answers every question with what `answer` returns. */
function dutiesWith(answer: (query: string) => unknown): Duties {
  const state = openDatabase(':memory:');
  migrate(state, [DUTY_LIST_MIGRATION]);
  const ledger = { evaluate: async (query: string) => answer(query) } as unknown as Ledger;
  return new Duties({
    ledger,
    log: silentLog,
    mspId: 'Org2MSP',
    vote: 'approve',
    random: (bytes) => new Uint8Array(bytes),
    nowMs: () => 0,
    list: new DutyList(state),
  });
}

describe('a duty that the asked peer does not know of yet', () => {
  const signal = new AbortController().signal;

  it('is kept until the peer has caught up: a confirmation', async () => {
    let record: Partial<FileRecord> | null = null;
    const duties = dutiesWith(() => record);
    duties.note(RECORDED);
    await duties.perform(signal);
    expect(duties.pending).toBe(true);
    record = { fileId: FILE_ID, void: null, confirmedBy: ['Org2MSP'] };
    await duties.perform(signal);
    expect(duties.pending).toBe(false);
  });

  it('is kept until the peer has caught up: an audit request', async () => {
    let request: object | null = null;
    const duties = dutiesWith(() => request);
    duties.note(REQUESTED);
    await duties.perform(signal);
    expect(duties.pending).toBe(true);
    request = { state: 'closed', expiresAtMs: 1 };
    await duties.perform(signal);
    expect(duties.pending).toBe(false);
  });
});

describe('a shard that is not here', () => {
  const signal = new AbortController().signal;
  afterEach(() => void vi.useRealTimers());

  it('is looked for less and less often, and is still due', async () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    const record = { fileId: FILE_ID, void: null, confirmedBy: [], dealing: DEALING };
    let looks = 0;
    const duties = dutiesWith((query) => {
      if (query !== 'keys/keys:GetShard') return record;
      looks += 1;
      return null;
    });
    duties.note(RECORDED);
    const atSeconds: number[] = [];
    for (let second = 0; second <= 100; second += 1) {
      const before = looks;
      await duties.perform(signal);
      if (looks > before) atSeconds.push(second);
      vi.advanceTimersByTime(1_000);
    }
    expect(atSeconds).toEqual([0, 1, 3, 7, 15, 31, 61, 91]);
    expect(duties.pending).toBe(true);
  });
});
