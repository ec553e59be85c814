/** Every error of the ledger side names the step that failed and the transaction, in words and fields. */
import { readFile } from 'node:fs/promises';
import type { TransactionName } from '@blocktorrent/protocol/ledger-api.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { clockedLedger } from '../../agent/src/ledger/clocked-ledger.ts';
import { FabricLedger } from '../../agent/src/ledger/fabric-ledger.ts';
import {
  LedgerError,
  type LedgerErrorCode,
  type LedgerStep,
} from '../../agent/src/ledger/ledger.ts';
import { type Fate, type GatewayCall, GatewayProxy } from '../support/gateway-proxy.ts';
import { startNetwork, type TestNetwork } from '../support/network.ts';

const MSP_ID = 'Org1MSP';
let network: TestNetwork;
let proxies: readonly GatewayProxy[];
let ledger: FabricLedger;

beforeAll(async () => {
  network = await startNetwork({ organisations: 3, chaincode: 'fixture', perOrganisation: true });
  const config = network.ledgerConfigFor(MSP_ID);
  const before = async (peer: (typeof config.peers)[number]) =>
    GatewayProxy.start(peer, await readFile(peer.tlsRootFile));
  proxies = await Promise.all(config.peers.slice(0, 2).map(before));
  ledger = ledgerOf(proxies.map(({ peer }) => peer));
});
afterAll(async () => {
  ledger?.close();
  for (const proxy of proxies ?? []) await proxy.stop();
  await network?.stop();
});

function ledgerOf(peers: FabricLedgerPeers): FabricLedger {
  const timeouts = { connectMs: 300, commitMs: 50 };
  return new FabricLedger({ ...network.ledgerConfigFor(MSP_ID), peers, timeouts });
}
type FabricLedgerPeers = ConstructorParameters<typeof FabricLedger>[0]['peers'];

/** The fixture's functions are no transactions of ours: the types are told otherwise. */
const named = (name: string) => name as TransactionName;
const submit = (name: string, argument: object, by = ledger) =>
  by.submit(named(name), argument as never);
const evaluate = (name: string, argument: object, by = ledger) =>
  by.evaluate(named(name), argument as never);

/** What a call fails with while its line does this to it. */
async function failure(
  call: () => Promise<unknown>,
  fates: Partial<Record<GatewayCall, Fate>> = {},
) {
  for (const proxy of proxies) proxy.fate = (one) => fates[one] ?? 'pass';
  try {
    await call();
  } catch (error) {
    if (error instanceof LedgerError) return error;
    throw error;
  } finally {
    for (const proxy of proxies) proxy.fate = () => 'pass';
  }
  throw new Error('it did not fail');
}

const REFUSED = { value: 'NOT_ALLOWED: not you' };
const PUT = { key: 'k', value: 'v' };

interface Row {
  readonly what: string;
  readonly code: LedgerErrorCode;
  readonly step: LedgerStep;
  /** Nothing has been sent, so there is no transaction. */
  readonly unsent?: true;
  readonly fail: () => Promise<LedgerError>;
}

/** A key that only others may change. */
async function guarded(): Promise<void> {
  await submit('keys/fixture:put', { key: 'guarded', value: '1', policy: ['Org2MSP'] });
}
/** Two that read and write the same key at once, neither of which is run again. */
async function collision(): Promise<void> {
  for (let attempt = 0; attempt < 20; attempt += 1) {
    const key = `once${attempt}`;
    await Promise.all([1, 2, 3].map(() => submit('keys/fixture:increment', { key })));
  }
}
const keyless = () => {
  const config = network.ledgerConfigFor(MSP_ID);
  return new FabricLedger({ ...config, keyFile: `${config.keyFile}.gone` });
};
const closed = async () => {
  const other = ledgerOf([]);
  other.close();
  return evaluate('ledger/fixture:get', PUT, other);
};
const late = () =>
  clockedLedger(ledger, () => 'it is 1970').submit(named('ledger/x:y'), {} as never);

