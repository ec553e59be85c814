/** SmartBFT, the consensus for production: `npm run test:fabric`. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FabricLedger } from '../../agent/src/ledger/fabric-ledger.ts';
import { type FabricNetwork, startFabricNetwork } from '../../fabric/src/network.ts';
import { deposit, found, readShard } from '../support/fabric-transactions.ts';

const MEMBERS = ['Org1MSP', 'Org2MSP', 'Org3MSP', 'Org4MSP'];

describe.runIf(process.env.BLOCKTORRENT_FABRIC_BFT === '1')('four orderers under SmartBFT', () => {
  let network: FabricNetwork;
  let ledger: FabricLedger;
  let parent: string;

  beforeAll(async () => {
    parent = await mkdtemp(join(tmpdir(), 'fabric-bft-'));
    const dir = join(parent, 'network');
    network = await startFabricNetwork({ dir, organisations: 4, consensus: 'bft' });
    ledger = new FabricLedger(network.ledgerConfigFor('Org2MSP'));
  });
  afterAll(async () => {
    ledger?.close();
    await network?.stop();
    await rm(parent, { recursive: true, force: true });
  });

  it('order transactions of both chaincodes', async () => {
    await found(ledger, MEMBERS);
    const { dealing } = await deposit(ledger, ['Org1MSP', 'Org2MSP', 'Org3MSP']);
    expect(await readShard(ledger, dealing.depositTx, 2)).toBeInstanceOf(Uint8Array);
  });

  it('go on when the one that leads dies', async () => {
    const leader = (await network.leader()) ?? '';
    await network.stopOrderer(leader, 'SIGKILL');
    const { dealing } = await deposit(ledger, ['Org1MSP', 'Org2MSP', 'Org3MSP']);
    expect(dealing.holders).toHaveLength(3);
    expect(await network.leader()).not.toBe(leader);
  });
});
