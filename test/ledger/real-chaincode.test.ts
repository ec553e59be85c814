/** The adapter with the real contracts: founding a consortium, and a dev ledger that introduces itself. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FabricLedger } from '../../agent/src/ledger/fabric-ledger.ts';
import type { LedgerEvent } from '../../agent/src/ledger/ledger.ts';
import { startNetwork, type TestNetwork } from '../support/network.ts';

const POLICY = {
  k: 2,
  n: 3,
  replicas: 3,
  receiptsMin: 2,
  approvals: 2,
  auditExpiryMsMax: 24 * 3600 * 1000,
  scheme: 'shamir-gf256',
} as const;
let network: TestNetwork;
let ledger: FabricLedger;

beforeAll(async () => {
  network = await startNetwork({ organisations: 4 });
  ledger = new FabricLedger(network.ledgerConfigFor('Org1MSP'));
});
afterAll(async () => {
  ledger?.close();
  await network?.stop();
});

describe('the real contracts on the dev ledger', () => {
  it('found a consortium that every organisation and the auditor can read', async () => {
    const member = async (each: { mspId: string; tlsca: string }) => ({
      mspId: each.mspId,
      name: each.mspId,
      weight: 1,
      overlayRoots: [await readFile(each.tlsca, 'utf8')],
    });
    const { weight: _, ...auditor } = await member(network.auditor);
    await ledger.submit('ledger/consortium:Found', {
      members: await Promise.all(network.organisations.map(member)),
      auditors: [auditor],
      policy: POLICY,
    });
    for (const mspId of ['Org3MSP', 'AuditorMSP']) {
      const other = new FabricLedger(network.ledgerConfigFor(mspId));
      const consortium = await other.evaluate('ledger/consortium:GetConsortium', {});
      expect(consortium.policy).toEqual(POLICY);
      expect(consortium.members).toHaveLength(4);
      other.close();
    }
  });

  it('tell everybody by an event', async () => {
    const signal = AbortSignal.timeout(10_000);
    let first: LedgerEvent | null = null;
    for await (const event of ledger.events({ signal, fromStart: true })) {
      first = event;
      break;
    }
    expect(first).toMatchObject({ name: 'consortium-changed', payload: { what: 'founded' } });
  });

  it('refuse in their own words', async () => {
    const epoch = ledger.evaluate('ledger/consortium:GetEpoch', { epoch: -1 });
    await expect(epoch).rejects.toMatchObject({
      code: 'rejected',
      hearsay: false,
      message: expect.stringMatching(/^[A-Z_]+: /),
    });
  });
});

describe('the dev ledger', () => {
  it('says plainly what it is', async () => {
    const log = await readFile(join(network.dir, 'logs', 'devledger.log'), 'utf8');
    expect(log).toContain('one process, no consensus');
    expect(log).toContain('for trying and testing');
  });
});