const ROWS: readonly Row[] = [
  {
    ...{ what: 'a query that the contract refuses', code: 'rejected', step: 'evaluate' },
    fail: () => failure(() => evaluate('ledger/fixture:refuse', REFUSED)),
  },
  {
    ...{ what: 'a transaction that the contract refuses', code: 'rejected', step: 'endorse' },
    fail: () => failure(() => submit('ledger/fixture:refuse', REFUSED)),
  },
  {
    ...{ what: 'a query that no peer answers', code: 'unavailable', step: 'evaluate' },
    fail: () => failure(() => evaluate('ledger/fixture:get', PUT), { Evaluate: 'lose answer' }),
  },
  {
    ...{ what: 'a query that a peer cannot do', code: 'endorse', step: 'evaluate' },
    fail: () => failure(() => evaluate('ledger/fixture:get', PUT), { Evaluate: 'refuse' }),
  },
  {
    ...{ what: 'a transaction that no peer endorses', code: 'unavailable', step: 'endorse' },
    fail: () => failure(() => submit('ledger/fixture:put', PUT), { Endorse: 'lose request' }),
  },
  {
    ...{ what: 'a transaction that a peer cannot endorse', code: 'endorse', step: 'endorse' },
    fail: () => failure(() => submit('ledger/fixture:put', PUT), { Endorse: 'refuse' }),
  },
  {
    ...{ what: 'endorsers that disagree', code: 'endorse', step: 'endorse' },
    fail: () => failure(() => submit('ledger/fixture:disagree', PUT)),
  },
  {
    ...{ what: 'a transaction that ordering refuses', code: 'submit', step: 'submit' },
    fail: () => failure(() => submit('ledger/fixture:put', PUT), { Submit: 'refuse' }),
  },
  {
    ...{ what: 'an order that nobody answers', code: 'timeout', step: 'submit' },
    fail: () => failure(() => submit('ledger/fixture:put', PUT), { Submit: 'lose request' }),
  },
  {
    ...{ what: 'an outcome that nobody tells', code: 'timeout', step: 'commit' },
    fail: () => failure(() => submit('ledger/fixture:put', PUT), { CommitStatus: 'lose answer' }),
  },
  {
    ...{ what: 'an outcome that a peer cannot tell', code: 'commit', step: 'commit' },
    fail: () => failure(() => submit('ledger/fixture:put', PUT), { CommitStatus: 'refuse' }),
  },
  {
    ...{ what: 'a transaction that too few endorsed', code: 'commit', step: 'commit' },
    fail: async () => {
      await guarded();
      return failure(() => submit('keys/fixture:put', { key: 'guarded', value: '2' }));
    },
  },
  {
    ...{ what: 'a transaction that lost against another', code: 'conflict', step: 'commit' },
    fail: () => failure(collision),
  },
  {
    ...{ what: 'a key that cannot be read', code: 'endorse', step: 'endorse', unsent: true },
    fail: () => failure(() => submit('ledger/fixture:put', PUT, keyless())),
  },
  {
    ...{ what: 'a call without any peer', code: 'unavailable', step: 'endorse', unsent: true },
    fail: () => failure(() => submit('ledger/fixture:put', PUT, ledgerOf([]))),
  },
  {
    ...{ what: 'a call after the end', code: 'unavailable', step: 'evaluate', unsent: true },
    fail: () => failure(closed),
  },
  {
    ...{ what: 'a transaction that waits for the clock', code: 'clock', step: 'endorse' },
    ...{ unsent: true, fail: () => failure(late) },
  },
];

describe('an error of the ledger side', () => {
  it.each(ROWS)('names step and transaction: $what', async ({ code, step, unsent, fail }) => {
    const error = await fail();
    expect({ code: error.code, step: error.step }).toEqual({ code, step });
    const inFront = new RegExp(`^${step}: `);
    if (code === 'rejected') expect(error.message).toMatch(/^NOT_ALLOWED: not you \(/);
    else expect(error.message).toMatch(inFront);
    expect(error.message).toContain(step);
    if (unsent === true) expect(error.txId).toBeNull();
    else {
      expect(error.txId).toMatch(/^[0-9a-f]{64}$/);
      expect(error.message).toContain(`transaction ${error.txId}`);
    }
  });

  it('is tested in every class that there is', () => {
    const codes: Record<LedgerErrorCode, true> = {
      ...{ unavailable: true, endorse: true, submit: true, commit: true },
      ...{ timeout: true, rejected: true, conflict: true, clock: true },
    };
    expect(new Set(ROWS.map(({ code }) => code))).toEqual(new Set(Object.keys(codes)));
  });
});

describe('a transaction that is to go elsewhere', () => {
  it('is shown to another peer first, and to the usual one if that is away', async () => {
    const [usual, other] = proxies;
    if (usual === undefined || other === undefined) throw new Error('two were started');
    const send = async () => {
      usual.seen.length = 0;
      other.seen.length = 0;
      await ledger.submit(named('ledger/fixture:put'), PUT as never, { elsewhere: true });
      return [usual.seen.includes('Endorse'), other.seen.includes('Endorse')];
    };
    expect(await send()).toEqual([false, true]);
    other.fate = () => 'lose request';
    expect(await send()).toEqual([true, true]);
    other.fate = () => 'pass';
  });
});
