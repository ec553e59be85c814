/**
 * Bytes as text and back, strictly.
 *
 * Hex is lower case only and base64 has its padding and nothing else, so that one value has one
 * spelling: two texts are equal exactly when their bytes are. Malformed text is a ProtocolError.
 */
import { bytesToHex, hexToBytes } from '@noble/hashes/utils.js';
import { base64 } from '@scure/base';
import { ProtocolError } from './errors.ts';
import type { Base64, Hex } from './ledger-api.ts';

const HEX = /^(?:[0-9a-f]{2})*$/;
const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Lower-case hex of `bytes`. */
export function toHex(bytes: Uint8Array): Hex {
  return bytesToHex(bytes);
}

/**
 * Bytes of lower-case hex, exactly `byteLength` of them if given.
 * Throws ProtocolError `malformed` for other characters, an odd count or another length.
 */
export function fromHex(text: string, byteLength?: number): Uint8Array {
  if (byteLength !== undefined && text.length !== 2 * byteLength) {
    throw new ProtocolError(
      'malformed',
      `hex: expected ${byteLength} bytes (${2 * byteLength} digits), got ${text.length} characters`,
    );
  }
  if (!HEX.test(text)) {
    throw new ProtocolError('malformed', 'hex: expected pairs of lower-case digits 0-9a-f');
  }
  return hexToBytes(text);
}

/** Standard base64 of `bytes`, with padding (RFC 4648 §4). */
export function toBase64(bytes: Uint8Array): Base64 {
  return base64.encode(bytes);
}

/**
 * Bytes of standard base64 with padding (RFC 4648 §4).
 * Throws ProtocolError `malformed` for white space, missing padding or spare bits that are set.
 */
export function fromBase64(text: string): Uint8Array {
  try {
    return base64.decode(text);
  } catch (cause) {
    throw new ProtocolError('malformed', 'base64: expected canonical RFC 4648 text', { cause });
  }
}

/** One array with the parts one after the other. */
export function concatBytes(...parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const whole = new Uint8Array(length);
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}

/** Whether both have the same length and bytes; looks at every byte, whatever it finds. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i++) difference |= (a[i] ?? 0) ^ (b[i] ?? 0);
  return difference === 0;
}

/** UTF-8 of `text`. */
export function utf8(text: string): Uint8Array {
  return encoder.encode(text);
}

/** Text of UTF-8 `bytes`. Throws ProtocolError `malformed` where they are not UTF-8. */
export function fromUtf8(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch (cause) {
    throw new ProtocolError('malformed', 'text: expected UTF-8', { cause });
  }
}
