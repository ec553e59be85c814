/** The agent's ledger adapter against the dev ledger, through the unmodified Fabric client. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TransactionName } from '@blocktorrent/protocol/ledger-api.ts';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { FabricLedger } from '../../agent/src/ledger/fabric-ledger.ts';
import type { LedgerEvent, SubmitOptions } from '../../agent/src/ledger/ledger.ts';
import { startNetwork, type TestNetwork } from '../support/network.ts';

let network: TestNetwork;
let ledger: FabricLedger;
let dir: string;

beforeAll(async () => {
  network = await startNetwork({ organisations: 3, chaincode: 'fixture' });
  const config = network.ledgerConfigFor('Org1MSP');
  ledger = new FabricLedger({ ...config, timeouts: { connectMs: 1_500 } });
  dir = await mkdtemp(join(tmpdir(), 'ledger-'));
});
afterAll(async () => {
  ledger?.close();
  await network?.stop();
  await rm(dir, { recursive: true, force: true });
});

/** The fixture's functions are no transactions of ours: the types are told otherwise. */
const named = (name: string) => name as TransactionName;
const submit = async (
  name: string,
  argument: object,
  options: SubmitOptions = {},
  by: FabricLedger = ledger,
) => await by.submit(named(name), argument as never, options);
const evaluate = async (name: string, argument: object, by: FabricLedger = ledger) =>
  (await by.evaluate(named(name), argument as never)) as unknown;

/** Takes `count` events; with a checkpoint file it asks for one more, so that they are kept. */
async function take(
  options: { checkpointFile?: string; fromStart?: boolean },
  count: number,
): Promise<LedgerEvent[]> {
  const taken: LedgerEvent[] = [];
  const stop = new AbortController();
  for await (const event of ledger.events({ ...options, signal: stop.signal })) {
    if (taken.length >= count) {
      break;
    }
    taken.push(event);
    if (taken.length === count && options.checkpointFile === undefined) {
      break;
    }
  }
  return taken;
}

const emit = async (fileId: string) =>
  await submit('ledger/fixture:emit', { name: 'voided', value: JSON.stringify({ fileId }) });
const idsOf = (events: LedgerEvent[]) =>
  events.map((event) => (event.name === 'voided' ? event.payload.fileId : event.name));

