/**
 * Answers that are lost exactly between order and commit, for every transaction that is submitted, on
 * a dev ledger with the real chaincode, through gateways behind a line that loses what it is told to.
 */
import { readFile } from 'node:fs/promises';
import type { TransactionName } from '@blocktorrent/protocol/ledger-api.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FabricLedger } from '../../agent/src/ledger/fabric-ledger.ts';
import { LedgerError } from '../../agent/src/ledger/ledger.ts';
import { ARGUMENTS } from '../../chaincode/src/arguments.ts';
import { NetworkLedger } from '../compliance/network-ledger.ts';
import { AUDITOR, ConsortiumOn, POLICY } from '../support/consortium.ts';
import { everySubmit, type Submitted } from '../support/every-submit.ts';
import { fabricClient } from '../support/fabric-client.ts';
import { type Fate, type GatewayCall, GatewayProxy } from '../support/gateway-proxy.ts';
import { startNetwork, type TestNetwork } from '../support/network.ts';

const AGREED = { ...POLICY, scheme: 'feldman-25519', inspectionPermille: 1000 } as const;
const MSP_IDS = ['Org1MSP', 'Org2MSP', 'Org3MSP', 'Org4MSP'] as const;

let network: TestNetwork;
/** By the organisation whose peer is behind it. */
const proxies = new Map<string, GatewayProxy>();

beforeEach(async () => {
  network = await startNetwork({ organisations: MSP_IDS.length });
  for (const mspId of MSP_IDS) {
    const [peer] = network.ledgerConfigFor(mspId).peers;
    if (peer === undefined) throw new Error(`${mspId} has no peer`);
    proxies.set(mspId, await GatewayProxy.start(peer, await readFile(peer.tlsRootFile)));
  }
});
afterEach(async () => {
  for (const proxy of proxies.values()) await proxy.stop();
  proxies.clear();
  await network?.stop();
});

/** An organisation's ledger behind the proxies of all; the auditor has no peer of its own. */
function throughProxies(mspId: string, commitMs: number): FabricLedger {
  const config = network.ledgerConfigFor(mspId);
  const peers = config.peers.flatMap((peer) => proxies.get(peer.mspId)?.peer ?? []);
  return new FabricLedger({ ...config, peers, timeouts: { connectMs: 2_000, commitMs } });
}

/** What the next calls meet, whichever peer they come to. */
function onTheLine(fate: (call: GatewayCall) => Fate): void {
  for (const proxy of proxies.values()) {
    proxy.fate = fate;
    proxy.seen.length = 0;
  }
}
const seen = (call: GatewayCall) =>
  [...proxies.values()].flatMap((proxy) => proxy.seen).filter((one) => one === call).length;

/** Answers of each kind of call in turn that are lost, and then no more. */
function losing(fates: Partial<Record<GatewayCall, readonly Fate[]>>) {
  const left = new Map(Object.entries(fates).map(([call, list]) => [call, [...list]]));
  return (call: GatewayCall): Fate => left.get(call)?.shift() ?? 'pass';
}

/** Runs every transaction of a consortium's life; `submit` sees each step's own ledger. */
async function live(
  commitMs: number,
  submit: (
    ledger: FabricLedger,
    name: TransactionName,
    send: () => Promise<Submitted>,
  ) => Promise<Submitted>,
): Promise<string[]> {
  const house = new ConsortiumOn(new NetworkLedger(network), MSP_IDS.length, AGREED, commitMs);
  const ledgers = new Map(
    [...MSP_IDS, AUDITOR.mspId].map((mspId) => [mspId, throughProxies(mspId, commitMs)]),
  );
  const names: string[] = [];
  const steps = everySubmit(house);
  try {
    for (let next = await steps.next(); next.done !== true; ) {
      const { name, caller, argument, transient = {} } = next.value;
      const ledger = ledgers.get(caller.mspId);
      if (ledger === undefined) throw new Error(`no ledger of ${caller.mspId}`);
      const send = () => ledger.submit(name, argument as never, { transient });
      const done = await submit(ledger, name, send);
      onTheLine(() => 'pass');
      await house.fabric.settled(done.txId);
      names.push(name);
      next = await steps.next(done);
    }
  } finally {
    for (const ledger of ledgers.values()) ledger.close();
    house.fabric.close();
  }
  return names;
}

const SUBMITTED = Object.keys(ARGUMENTS).filter((name) => !/:(Get|List)/.test(name));

describe('an answer that is lost between order and commit', () => {
  it('costs no transaction and makes none twice, whichever it is', async () => {
    const names = await live(20_000, async (_ledger, name, send) => {
      // The order got there, its answer did not; nor did the first two about the outcome.
      onTheLine(
        losing({
          Submit: ['lose answer'],
          CommitStatus: ['lose answer', 'lose request'],
        }),
      );
      const done = await send();
      const calls = { endorse: seen('Endorse'), submit: seen('Submit') };
      // One transaction, of which every peer knows by its id, sent to ordering twice.
      expect(calls, name).toEqual({ endorse: 1, submit: 2 });
      expect(seen('CommitStatus'), name).toBe(3);
      return done;
    });
    expect(names.toSorted()).toEqual(SUBMITTED.toSorted());
  });

  it('that never comes ends with the transaction’s id, by which it is found to have taken effect', async () => {
    using watcher = await fabricClient(network, 'Org1MSP');
    const names = await live(50, async (ledger, name, send) => {
      onTheLine((call) => (call === 'CommitStatus' ? 'lose answer' : 'pass'));
      const error = await send().then(
        () => new Error(`${name}: an answer came`),
        (reason: unknown) => reason,
      );
      if (!(error instanceof LedgerError) || error.txId === null) throw error;
      expect({ code: error.code, step: error.step }, name).toEqual({
        ...{ code: 'timeout', step: 'commit' },
      });
      expect(error.message).toMatch(new RegExp(`^commit: .*\\(transaction ${error.txId}\\)$`));
      const { txId } = error;
      await watcher.committed(txId);
      onTheLine(() => 'pass');
      return { result: await resultOf(ledger, name, txId), txId };
    });
    expect(names.toSorted()).toEqual(SUBMITTED.toSorted());
  });
});

/** What the later steps need of a result whose answer was lost, found by the transaction's id. */
async function resultOf(
  ledger: FabricLedger,
  name: TransactionName,
  txId: string,
): Promise<unknown> {
  return name === 'keys/keys:Deposit'
    ? ledger.evaluate('keys/keys:GetDealing', { depositTx: txId })
    : { requestId: txId, proposalId: txId };
}
