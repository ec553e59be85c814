/** The ledger identity's key in a token: SoftHSM, through a whole transaction on the dev ledger. */
import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TransactionName } from '@blocktorrent/protocol/ledger-api.ts';
import { afterAll, beforeAll, describe, expect, it, type TestContext } from 'vitest';
import { FabricLedger } from '../../agent/src/ledger/fabric-ledger.ts';
import { createPkcs11Signer } from '../../agent/src/ledger/pkcs11-signer.ts';
import { startNetwork } from '../support/network.ts';
import { requireTool } from '../support/tools.ts';

const MODULE = '/usr/lib/softhsm/libsofthsm2.so';
let dir = '';
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'pkcs11-'));
  await mkdir(join(dir, 'tokens'));
  await writeFile(join(dir, 'softhsm2.conf'), `directories.tokendir = ${join(dir, 'tokens')}\n`);
  process.env.SOFTHSM2_CONF = join(dir, 'softhsm2.conf');
});
afterAll(() => rm(dir, { recursive: true, force: true }));

/** pkcs11js is compiled where it is installed, by .ci/run too: elsewhere the test says what it skips. */
function requirePkcs11(context: TestContext): void {
  requireTool('softhsm2-util', context);
  const fabric = createRequire(import.meta.url).resolve('@hyperledger/fabric-gateway');
  try {
    createRequire(fabric)('pkcs11js');
  } catch (cause) {
    const missing = 'pkcs11js is not compiled: npm rebuild pkcs11js --ignore-scripts=false';
    if (process.env.CI) throw new Error(missing, { cause });
    context.skip(missing);
  }
}

describe('the key of the ledger identity in a PKCS#11 token', () => {
  it('signs transactions, many at once, and never leaves it', async (context) => {
    requirePkcs11(context);
    expect(existsSync(MODULE)).toBe(true);
    const network = await startNetwork({ organisations: 2, chaincode: 'fixture' });
    try {
      const { keyFile, ...config } = network.ledgerConfigFor('Org1MSP');
      const token = ['--token', 'trial', '--label', 'agent', '--pin', '1234'];
      const init = ['--init-token', '--free', '--label', 'trial', '--so-pin', '4321'];
      execFileSync('softhsm2-util', [...init, '--pin', '1234']);
      execFileSync('softhsm2-util', ['--import', keyFile, ...token, '--id', 'a1b2']);
      const pinFile = join(dir, 'pin');
      await writeFile(pinFile, '1234\n');
      const pkcs11 = { module: MODULE, label: 'trial', pinFile, keyId: 'a1b2' };
      const ledger = new FabricLedger({ ...config, pkcs11 });
      const put = 'ledger/fixture:put' as TransactionName;
      await Promise.all(
        ['a', 'b', 'c'].map((key) => ledger.submit(put, { key, value: `of ${key}` } as never)),
      );
      const get = 'ledger/fixture:get' as TransactionName;
      expect(await ledger.evaluate(get, { key: 'b' } as never)).toBe('of b');
      ledger.close();

      const certificate = await readFile(config.certFile, 'utf8');
      const lost = createPkcs11Signer({ ...pkcs11, keyId: 'ffff' }, certificate);
      await expect(lost).rejects.toThrow(/cannot be used: Unable to find object.*keyId/);
      expect(new X509Certificate(certificate).publicKey.asymmetricKeyType).toBe('ec');
    } finally {
      await network.stop();
    }
  });

  it('that cannot be opened is an error that says what to do', async (context) => {
    requirePkcs11(context);
    const pinFile = join(dir, 'pin2');
    await writeFile(pinFile, '1234\n');
    const missing = { module: join(dir, 'none.so'), label: 'trial', pinFile, keyId: 'a1b2' };
    await expect(createPkcs11Signer(missing, '')).rejects.toThrow(/none\.so cannot be used: .*; /);
  });
});
