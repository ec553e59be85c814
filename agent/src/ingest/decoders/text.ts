/** Payloads that are text. */
import { DecodeError } from './decode-error.ts';

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const DECIMAL = /^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$/;

/** The text of UTF-8 bytes. Throws DecodeError. */
export function textOf(payload: Uint8Array): string {
  try {
    return utf8.decode(payload);
  } catch (cause) {
    throw new DecodeError('not UTF-8', { cause });
  }
}

/** The finite number that a text is; null if it is none. */
export function numberOf(text: string): number | null {
  if (!DECIMAL.test(text)) return null;
  const value = Number(text);
  return Number.isFinite(value) ? value + 0 : null;
}

/** JSON (RFC 8259) of UTF-8 bytes. Throws DecodeError. */
export function jsonOf(payload: Uint8Array): unknown {
  const text = textOf(payload);
  try {
    return JSON.parse(text);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new DecodeError(`not JSON: ${reason}`, { cause });
  }
}
