/** Certificates of a trial consortium: who issued them, what they say, who may read the keys. */
import { execFile } from 'node:child_process';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createPki, issueCertificate, organisationPki, type Pki } from '../../devledger/src/pki.ts';

/** DER of OID 1.2.3.4.5.6.7.8.1, Fabric CA's attributes. */
const ATTRIBUTES_OID = Buffer.from([0x06, 0x08, 0x2a, 3, 4, 5, 6, 7, 8, 1]);
let dir: string;
let pki: Pki;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'pki-'));
  pki = await createPki(dir, 2);
});
afterAll(async () => {
  await rm(dir, { recursive: true, force: true });
});

const certificate = async (file: string) => new X509Certificate(await readFile(file));
const all = () => [...pki.organisations, pki.auditor];

describe('createPki', () => {
  it('makes the organisations and an auditor', () => {
    expect(all().map((each) => each.mspId)).toEqual(['Org1MSP', 'Org2MSP', 'AuditorMSP']);
  });

  it('issues every leaf under the right root, not before it', async () => {
    for (const each of all()) {
      const [ca, tlsca] = [await certificate(each.ca), await certificate(each.tlsca)];
      const leaves = [
        [await certificate(each.agent), ca],
        [await certificate(each.peerTls), tlsca],
        [await certificate(each.overlay), tlsca],
      ] as const;
      for (const [leaf, root] of leaves) {
        expect(leaf.verify(root.publicKey) && leaf.checkIssued(root)).toBe(true);
        expect(root.ca && !leaf.ca).toBe(true);
        expect(Date.parse(leaf.validFrom)).toBeGreaterThanOrEqual(Date.parse(root.validFrom));
      }
    }
  });

  it('gives keys that belong to their certificates and that only the owner may read', async () => {
    for (const { agent, agentKey, overlay, overlayKey, overlaySeed } of all()) {
      for (const [file, keyFile] of [
        [agent, agentKey],
        [overlay, overlayKey],
      ] as const) {
        const key = createPrivateKey(await readFile(keyFile));
        expect((await certificate(file)).checkPrivateKey(key)).toBe(true);
        expect((await stat(keyFile)).mode & 0o077).toBe(0);
      }
      expect(await readFile(overlaySeed, 'utf8')).toMatch(/^[0-9a-f]{64}\n$/);
      expect((await stat(overlaySeed)).mode & 0o077).toBe(0);
    }
  });

  it('names roles as Fabric CA does, and hosts for the loopback', async () => {
    for (const each of all()) {
      const role = each === pki.auditor ? 'auditor' : 'agent';
      const agent = await certificate(each.agent);
      expect(agent.subject).toContain('CN=agent');
      expect(agent.raw.includes(ATTRIBUTES_OID)).toBe(true);
      expect(agent.raw.includes(`{"attrs":{"role":"${role}"}}`)).toBe(true);
      const tls = await certificate(each.peerTls);
      expect(tls.checkHost('localhost')).toBe('localhost');
      expect(tls.checkIP('127.0.0.1')).toBe('127.0.0.1');
    }
  });

  it('refuses a number of organisations that makes no consortium', async () => {
    await expect(createPki(dir, 0)).rejects.toThrow(RangeError);
    await expect(createPki(dir, 1.5)).rejects.toThrow(RangeError);
  });
});

describe('issueCertificate', () => {
  it('issues further certificates of an organisation', async () => {
    const organisation = organisationPki(dir, 'Org2MSP');
    const extra = await issueCertificate(organisation, {
      commonName: 'second',
      use: 'identity',
      role: 'auditor',
    });
    const leaf = new X509Certificate(extra.certificate);
    expect(leaf.verify((await certificate(organisation.ca)).publicKey)).toBe(true);
    expect(leaf.checkPrivateKey(createPrivateKey(extra.key))).toBe(true);
    expect(leaf.raw.includes('{"attrs":{"role":"auditor"}}')).toBe(true);
  });
});

describe('the command line', () => {
  it('prints one JSON line', async () => {
    const tool = join(import.meta.dirname, '..', '..', 'devledger', 'src', 'pki.ts');
    const out = join(dir, 'cli');
    const args = [tool, '--organisations', '1', '--out', out];
    const { stdout } = await promisify(execFile)(process.execPath, args);
    expect(JSON.parse(stdout)).toEqual({ dir: out, mspIds: ['Org1MSP'] });
    expect((await certificate(join(out, 'Org1MSP', 'agent.pem'))).subject).toContain('Org1MSP');
  });
});
