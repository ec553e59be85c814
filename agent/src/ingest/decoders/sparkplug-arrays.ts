/**
 * Arrays of Sparkplug B: packed little-endian bytes in `bytes_value` (Sparkplug 3.0, "Array Types").
 *
 * Enters: the bytes and the datatype. Leaves: the elements, truth as 1 and 0; null where the bytes
 * are no such array, or one of more than `ELEMENTS_MAX`: then they are the value.
 */

const ELEMENTS_MAX = 65_536;
const BOOLEAN_ARRAY = 32;
const STRING_ARRAY = 33;
/** Where the bits of a BooleanArray begin: behind their number. */
const COUNT_BYTES = 4;

type Read = (view: DataView, at: number) => unknown;

/** Bytes of an element and how it is read, by the number of the datatype. */
const ELEMENTS: ReadonlyMap<number | null, readonly [bytes: number, read: Read]> = new Map([
  [22, [1, (view, at) => view.getInt8(at)]],
  [23, [2, (view, at) => view.getInt16(at, true)]],
  [24, [4, (view, at) => view.getInt32(at, true)]],
  [25, [8, (view, at) => view.getBigInt64(at, true)]],
  [26, [1, (view, at) => view.getUint8(at)]],
  [27, [2, (view, at) => view.getUint16(at, true)]],
  [28, [4, (view, at) => view.getUint32(at, true)]],
  [29, [8, (view, at) => view.getBigUint64(at, true)]],
  [30, [4, (view, at) => view.getFloat32(at, true)]],
  [31, [8, (view, at) => view.getFloat64(at, true)]],
  [34, [8, (view, at) => new Date(Number(view.getBigUint64(at, true)))]],
]);

/** The elements of an array; null where it is none. */
export function sparkplugArray(bytes: Uint8Array, datatype: number | null): unknown[] | null {
  if (datatype === BOOLEAN_ARRAY) return booleans(bytes);
  if (datatype === STRING_ARRAY) return strings(bytes);
  const [size, read] = ELEMENTS.get(datatype) ?? [];
  if (size === undefined || read === undefined) return null;
  const count = bytes.length / size;
  if (!Number.isInteger(count) || count > ELEMENTS_MAX) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: count }, (_, index) => read(view, index * size));
}

/** The first element is the highest bit of the first byte. */
function booleans(bytes: Uint8Array): unknown[] | null {
  if (bytes.length < COUNT_BYTES) return null;
  const count = new DataView(bytes.buffer, bytes.byteOffset, COUNT_BYTES).getUint32(0, true);
  if (count > ELEMENTS_MAX || bytes.length - COUNT_BYTES !== Math.ceil(count / 8)) return null;
  return Array.from({ length: count }, (_, index) => {
    return ((bytes[COUNT_BYTES + (index >> 3)] ?? 0) >> (7 - (index & 7))) & 1;
  });
}

/** Each ends in a zero. */
function strings(bytes: Uint8Array): unknown[] | null {
  if (bytes.length === 0) return [];
  const texts = Buffer.from(bytes)
    .toString()
    .split('\0', ELEMENTS_MAX + 2);
  const rest = texts.pop();
  return rest === '' && texts.length <= ELEMENTS_MAX ? texts : null;
}
