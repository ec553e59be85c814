/** Private data: who gets it, who may read it, who misses it, and how it is forgotten. */
import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type FabricClient, fabricClient, json } from '../support/fabric-client.ts';
import { startNetwork, type TestNetwork } from '../support/network.ts';

const HOLDERS = ['Org2MSP', 'Org3MSP'];
let network: TestNetwork;
let org1: FabricClient;

beforeAll(async () => {
  network = await startNetwork({ organisations: 3, chaincode: 'fixture' });
  org1 = await fabricClient(network, 'Org1MSP');
});
afterAll(async () => {
  org1?.[Symbol.dispose]();
  await network?.stop();
});

/** Org1 alone deposits a secret for Org2 and Org3, as `keys` does. */
async function hide(key: string): Promise<void> {
  const collections = HOLDERS.map((mspId) => `shards-${mspId}`);
  await org1.keys.submit('hide', {
    arguments: [JSON.stringify({ collections, key })],
    transientData: { secret: 'open sesame' },
    endorsingOrganizations: ['Org1MSP'],
  });
}

/** Reads a private value as `mspId`'s client at the peer of `via`. */
async function reveal(mspId: string, via: string, holder: string, key: string): Promise<unknown> {
  using client = await fabricClient(network, mspId, { via });
  return json(
    await client.keys.evaluate('reveal', {
      arguments: [JSON.stringify({ collection: `shards-${holder}`, key })],
      endorsingOrganizations: [via],
    }),
  );
}

const refusal = (message: string) => ({
  details: [expect.objectContaining({ message: expect.stringContaining(message) })],
});

describe('private data', () => {
  it('reaches each holder and nobody else, whichever peer is asked', async () => {
    await hide('k1');
    for (const holder of HOLDERS) {
      expect(await reveal(holder, holder, holder, 'k1')).toBe(`open sesame:shards-${holder}`);
    }
    for (const via of ['Org1MSP', 'Org2MSP', 'Org3MSP']) {
      await expect(reveal('Org1MSP', via, 'Org2MSP', 'k1')).rejects.toMatchObject(
        refusal('does not have read access permission'),
      );
    }
    await expect(reveal('Org2MSP', 'Org1MSP', 'Org2MSP', 'k1')).rejects.toMatchObject(
      refusal('private data matching public hash version is not available'),
    );
  });

  it('is known to everybody by its hash', async () => {
    await hide('k2');
    const argument = JSON.stringify({ collection: 'shards-Org2MSP', key: 'k2' });
    const hash = createHash('sha256').update('open sesame:shards-Org2MSP').digest('hex');
    expect(json(await org1.keys.evaluateTransaction('hash', argument))).toBe(hash);
  });

  it('is not spread to other organisations’ peers to satisfy a majority', async () => {
    const argument = JSON.stringify({ collections: ['shards-Org1MSP'], key: 'spread' });
    const transientData = { secret: 'open sesame' };
    await expect(
      org1.ledger.submit('hide', { arguments: [argument], transientData }),
    ).rejects.toMatchObject({ code: 9, message: expect.stringContaining('distribution policy') });
    const alone = await org1.ledger.submitAsync('hide', {
      arguments: [argument],
      transientData,
      endorsingOrganizations: ['Org1MSP'],
    });
    expect((await alone.getStatus()).code).toBe(10);
  });

  it('needs a collection that was defined', async () => {
    const argument = { collection: 'shards-Org9MSP', key: 'x', value: 'y' };
    const hidden = org1.keys.submit('hideOpenly', { arguments: [JSON.stringify(argument)] });
    await expect(hidden).rejects.toMatchObject(refusal('is not defined'));
  });

  it('cannot be overwritten or purged by a stranger alone, but by its holder', async () => {
    await hide('k3');
    const change = async (client: FabricClient, name: string, mspId: string) => {
      const argument = { collection: 'shards-Org2MSP', key: 'k3', value: 'forged' };
      const commit = await client.keys.submitAsync(name, {
        arguments: [JSON.stringify(argument)],
        endorsingOrganizations: [mspId],
      });
      return (await commit.getStatus()).code;
    };
    expect(await change(org1, 'hideOpenly', 'Org1MSP')).toBe(10);
    expect(await change(org1, 'purge', 'Org1MSP')).toBe(10);
    using holder = await fabricClient(network, 'Org2MSP');
    expect(await change(holder, 'purge', 'Org2MSP')).toBe(0);
    expect(await reveal('Org2MSP', 'Org2MSP', 'Org2MSP', 'k3')).toBe('');
    const argument = JSON.stringify({ collection: 'shards-Org2MSP', key: 'k3' });
    expect(json(await holder.keys.evaluateTransaction('hash', argument))).toBe('');
  });

  it('never reaches a holder whose peer was down at endorsement', async () => {
    await network.stopPeer('Org3MSP');
    await expect(
      fabricClient(network, 'Org3MSP').then((c) =>
        c.ledger.evaluateTransaction('get', '{"key":"a"}'),
      ),
    ).rejects.toMatchObject({ code: 14 });
    await hide('k4');
    await network.startPeer('Org3MSP');
    expect(await reveal('Org2MSP', 'Org2MSP', 'Org2MSP', 'k4')).toBe('open sesame:shards-Org2MSP');
    await expect(reveal('Org3MSP', 'Org3MSP', 'Org3MSP', 'k4')).rejects.toMatchObject(
      refusal('is not available'),
    );
    await hide('k5');
    expect(await reveal('Org3MSP', 'Org3MSP', 'Org3MSP', 'k5')).toBe('open sesame:shards-Org3MSP');
  });

  it('is not endorsed by an organisation whose peer is down', async () => {
    await network.stopPeer('Org3MSP');
    const asked = org1.ledger.submit('put', {
      arguments: [JSON.stringify({ key: 'down', value: '1' })],
      endorsingOrganizations: ['Org1MSP', 'Org3MSP'],
    });
    await expect(asked).rejects.toMatchObject({
      code: 14,
      message: expect.stringContaining('Org3MSP'),
    });
    await org1.ledger.submitTransaction('put', JSON.stringify({ key: 'down', value: '2' }));
    await network.stopPeer('Org2MSP');
    await expect(
      org1.ledger.submitTransaction('put', JSON.stringify({ key: 'down', value: '3' })),
    ).rejects.toMatchObject({ code: 9, message: expect.stringContaining('endorsement policy') });
    await network.startPeer('Org2MSP');
    await network.startPeer('Org3MSP');
  });
});
