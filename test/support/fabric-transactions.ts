/** A few transactions of our chaincode, for tests of a network: found, register, deposit, read. */
import { randomBytes } from 'node:crypto';
import { identityFromRandom, recipientOf } from '@blocktorrent/protocol/age.ts';
import { fromBase64, toHex } from '@blocktorrent/protocol/bytes.ts';
import type { Dealing } from '@blocktorrent/protocol/ledger-api.ts';
import { expect, vi } from 'vitest';
import type { FabricLedger } from '../../agent/src/ledger/fabric-ledger.ts';

/** Founds a consortium of these members, with k = 2 and n = 3 (or all), and the auditor. */
export async function found(ledger: FabricLedger, mspIds: readonly string[]): Promise<void> {
  const members = mspIds.map((mspId) => ({
    mspId,
    name: mspId,
    weight: 1,
    overlayRoots: ['PEM'],
  }));
  const n = Math.min(3, mspIds.length);
  await ledger.submit('ledger/consortium:Found', {
    members,
    auditors: [{ mspId: 'AuditorMSP', name: 'The auditor', overlayRoots: [] }],
    policy: {
      ...{ k: 2, n, replicas: n, receiptsMin: 2, approvals: n - 1 },
      ...{ auditExpiryMsMax: 86_400_000, scheme: 'shamir-gf256' },
    },
  });
}

/** Registers a store peer of the ledger's own organisation under a fresh key. */
export async function registerPeer(ledger: FabricLedger): Promise<void> {
  const overlayKey = toHex(randomBytes(32));
  const peer = { name: 'admin', roles: ['store'] as const, overlayKey, dhtAddress: '' };
  await ledger.submit('ledger/consortium:RegisterPeer', peer);
}

/** Deposits a fresh key in `holders.length` shards, two of which rebuild it. */
export async function deposit(
  ledger: FabricLedger,
  holders: readonly string[],
): Promise<{ identity: Uint8Array; dealing: Dealing }> {
  const identity = identityFromRandom(randomBytes(32));
  const { result } = await ledger.submit(
    'keys/keys:Deposit',
    {
      fileId: toHex(randomBytes(32)),
      recipient: recipientOf(identity),
      scheme: 'shamir-gf256',
      k: 2,
      n: holders.length,
      holders,
    },
    { transient: { identity, entropy: randomBytes(32) } },
  );
  return { identity, dealing: result };
}

/** The shard, as soon as the holder's peer has it (milliseconds after the commit). */
export async function readShard(
  ledger: FabricLedger,
  depositTx: string,
  index: number,
): Promise<Uint8Array> {
  return await vi.waitFor(async () => {
    const found = await ledger.evaluate('keys/keys:GetShard', { depositTx, index });
    expect(found).not.toBeNull();
    return fromBase64(found?.shard ?? '');
  }, 10_000);
}
