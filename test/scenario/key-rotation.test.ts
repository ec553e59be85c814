/**
 * Overlay keys that change: a gateway and an owner get new ones by a restart, while a file of the gateway's
 * is under way. What was signed before still verifies, also when the old keys are revoked after it.
 */
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fromHex, toHex } from '@blocktorrent/protocol/bytes.ts';
import { publicKeyOf } from '@blocktorrent/protocol/signing.ts';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { FabricLedger } from '../../agent/src/ledger/fabric-ledger.ts';
import { audit, until, useCast } from '../support/cast.ts';

const OWNERS = ['Org2MSP', 'Org3MSP', 'Org4MSP'];

describe('overlay keys that change', () => {
  const stage = useCast({ batch: { maxAgeMs: 600_000 } });

  /** Stops an agent, gives it another seed, starts it; returns the public keys before and after. */
  async function rotate(mspId: string): Promise<[string, string]> {
    const cast = stage();
    await cast.processes.end(`agent ${mspId}`, 'SIGTERM');
    const config = parse(await readFile(cast.configs.get(mspId)?.path ?? '', 'utf8'));
    const path: string = config.overlay.signingKeyFile;
    const publicHex = (seed: Uint8Array) => toHex(publicKeyOf(seed));
    const before = publicHex(fromHex((await readFile(path, 'utf8')).trim(), 32));
    const seed = randomBytes(32);
    await writeFile(path, `${toHex(seed)}\n`);
    await cast.startAgent(mspId);
    return [before, publicHex(seed)];
  }

  it('lose no file, recorded or under way, and old ones pass an audit after a revocation', async () => {
    const cast = stage();
    const ledger = new FabricLedger(cast.network.ledgerConfigFor(cast.source));
    const keysOn = async (mspId: string) => {
      const { peers } = await ledger.evaluate('ledger/consortium:GetConsortium', {});
      return peers.find((peer) => peer.mspId === mspId)?.keys ?? [];
    };
    const put = async (name: string) => {
      const path = join(cast.workDir, name);
      await writeFile(path, randomBytes(60_000));
      return cast.command(cast.source, ['put', path, '--json']);
    };
    await put('before.bin');

    // A second one is named, and nobody is there to take it.
    for (const mspId of OWNERS.slice(1)) await cast.processes.end(`agent ${mspId}`, 'SIGTERM');
    const waiting = put('under-way.bin').catch(() => 'the agent it waited for was restarted');
    await until(async () => (await cast.status()).files.named === 1);
    const gatewayKeys = await rotate(cast.source);
    await waiting;
    await until(async () => (await keysOn(cast.source)).length === 2);
    await cast.command(cast.source, ['consortium', 'revoke-key', 'gateway-1', gatewayKeys[0]]);
    const ownerKeys = await rotate('Org2MSP');
    for (const mspId of OWNERS.slice(1)) await cast.startAgent(mspId);
    await until(async () => (await cast.status()).files.available === 2);
    await until(async () => (await keysOn('Org2MSP')).length === 2);
    await cast.command('Org2MSP', ['consortium', 'revoke-key', 'admin', ownerKeys[0]]);
    await put('after.bin');

    expect((await cast.status()).files.void ?? 0).toBe(0);
    for (const [mspId, pair] of [
      [cast.source, gatewayKeys] as const,
      ['Org2MSP', ownerKeys] as const,
    ]) {
      const keys = await keysOn(mspId);
      expect(keys.map(({ overlayKey }) => overlayKey)).toEqual(pair);
      expect(keys.map(({ revokedAtMs }) => revokedAtMs !== null)).toEqual([true, false]);
    }
    const report = await audit(cast, ['--source', cast.source]);
    expect(report).toMatchObject({ ok: true, faults: [] });
    expect(report.files).toHaveLength(3);
    ledger.close();
  }, 180_000);
});