describe('transactions', () => {
  it('give their result and transaction id', async () => {
    const { result, txId } = await submit('ledger/fixture:put', { key: 'a', value: 'one' });
    expect(result).toBe(txId);
    expect(await evaluate('ledger/fixture:get', { key: 'a' })).toBe('one');
  });

  it('that the contract refuses fail as rejected, in its own words', async () => {
    const argument = { value: 'NOT_ALLOWED: not you' };
    for (const call of [evaluate, submit]) {
      await expect(call('ledger/fixture:refuse', argument)).rejects.toMatchObject({
        code: 'rejected',
        message: expect.stringMatching(/^NOT_ALLOWED: not you \(/),
      });
    }
  });

  it('of keys are endorsed by our organisation alone, with their transient data', async () => {
    const argument = { collections: ['shards-Org2MSP', 'shards-Org3MSP'], key: 'k' };
    const transient = { secret: Buffer.from('open sesame') };
    await submit('keys/fixture:hide', argument, { transient });
    const holder = new FabricLedger(network.ledgerConfigFor('Org2MSP'));
    const where = { collection: 'shards-Org2MSP', key: 'k' };
    expect(await evaluate('keys/fixture:reveal', where, holder)).toBe('open sesame:shards-Org2MSP');
    holder.close();
  });

  it('that met another one are tried again until they commit', async () => {
    const calls = Array.from({ length: 4 }, () => submit('ledger/fixture:increment', { key: 'n' }));
    await Promise.all(calls);
    expect(await evaluate('ledger/fixture:get', { key: 'n' })).toBe('4');
  });

  it('of keys are not run again by themselves after a conflict', async () => {
    let conflicts = 0;
    for (let attempt = 0; attempt < 20 && conflicts === 0; attempt += 1) {
      const key = `once${attempt}`;
      const calls = [1, 2, 3].map(() => submit('keys/fixture:increment', { key }));
      const outcomes = await Promise.allSettled(calls);
      const failed = outcomes.filter((each) => each.status === 'rejected');
      conflicts = failed.length;
      for (const { reason } of failed) {
        expect(reason).toMatchObject({ code: 'conflict' });
      }
      expect(await evaluate('keys/fixture:get', { key })).toBe(String(3 - conflicts));
    }
    expect(conflicts).toBeGreaterThan(0);
  });

  it('that too few organisations endorsed fail at commit', async () => {
    const made = { key: 'guarded', value: '1', policy: ['Org2MSP'] };
    await submit('keys/fixture:put', made);
    await expect(submit('keys/fixture:put', { key: 'guarded', value: '2' })).rejects.toMatchObject({
      code: 'commit',
      message: expect.stringContaining('10'),
    });
  });
});

describe('peers', () => {
  it('stand in for one another, but never for keys', async () => {
    await network.stopPeer('Org1MSP');
    await submit('ledger/fixture:put', { key: 'over', value: 'there' });
    expect(await evaluate('ledger/fixture:get', { key: 'over' })).toBe('there');
    const secret = { transient: { secret: Buffer.from('s') } };
    await expect(
      submit('keys/fixture:hide', { collections: ['shards-Org2MSP'], key: 'q' }, secret),
    ).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringMatching(/^endorse: peer .* cannot be reached$/),
    });
    await network.startPeer('Org1MSP');
    await submit('keys/fixture:hide', { collections: ['shards-Org2MSP'], key: 'q' }, secret);
  });

  it('of other organisations never see a transaction of keys', async () => {
    const config = network.ledgerConfigFor('Org1MSP');
    const foreign = new FabricLedger({ ...config, peers: config.peers.slice(1) });
    const argument = { collections: ['shards-Org2MSP'], key: 'foreign' };
    await expect(submit('keys/fixture:hide', argument, {}, foreign)).rejects.toMatchObject({
      code: 'unavailable',
    });
    expect(await evaluate('ledger/fixture:get', { key: 'a' }, foreign)).toBe('one');
    foreign.close();
  });

  it('of other organisations never see transient data, whatever the chaincode', async () => {
    const config = network.ledgerConfigFor('Org1MSP');
    const foreign = new FabricLedger({ ...config, peers: config.peers.slice(1) });
    const argument = { key: 'transient', value: 'v' };
    const transient = { chunk: Buffer.from('bytes') };
    await expect(
      submit('ledger/fixture:put', argument, { transient }, foreign),
    ).rejects.toMatchObject({ code: 'unavailable', step: 'endorse', txId: null });
    await submit('ledger/fixture:put', argument, {}, foreign);
    await submit('ledger/fixture:put', argument, { transient });
    foreign.close();
  });

  it('that are all gone make a call fail as unavailable, and work again after a restart', async () => {
    const config = network.ledgerConfigFor('Org2MSP');
    const own = { ...config, peers: config.peers.slice(0, 1), timeouts: { connectMs: 1_500 } };
    const alone = new FabricLedger(own);
    await network.stopPeer('Org2MSP');
    await expect(evaluate('ledger/fixture:get', { key: 'a' }, alone)).rejects.toMatchObject({
      code: 'unavailable',
    });
    await network.startPeer('Org2MSP');
    expect(await evaluate('ledger/fixture:get', { key: 'a' }, alone)).toBe('one');
    alone.close();
  });
});

