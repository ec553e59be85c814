/** What outlives the process: state, metadata, private data, events; killed or stopped. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fabricClient, json } from '../support/fabric-client.ts';
import { startNetwork, type TestNetwork } from '../support/network.ts';

let network: TestNetwork;

beforeAll(async () => {
  network = await startNetwork({ organisations: 2, chaincode: 'fixture' });
});
afterAll(async () => {
  await network?.stop();
});

describe('a restart', () => {
  it.each(['SIGTERM', 'SIGKILL'] as const)('after %s keeps everything', async (signal) => {
    const key = `kept-${signal}`;
    let txId = '';
    {
      using org1 = await fabricClient(network, 'Org1MSP');
      const made = JSON.stringify({ key, value: 'v', policy: ['Org1MSP'] });
      await org1.keys.submit('put', { arguments: [made], endorsingOrganizations: ['Org1MSP'] });
      const hidden = await org1.keys.submitAsync('hide', {
        arguments: [JSON.stringify({ collections: ['shards-Org2MSP'], key })],
        transientData: { secret: 's' },
        endorsingOrganizations: ['Org1MSP'],
      });
      await hidden.getStatus();
      txId = hidden.getTransactionId();
      await org1.ledger.submitTransaction('emit', JSON.stringify({ name: key, value: '{}' }));
    }
    const endpoints = network.endpoints;
    await network.restartLedger(signal);
    expect(network.endpoints).toEqual(endpoints);

    using org2 = await fabricClient(network, 'Org2MSP');
    expect(json(await org2.keys.evaluateTransaction('get', JSON.stringify({ key })))).toBe('v');
    const where = JSON.stringify({ collection: 'shards-Org2MSP', key });
    const shard = json(await org2.keys.evaluateTransaction('reveal', where));
    expect(shard).toBe('s:shards-Org2MSP');
    const overwritten = await org2.keys.submitAsync('put', {
      arguments: [JSON.stringify({ key, value: 'stolen' })],
      endorsingOrganizations: ['Org2MSP'],
    });
    expect((await overwritten.getStatus()).code).toBe(10);

    const events = await org2.channel.getChaincodeEvents('ledger', { startBlock: 0n });
    for await (const event of events) {
      if (event.eventName === key) {
        break;
      }
    }
    events.close();
    expect(txId).toMatch(/^[0-9a-f]{64}$/);
  });

  it('lets a client that waits find out what became of its transaction', async () => {
    using org1 = await fabricClient(network, 'Org1MSP');
    const argument = JSON.stringify({ key: 'waiting', value: 'v' });
    const commit = await org1.ledger.submitAsync('put', { arguments: [argument] });
    const bytes = commit.getBytes();
    expect((await commit.getStatus()).code).toBe(0);
    await network.restartLedger('SIGKILL');
    using again = await fabricClient(network, 'Org1MSP');
    expect((await again.gateway.newCommit(bytes).getStatus()).code).toBe(0);
  });
});
