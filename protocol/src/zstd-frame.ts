/**
 * Takes a compressed content apart into its zstd data frames (RFC 8878 §3.1.1): one or more, nothing else.
 *
 * Decoders differ in what they do with a second frame, a skippable frame or bytes behind: here each
 * frame is told apart, and what is none is an error, so that a file has one content. It follows the
 * frames' and their blocks' headers, it does not decompress; the window is bounded, so that a decoder
 * behind it needs at most 8 MiB, and so is the number of frames, by what the others than the last hold.
 */
import { ByteReader } from './byte-reader.ts';
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

/** Least content of a frame that another one follows, in bytes; such a frame says how much it holds. */
const FRAME_CONTENT_BYTES_MIN = 1024 * 1024;

/**
 * The frames that the source consists of, one after the other, each as its bytes in pieces of the
 * source; read one to its end before you ask for the next. Throws ProtocolError, here or in a frame:
 * `malformed` where there is anything but frames without a dictionary, or less than 1 MiB in a frame
 * before another, `truncated` where one ends early or none is there, `too-large` for a window over
 * 8 MiB.
 */
export async function* framesOf(
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<AsyncGenerator<Uint8Array, void, undefined>, void, undefined> {
  const reader = new ByteReader(source);
  try {
    for (let last = false; !last; ) {
      const scanner = new FrameScanner();
      yield piecesOfFrame(reader, scanner);
      last = await reader.atEnd();
      if (!last && scanner.contentBytes < FRAME_CONTENT_BYTES_MIN) {
        throw malformed('expected nothing after a frame that does not say to hold 1 MiB or more');
      }
    }
  } finally {
    await reader.close();
  }
}

async function* piecesOfFrame(
  reader: ByteReader,
  scanner: FrameScanner,
): AsyncGenerator<Uint8Array, void, undefined> {
  while (!scanner.ended) {
    const piece = await reader.takePiece((bytes) => scanner.update(bytes));
    if (piece.length === 0) throw scanner.cutOff();
    yield piece;
  }
}

/** Follows one frame's headers over pieces of any size; block contents are passed over. */
class FrameScanner {
  /** What the frame says to hold; 0 where it does not say. */
  contentBytes = 0;
  #expects: 'start' | 'fields' | 'block' | 'checksum' | 'nothing' = 'start';
  #headerBytes = START_BYTES;
  #header: number[] = [];
  #contentBytesLeft = 0;
  #descriptor = 0;

  get ended(): boolean {
    return this.#expects === 'nothing' && this.#contentBytesLeft === 0;
  }

  /** How many bytes of the piece are the frame's. */
  update(piece: Uint8Array): number {
    let at = 0;
    while (at < piece.length && !this.ended) {
      const passed = Math.min(this.#contentBytesLeft, piece.length - at);
      this.#contentBytesLeft -= passed;
      at += passed;
      const byte = piece[at];
      if (byte === undefined || this.ended) break;
      this.#header.push(byte);
      at++;
      if (this.#header.length === this.#headerBytes) this.#takeHeader();
    }
    return at;
  }

  cutOff(): ProtocolError {
    return new ProtocolError('truncated', `zstd: ended where it has more (${this.#expects})`);
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
        this.contentBytes = contentBytesOf(header, this.#descriptor);
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
  const windowBytes = isSingleSegment(descriptor)
    ? contentBytesOf(fields, descriptor)
    : windowBytesOf(fields);
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

/** What the frame says to hold; 0 where it does not say. */
function contentBytesOf(fields: Uint8Array, descriptor: number): number {
  const field = isSingleSegment(descriptor) ? fields : fields.subarray(1);
  const view = viewOf(field);
  switch (field.length) {
    case 0:
      return 0;
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
