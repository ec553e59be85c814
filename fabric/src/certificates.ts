/**
 * Fabric identities with a node role: the organisational unit `peer`, `orderer`, `admin` or
 * `client`, by which an MSP with NodeOUs tells them apart. Roots and TLS certificates come from
 * the dev ledger's certificates; only the unit is added here.
 */
import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import type { CertificateAndKey } from '../../devledger/src/certificates.ts';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
/** Fabric CA's extension that carries an identity's attributes. */
const ATTRIBUTES_OID = '1.2.3.4.5.6.7.8.1';
const YEAR_MS = 365 * 24 * 3600 * 1000;

export type NodeUnit = 'peer' | 'orderer' | 'admin' | 'client';

export interface IdentityInput {
  readonly commonName: string;
  readonly mspId: string;
  readonly unit: NodeUnit;
  /** Attribute `role`, which the chaincode asks for. */
  readonly role?: string;
}

x509.cryptoProvider.set(webcrypto);

/** Issues an identity with a fresh P-256 key, valid from its root's start for one year from now. */
export async function issueIdentity(
  root: CertificateAndKey,
  { commonName, mspId, unit, role }: IdentityInput,
): Promise<CertificateAndKey> {
  const issuer = new x509.X509Certificate(root.certificate);
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const certificate = await x509.X509CertificateGenerator.create({
    subject: [{ CN: [commonName] }, { OU: [unit] }, { O: [mspId] }],
    issuer: issuer.subject,
    publicKey: keys.publicKey,
    signingKey: await importKey(root.key),
    notBefore: issuer.notBefore,
    notAfter: new Date(Date.now() + YEAR_MS),
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      ...(role === undefined ? [] : [attributes({ role })]),
    ],
  });
  const der = await webcrypto.subtle.exportKey('pkcs8', keys.privateKey);
  return {
    certificate: certificate.toString('pem'),
    key: `${x509.PemConverter.encode(der, 'PRIVATE KEY')}\n`,
  };
}

function attributes(attrs: Readonly<Record<string, string>>): x509.Extension {
  return new x509.Extension(ATTRIBUTES_OID, false, Buffer.from(JSON.stringify({ attrs })));
}

async function importKey(pem: string): Promise<webcrypto.CryptoKey> {
  const der = x509.PemConverter.decodeFirst(pem);
  return await webcrypto.subtle.importKey('pkcs8', der, ALGORITHM, false, ['sign']);
}
