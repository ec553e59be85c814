/** Deposits that share a transaction: `record/deposit-group.ts` on the in-memory ledger. */
import { recipientOf } from '@blocktorrent/protocol/age.ts';
import { identityFromRandom } from '@blocktorrent/protocol/age-keys.ts';
import { toHex } from '@blocktorrent/protocol/bytes.ts';
import { dealShards } from '@blocktorrent/protocol/dealing.ts';
import type { DepositInput } from '@blocktorrent/protocol/ledger-api.ts';
import { describe, expect, it } from 'vitest';
import type { Ledger } from '../../agent/src/ledger/ledger.ts';
import { LedgerError } from '../../agent/src/ledger/ledger.ts';
import { DepositGroup } from '../../agent/src/record/deposit-group.ts';
import { agentOf, orgName, TrialConsortium } from '../support/consortium.ts';

/** A group whose transactions are noted, and keys for it; with `id`, what was said to be sent. */
function trial() {
  const { fabric, random } = new TrialConsortium(5);
  const sent: string[] = [];
  const ids = new Map<string, { id: string; entropy: Uint8Array }>();
  const submit: Ledger['submit'] = async (name, argument, { transient, onTransactionId } = {}) => {
    const txId = toHex(random.bytes(32));
    onTransactionId?.(txId);
    sent.push(name);
    try {
      const proposal = { txId, ...(transient === undefined ? {} : { transient }) };
      const { result } = await fabric.submit(agentOf(1), name, argument, proposal);
      return { result, txId };
    } catch (error) {
      throw new LedgerError('rejected', String(error), txId);
    }
  };
  const ledger: Ledger = {
    mspId: orgName(1),
    submit,
    evaluate: (name, argument) => fabric.evaluate(agentOf(1), name, argument),
    events: () => {
      throw new Error('not here');
    },
    close: () => undefined,
  };
  const group = new DepositGroup(ledger, (bytes) => random.bytes(bytes));
  const key = (change: Partial<DepositInput> = {}) => {
    const identity = identityFromRandom(random.bytes(32));
    const fileId = toHex(random.bytes(32));
    const holders = [2, 3, 4].map(orgName);
    const input: DepositInput = {
      ...{ fileId, recipient: recipientOf(identity), scheme: 'feldman-25519', k: 2, n: 3, holders },
      ...change,
    };
    const onDepositId = (id: string, entropy: Uint8Array) => {
      ids.set(input.fileId, { id, entropy });
    };
    return { identity, input, onDepositId };
  };
  return { group, key, sent, ids };
}

describe('deposits of one gateway', () => {
  it('go alone where nobody else waits', async () => {
    const { group, key, sent, ids } = trial();
    const one = key();
    const dealing = await group.deposit(one);
    expect(sent).toEqual(['keys/keys:Deposit']);
    expect(ids.get(one.input.fileId)?.id).toBe(dealing.depositTx);
  });

  it('share a transaction where they wait together, and can be dealt again each', async () => {
    const { group, key, sent, ids } = trial();
    const keys = Array.from({ length: 120 }, () => key());
    const dealings = await Promise.all(keys.map((one) => group.deposit(one)));
    expect(sent).toEqual(['keys/keys:DepositMany', 'keys/keys:DepositMany']);
    for (const [i, { identity, input }] of keys.entries()) {
      const { id = '', entropy = new Uint8Array() } = ids.get(input.fileId) ?? {};
      expect(dealings[i]?.depositTx).toBe(id);
      expect(dealShards({ identity, entropy, txId: id, input }).dealing).toEqual(dealings[i]);
    }
  });

  it('are refused one by one: a wrong key stops nobody else’s', async () => {
    const { group, key, sent } = trial();
    const wrong = key({ recipient: key().input.recipient });
    const outcomes = await Promise.allSettled(
      [key(), wrong, key()].map((one) => group.deposit(one)),
    );
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(sent).toEqual(['keys/keys:DepositMany', ...Array(3).fill('keys/keys:Deposit')]);
  });

  it('never hold the same file twice in one transaction', async () => {
    const { group, key, sent } = trial();
    const one = key();
    const dealings = await Promise.all([group.deposit(one), group.deposit(one)]);
    expect(sent).toEqual(['keys/keys:Deposit', 'keys/keys:Deposit']);
    expect(dealings[0]?.depositTx).not.toBe(dealings[1]?.depositTx);
  });
});
