/**
 * Self-signed certificates with Fabric's role attribute, for tests that only look at the role.
 */
import 'reflect-metadata';
import * as x509 from '@peculiar/x509';

const ATTRIBUTES_OID = '1.2.3.4.5.6.7.8.1';
const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };

/** The peer that a gateway's certificate may name. */
export const NAMED_PEER = 'gateway-1';
const made = new Map<string | null, Buffer>();
for (const role of ['agent', 'gateway', 'auditor', 'admin', null]) {
  made.set(role, await make(role, { role }));
}
made.set(NAMED_PEER, await make('gateway', { role: 'gateway', peer: NAMED_PEER }));

/** PEM of a certificate with attribute `role`, and of peer `NAMED_PEER`; null is one without attributes. */
export function certificateOf(role: string | null, isNamed = false): Buffer {
  const pem = made.get(isNamed ? NAMED_PEER : role);
  if (pem === undefined) throw new Error(`no certificate for role ${role}`);
  return pem;
}

async function make(role: string | null, attrs: object): Promise<Buffer> {
  const keys = await crypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const attributes = Buffer.from(JSON.stringify({ attrs }));
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: 'CN=test',
    notBefore: new Date('2026-01-01T00:00:00Z'),
    notAfter: new Date('2096-01-01T00:00:00Z'),
    keys,
    signingAlgorithm: ALGORITHM,
    extensions: role === null ? [] : [new x509.Extension(ATTRIBUTES_OID, false, attributes)],
  });
  return Buffer.from(certificate.toString('pem'));
}
