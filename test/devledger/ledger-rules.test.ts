/** What the ledger must refuse and keep: versions, ranges, endorsement, key-level policies. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type FabricClient, fabricClient, json } from '../support/fabric-client.ts';
import { startNetwork, type TestNetwork } from '../support/network.ts';

let network: TestNetwork;
let org1: FabricClient;
let org2: FabricClient;

beforeAll(async () => {
  network = await startNetwork({ organisations: 3, chaincode: 'fixture', perOrganisation: true });
  org1 = await fabricClient(network, 'Org1MSP');
  org2 = await fabricClient(network, 'Org2MSP');
});
afterAll(async () => {
  org1?.[Symbol.dispose]();
  org2?.[Symbol.dispose]();
  await network?.stop();
});

const put = (argument: object) => ['put', JSON.stringify(argument)] as const;
const get = async (key: string) =>
  json(await org1.ledger.evaluateTransaction('get', JSON.stringify({ key })));

/** Endorses by exactly these organisations and gives the validation code. */
async function codeOf(
  client: FabricClient,
  contract: 'ledger' | 'keys',
  name: string,
  argument: object,
  endorsingOrganizations: string[],
): Promise<number> {
  const commit = await client[contract].submitAsync(name, {
    arguments: [JSON.stringify(argument)],
    endorsingOrganizations,
  });
  return (await commit.getStatus()).code;
}

describe('transactions', () => {
  it('commits a write that a majority endorsed and shows it to everybody', async () => {
    await org1.ledger.submitTransaction(...put({ key: 'a', value: 'one' }));
    expect(await get('a')).toBe('one');
    expect(json(await org2.ledger.evaluateTransaction('get', '{"key":"a"}'))).toBe('one');
  });

  it('does not show a transaction its own writes', async () => {
    const argument = JSON.stringify({ key: 'own', value: 'new' });
    expect(json(await org1.ledger.submitTransaction('readOwnWrite', argument))).toBe('');
    expect(await get('own')).toBe('new');
  });

  it('refuses a transaction that too few organisations endorsed, with code 10', async () => {
    const code = await codeOf(org1, 'ledger', 'put', { key: 'b', value: 'x' }, ['Org1MSP']);
    expect(code).toBe(10);
    expect(await get('b')).toBe('');
  });

  it('refuses the second of two transactions that read the same version, with code 11', async () => {
    const increment = async () => {
      const proposal = org1.ledger.newProposal('increment', { arguments: ['{"key":"n"}'] });
      return await proposal.endorse();
    };
    const [first, second] = await Promise.all([increment(), increment()]);
    const commits = [await first.submit(), await second.submit()];
    const codes = await Promise.all(commits.map(async (each) => (await each.getStatus()).code));
    expect(codes).toEqual([0, 11]);
    expect(await get('n')).toBe('1');
  });

  it('refuses a transaction whose range has got another key since, with code 12', async () => {
    const argument = JSON.stringify({ start: 'r/', end: 'r0', key: 'count' });
    await org1.ledger.submitTransaction(...put({ key: 'r/1', value: '1' }));
    const counted = await org1.ledger
      .newProposal('countAndPut', { arguments: [argument] })
      .endorse();
    await org1.ledger.submitTransaction(...put({ key: 'r/2', value: '2' }));
    const status = await (await counted.submit()).getStatus();
    expect(status.code).toBe(12);
  });

  it('takes a transaction id once', async () => {
    const endorsed = await org1.ledger
      .newProposal('increment', { arguments: ['{"key":"once"}'] })
      .endorse();
    const again = org1.gateway.newTransaction(endorsed.getBytes());
    expect((await (await endorsed.submit()).getStatus()).code).toBe(0);
    expect((await (await again.submit()).getStatus()).code).toBe(0);
    expect(await get('once')).toBe('1');
  });

  it('aborts when endorsers come to different results', async () => {
    const disagreed = org1.ledger.submitTransaction('disagree', '{"key":"d"}');
    await expect(disagreed).rejects.toMatchObject({
      code: 10,
      message: expect.stringContaining('ProposalResponsePayloads do not match'),
    });
  });

  it('carries the contract’s own sentence in the details of a refusal', async () => {
    const argument = JSON.stringify({ value: 'NOT_ALLOWED: because' });
    const detail = { mspId: 'Org1MSP', message: 'chaincode response 500, NOT_ALLOWED: because' };
    await expect(org1.ledger.submitTransaction('refuse', argument)).rejects.toMatchObject({
      code: 10,
      details: expect.arrayContaining([expect.objectContaining(detail)]),
    });
    await expect(org1.ledger.evaluateTransaction('refuse', argument)).rejects.toMatchObject({
      code: 2,
    });
  });

  it('answers what our chaincodes never ask with an error, and goes on', async () => {
    await expect(org1.ledger.evaluateTransaction('query')).rejects.toMatchObject({ code: 2 });
    expect(await get('a')).toBe('one');
  });

  it('gives ranges in order over several batches, by pages and by composite keys', async () => {
    const keys = Array.from({ length: 230 }, (_, i) => `k${String(i).padStart(3, '0')}`);
    await org1.ledger.submitTransaction('composite', JSON.stringify({ name: 'thing', keys }));
    const found = await org1.ledger.evaluateTransaction('byComposite', '{"name":"thing"}');
    expect(json(found)).toEqual(keys);
    for (const key of ['p1', 'p2', 'p3']) {
      await org1.ledger.submitTransaction(...put({ key, value: key }));
    }
    const page = async (bookmark: string) => {
      const argument = { start: 'p', end: 'q', pageSize: 2, bookmark };
      return json(await org1.ledger.evaluateTransaction('page', JSON.stringify(argument)));
    };
    expect(await page('')).toEqual({ keys: ['p1', 'p2'], bookmark: 'p3' });
    expect(await page('p3')).toEqual({ keys: ['p3'], bookmark: '' });
  });
});

