/** Signatures, checkpoints and what was last known: the small things that the adapter does itself. */
import { generateKeyPairSync, verify } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { CheckpointFile } from '../../agent/src/ledger/checkpoint-file.ts';
import { FabricLedger } from '../../agent/src/ledger/fabric-ledger.ts';
import type { Ledger } from '../../agent/src/ledger/ledger.ts';
import { ConsortiumView } from '../../agent/src/ledger/membership.ts';
import { createSigner } from '../../agent/src/ledger/signer.ts';

const P256_HALF_ORDER = 0x7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a8n;

describe('the signer', () => {
  it('makes DER signatures that verify and have a low S', async () => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const sign = createSigner(privateKey.export({ type: 'pkcs8', format: 'pem' }).toString());
    for (let i = 0; i < 200; i += 1) {
      const message = Buffer.from(`message ${i}`);
      const der = Buffer.from(await sign(message));
      expect(verify('sha256', message, publicKey, der)).toBe(true);
      const s = BigInt(`0x${der.subarray(6 + (der[3] ?? 0)).toString('hex')}`);
      expect(s <= P256_HALF_ORDER).toBe(true);
    }
  });

  it('refuses keys on another curve', () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' });
    const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    expect(() => createSigner(pem)).toThrow(/P-256/);
  });
});

describe('files of the ledger identity', () => {
  it('that were not there are read when they are, without a restart', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'late-'));
    const [certFile, keyFile, tlsRootFile] = ['c', 'k', 'r'].map((name) => join(dir, name));
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const peers = [{ endpoint: '127.0.0.1:1', mspId: 'Org1MSP', tlsRootFile: tlsRootFile ?? '' }];
    const timeouts = { connectMs: 100, evaluateMs: 100 };
    const more = { mspId: 'Org1MSP', channel: 'c', peers, timeouts };
    const ledger = new FabricLedger({ ...more, certFile: certFile ?? '', keyFile: keyFile ?? '' });
    onTestFinished(async () => {
      ledger.close();
      await rm(dir, { recursive: true, force: true });
    });
    const ask = () => ledger.evaluate('ledger/consortium:GetConsortium', {});
    await expect(ask()).rejects.toThrow(/ENOENT/);
    await writeFile(keyFile ?? '', privateKey.export({ type: 'pkcs8', format: 'pem' }));
    for (const path of [certFile, tlsRootFile]) await writeFile(path ?? '', '');
    await expect(ask()).rejects.toThrow(/peer 127.0.0.1:1 of Org1MSP cannot be reached/);
  });
});

describe('a checkpoint file', () => {
  let dir: string;
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'checkpoint-'));
  });
  afterAll(async () => {
    await rm(dir, { recursive: true, force: true });
  });

  it('remembers block and transaction, and leaves nothing else behind', async () => {
    const path = join(dir, 'a.json');
    const checkpoint = await CheckpointFile.open(path, 'blocktorrent');
    expect(checkpoint.getBlockNumber()).toBeUndefined();
    await checkpoint.advance(7n, 'ab');
    const again = await CheckpointFile.open(path, 'blocktorrent');
    expect([again.getBlockNumber(), again.getTransactionId()]).toEqual([7n, 'ab']);
    expect(JSON.parse(await readFile(path, 'utf8'))).toEqual({
      blockNumber: '7',
      transactionId: 'ab',
      channel: 'blocktorrent',
    });
    expect(await readdir(dir)).toEqual(['a.json']);
  });

  it('is no position in another channel, whose peers would wait for that block', async () => {
    const path = join(dir, 'channel.json');
    await (await CheckpointFile.open(path, 'blocktorrent')).advance(900n, 'ab');
    const other = await CheckpointFile.open(path, 'second');
    expect([other.getBlockNumber(), other.getTransactionId()]).toEqual([undefined, undefined]);
    // Release 0.1.0 did not say which.
    await writeFile(path, '{"blockNumber":"7","transactionId":"ab"}');
    expect((await CheckpointFile.open(path, 'second')).getBlockNumber()).toBe(7n);
  });

  it('is refused rather than forgotten when it holds something else', async () => {
    const path = join(dir, 'bad.json');
    await writeFile(path, '{"half":');
    await expect(CheckpointFile.open(path, 'blocktorrent')).rejects.toThrow();
    await writeFile(path, '{"other":1}');
    await expect(CheckpointFile.open(path, 'blocktorrent')).rejects.toThrow(/not a checkpoint/);
  });
});

describe('what was known of the consortium', () => {
  it('is forgotten with its channel: other epochs have the same numbers', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'view-'));
    onTestFinished(() => rm(dir, { recursive: true, force: true }));
    const cacheFile = join(dir, 'consortium.json');
    const epoch = { epoch: 1, ranges: [], openedAtMs: 7 };
    const ledger = {
      evaluate: async () => ({ channel: 'blocktorrent', epochs: [epoch] }),
    } as unknown as Ledger;
    await new ConsortiumView(ledger, 'blocktorrent', cacheFile).refresh();
    const again = new ConsortiumView(ledger, 'blocktorrent', cacheFile);
    expect([again.known, again.epochOf(1)]).toEqual([true, epoch]);
    const other = new ConsortiumView(ledger, 'second', cacheFile);
    expect([other.known, other.epochOf(1)]).toEqual([false, null]);
  });

  it('is never replaced by an answer to an earlier question', async () => {
    const late = Promise.withResolvers<object>();
    let asked = 0;
    const ledger = {
      evaluate: async (name: string) => {
        if (name.endsWith('GetEpoch')) return asked === 1 ? late.promise : { epoch: 1 };
        asked += 1;
        return { channel: 'c', epochs: [{ epoch: 2 }], members: [{ mspId: `Org${asked}MSP` }] };
      },
    } as unknown as Ledger;
    const view = new ConsortiumView(ledger, 'c', null);
    const first = view.refresh();
    await setImmediate();
    const second = view.refresh();
    await setImmediate();
    late.resolve({ epoch: 1 });
    await Promise.all([first, second]);
    expect(view.current().members).toEqual([{ mspId: 'Org2MSP' }]);
  });

  it('is told to who follows it also where the disk does not take it', async () => {
    const ledger = { evaluate: async () => ({ channel: 'c', epochs: [] }) } as unknown as Ledger;
    const view = new ConsortiumView(ledger, 'c', '/nonexistent/consortium.json');
    let told = 0;
    view.onChange(() => {
      told += 1;
    });
    await expect(view.refresh()).rejects.toThrow('ENOENT');
    expect([told, view.known]).toEqual([1, true]);
  });
});
