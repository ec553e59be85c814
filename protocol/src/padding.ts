/**
 * Hides how much a file compresses: its size is rounded up to a Padmé size before encryption.
 *
 * The padding is one leading zstd skippable frame (RFC 8878 §3.1.2) of zeros, which `zstd -d` passes
 * over and node:zlib does not. Padmé (Nikitin et al., PURBs, §4) leaks O(log log n) bits and costs
 * at most 12 %. A gap that cannot hold the frame's 8-byte header goes to the next Padmé size.
 */
import { ByteReader } from './byte-reader.ts';
import { concatBytes } from './bytes.ts';
import { ProtocolError } from './errors.ts';
import { LIMITS } from './limits.ts';

/** Length of a skippable frame's header: magic and length, in bytes. */
export const PADDING_HEADER_BYTES = 8;
/** The one of zstd's 16 skippable magics that we use. */
const MAGIC = 0x184d2a50;

/** Smallest Padmé size that holds `byteCount` bytes: its mantissa is no longer than its exponent. */
export function padmeSize(byteCount: number): number {
  if (!Number.isSafeInteger(byteCount) || byteCount < 0) {
    throw new ProtocolError(
      'bad-argument',
      `padmeSize: expected a size in bytes, got ${byteCount}`,
    );
  }
  if (byteCount < 2) return byteCount;
  const exponent = floorLog2(byteCount);
  const mantissaBits = floorLog2(exponent) + 1;
  const step = 2 ** Math.max(0, exponent - mantissaBits);
  return Math.ceil(byteCount / step) * step;
}

/**
 * How to pad `compressedBytes`: the padded size, and how much of it is the leading frame, header
 * included (0 where the size is right as it is). Throws ProtocolError `too-large` past `LIMITS`.
 */
export function paddingFor(compressedBytes: number): { totalBytes: number; frameBytes: number } {
  if (compressedBytes > LIMITS.fileBytesMax) {
    throw new ProtocolError(
      'too-large',
      `padding: expected at most ${LIMITS.fileBytesMax} bytes, got ${compressedBytes}`,
    );
  }
  let totalBytes = padmeSize(compressedBytes);
  while (totalBytes !== compressedBytes && totalBytes - compressedBytes < PADDING_HEADER_BYTES) {
    totalBytes = padmeSize(totalBytes + 1);
  }
  return { totalBytes, frameBytes: totalBytes - compressedBytes };
}

/** The 8 bytes that a frame of `frameBytes` begins with; `frameBytes` - 8 zeros follow. */
export function paddingFrameHeader(frameBytes: number): Uint8Array {
  const contentBytes = frameBytes - PADDING_HEADER_BYTES;
  if (!Number.isInteger(contentBytes) || contentBytes < 0 || contentBytes > 0xffff_ffff) {
    throw new ProtocolError('bad-argument', `padding: no frame has ${frameBytes} bytes`);
  }
  const header = new Uint8Array(PADDING_HEADER_BYTES);
  const view = new DataView(header.buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint32(4, contentBytes, true);
  return header;
}

/**
 * The source without its leading padding frame, if it has one; what follows passes as it is.
 * Throws ProtocolError `truncated` where the frame is cut off and `bad-padding` where a padding
 * byte is not zero.
 */
export async function* skipPadding(
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = new ByteReader(source);
  try {
    const start = await reader.take(PADDING_HEADER_BYTES);
    if (isPaddingHeader(start)) await skipZeros(reader, contentBytesOf(start));
    else if (start.length > 0) yield concatBytes(start);
    yield* reader.rest();
  } finally {
    await reader.close();
  }
}

async function skipZeros(reader: ByteReader, contentBytes: number): Promise<void> {
  const PIECE_BYTES = 64 * 1024;
  for (let left = contentBytes; left > 0; ) {
    const piece = await reader.takeExactly(Math.min(left, PIECE_BYTES), 'padding');
    if (piece.some((byte) => byte !== 0)) {
      throw new ProtocolError('bad-padding', 'padding: expected zeros only');
    }
    left -= piece.length;
  }
}

function isPaddingHeader(start: Uint8Array): boolean {
  if (start.length < 4) return false;
  return new DataView(start.buffer, start.byteOffset).getUint32(0, true) === MAGIC;
}

function contentBytesOf(header: Uint8Array): number {
  if (header.length < PADDING_HEADER_BYTES) {
    throw new ProtocolError('truncated', `padding: a header of ${header.length} bytes`);
  }
  return new DataView(header.buffer, header.byteOffset).getUint32(4, true);
}

function floorLog2(value: number): number {
  let exponent = Math.floor(Math.log2(value));
  if (2 ** exponent > value) exponent--;
  if (2 ** (exponent + 1) <= value) exponent++;
  return exponent;
}
