/** Known answers made by `test/vectors/make-vectors.py`. */
import { readFileSync } from 'node:fs';

/** A JSON file in test/vectors. */
export function readVectors(name: string): unknown {
  return JSON.parse(readFileSync(new URL(`../vectors/${name}`, import.meta.url), 'utf8'));
}

/** The vectors' test data: byte i is (7 i + floor(i / 256)) mod 256. */
export function pattern(byteCount: number): Uint8Array {
  return Uint8Array.from({ length: byteCount }, (_, i) => (7 * i + (i >> 8)) & 0xff);
}

/** Shape of protocol.json. */
export interface ProtocolVectors {
  readonly cborCanonical: readonly { json: string; cbor: string }[];
  readonly signingInput: { domain: string; channel: string; body: string; input: string };
  readonly padme: readonly (readonly [number, number])[];
  readonly digests: readonly { bytes: number; sha3: string; sha384: string; sha512: string }[];
  readonly infodicts: readonly {
    name: string;
    pieceLength: number;
    length: number;
    pieces: string;
    info: string;
    infoHash: string;
  }[];
  readonly chain: readonly { reading: Record<string, unknown>; hash: string }[];
  readonly manifestMessages: readonly MessageVector[];
  readonly receiptMessage: MessageVector;
  readonly address: MessageVector;
  readonly addressWithDoors: MessageVector;
  readonly callMessage: MessageVector;
  /** Of the channel `blocktorrent`. */
  readonly standingHash: string;
}
/** A CBOR map; byte strings are `{ hex }`. */
export interface MessageVector {
  readonly value: Record<string, unknown>;
  readonly cbor: string;
}

/** protocol.json, as make-vectors.py wrote it. */
export const protocolVectors = readVectors('protocol.json') as ProtocolVectors;

/** The value of a message vector, with its byte strings as Uint8Array. */
export function messageOf(vector: MessageVector): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(vector.value).map(([key, item]) => [
      key,
      typeof item === 'object' && item !== null && 'hex' in item && typeof item.hex === 'string'
        ? Uint8Array.from(Buffer.from(item.hex, 'hex'))
        : item,
    ]),
  );
}
