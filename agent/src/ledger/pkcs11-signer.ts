/**
 * The ledger identity's key in a hardware module, by PKCS#11: it signs there and never comes here.
 *
 * Enters: module, token label, PIN file, and the key's CKA_ID (by Fabric's custom SHA-256 of the
 * public point). Leaves: the same signatures as `signer.ts`. The native package `pkcs11js` is loaded
 * only here, and is not installed with the agent. Always holds: one signature at a time a session.
 */
import { createHash, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { MessageSigner } from './signer.ts';

/** Where the key is. */
export interface Pkcs11Config {
  /** Shared library of the module's maker. */
  readonly module: string;
  /** Label of the token. */
  readonly label: string;
  /** File with the user PIN. */
  readonly pinFile: string;
  /** CKA_ID of the private key in hex; absent: SHA-256 of the certificate's public point. */
  readonly keyId?: string | undefined;
}

/** Length of an uncompressed P-256 point, which ends the DER of such a public key. */
const POINT_BYTES = 65;

/** Opens a session and finds the key. @throws Error that says what is missing */
export async function createPkcs11Signer(
  { module, label, pinFile, keyId }: Pkcs11Config,
  certificatePem: string,
): Promise<{ readonly sign: MessageSigner; close(): void }> {
  const { signers } = await import('@hyperledger/fabric-gateway');
  const pin = (await readFile(pinFile, 'utf8')).trim();
  const identifier = keyId === undefined ? pointHash(certificatePem) : Buffer.from(keyId, 'hex');
  const factory = open(module, () => signers.newHSMSignerFactory(module));
  const found = open(module, () => factory.newSigner({ label, pin, identifier }));
  let last: Promise<unknown> = Promise.resolve();
  return {
    sign(message) {
      const digest = createHash('sha256').update(message).digest();
      // A session knows one signature at a time.
      const signed = last.then(() => found.signer(digest));
      last = signed.catch(() => undefined);
      return signed;
    },
    close() {
      found.close();
      factory.dispose();
    },
  };
}

function open<T>(module: string, body: () => T): T {
  try {
    return body();
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const todo = reason.includes('pkcs11js')
      ? 'run `npm install pkcs11js` where the agent is installed (it needs a C++ compiler)'
      : 'check ledger.pkcs11: module, label, pinFile and keyId';
    throw new Error(`the key in ${module} cannot be used: ${reason}; ${todo}`, { cause });
  }
}

function pointHash(certificatePem: string): Buffer {
  const der = new X509Certificate(certificatePem).publicKey.export({ type: 'spki', format: 'der' });
  return createHash('sha256').update(der.subarray(-POINT_BYTES)).digest();
}
