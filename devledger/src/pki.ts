/**
 * The certificates of a trial consortium, one folder for each organisation: identity CA, TLS CA
 * (also the root of its overlay certificates), gateway peer, agent, overlay. For trying and
 * testing: the CA keys lie beside what they sign, so that tests can issue more.
 *
 * CLI: `node devledger/src/pki.ts --organisations N --out DIR` prints one JSON line.
 */
import { randomBytes } from 'node:crypto';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type CertificateAndKey, createRoot, issueLeaf, type LeafInput } from './certificates.ts';

/** MSP of the auditor: an organisation without peers. */
export const AUDITOR_MSP = 'AuditorMSP';

/** Where an organisation's files are; every value is an absolute or `dir`-relative path. */
export interface OrganisationPki {
  readonly mspId: string;
  readonly dir: string;
  /** Root that issues identities. */
  readonly ca: string;
  readonly caKey: string;
  /** Root that issues the gateway peer's TLS and the overlay's certificates. */
  readonly tlsca: string;
  readonly tlscaKey: string;
  readonly peerTls: string;
  readonly peerTlsKey: string;
  /** CN=agent, attribute role=agent (the auditor's: role=auditor). */
  readonly agent: string;
  readonly agentKey: string;
  readonly overlay: string;
  readonly overlayKey: string;
  /** Ed25519 seed, 32 bytes as hex and a newline. */
  readonly overlaySeed: string;
}

/** Everything `createPki` made; `organisations` leaves the auditor out. */
export interface Pki {
  readonly dir: string;
  readonly organisations: readonly OrganisationPki[];
  readonly auditor: OrganisationPki;
}

/** Paths of an organisation's files under `dir`; says nothing about whether they exist. */
export function organisationPki(dir: string, mspId: string): OrganisationPki {
  const home = join(dir, mspId);
  return {
    mspId,
    dir: home,
    ca: join(home, 'ca.pem'),
    caKey: join(home, 'ca.key'),
    tlsca: join(home, 'tlsca.pem'),
    tlscaKey: join(home, 'tlsca.key'),
    peerTls: join(home, 'peer-tls.pem'),
    peerTlsKey: join(home, 'peer-tls.key'),
    agent: join(home, 'agent.pem'),
    agentKey: join(home, 'agent.key'),
    overlay: join(home, 'overlay.pem'),
    overlayKey: join(home, 'overlay.key'),
    overlaySeed: join(home, 'overlay-ed25519.key'),
  };
}

/** Creates `Org1MSP`..`OrgNMSP` and `AuditorMSP` under `dir` (1..64 organisations). */
export async function createPki(dir: string, organisations: number): Promise<Pki> {
  if (!Number.isInteger(organisations) || organisations < 1 || organisations > 64) {
    throw new RangeError(`organisations must be 1..64, got ${organisations}`);
  }
  const mspIds = Array.from({ length: organisations }, (_, i) => `Org${i + 1}MSP`);
  return {
    dir,
    organisations: await Promise.all(mspIds.map((mspId) => createOrganisation(dir, mspId))),
    auditor: await createOrganisation(dir, AUDITOR_MSP),
  };
}

/**
 * Issues one more certificate of an organisation made by `createPki`: under its identity CA
 * (use `identity`) or its TLS CA (use `tls`). Attack tests use it for wrong roles and dates.
 */
export async function issueCertificate(
  organisation: OrganisationPki,
  input: Omit<LeafInput, 'organisation'>,
): Promise<CertificateAndKey> {
  const root: CertificateAndKey =
    input.use === 'identity'
      ? await readPair(organisation.ca, organisation.caKey)
      : await readPair(organisation.tlsca, organisation.tlscaKey);
  return await issueLeaf(root, { ...input, organisation: organisation.mspId });
}

async function createOrganisation(dir: string, mspId: string): Promise<OrganisationPki> {
  const files = organisationPki(dir, mspId);
  await mkdir(files.dir, { recursive: true });
  const ca = await createRoot(`${mspId} identity CA`, mspId);
  const tlsca = await createRoot(`${mspId} TLS CA`, mspId);
  const role = mspId === AUDITOR_MSP ? 'auditor' : 'agent';
  const name = { organisation: mspId };
  const [peer, agent, overlay] = await Promise.all([
    issueLeaf(tlsca, { ...name, commonName: 'peer', use: 'tls' }),
    issueLeaf(ca, { ...name, commonName: 'agent', use: 'identity', role }),
    issueLeaf(tlsca, { ...name, commonName: 'agent', use: 'tls' }),
  ]);
  await Promise.all([
    writePair(files.ca, files.caKey, ca),
    writePair(files.tlsca, files.tlscaKey, tlsca),
    writePair(files.peerTls, files.peerTlsKey, peer),
    writePair(files.agent, files.agentKey, agent),
    writePair(files.overlay, files.overlayKey, overlay),
    writeSecret(files.overlaySeed, `${randomBytes(32).toString('hex')}\n`),
  ]);
  return files;
}

async function readPair(certificateFile: string, keyFile: string): Promise<CertificateAndKey> {
  return {
    certificate: await readFile(certificateFile, 'utf8'),
    key: await readFile(keyFile, 'utf8'),
  };
}

async function writePair(
  certificateFile: string,
  keyFile: string,
  pair: CertificateAndKey,
): Promise<void> {
  await writeFile(certificateFile, pair.certificate);
  await writeSecret(keyFile, pair.key);
}

async function writeSecret(file: string, text: string): Promise<void> {
  await writeFile(file, text, { mode: 0o600 });
  await chmod(file, 0o600);
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: { organisations: { type: 'string', default: '4' }, out: { type: 'string' } },
  });
  if (values.out === undefined) {
    process.stderr.write('usage: node devledger/src/pki.ts --organisations N --out DIR\n');
    process.exitCode = 2;
  } else {
    const pki = await createPki(values.out, Number(values.organisations));
    process.stdout.write(
      `${JSON.stringify({ dir: pki.dir, mspIds: pki.organisations.map((o) => o.mspId) })}\n`,
    );
  }
}
