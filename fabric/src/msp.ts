/**
 * MSP folders and everybody's certificates. An MSP folder is what Fabric reads: the roots, NodeOUs
 * that tell peers, orderers, admins and clients apart by their certificate's unit, and, for who
 * signs with it, certificate and key.
 *
 *   DIR/Org1MSP/            as devledger/src/pki.ts makes it; agent.pem has the unit `client`
 *   DIR/Org1MSP/msp         public part, for the channel
 *   DIR/Org1MSP/admin/msp, peer/msp, orderer1/msp       signing identities
 *   DIR/Org1MSP/orderer1/tls.pem, tls.key               (the peer's TLS is ../peer-tls.pem)
 *   DIR/Org1MSP/chaincode/  a root of its own for TLS between peer and chaincode, both ends
 */
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { type CertificateAndKey, createRoot, issueLeaf } from '../../devledger/src/certificates.ts';
import {
  AUDITOR_MSP,
  createPki,
  issueCertificate,
  type OrganisationPki,
} from '../../devledger/src/pki.ts';
import { type IdentityInput, issueIdentity } from './certificates.ts';
import { type NetworkPlan, organisationsWithPeer } from './plan.ts';

/** Where the public part of an organisation's MSP lies. */
export function publicMsp(dir: string, mspId: string): string {
  return join(dir, mspId, 'msp');
}
/** The MSP folder with which an organisation's administrator signs. */
export function adminMsp(dir: string, mspId: string): string {
  return join(dir, mspId, 'admin', 'msp');
}
/** TLS certificate and key of an orderer. */
export function ordererTls(home: string): { readonly cert: string; readonly key: string } {
  return { cert: join(home, 'tls.pem'), key: join(home, 'tls.key') };
}
/** The chaincode's end (`server`) and the peer's (`client`), both under `ca`. */
export function chaincodeTls(dir: string, mspId: string) {
  const home = join(dir, mspId, 'chaincode');
  return {
    home,
    ca: join(home, 'ca.pem'),
    serverCert: join(home, 'server.pem'),
    serverKey: join(home, 'server.key'),
    clientCert: join(home, 'client.pem'),
    clientKey: join(home, 'client.key'),
  };
}

/** Makes all certificates, keys and MSP folders of a planned network. */
export async function createMaterial(plan: NetworkPlan): Promise<void> {
  const members = organisationsWithPeer(plan);
  const pki = await createPki(plan.dir, members.length);
  await Promise.all(
    [...pki.organisations, pki.auditor].map((each) => createOrganisation(plan, each)),
  );
}

async function createOrganisation(plan: NetworkPlan, pki: OrganisationPki): Promise<void> {
  const { mspId } = pki;
  const root = await readPair(pki.ca, pki.caKey);
  const issue = (input: Omit<IdentityInput, 'mspId'>) => issueIdentity(root, { ...input, mspId });
  const role = mspId === AUDITOR_MSP ? 'auditor' : 'agent';
  const agent = await issue({ commonName: 'agent', unit: 'client', role });
  await writePair(pki.agent, pki.agentKey, agent);
  await writeMsp(publicMsp(plan.dir, mspId), pki, null);
  const admin = await issue({ commonName: 'admin', unit: 'admin', role: 'admin' });
  await writeMsp(adminMsp(plan.dir, mspId), pki, admin);
  if (mspId === AUDITOR_MSP) return;
  const peer = await issue({ commonName: 'peer', unit: 'peer' });
  await writeMsp(join(pki.dir, 'peer', 'msp'), pki, peer);
  for (const { home, name } of plan.orderers.filter((each) => each.mspId === mspId)) {
    const orderer = await issue({ commonName: name, unit: 'orderer' });
    await writeMsp(join(home, 'msp'), pki, orderer);
    const { cert, key } = ordererTls(home);
    await writePair(cert, key, await issueCertificate(pki, { commonName: name, use: 'tls' }));
  }
  await createChaincodeTls(plan.dir, mspId);
}

async function createChaincodeTls(dir: string, mspId: string): Promise<void> {
  const files = chaincodeTls(dir, mspId);
  await mkdir(files.home, { recursive: true });
  const root = await createRoot(`${mspId} chaincode CA`, mspId);
  const name = { organisation: mspId, use: 'tls' } as const;
  await writeFile(files.ca, root.certificate);
  const server = await issueLeaf(root, { ...name, commonName: 'chaincode' });
  await writePair(files.serverCert, files.serverKey, server);
  const client = await issueLeaf(root, { ...name, commonName: 'peer' });
  await writePair(files.clientCert, files.clientKey, client);
}

async function writeMsp(
  folder: string,
  pki: OrganisationPki,
  signer: CertificateAndKey | null,
): Promise<void> {
  for (const part of ['cacerts', 'tlscacerts']) {
    await mkdir(join(folder, part), { recursive: true });
  }
  await copyFile(pki.ca, join(folder, 'cacerts', 'ca.pem'));
  await copyFile(pki.tlsca, join(folder, 'tlscacerts', 'tlsca.pem'));
  await writeFile(join(folder, 'config.yaml'), stringify(nodeUnits()));
  if (signer === null) return;
  for (const part of ['signcerts', 'keystore']) {
    await mkdir(join(folder, part), { recursive: true });
  }
  await writePair(
    join(folder, 'signcerts', 'cert.pem'),
    join(folder, 'keystore', 'key.pem'),
    signer,
  );
}

function nodeUnits(): Record<string, unknown> {
  const identifier = (unit: string) => ({
    Certificate: 'cacerts/ca.pem',
    OrganizationalUnitIdentifier: unit,
  });
  return {
    NodeOUs: {
      Enable: true,
      ClientOUIdentifier: identifier('client'),
      PeerOUIdentifier: identifier('peer'),
      AdminOUIdentifier: identifier('admin'),
      OrdererOUIdentifier: identifier('orderer'),
    },
  };
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
  await writeFile(keyFile, pair.key, { mode: 0o600 });
}
