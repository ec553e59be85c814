/** A real Fabric network with our chaincode, from Fabric's own programs: `npm run test:fabric`. */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeIdentity } from '@blocktorrent/protocol/age.ts';
import { rebuildIdentity, verifyShard } from '@blocktorrent/protocol/dealing.ts';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { FabricLedger } from '../../agent/src/ledger/fabric-ledger.ts';
import { blockHeight } from '../../fabric/src/metrics.ts';
import { type FabricNetwork, ownChaincodes, startFabricNetwork } from '../../fabric/src/network.ts';
import { peerOf } from '../../fabric/src/plan.ts';
import { listProcesses } from '../../fabric/src/processes.ts';
import { deposit, found, readShard, registerPeer } from '../support/fabric-transactions.ts';

const MEMBERS = ['Org1MSP', 'Org2MSP', 'Org3MSP', 'Org4MSP'] as const;
const HOLDERS = ['Org2MSP', 'Org3MSP', 'Org4MSP'] as const;

describe.runIf(process.env.BLOCKTORRENT_FABRIC === '1')('a network of four organisations', () => {
  let network: FabricNetwork;
  let parent: string;
  const ledgers = new Map<string, FabricLedger>();
  const ledgerOf = (mspId: string): FabricLedger => {
    const ledger = ledgers.get(mspId) ?? new FabricLedger(network.ledgerConfigFor(mspId));
    ledgers.set(mspId, ledger);
    return ledger;
  };

  beforeAll(async () => {
    parent = await mkdtemp(join(tmpdir(), 'fabric-'));
    network = await startFabricNetwork({ dir: join(parent, 'network'), organisations: 4 });
  });
  afterAll(async () => {
    for (const ledger of ledgers.values()) ledger.close();
    await network?.stop();
    await rm(parent, { recursive: true, force: true });
  });

  it('agrees on a consortium, which the auditor reads through somebody else’s peer', async () => {
    await found(ledgerOf('Org1MSP'), MEMBERS);
    const consortium = await ledgerOf('AuditorMSP').evaluate('ledger/consortium:GetConsortium', {});
    expect(consortium.members.map(({ mspId }) => mspId)).toEqual([...MEMBERS]);
    expect(consortium.channel).toBe('blocktorrent');
  });

  it('brings each shard of a deposit to its holder and to nobody else', async () => {
    const { identity, dealing } = await deposit(ledgerOf('Org1MSP'), HOLDERS);
    const shards = await Promise.all(
      HOLDERS.map(async (mspId, i) => {
        const bytes = await readShard(ledgerOf(mspId), dealing.depositTx, i + 1);
        return { mspId, bytes, shard: verifyShard(bytes, i + 1, dealing) };
      }),
    );
    const rebuilt = rebuildIdentity(
      shards.slice(0, 2).map(({ shard }) => shard),
      dealing,
    );
    expect(encodeIdentity(rebuilt)).toBe(encodeIdentity(identity));
    // The depositor reads its own collection only, which holds none of them.
    const argument = { depositTx: dealing.depositTx, index: 1 };
    expect(await ledgerOf('Org1MSP').evaluate('keys/keys:GetShard', argument)).toBeNull();
    for (const { mspId, bytes } of shards) {
      for (const other of HOLDERS) {
        const folder = join(peerOf(network.plan, other).home, 'data');
        expect(await folderHolds(folder, bytes), `${mspId}'s shard at ${other}`).toBe(
          other === mspId,
        );
      }
    }
  });

  it('refuses a proposal whose time is three minutes old', async () => {
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() - 180_000 });
    try {
      // Fabric 3's peers say it, on 2.5 the chaincode does.
      await expect(deposit(ledgerOf('Org2MSP'), HOLDERS)).rejects.toThrow('timestamp');
    } finally {
      vi.useRealTimers();
    }
  });

  it('goes on without one organisation’s peer and without the orderer that led', async () => {
    await network.stopPeer('Org4MSP', 'SIGKILL');
    const leader = (await network.leader()) ?? '';
    await network.stopOrderer(leader, 'SIGKILL');
    await vi.waitFor(async () => expect(await network.leader()).not.toBeNull(), 30_000);
    await registerPeer(ledgerOf('Org3MSP'));
    await network.startOrderer(leader);
    await network.startPeer('Org4MSP');
    const { peers } = await ledgerOf('Org1MSP').evaluate('ledger/consortium:GetConsortium', {});
    expect(peers.map(({ mspId }) => mspId)).toContain('Org3MSP');
    const height = (mspId: string) =>
      blockHeight(peerOf(network.plan, mspId).operationsPort, network.channel);
    await vi.waitFor(
      async () => expect(await height('Org4MSP')).toBe(await height('Org1MSP')),
      30_000,
    );
  });

  it('agrees on changed chaincode under the next sequence number, on the same one not again', async () => {
    const sequences = () => network.plan.chaincodes.map(({ name, sequence }) => [name, sequence]);
    const before = await ledgerOf('Org1MSP').evaluate('ledger/consortium:GetConsortium', {});
    await network.deploy();
    expect(sequences()).toEqual([
      ['ledger', 1],
      ['keys', 1],
    ]);
    await network.deploy((mspIds) =>
      ownChaincodes(mspIds).map(({ definition, command }) => {
        const outOf = definition.name === 'ledger' ? mspIds.length : 1;
        return { command, definition: { ...definition, endorsementPolicy: { outOf, mspIds } } };
      }),
    );
    expect(sequences()).toEqual([
      ['ledger', 2],
      ['keys', 1],
    ]);
    // What was written under the sequence before stays readable.
    const after = await ledgerOf('Org1MSP').evaluate('ledger/consortium:GetConsortium', {});
    expect(after).toEqual(before);
    await network.stopPeer('Org4MSP');
    // Three of four were enough before; now all must endorse.
    await expect(registerPeer(ledgerOf('Org2MSP'))).rejects.toMatchObject({ code: 'endorse' });
    await network.startPeer('Org4MSP');
    await registerPeer(ledgerOf('Org2MSP'));
  });

  it('leaves no process behind', async () => {
    const processes = listProcesses(network.dir);
    // Four peers, three orderers, two chaincodes for each of four organisations.
    expect(processes.filter(({ running }) => running)).toHaveLength(4 + 3 + 8);
    await network.stop();
    expect(listProcesses(network.dir)).toEqual([]);
    await vi.waitFor(() => expect(processes.filter(({ pid }) => isAlive(pid))).toEqual([]), 5_000);
  });
});

async function folderHolds(folder: string, bytes: Uint8Array): Promise<boolean> {
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const content = await readFile(join(entry.parentPath, entry.name));
    if (content.includes(Buffer.from(bytes))) return true;
  }
  return false;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
