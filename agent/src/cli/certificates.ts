/**
 * Keys and certificates that `init` makes: ECDSA P-256 with SHA-256, as Fabric's CAs issue them.
 *
 * Leaves: PEM texts. A request (PKCS #10) is for the organisation's own CA; a root of one's own is for
 * trials, where nobody has a CA. The only file of the agent that imports @peculiar/x509, and only
 * `init` loads it.
 */
import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import { isIP } from 'node:net';
import * as x509 from '@peculiar/x509';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
/** Fabric CA's extension that carries an identity's attributes. */
const ATTRIBUTES_OID = '1.2.3.4.5.6.7.8.1';
const YEAR_MS = 365 * 24 * 3_600_000;
/** Clocks of others may be behind. */
const BACKDATED_MS = 60_000;

/** A key with a certificate, or with a request for one; PEM, the key as PKCS #8. */
export interface KeyAndCertificate {
  readonly key: string;
  readonly certificate: string;
}
export interface KeyAndRequest {
  readonly key: string;
  readonly request: string;
}
/** Whom a certificate names, and what it is for. */
export interface Subject {
  readonly commonName: string;
  readonly organisation: string;
  /** DNS names and addresses of a TLS certificate; none for one that only signs. */
  readonly hosts: readonly string[];
  /** Fabric's attribute `role`; null for none. */
  readonly role: string | null;
}

x509.cryptoProvider.set(webcrypto);

/** A self-signed root, valid for ten years. */
export async function makeRoot(organisation: string): Promise<KeyAndCertificate> {
  const keys = await newKeys();
  const notBefore = new Date(Date.now() - BACKDATED_MS);
  const { keyCertSign, cRLSign, digitalSignature } = x509.KeyUsageFlags;
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: nameOf(`${organisation} trial root`, organisation),
    keys,
    notBefore,
    notAfter: new Date(notBefore.getTime() + 10 * YEAR_MS),
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(keyCertSign | cRLSign | digitalSignature, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate: certificate.toString('pem'), key: await keyPem(keys) };
}

/** A certificate with a new key, issued by `root`; valid for a year. */
export async function issue(root: KeyAndCertificate, subject: Subject): Promise<KeyAndCertificate> {
  const issuer = new x509.X509Certificate(root.certificate);
  const keys = await newKeys();
  const rootKey = x509.PemConverter.decodeFirst(root.key);
  const certificate = await x509.X509CertificateGenerator.create({
    subject: nameOf(subject.commonName, subject.organisation),
    issuer: issuer.subject,
    publicKey: keys.publicKey,
    signingKey: await webcrypto.subtle.importKey('pkcs8', rootKey, ALGORITHM, false, ['sign']),
    // Fabric refuses a leaf that is older than its root.
    notBefore: issuer.notBefore,
    notAfter: new Date(Date.now() + YEAR_MS),
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      ...usageOf(subject),
      ...(subject.role === null ? [] : [roleExtension(subject.role)]),
    ],
  });
  return { certificate: certificate.toString('pem'), key: await keyPem(keys) };
}

/** A new key, and a request to an organisation's CA for a certificate of it. */
export async function request(subject: Subject): Promise<KeyAndRequest> {
  const keys = await newKeys();
  const made = await x509.Pkcs10CertificateRequestGenerator.create({
    name: nameOf(subject.commonName, subject.organisation),
    keys,
    signingAlgorithm: ALGORITHM,
    extensions: usageOf(subject),
  });
  return { request: made.toString('pem'), key: await keyPem(keys) };
}

function usageOf({ hosts }: Subject): x509.Extension[] {
  const signs = new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true);
  if (hosts.length === 0) return [signs];
  const { serverAuth, clientAuth } = x509.ExtendedKeyUsage;
  const names = hosts.map((value) => {
    return { type: isIP(value) === 0 ? ('dns' as const) : ('ip' as const), value };
  });
  return [
    signs,
    new x509.ExtendedKeyUsageExtension([serverAuth, clientAuth]),
    new x509.SubjectAlternativeNameExtension(names),
  ];
}

function roleExtension(role: string): x509.Extension {
  return new x509.Extension(
    ATTRIBUTES_OID,
    false,
    Buffer.from(JSON.stringify({ attrs: { role } })),
  );
}

function nameOf(commonName: string, organisation: string): x509.JsonName {
  return [{ CN: [commonName] }, { O: [organisation] }];
}

function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
}

async function keyPem({ privateKey }: webcrypto.CryptoKeyPair): Promise<string> {
  const der = await webcrypto.subtle.exportKey('pkcs8', privateKey);
  return `${x509.PemConverter.encode(der, 'PRIVATE KEY')}\n`;
}
