/**
 * Signatures as Fabric wants them: ECDSA P-256 over SHA-256, DER, low S. By node:crypto, because
 * the gateway client's own signer in JavaScript is the largest part of a client's work.
 */
import { createPrivateKey, sign } from 'node:crypto';

const P256_ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
const COORDINATE_BYTES = 32;

/** Signs a message; give the gateway client `hash.none`, hashing happens here. */
export type MessageSigner = (message: Uint8Array) => Promise<Uint8Array>;

/** Signer of a PEM private key; throws if it is not on P-256. */
export function createSigner(keyPem: string): MessageSigner {
  const key = createPrivateKey(keyPem);
  const curve = key.asymmetricKeyDetails?.namedCurve;
  if (curve !== 'prime256v1') {
    throw new TypeError(`identity key must be ECDSA P-256, got ${curve ?? key.asymmetricKeyType}`);
  }
  return async (message) => {
    const raw = sign('sha256', message, { key, dsaEncoding: 'ieee-p1363' });
    const s = BigInt(`0x${raw.subarray(COORDINATE_BYTES).toString('hex')}`);
    const low = s > P256_ORDER / 2n ? P256_ORDER - s : s;
    const lowBytes = Buffer.from(low.toString(16).padStart(COORDINATE_BYTES * 2, '0'), 'hex');
    const body = Buffer.concat([
      derInteger(raw.subarray(0, COORDINATE_BYTES)),
      derInteger(lowBytes),
    ]);
    return Buffer.concat([Buffer.from([0x30, body.length]), body]);
  };
}

/** DER INTEGER of a positive number: no leading zeros, but one where the first bit is set. */
function derInteger(bytes: Buffer): Buffer {
  const first = bytes.findIndex((byte) => byte !== 0);
  const digits = first === -1 ? Buffer.from([0]) : bytes.subarray(first);
  const padded = (digits[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.from([0]), digits]) : digits;
  return Buffer.concat([Buffer.from([0x02, padded.length]), padded]);
}
