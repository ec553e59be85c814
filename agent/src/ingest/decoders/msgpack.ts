/**
 * MessagePack payloads: values, sensor, sequence and time by JSON pointers.
 *
 * Always holds: the library sees only payloads whose arrays and maps can all be there. It makes room
 * for as many elements as a header claims, so that a few bytes could ask for gigabytes.
 */

import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import { Decoder as MsgpackReader } from '@msgpack/msgpack';
import type { DecodeRule, Decoder } from '../finding.ts';
import { DecodeError } from './decode-error.ts';
import { createDocumentReader, OBJECTS_MAX } from './document.ts';

/** No part of a payload can be longer than the payload. */
const MAX = LIMITS.payloadBytesMax;

/** A decoder for one rule. Throws RangeError when one of its pointers is no JSON pointer. */
export function createMsgpackDecoder(rule: DecodeRule): Decoder {
  const read = createDocumentReader(rule, { format: 'MessagePack', samples: 'all' });
  const reader = new MsgpackReader({
    useBigInt64: false,
    maxStrLength: MAX,
    maxBinLength: MAX,
    maxArrayLength: MAX,
    maxMapLength: MAX,
    maxExtLength: MAX,
  });
  return ({ payload }) => {
    requirePossible(payload);
    return read(reader.decode(payload));
  };
}

interface Head {
  /** Of the payload's own length field, behind the first byte. */
  readonly lengthBytes: 0 | 1 | 2 | 4;
  /** Bytes that follow besides as many as the length says. */
  readonly bytes: number;
  /** Items that follow for each that the length says: 2 for maps. */
  readonly items: 0 | 1 | 2;
}

/** What follows a first byte of 0xc0..0xdf; the others have their length in them. */
const HEADS = new Map<number, Head>([
  ...heads([0xc4, 0xd9], [1, 0, 0]),
  ...heads([0xc5, 0xda], [2, 0, 0]),
  ...heads([0xc6, 0xdb], [4, 0, 0]),
  ...heads([0xc7], [1, 1, 0]),
  ...heads([0xc8], [2, 1, 0]),
  ...heads([0xc9], [4, 1, 0]),
  ...heads([0xcc, 0xd0], [0, 1, 0]),
  ...heads([0xcd, 0xd1, 0xd4], [0, 2, 0]),
  ...heads([0xd5], [0, 3, 0]),
  ...heads([0xca, 0xce, 0xd2], [0, 4, 0]),
  ...heads([0xd6], [0, 5, 0]),
  ...heads([0xcb, 0xcf, 0xd3], [0, 8, 0]),
  ...heads([0xd7], [0, 9, 0]),
  ...heads([0xd8], [0, 17, 0]),
  ...heads([0xdc], [2, 0, 1]),
  ...heads([0xdd], [4, 0, 1]),
  ...heads([0xde], [2, 0, 2]),
  ...heads([0xdf], [4, 0, 2]),
]);

function heads(
  first: readonly number[],
  [lengthBytes, bytes, items]: readonly [Head['lengthBytes'], number, Head['items']],
): [number, Head][] {
  return first.map((byte) => [byte, { lengthBytes, bytes, items }]);
}

/** Throws DecodeError where more items are announced than there are bytes, or too many of them. */
function requirePossible(payload: Uint8Array): void {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  let at = 0;
  let objects = 0;
  for (let due = 1; due > 0; ) {
    if (due > payload.length - at) throw new DecodeError('MessagePack: it is cut off');
    const byte = view.getUint8(at++);
    due -= 1;
    let more = 0;
    if (byte >= 0x80 && byte < 0x90) more = 2 * (byte & 0x0f);
    else if (byte >= 0x90 && byte < 0xa0) more = byte & 0x0f;
    else if (byte >= 0xa0 && byte < 0xc0) at += byte & 0x1f;
    const head = HEADS.get(byte);
    if (head !== undefined) {
      const length = lengthAt(view, at, head.lengthBytes);
      at += head.lengthBytes + head.bytes + (head.items === 0 ? length : 0);
      more = head.items * length;
    }
    if (isObject(byte)) objects += 1;
    if (objects > OBJECTS_MAX) {
      throw new DecodeError(
        `MessagePack: more than ${OBJECTS_MAX} arrays, maps, bytes, extensions`,
      );
    }
    due += more;
  }
}

/** Whether an item with this first byte is an object of its own in memory. */
function isObject(byte: number): boolean {
  if (byte < 0xc0) return byte >= 0x80 && byte < 0xa0;
  return (
    (byte >= 0xc4 && byte <= 0xc9) ||
    (byte >= 0xd4 && byte <= 0xd8) ||
    (byte >= 0xdc && byte < 0xe0)
  );
}

function lengthAt(view: DataView, at: number, bytes: Head['lengthBytes']): number {
  if (bytes === 0) return 0;
  if (at + bytes > view.byteLength) throw new DecodeError('MessagePack: it is cut off');
  if (bytes === 1) return view.getUint8(at);
  return bytes === 2 ? view.getUint16(at) : view.getUint32(at);
}
