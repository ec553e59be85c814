/** SenML in CBOR, `application/senml+cbor` (RFC 8428 §6): numbers stand for the labels. */
import type { Decoder } from '../finding.ts';
import { decodeCbor } from './cbor-document.ts';
import { DecodeError } from './decode-error.ts';
import { resolveSenml, type SenmlRecord } from './senml.ts';

const LABELS: ReadonlyMap<unknown, string> = new Map([
  [-1, 'bver'],
  [-2, 'bn'],
  [-3, 'bt'],
  [-4, 'bu'],
  [-5, 'bv'],
  [-6, 'bs'],
  [0, 'n'],
  [1, 'u'],
  [2, 'v'],
  [3, 'vs'],
  [4, 'vb'],
  [5, 's'],
  [6, 't'],
  [7, 'ut'],
  [8, 'vd'],
]);

/** The decoder; packs describe themselves, so a rule has nothing to say. */
export function createSenmlCborDecoder(): Decoder {
  return (input) => resolveSenml(decodeCbor(input.payload), recordOf, input);
}

function recordOf(record: unknown): SenmlRecord {
  if (!(record instanceof Map)) throw new DecodeError('SenML: a record must be a map');
  const labelled = new Map<string, unknown>();
  for (const [key, value] of record) {
    const label = LABELS.get(key) ?? String(key);
    if (labelled.has(label)) throw new DecodeError(`SenML: ${label} twice in one record`);
    labelled.set(label, value);
  }
  return labelled;
}
