/** SenML in JSON, `application/senml+json` (RFC 8428 §5). */
import type { Decoder } from '../finding.ts';
import { DecodeError } from './decode-error.ts';
import { resolveSenml, type SenmlRecord } from './senml.ts';
import { jsonOf } from './text.ts';

/** The decoder; packs describe themselves, so a rule has nothing to say. */
export function createSenmlJsonDecoder(): Decoder {
  return (input) => resolveSenml(jsonOf(input.payload), recordOf, input);
}

function recordOf(record: unknown): SenmlRecord {
  if (typeof record !== 'object' || record === null || Array.isArray(record)) {
    throw new DecodeError('SenML: a record must be an object');
  }
  return new Map(Object.entries(record));
}
