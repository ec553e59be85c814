/**
 * Who signed: serialized identities checked against their organisation's root certificates, and
 * ECDSA signatures with low S, as Fabric's MSP demands. Certificates of intermediate CAs are not
 * supported: every identity is issued by a root itself.
 */
import { type KeyObject, verify, X509Certificate } from 'node:crypto';
import { msp } from '@hyperledger/fabric-protos';

/** Half the order of P-256: an S above this has a twin below it and is refused. */
const P256_HALF_ORDER = 0x7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a8n;
const CACHE_MAX = 1024;

/** An organisation as the channel knows it. */
export interface MspDefinition {
  readonly mspId: string;
  /** PEM certificates of its identity CAs. */
  readonly rootCerts: readonly string[];
}

/** An identity whose certificate chain has been checked. */
export interface Identity {
  readonly mspId: string;
  readonly publicKey: KeyObject;
  readonly notAfterMs: number;
}

/** The identity is unknown, its chain is wrong or its time is over. */
export class IdentityError extends Error {
  override readonly name = 'IdentityError';
}

/** The channel's organisations: turns serialized identities into checked ones. */
export class MspRegistry {
  readonly #roots = new Map<string, X509Certificate[]>();
  readonly #cache = new Map<string, Identity>();
  readonly #nowMs: () => number;

  constructor(definitions: readonly MspDefinition[], nowMs: () => number) {
    this.#nowMs = nowMs;
    for (const { mspId, rootCerts } of definitions) {
      const roots = rootCerts.map((pem) => new X509Certificate(pem));
      this.#roots.set(mspId, roots);
    }
  }

  /** Checks a `SerializedIdentity` (bytes); throws IdentityError. */
  identify(serialized: Uint8Array): Identity {
    const cacheKey = Buffer.from(serialized).toString('base64');
    let identity = this.#cache.get(cacheKey);
    if (identity === undefined) {
      identity = this.#check(serialized);
      if (this.#cache.size >= CACHE_MAX) {
        this.#cache.clear();
      }
      this.#cache.set(cacheKey, identity);
    }
    if (identity.notAfterMs < this.#nowMs()) {
      throw new IdentityError(`access denied: the certificate of ${identity.mspId} has expired`);
    }
    return identity;
  }

  #check(serialized: Uint8Array): Identity {
    const { mspId, pem } = decode(serialized);
    const roots = this.#roots.get(mspId);
    if (roots === undefined) {
      throw new IdentityError(`access denied: MSP ${mspId} is unknown on this channel`);
    }
    const certificate = parseCertificate(pem);
    const root = roots.find(
      (ca) => certificate.checkIssued(ca) && certificate.verify(ca.publicKey),
    );
    if (root === undefined) {
      throw new IdentityError(`access denied: certificate signed by unknown authority (${mspId})`);
    }
    if (certificate.ca) {
      throw new IdentityError('access denied: a CA certificate cannot act as an identity');
    }
    const notBeforeMs = Date.parse(certificate.validFrom);
    if (notBeforeMs < Date.parse(root.validFrom) || notBeforeMs > Date.parse(root.validTo)) {
      throw new IdentityError('access denied: the certificate begins outside its CA’s validity');
    }
    if (certificate.publicKey.asymmetricKeyDetails?.namedCurve !== 'prime256v1') {
      throw new IdentityError('access denied: only ECDSA P-256 keys are accepted');
    }
    return {
      mspId,
      publicKey: certificate.publicKey,
      notAfterMs: Date.parse(certificate.validTo),
    };
  }
}

/** True if `signature` (DER, low S) over SHA-256 of `message` is by this identity. */
export function isSignedBy(
  identity: Identity,
  message: Uint8Array,
  signature: Uint8Array,
): boolean {
  return hasLowS(signature) && verify('sha256', message, identity.publicKey, signature);
}

/** `SerializedIdentity` bytes of a PEM certificate. */
export function serializeIdentity(mspId: string, pem: string): Uint8Array {
  const identity = new msp.SerializedIdentity();
  identity.setMspid(mspId);
  identity.setIdBytes(Buffer.from(pem));
  return identity.serializeBinary();
}

function decode(serialized: Uint8Array): { mspId: string; pem: Buffer } {
  try {
    const identity = msp.SerializedIdentity.deserializeBinary(serialized);
    return { mspId: identity.getMspid(), pem: Buffer.from(identity.getIdBytes_asU8()) };
  } catch (cause) {
    throw new IdentityError('access denied: creator is malformed', { cause });
  }
}

function parseCertificate(pem: Buffer): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch (cause) {
    throw new IdentityError('access denied: creator certificate is malformed', { cause });
  }
}

/** DER: 30 len 02 rLen r 02 sLen s, nothing after it. */
function hasLowS(der: Uint8Array): boolean {
  const rLength = der[3];
  if (der[0] !== 0x30 || der[1] !== der.length - 2 || der[2] !== 2 || rLength === undefined) {
    return false;
  }
  const sStart = 4 + rLength + 2;
  const sLength = der[sStart - 1];
  if (der[sStart - 2] !== 2 || sLength === undefined || sStart + sLength !== der.length) {
    return false;
  }
  const s = Buffer.from(der.subarray(sStart)).toString('hex');
  return s.length > 0 && BigInt(`0x${s}`) <= P256_HALF_ORDER;
}
