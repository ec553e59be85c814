/** `blocktorrent consortium …` on a dev ledger: found, decide by vote, faults, inspections, leave. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { runProgram } from '../../agent/src/cli/program.ts';
import { COMMANDS } from '../../agent/src/cli/table.ts';
import { POLICY } from '../support/consortium.ts';
import { startNetwork, type TestNetwork } from '../support/network.ts';

const MSP_IDS = ['Org1MSP', 'Org2MSP', 'Org3MSP', 'Org4MSP'] as const;
let network: TestNetwork;

beforeAll(async () => {
  network = await startNetwork({ organisations: MSP_IDS.length });
  for (const mspId of [...MSP_IDS, 'AuditorMSP']) await writeConfig(mspId);
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
    ledger: { ...ledger, submitWhenClock: 'plausible' },
    overlay,
  };
  await writeFile(join(folderOf(mspId), 'a.yaml'), stringify(config));
}

/** Runs a `consortium` command as an organisation; its result as JSON. */
const cli = (mspId: string, ...argv: string[]) => run(mspId, 'consortium', ...argv);

/** Runs a command line as an organisation; its result as JSON. */
async function run(mspId: string, ...argv: string[]) {
  const out: string[] = [];
  const err: string[] = [];
  const config = ['--json', '--config', join(folderOf(mspId), 'a.yaml')];
  const code = await runProgram([...config, ...argv], {
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
    const policy = { ...POLICY, n: 2, approvals: 1, replicas: 1, receiptsMin: 1 };
    const auditor = { mspId: 'AuditorMSP', name: 'auditor', overlayRoots: [] };
    const inspected = { ...policy, inspectionPermille: 500 };
    const charter = { members: MSP_IDS.map(member), auditors: [auditor], policy: inspected };
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
      ...['Org1MSP', 'Org2MSP', 'Org4MSP'],
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

  it('reports a fault with its evidence, and the members decide about a penalty for it', async () => {
    const evidence = await fileOf('evidence.json', { seen: 'nothing' });
    const fileId = 'ab'.repeat(32);
    const fault = ['Org2MSP', '--kind', 'unreachable', '--file', fileId, '--detail', 'gone'];
    const reported = await cli('Org1MSP', 'report-fault', ...fault, '--evidence', evidence);
    expect(reported.code, reported.err).toBe(0);
    const { faultId } = reported.value;
    const odd = await cli('Org1MSP', 'report-fault', ...fault.with(2, 'rudeness'));
    expect(odd.code).not.toBe(0);
    expect(odd.value.error.message).toContain('bad-chunk');

    const [listed] = (await cli('AuditorMSP', 'faults', 'Org2MSP')).value;
    expect(listed).toMatchObject({ faultId, reporter: 'Org1MSP', detail: 'gone' });
    const early = await cli('AuditorMSP', 'faults', 'Org2MSP', '--before', '2020-01-01');
    expect(early.value).toEqual([]);
    const copy = join(network.dir, 'evidence.copy');
    expect((await cli('Org2MSP', 'fault', faultId, '--evidence', copy)).code).toBe(0);
    expect(await readFile(copy, 'utf8')).toBe(await readFile(evidence, 'utf8'));

    const why = ['--decision', 'pays for the audit', '--reason', 'twice this month'];
    const proposed = await cli('Org1MSP', 'propose-penalty', 'Org2MSP', faultId, ...why);
    expect(proposed.code, JSON.stringify(proposed.value)).toBe(0);
    const { proposalId } = proposed.value;
    expect((await cli('Org2MSP', 'penalties', 'Org2MSP')).value).toEqual([]);
    expect((await cli('Org1MSP', 'approve', proposalId)).value.state).toBe('open');
    expect((await cli('Org4MSP', 'approve', proposalId)).value.state).toBe('accepted');
    expect((await cli('Org1MSP', 'enact', proposalId)).code).toBe(0);
    const [penalty] = (await cli('Org2MSP', 'penalties', 'Org2MSP')).value;
    expect(penalty).toMatchObject({ decision: 'pays for the audit', faultIds: [faultId] });
  });

  it('draws an inspection; what it drew of nothing is not asked for', async () => {
    const range = ['--from', '2026-01-01', '--until', '2026-01-02'];
    const drawn = await run('Org1MSP', 'audit', 'draw', ...range);
    expect(drawn.code, JSON.stringify(drawn.value)).toBe(0);
    const { inspectionId } = drawn.value;
    const ask = ['audit', 'request', '--reason', 'inspection', '--inspection', inspectionId];
    const empty = await run('AuditorMSP', ...ask, '--source', 'Org1MSP');
    expect(empty.value.error.message).toContain('nothing to audit');
    const stray = await run('AuditorMSP', ...ask, '--source', 'Org1MSP', '--from', '2026-01-01');
    expect([stray.code, stray.value.error.message]).toEqual([2, expect.stringContaining('times')]);
    const future = await run(
      'Org1MSP',
      'audit',
      'draw',
      '--from',
      '2026-01-01',
      '--until',
      '2200-01-01',
    );
    expect(future.value.error.message).toContain('BAD_ARGUMENT');
  });

  it('closes a request of its own, with the report of that request', async () => {
    const requestId = 'cd'.repeat(32);
    const unknown = await run('AuditorMSP', 'audit', 'close', requestId);
    expect(unknown.value.error.message).toContain('NOT_FOUND');
    const report = await fileOf('report.json', { requestId: 'ef'.repeat(32) });
    const other = await run('AuditorMSP', 'audit', 'close', requestId, '--report', report);
    expect([other.code, other.value.error.message]).toEqual([
      2,
      expect.stringContaining('no report'),
    ]);
  });

  it('gives up no shard of a file that is not recorded', async () => {
    const fileId = 'ab'.repeat(32);
    const withdrawn = await run('Org2MSP', 'audit', 'withdraw', fileId, '--reason', 'over');
    expect([withdrawn.code, withdrawn.value.error.message]).toEqual([
      ...[3, expect.stringContaining(`NOT_FOUND: file ${fileId}`)],
    ]);
    const purged = await run('Org2MSP', 'audit', 'purge', fileId);
    expect(purged.value.error).toMatchObject({ code: 'unknown-file' });
    expect((await run('Org2MSP', 'audit', 'purge', 'x')).code).toBe(2);
  });

  it('leaves only where the organisation names itself', async () => {
    const other = await cli('Org4MSP', 'leave', 'Org1MSP');
    expect([other.code, other.value.error.message]).toEqual([1, expect.stringContaining('nobody')]);
    const left = await cli('Org4MSP', 'leave', 'Org4MSP');
    expect(left.code, JSON.stringify(left.value)).toBe(0);
    const { members } = (await cli('Org1MSP', 'show')).value;
    expect(members.map((one: { mspId: string }) => one.mspId)).toEqual(['Org1MSP', 'Org2MSP']);
    // Two are the fewest.
    const last = await cli('Org2MSP', 'leave', 'Org2MSP');
    expect(last.value.error.message).toContain('BAD_ARGUMENT: members');
  });
});
