import { followEvents } from '@blocktorrent/agent/ledger/fabric-events.ts';
import type { ChaincodeEvent } from '@hyperledger/fabric-gateway';
import { expect, it } from 'vitest';

const RAW: ChaincodeEvent = {
  blockNumber: 7n,
  chaincodeName: 'ledger',
  eventName: 'anchored',
  payload: Buffer.from('{}'),
  transactionId: 'tx',
};

it('goes on after a stream that cannot even be opened, as with a signer that fails', async () => {
  let opened = 0;
  const open = async () => {
    opened += 1;
    if (opened === 1) throw new Error('the token does not sign');
    async function* events() {
      yield RAW;
    }
    return {
      stream: Object.assign(events(), {
        close: () => undefined,
        [Symbol.dispose]: () => undefined,
      }),
      leaveAfterMs: null,
      onEnd: () => undefined,
    };
  };
  const warnings: string[] = [];
  const log = { warn: (message: string) => warnings.push(message) };
  const stop = new AbortController();
  for await (const event of followEvents(open, { signal: stop.signal, channel: 'c' }, log)) {
    expect(event).toMatchObject({ name: 'anchored', txId: 'tx' });
    stop.abort();
  }
  expect([opened, warnings]).toEqual([2, ['event stream does not open, trying again']]);
});
