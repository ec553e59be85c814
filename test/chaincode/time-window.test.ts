import shim, { type ChaincodeStub } from 'fabric-shim';
import { describe, expect, it } from 'vitest';
import { LedgerError } from '../../agent/src/ledger/ledger.ts';
import { isFinal } from '../../agent/src/record/refused.ts';
import { TIME_WINDOW_MS, withinTimeWindow } from '../../chaincode/src/time-window.ts';

const NOW_MS = Date.UTC(2026, 10, 22);

async function invokeAt(timeMs: number) {
  let calls = 0;
  const chaincode = withinTimeWindow(
    {
      Init: async () => shim.success(),
      Invoke: async () => {
        calls += 1;
        return shim.success();
      },
    },
    () => NOW_MS,
  );
  const stub = { getDateTimestamp: () => new Date(timeMs) } as ChaincodeStub;
  return { answer: await chaincode.Invoke(stub), calls };
}

describe('the time window of the chaincode', () => {
  it.each([-TIME_WINDOW_MS, 0, TIME_WINDOW_MS])('endorses a transaction %d ms away', async (ms) => {
    const { answer, calls } = await invokeAt(NOW_MS + ms);
    expect(answer.status).toBe(200);
    expect(calls).toBe(1);
  });

  it.each([-1, 1])('does not ask the contracts outside it (%d)', async (sign) => {
    const { answer, calls } = await invokeAt(NOW_MS + sign * (TIME_WINDOW_MS + 1));
    expect(answer.status).toBe(500);
    expect(answer.message).toContain('timestamp is 120001 ms away');
    expect(calls).toBe(0);
    // A wrong clock must not cost a file.
    expect(isFinal(new LedgerError('rejected', String(answer.message), null))).toBe(false);
  });
});