describe('key-level policies', () => {
  it('let nobody but the named organisation overwrite, delete or re-policy a key', async () => {
    const made = { key: 'guarded', value: 'mine', policy: ['Org1MSP'] };
    expect(await codeOf(org1, 'keys', 'put', made, ['Org1MSP'])).toBe(0);
    const stranger = ['Org2MSP'];
    const value = { key: 'guarded', value: 'stolen' };
    expect(await codeOf(org2, 'keys', 'put', value, stranger)).toBe(10);
    expect(await codeOf(org2, 'keys', 'delete', { key: 'guarded' }, stranger)).toBe(10);
    const policy = { key: 'guarded', policy: stranger };
    expect(await codeOf(org2, 'keys', 'setPolicy', policy, stranger)).toBe(10);
    const mine = { key: 'guarded', value: 'changed' };
    expect(await codeOf(org1, 'keys', 'put', mine, ['Org1MSP'])).toBe(0);
  });

  it('hold within the block that sets them', async () => {
    const endorsed = async (client: FabricClient, argument: object, mspId: string) =>
      await client.keys
        .newProposal('put', {
          arguments: [JSON.stringify(argument)],
          endorsingOrganizations: [mspId],
        })
        .endorse();
    // Both must fall into one block; the clock decides, so try until they do.
    for (let attempt = 0; ; attempt += 1) {
      const key = `same${attempt}`;
      const made = { key, value: '1', policy: ['Org1MSP'] };
      const first = await endorsed(org1, made, 'Org1MSP');
      const second = await endorsed(org2, { key, value: '2' }, 'Org2MSP');
      const commits = [await first.submit(), await second.submit()];
      const [one, two] = await Promise.all(commits.map((each) => each.getStatus()));
      if (one?.blockNumber === two?.blockNumber || attempt === 20) {
        expect([one?.code, two?.code]).toEqual([0, 10]);
        expect(one?.blockNumber).toBe(two?.blockNumber);
        return;
      }
    }
  });

  it('are planned for when the client names no organisations', async () => {
    const made = { key: 'both', value: '1', policy: ['Org2MSP', 'Org3MSP'] };
    expect(await codeOf(org1, 'keys', 'put', made, ['Org1MSP'])).toBe(0);
    await org1.keys.submitTransaction(...put({ key: 'both', value: '2' }));
    const value = await org1.keys.evaluateTransaction('get', '{"key":"both"}');
    expect(json(value)).toBe('2');
  });
});
