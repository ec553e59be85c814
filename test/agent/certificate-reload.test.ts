/** A real agent: its certificate is replaced while it runs, and its doors for ordinary clients. */
import { type ChildProcess, spawn } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { serialOf } from '../../agent/src/overlay/peer-identity.ts';
import type { Address } from '../../agent/src/overlay/types.ts';
import { callControl } from '../../agent/src/runtime/control-client.ts';
import { writeAgentConfig } from '../../demo/house-config.ts';
import { issueCertificate, organisationPki } from '../../devledger/src/pki.ts';
import { certificateSeenAt } from '../support/certificate-seen.ts';
import {
  createTrialPeers,
  POLICY,
  TrialMembership,
  type TrialPeer,
} from '../support/membership.ts';

const LAUNCHER = join(import.meta.dirname, '../../agent/bin/blocktorrent.js');
let dir: string;
let peers: TrialPeer[];
let agent: ChildProcess;
let dataDir = '';
const lines: Record<string, unknown>[] = [];
const certificates = () => join(dir, 'certificates');

/** An agent of Org1MSP whose ledger cannot be reached: it knows the consortium from before. */
async function startAgent(): Promise<void> {
  const pki = organisationPki(dir, 'Org1MSP');
  await mkdir(certificates());
  for (const name of ['overlay.pem', 'overlay.key', 'overlay-ed25519.key']) {
    await copyFile(join(pki.dir, name), join(certificates(), name));
  }
  const written = await writeAgentConfig({
    mspId: 'Org1MSP',
    name: 'admin',
    dir: join(dir, 'agent'),
    roles: ['store'],
    certificates: certificates(),
    ledger: {
      certFile: pki.agent,
      keyFile: pki.agentKey,
      peers: [{ endpoint: '127.0.0.1:1', mspId: 'Org1MSP', tlsRootFile: pki.tlsca }],
    },
  });
  const { path } = written;
  dataDir = written.dataDir;
  // Doors for ordinary clients, at their defaults.
  const text = await readFile(path, 'utf8');
  await writeFile(path, text.replace('overlay:\n', 'overlay:\n  plain: {}\n'));
  await mkdir(dataDir, { mode: 0o700 });
  const { epochs } = new TrialMembership(peers);
  const consortium = {
    channel: 'blocktorrent',
    members: peers.map(({ mspId, root }) => ({
      ...{ mspId, name: mspId, weight: 1 },
      overlayRoots: [root.pem],
    })),
    auditors: [],
    policy: POLICY,
    epochs,
    peers: peers.map(({ peer }) => peer),
  };
  await writeFile(join(dataDir, 'consortium.json'), JSON.stringify({ consortium, epochs }));
  agent = spawn(process.execPath, [LAUNCHER, 'run', '--config', path], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  if (agent.stderr === null) throw new Error('no standard error');
  createInterface({ input: agent.stderr }).on('line', (line) => {
    if (line.startsWith('{')) lines.push(JSON.parse(line) as Record<string, unknown>);
  });
}

const said = (message: string) => lines.filter((line) => line.message === message);

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'bt-cert-'));
  peers = await createTrialPeers(dir, 2);
  await startAgent();
});
afterAll(async () => {
  const ended = new Promise((resolve) => agent.once('exit', resolve));
  agent.kill('SIGTERM');
  await ended;
  await rm(dir, { recursive: true, force: true });
});

describe('an agent that is told SIGHUP', () => {
  it('shows its new certificate on new links, and keeps the old one where the new is unusable', async () => {
    await expect.poll(() => said('overlay runs').length).toBe(1);
    const { listens } = said('overlay runs')[0] as unknown as { listens: Address };
    const member = peers[1];
    if (member === undefined) throw new Error('no second member');
    const seen = () => certificateSeenAt(listens, member);
    const first = await seen();
    const fresh = await issueCertificate(organisationPki(dir, 'Org1MSP'), {
      commonName: 'agent',
      use: 'tls',
    });
    const expected = serialOf(new X509Certificate(fresh.certificate));
    expect(first).not.toBe(expected);

    await writeFile(join(certificates(), 'overlay.pem'), fresh.certificate);
    agent.kill('SIGHUP');
    const refused = 'the new overlay certificate cannot be used; the one in force stays';
    await expect.poll(() => said(refused).length).toBe(1);
    expect(await seen()).toBe(first);

    await writeFile(join(certificates(), 'overlay.key'), fresh.key);
    agent.kill('SIGHUP');
    await expect.poll(seen).toBe(expected);
    expect(agent.exitCode).toBeNull();
  });
});

describe('an agent with doors for ordinary clients', () => {
  it('opens them on loopback, and makes no .torrent of a file that it does not know', async () => {
    const [told] = said('overlay runs') as unknown as { plain: Address; tracker: Address }[];
    expect([told?.plain.host, told?.tracker.host]).toEqual(['127.0.0.1', '127.0.0.1']);
    const answer = await fetch(
      `http://127.0.0.1:${told?.tracker.port}/announce?info_hash=${'%77'.repeat(20)}&port=1`,
    );
    expect(await answer.text()).toMatch('not kept here');
    const asked = callControl(dataDir, 'export-torrent', { fileId: '00'.repeat(32) });
    await expect(asked).rejects.toMatchObject({ remote: 'unknown-here' });
  });
});
