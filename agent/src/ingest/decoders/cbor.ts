/** CBOR payloads (RFC 8949): values, sensor, sequence and time by JSON pointers. */
import type { DecodeRule, Decoder } from '../finding.ts';
import { decodeCbor } from './cbor-document.ts';
import { createDocumentReader } from './document.ts';

/** A decoder for one rule. Throws RangeError when one of its pointers is no JSON pointer. */
export function createCborDecoder(rule: DecodeRule): Decoder {
  const read = createDocumentReader(rule, { format: 'CBOR', samples: 'all' });
  return ({ payload }) => read(decodeCbor(payload));
}
