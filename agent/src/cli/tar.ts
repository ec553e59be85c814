/** A tar archive (POSIX ustar) of small texts, for `diag collect`: `tar -tzf` reads it everywhere. */

/** One file; `name` has at most 100 bytes. */
export interface TarEntry {
  readonly name: string;
  readonly text: string;
}

const BLOCK_BYTES = 512;
const NAME_BYTES_MAX = 100;

/** The archive, uncompressed; every file 0600, of root, at `timeMs`. */
export function tarOf(entries: readonly TarEntry[], timeMs: number): Uint8Array {
  const parts = entries.flatMap(({ name, text }) => {
    const bytes = Buffer.from(text);
    const padding = (BLOCK_BYTES - (bytes.length % BLOCK_BYTES)) % BLOCK_BYTES;
    return [headerOf(name, bytes.length, timeMs), bytes, Buffer.alloc(padding)];
  });
  return Buffer.concat([...parts, Buffer.alloc(2 * BLOCK_BYTES)]);
}

function headerOf(name: string, bytes: number, timeMs: number): Buffer {
  if (Buffer.byteLength(name) > NAME_BYTES_MAX) throw new RangeError(`too long a name: ${name}`);
  const header = Buffer.alloc(BLOCK_BYTES);
  const octal = (value: number, offset: number, length: number) =>
    header.write(`${value.toString(8).padStart(length - 1, '0')}\0`, offset, 'latin1');
  header.write(name, 0, 'utf8');
  octal(0o600, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(bytes, 124, 12);
  octal(Math.floor(timeMs / 1_000), 136, 12);
  header.write('        0', 148, 'latin1');
  header.write('ustar\x0000', 257, 'latin1');
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return header;
}
