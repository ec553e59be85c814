/**
 * JSON payloads (RFC 8259): values, sensor, sequence and time by JSON pointers (RFC 6901).
 *
 * Nothing of it is stored beside the payload: SQLite's JSON functions find the values in it. Only
 * where a whole number in a pointer is the name of a field they do not, then the value is stored.
 */
import type { DecodeRule, Decoder } from '../finding.ts';
import { createDocumentReader } from './document.ts';
import { jsonOf } from './text.ts';

/** A decoder for one rule. Throws RangeError when one of its pointers is no JSON pointer. */
export function createJsonDecoder(rule: DecodeRule): Decoder {
  const read = createDocumentReader(rule, { format: 'JSON', samples: 'beyond-paths' });
  return ({ payload }) => read(jsonOf(payload));
}
