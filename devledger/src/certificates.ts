/**
 * X.509 certificates as Fabric CAs issue them: ECDSA P-256 with SHA-256, role attributes as JSON
 * under OID 1.2.3.4.5.6.7.8.1. The only file that imports @peculiar/x509.
 * A leaf's notBefore never precedes its CA's: Fabric refuses such a chain.
 */
import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
/** Fabric CA's extension that carries an identity's attributes. */
const ATTRIBUTES_OID = '1.2.3.4.5.6.7.8.1';
const YEAR_MS = 365 * 24 * 3600 * 1000;

/** A certificate and its PKCS #8 private key, both PEM. */
export interface CertificateAndKey {
  readonly certificate: string;
  readonly key: string;
}

/** What a certificate is to say and may be used for. */
export interface LeafInput {
  readonly commonName: string;
  readonly organisation: string;
  /** `identity`: signs transactions; `tls`: server and client, SAN localhost and 127.0.0.1. */
  readonly use: 'identity' | 'tls';
  /** Value of the attribute `role`; left out = no attributes. */
  readonly role?: string;
  /** Further DNS names of a TLS certificate. */
  readonly dnsNames?: readonly string[];
  /** Defaults: the CA's notBefore, and one year after now. */
  readonly notBefore?: Date;
  readonly notAfter?: Date;
}

x509.cryptoProvider.set(webcrypto);

/** Creates a self-signed root, valid for ten years from one minute ago. */
export async function createRoot(
  commonName: string,
  organisation: string,
): Promise<CertificateAndKey> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const notBefore = new Date(Date.now() - 60_000);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: subject(commonName, organisation),
    keys,
    notBefore,
    notAfter: new Date(notBefore.getTime() + 10 * YEAR_MS),
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(
        x509.KeyUsageFlags.keyCertSign |
          x509.KeyUsageFlags.cRLSign |
          x509.KeyUsageFlags.digitalSignature,
        true,
      ),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate: certificate.toString('pem'), key: await keyPem(keys.privateKey) };
}

/** Issues a leaf certificate with a fresh key under `root`. */
export async function issueLeaf(
  root: CertificateAndKey,
  input: LeafInput,
): Promise<CertificateAndKey> {
  const issuer = new x509.X509Certificate(root.certificate);
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const certificate = await x509.X509CertificateGenerator.create({
    subject: subject(input.commonName, input.organisation),
    issuer: issuer.subject,
    publicKey: keys.publicKey,
    signingKey: await importKey(root.key),
    notBefore: input.notBefore ?? issuer.notBefore,
    notAfter: input.notAfter ?? new Date(Date.now() + YEAR_MS),
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      ...(input.use === 'tls' ? tlsExtensions(input) : []),
      ...(input.role === undefined ? [] : [roleExtension(input.role)]),
    ],
  });
  return { certificate: certificate.toString('pem'), key: await keyPem(keys.privateKey) };
}

function tlsExtensions(input: LeafInput): x509.Extension[] {
  const { serverAuth, clientAuth } = x509.ExtendedKeyUsage;
  return [
    new x509.ExtendedKeyUsageExtension([serverAuth, clientAuth]),
    new x509.SubjectAlternativeNameExtension([
      { type: 'dns', value: 'localhost' },
      ...(input.dnsNames ?? []).map((value) => ({ type: 'dns' as const, value })),
      { type: 'ip', value: '127.0.0.1' },
    ]),
  ];
}

function roleExtension(role: string): x509.Extension {
  const attributes = Buffer.from(JSON.stringify({ attrs: { role } }));
  return new x509.Extension(ATTRIBUTES_OID, false, attributes);
}

function subject(commonName: string, organisation: string): x509.JsonName {
  return [{ CN: [commonName] }, { O: [organisation] }];
}

async function keyPem(key: webcrypto.CryptoKey): Promise<string> {
  const der = await webcrypto.subtle.exportKey('pkcs8', key);
  return `${x509.PemConverter.encode(der, 'PRIVATE KEY')}\n`;
}

async function importKey(pem: string): Promise<webcrypto.CryptoKey> {
  const der = x509.PemConverter.decodeFirst(pem);
  return await webcrypto.subtle.importKey('pkcs8', der, ALGORITHM, false, ['sign']);
}
