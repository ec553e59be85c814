/** `blocktorrent consortium …` on a dev ledger: found, propose, vote, enact. */
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { runProgram } from '../../agent/src/cli/program.ts';
import { COMMANDS } from '../../agent/src/cli/table.ts';
import { POLICY } from '../support/consortium.ts';
import { startNetwork, type TestNetwork } from '../support/network.ts';

const MSP_IDS = ['Org1MSP', 'Org2MSP', 'Org3MSP'] as const;
let network: TestNetwork;

beforeAll(async () => {
  network = await startNetwork({ organisations: MSP_IDS.length });
  for (const mspId of MSP_IDS) await writeConfig(mspId);
});
afterAll(async () => await network?.stop());

const folderOf = (mspId: string) => join(network.dir, 'agents', mspId);

async function writeConfig(mspId: string): Promise<void> {
  const { mspId: _, ...ledger } = network.ledgerConfigFor(mspId);
  const certificates = dirname(ledger.certFile);
  const overlay = {
    certFile: join(certificates, 'overlay.pem'),
    keyFile: join(certificates, 'overlay.key'),
    signingKeyFile: join(certificates, 'overlay-ed25519.key'),
  };
  await mkdir(folderOf(mspId), { recursive: true });
  const config = {
    organisation: { mspId },
    name: 'admin',
    dataDir: join(folderOf(mspId), 'data'),
    roles: ['store'],
    ledger,
    overlay,
  };
  await writeFile(join(folderOf(mspId), 'a.yaml'), stringify(config));
}

/** Runs a command line as an organisation; its result as JSON. */
async function cli(mspId: string, ...argv: string[]) {
  const out: string[] = [];
  const err: string[] = [];
  const config = ['--json', '--config', join(folderOf(mspId), 'a.yaml')];
  const code = await runProgram([...config, 'consortium', ...argv], {
    commands: COMMANDS,
    version: '0',
    env: { HOME: network.dir },
    out: { write: (text) => out.push(text) },
    err: { write: (text) => err.push(text) },
    signal: new AbortController().signal,
  });
  return { code, value: JSON.parse(out.join('')), err: err.join('') };
}

async function fileOf(name: string, value: unknown): Promise<string> {
  const path = join(network.dir, name);
  await writeFile(path, JSON.stringify(value));
  return path;
}

describe('blocktorrent consortium', () => {
  it('founds, and decides by vote', async () => {
    const member = (mspId: string) => ({ mspId, name: mspId, weight: 1, overlayRoots: [] });
    const policy = { ...POLICY, n: 2, approvals: 1 };
    const charter = { members: MSP_IDS.map(member), auditors: [], policy };
    const founded = await cli('Org1MSP', 'found', await fileOf('charter.json', charter));
    expect(founded.code, founded.err).toBe(0);

    const removal = await fileOf('remove.json', { kind: 'remove', mspId: 'Org3MSP' });
    const proposed = await cli('Org1MSP', 'propose', removal, '--reason', 'gone for months');
    expect(proposed.code).toBe(0);
    const { proposalId } = proposed.value;
    const early = await cli('Org1MSP', 'enact', proposalId);
    expect(early.code).not.toBe(0);
    expect(early.value.error.message).toContain('NOT_APPROVED');

    expect((await cli('Org1MSP', 'approve', proposalId)).value.state).toBe('open');
    expect((await cli('Org2MSP', 'approve', proposalId)).value.state).toBe('accepted');
    const [listed] = (await cli('Org3MSP', 'proposals', '--state', 'accepted')).value;
    expect([listed.proposalId, listed.reason]).toEqual([proposalId, 'gone for months']);
    expect((await cli('Org2MSP', 'enact', proposalId)).code).toBe(0);
    const { value: consortium } = await cli('Org3MSP', 'show');
    expect(consortium.members.map((one: { mspId: string }) => one.mspId)).toEqual([
      ...['Org1MSP', 'Org2MSP'],
    ]);
  });

  it('says what is wrong before it asks the ledger', async () => {
    for (const argv of [
      ['approve', 'abc'],
      ['proposals', '--state', 'odd'],
      ['propose', await fileOf('x.json', {}), '--reason', 'x', '--expires', 'soon'],
    ]) {
      const { code, value } = await cli('Org1MSP', ...argv);
      expect(code).toBe(2);
      expect(value.error.message).toContain('expected');
    }
  });

  it('takes an overlay certificate back, by its file', async () => {
    const certificate = join(dirname(network.ledgerConfigFor('Org2MSP').certFile), 'overlay.pem');
    const revoked = await cli('Org2MSP', 'revoke-certificate', certificate);
    expect(revoked).toMatchObject({ code: 0 });
    const shown = await cli('Org1MSP', 'show');
    expect(shown.value.revoked).toEqual({ Org2MSP: revoked.value.serials });
    expect(revoked.value.serials[0]).toMatch(/^[1-9a-f][0-9a-f]+$/);
  });
});
