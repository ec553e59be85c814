/** MessagePack payloads: values, sensor, sequence and time by JSON pointers. */

import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import { Decoder as MsgpackReader } from '@msgpack/msgpack';
import type { DecodeRule, Decoder } from '../finding.ts';
import { createDocumentReader } from './document.ts';

/** No part of a payload can be longer than the payload. */
const MAX = LIMITS.payloadBytesMax;

/** A decoder for one rule. Throws RangeError when one of its pointers is no JSON pointer. */
export function createMsgpackDecoder(rule: DecodeRule): Decoder {
  const read = createDocumentReader(rule, { format: 'MessagePack', samples: true });
  const reader = new MsgpackReader({
    useBigInt64: false,
    maxStrLength: MAX,
    maxBinLength: MAX,
    maxArrayLength: MAX,
    maxMapLength: MAX,
    maxExtLength: MAX,
  });
  return ({ payload }) => read(reader.decode(payload));
}