describe('events', () => {
  it('come from the start, in order', async () => {
    await emit('first');
    await emit('second');
    const events = await take({ fromStart: true }, 2);
    expect(idsOf(events)).toEqual(['first', 'second']);
    expect(events[0]?.blockNumber).toBeLessThan(events[1]?.blockNumber ?? 0n);
  });

  it('resume exactly once from the checkpoint file, also in the middle of a block', async () => {
    const checkpointFile = join(dir, 'checkpoint.json');
    const all: string[] = [];
    let expected: LedgerEvent[] = [];
    // Until two are in one block: how many are depends on how fast they are endorsed.
    const blocks = () => new Set(expected.map(({ blockNumber }) => blockNumber)).size;
    while (blocks() === expected.length) {
      const some = Array.from({ length: 7 }, (_, n) => `e${all.length + n}`);
      all.push(...some);
      await Promise.all(some.map(emit));
      expected = await take({ fromStart: true }, 2 + all.length);
    }
    await emit('last');
    const seen: LedgerEvent[] = [];
    while (seen.length < expected.length) {
      seen.push(...(await take({ checkpointFile, fromStart: true }, 1)));
    }
    expect(seen).toEqual(expected);
    expect(idsOf(seen).slice(2).sort()).toEqual(all.sort());
  });

  it('go on over a restart of the ledger without gap or repetition', async () => {
    const stop = new AbortController();
    const checkpointFile = join(dir, 'restart.json');
    const seen: string[] = [];
    const following = (async () => {
      for await (const event of ledger.events({
        signal: stop.signal,
        checkpointFile,
        fromStart: true,
      })) {
        seen.push(...idsOf([event]));
        if (seen.at(-1) === 'after') {
          stop.abort();
        }
      }
    })();
    await emit('before');
    await network.restartLedger('SIGKILL');
    await emit('after');
    await following;
    expect(new Set(seen).size).toBe(seen.length);
    expect(seen.slice(-2)).toEqual(['before', 'after']);
  });
});

describe('a peer that goes away in the middle', () => {
  it('costs no transaction, and none takes effect twice', async () => {
    const key = 'counted';
    const done: string[] = [];
    let ended = false;
    const counting = (async () => {
      for (let i = 0; i < 40; i += 1) {
        const { txId } = await submit('ledger/fixture:increment', { key });
        done.push(txId);
      }
    })().finally(() => {
      ended = true;
    });
    const atLeast = (count: number) =>
      vi.waitFor(() => expect(ended || done.length >= count).toBe(true));
    await atLeast(5);
    await network.stopPeer('Org1MSP');
    await atLeast(15);
    await network.startPeer('Org1MSP');
    await atLeast(25);
    await network.stopPeer('Org1MSP');
    await counting;
    await network.startPeer('Org1MSP');
    expect(new Set(done).size).toBe(40);
    expect(await evaluate('ledger/fixture:get', { key })).toBe('40');
  });

  it('hands its events over to another, and takes them back, each once', async () => {
    const stop = new AbortController();
    const checkpointFile = join(dir, 'over.json');
    const seen: string[] = [];
    const following = (async () => {
      const options = { signal: stop.signal, checkpointFile, fromStart: true };
      for await (const event of ledger.events(options)) {
        seen.push(...idsOf([event]));
        if (seen.at(-1) === 'over-2') stop.abort();
      }
    })();
    const until = (id: string) => vi.waitFor(() => expect(seen).toContain(id));
    await emit('over-0');
    await until('over-0');
    await network.stopPeer('Org1MSP');
    await emit('over-1');
    await until('over-1');
    await network.startPeer('Org1MSP');
    await emit('over-2');
    await following;
    expect(new Set(seen).size).toBe(seen.length);
    expect(seen.slice(-3)).toEqual(['over-0', 'over-1', 'over-2']);
  });
});

describe('close', () => {
  it('ends event streams and refuses further calls', async () => {
    const closing = new FabricLedger(network.ledgerConfigFor('Org3MSP'));
    const { signal } = new AbortController();
    const next = closing.events({ signal })[Symbol.asyncIterator]().next();
    await evaluate('ledger/fixture:get', { key: 'a' }, closing);
    closing.close();
    expect(await next).toMatchObject({ done: true });
    await expect(evaluate('ledger/fixture:get', { key: 'a' }, closing)).rejects.toMatchObject({
      code: 'unavailable',
    });
  });
});
