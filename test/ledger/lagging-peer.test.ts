/**
 * A peer that is behind refuses a good file as if for good, because it does not know a key of a moment
 * ago. The file is kept, and taken when the peer has caught up. The agent's own stages on a dev ledger.
 */
import { createHash } from 'node:crypto';
import { fromBase64, toHex } from '@blocktorrent/protocol/bytes.ts';
import type { SignedReceipt } from '@blocktorrent/protocol/ledger-api.ts';
import { decodeReceipt, signReceipt } from '@blocktorrent/protocol/receipt.ts';
import { publicKeyOf } from '@blocktorrent/protocol/signing.ts';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FabricLedger } from '../../agent/src/ledger/fabric-ledger.ts';
import { type DepositOptions, depositKey } from '../../agent/src/record/deposit.ts';
import { DepositGroup } from '../../agent/src/record/deposit-group.ts';
import { type RecordOptions, recordFiles } from '../../agent/src/record/record.ts';
import { Refusals } from '../../agent/src/record/refused.ts';
import { FILE_QUEUE_MIGRATIONS, FileQueue } from '../../agent/src/runtime/file-queue.ts';
import { silentLog } from '../../agent/src/runtime/log.ts';
import { NetworkLedger } from '../compliance/network-ledger.ts';
import { CHANNEL, ConsortiumOn, orgName, POLICY } from '../support/consortium.ts';
import { namedFile } from '../support/named-file.ts';
import { startNetwork, type TestNetwork } from '../support/network.ts';

const SOURCE = orgName(1);
const OWNER = orgName(2);

let network: TestNetwork;
let ledger: FabricLedger;
let house: ConsortiumOn<NetworkLedger>;
beforeAll(async () => {
  network = await startNetwork({ organisations: 4 });
  ledger = new FabricLedger(network.ledgerConfigFor(SOURCE));
  house = new ConsortiumOn(new NetworkLedger(network), 4, POLICY, 'lagging');
  await house.found();
});
afterAll(async () => {
  ledger?.close();
  house?.fabric.close();
  await network?.stop();
});

/** A file with receipts of Org2 and Org3; Org2's is signed with a key that it has just registered. */
async function fileWithNewKey() {
  const db = new Database(':memory:');
  for (const migration of FILE_QUEUE_MIGRATIONS) db.exec(migration);
  const queue = new FileQueue(db, Date.now);
  const place = { channel: CHANNEL, source: SOURCE, gateway: 'gateway-1' };
  const { id, fileId } = await namedFile(queue, place, house.random, Date.now);
  const newSeed = house.random.bytes(32);
  const receipts = [OWNER, orgName(3)].map((owner): SignedReceipt => {
    const receipt = house.receipt(fileId ?? '', owner, 1, [0]);
    if (owner !== OWNER) return receipt;
    return signReceipt(decodeReceipt(fromBase64(receipt.receipt)), newSeed);
  });
  queue.update(id, { receipts });
  const register = () =>
    house.fabric.of(OWNER).submit('ledger/consortium:RegisterPeer', {
      ...{ name: 'admin', roles: ['store'], dhtAddress: '' },
      overlayKey: toHex(publicKeyOf(newSeed)),
    });
  return { queue, id, place, register };
}

describe('a peer that is behind', () => {
  it('costs no file: what it refuses is asked again, and taken when it has caught up', async () => {
    const { queue, id, place, register } = await fileWithNewKey();
    const epoch = await ledger.evaluate('ledger/consortium:GetEpoch', { epoch: 1 });
    let monotonicMs = 0;
    const refusals = new Refusals(() => monotonicMs);
    const options: DepositOptions & RecordOptions = {
      ...{ ledger, queue, refusals, ...place, overlaySeed: house.seedOf(SOURCE) },
      ...{ policy: () => POLICY, requireEpoch: () => epoch, takesEpoch: () => true },
      ...{ random: house.random.bytes, nowMs: Date.now, log: silentLog },
      sha256: (bytes) => createHash('sha256').update(bytes).digest(),
      deposits: new DepositGroup(ledger, house.random.bytes),
    };
    await network.holdPeer(SOURCE);
    await register();
    const deposited = await depositKey(queue.get(id), options);
    queue.update(id, { stage: 'deposited', ...deposited });
    const record = () => recordFiles([queue.get(id)], options);
    for (const _ of [1, 2]) {
      await expect(record()).rejects.toMatchObject({
        ...{ code: 'rejected', message: expect.stringMatching(/^BAD_SIGNATURE: .*\(endorse, tra/) },
      });
      expect(refusals.has(id)).toBe(true);
      monotonicMs += 20_000;
    }
    await network.catchUpPeer(SOURCE);
    expect(await record()).toEqual([{ masterTable: null }]);
    expect(refusals.has(id)).toBe(false);
    const { fileId } = queue.get(id);
    const found = await ledger.evaluate('ledger/records:GetRecord', { fileId: fileId ?? '' });
    expect([found?.fileId, found?.void]).toEqual([fileId, null]);
  });
});
