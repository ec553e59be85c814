/**
 * Lets through exactly one zstd data frame (RFC 8878 §3.1.1) and nothing else.
 *
 * Decoders differ in what they do with a second frame, a skippable frame or bytes behind: here each
 * is an error, so that a file has one content. It follows the frame's and its blocks' headers, it
 * does not decompress; the window is bounded, so that a decoder behind it needs at most 8 MiB.
 */
import { ProtocolError } from './errors.ts';

const MAGIC = 0xfd2fb528;
/** What every decoder is advised to support (RFC 8878 §3.1.1.1.2). */
const WINDOW_BYTES_MAX = 8 * 1024 * 1024;
const BLOCK_BYTES_MAX = 128 * 1024;
const START_BYTES = 5;
const BLOCK_HEADER_BYTES = 3;
const CHECKSUM_BYTES = 4;
const RAW_BLOCK = 0;
const RLE_BLOCK = 1;
const COMPRESSED_BLOCK = 2;

/**
 * The source's pieces as they are. Throws ProtocolError `malformed` where they are not one zstd
 * frame without a dictionary and nothing after it, `truncated` where it ends early, `too-large`
 * for a window over 8 MiB.
 */
export async function* requireSingleFrame(
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const scanner = new FrameScanner();
  for await (const piece of source) {
    scanner.update(piece);
    yield piece;
  }
  scanner.end();
}

/** Follows one frame's headers over pieces of any size; block contents are passed over. */
class FrameScanner {
  #expects: 'start' | 'fields' | 'block' | 'checksum' | 'nothing' = 'start';
  #headerBytes = START_BYTES;
  #header: number[] = [];
  #contentBytesLeft = 0;
  #descriptor = 0;

  update(piece: Uint8Array): void {
    for (let at = 0; at < piece.length; ) {
      const passed = Math.min(this.#contentBytesLeft, piece.length - at);
      this.#contentBytesLeft -= passed;
      at += passed;
      const byte = piece[at];
      if (byte === undefined) return;
      if (this.#expects === 'nothing') throw malformed('expected nothing after the one frame');
      this.#header.push(byte);
      at++;
      if (this.#header.length === this.#headerBytes) this.#takeHeader();
    }
  }

  end(): void {
    if (this.#expects !== 'nothing' || this.#contentBytesLeft > 0) {
      throw new ProtocolError('truncated', `zstd: ended where it has more (${this.#expects})`);
    }
  }

  #takeHeader(): void {
    const header = Uint8Array.from(this.#header);
    this.#header = [];
    switch (this.#expects) {
      case 'start':
        if (viewOf(header).getUint32(0, true) !== MAGIC) throw malformed('expected a zstd frame');
        this.#descriptor = header[START_BYTES - 1] ?? 0;
        this.#expect('fields', fieldBytesOf(this.#descriptor));
        break;
      case 'fields':
        requireWindow(header, this.#descriptor);
        this.#expect('block', BLOCK_HEADER_BYTES);
        break;
      case 'block': {
        const { contentBytes, isLast } = parseBlockHeader(header);
        const hasChecksum = (this.#descriptor & 0b100) !== 0;
        this.#contentBytesLeft = contentBytes;
        if (isLast) this.#expect(hasChecksum ? 'checksum' : 'nothing', CHECKSUM_BYTES);
        break;
      }
      default:
        this.#expect('nothing', 0);
    }
  }

  #expect(what: 'fields' | 'block' | 'checksum' | 'nothing', headerBytes: number): void {
    this.#expects = what;
    this.#headerBytes = headerBytes;
  }
}

/** Bytes of window descriptor and content size, by the descriptor (RFC 8878 §3.1.1.1.1); 1..9. */
function fieldBytesOf(descriptor: number): number {
  if ((descriptor & 0b1000) !== 0) throw malformed('reserved bit set');
  if ((descriptor & 0b11) !== 0) throw malformed('no dictionary is known');
  const sizeFlag = descriptor >> 6;
  if (isSingleSegment(descriptor)) return 2 ** sizeFlag;
  return 1 + (sizeFlag === 0 ? 0 : 2 ** sizeFlag);
}

/** Throws `too-large` where a decoder would have to hold over 8 MiB. */
function requireWindow(fields: Uint8Array, descriptor: number): void {
  const windowBytes = isSingleSegment(descriptor) ? contentSizeOf(fields) : windowBytesOf(fields);
  if (windowBytes > WINDOW_BYTES_MAX) {
    throw new ProtocolError(
      'too-large',
      `zstd: expected a window of at most ${WINDOW_BYTES_MAX} bytes, got ${windowBytes}`,
    );
  }
}

function isSingleSegment(descriptor: number): boolean {
  return (descriptor & 0b10_0000) !== 0;
}

function windowBytesOf(field: Uint8Array): number {
  const byte = field[0] ?? 0;
  const base = 2 ** (10 + (byte >> 3));
  return base + (base / 8) * (byte & 0b111);
}

function contentSizeOf(field: Uint8Array): number {
  const view = viewOf(field);
  switch (field.length) {
    case 1:
      return view.getUint8(0);
    case 2:
      return view.getUint16(0, true) + 256;
    case 4:
      return view.getUint32(0, true);
    default:
      return Number(view.getBigUint64(0, true));
  }
}

function parseBlockHeader(header: Uint8Array): { contentBytes: number; isLast: boolean } {
  const [low = 0, middle = 0, high = 0] = header;
  const value = low | (middle << 8) | (high << 16);
  const type = (value >> 1) & 0b11;
  const sizeBytes = value >> 3;
  if (type !== RAW_BLOCK && type !== RLE_BLOCK && type !== COMPRESSED_BLOCK) {
    throw malformed('reserved block type');
  }
  if (sizeBytes > BLOCK_BYTES_MAX) throw malformed(`a block of ${sizeBytes} bytes`);
  return { contentBytes: type === RLE_BLOCK ? 1 : sizeBytes, isLast: (value & 1) === 1 };
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function malformed(what: string): ProtocolError {
  return new ProtocolError('malformed', `zstd: ${what}`);
}
