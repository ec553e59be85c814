/**
 * The guard in front of the wire: cuts the byte stream into whole BitTorrent messages and checks
 * every length before anything is kept (BEP 3, 6, 10; bittorrent-protocol itself has no cap and
 * reads lengths as signed).
 *
 * Enters: bytes in any cut. Leaves: the handshake, then whole messages, one or more at a time.
 * Always holds: at most one message is buffered, and its kind's length limit bounds it.
 */
import { LIMITS } from '@blocktorrent/protocol/limits.ts';

/** Length byte, protocol name, reserved, info-hash, peer id (BEP 3). */
const HANDSHAKE_BYTES = 68;
const LENGTH_BYTES = 4;
/** BEP 10 handshakes are small dictionaries; everything larger is somebody's attack. */
const EXTENDED_HANDSHAKE_BYTES_MAX = 16 * 1024;
const PIECE = 7;
/** Room made at once for a message that has begun: a block with its header fits. */
const ROOM_BYTES = LIMITS.blockBytes + 64;
const BITFIELD_BYTES_MAX = Math.ceil(LIMITS.chunksPerFileMax / 8);

/** A broken rule of the wire; the link that sees it is closed. */
export class GuardError extends Error {
  override readonly name = 'GuardError';
}

/** Smallest and largest payload (id byte included) of each message id. */
const BOUNDS: ReadonlyMap<
  number,
  { readonly name: string; readonly min: number; readonly max: number }
> = new Map([
  [0, { name: 'choke', min: 1, max: 1 }],
  [1, { name: 'unchoke', min: 1, max: 1 }],
  [2, { name: 'interested', min: 1, max: 1 }],
  [3, { name: 'not interested', min: 1, max: 1 }],
  [4, { name: 'have', min: 5, max: 5 }],
  [5, { name: 'bitfield', min: 2, max: 1 + BITFIELD_BYTES_MAX }],
  [6, { name: 'request', min: 13, max: 13 }],
  [7, { name: 'piece', min: 10, max: 9 + LIMITS.blockBytes }],
  [8, { name: 'cancel', min: 13, max: 13 }],
  [9, { name: 'port', min: 3, max: 3 }],
  [13, { name: 'suggest', min: 5, max: 5 }],
  [14, { name: 'have all', min: 1, max: 1 }],
  [15, { name: 'have none', min: 1, max: 1 }],
  [16, { name: 'reject', min: 13, max: 13 }],
  [17, { name: 'allowed fast', min: 5, max: 5 }],
  [20, { name: 'extended', min: 3, max: LIMITS.overlayMessageBytesMax }],
]);

/** One direction of one link. */
export class MessageGuard {
  readonly #forward: (messages: Uint8Array) => void;
  readonly #messageBytesMax: number;
  /** Holds the message that has begun; grows with what has come, not with what was promised. */
  #held = Buffer.alloc(0);
  #heldBytes = 0;
  /** Bytes that make the begun message whole, as far as known. */
  #needBytes = HANDSHAKE_BYTES;
  #handshakeDone = false;

  /**
   * @param forward must be done with a block (id 7) when it returns: its bytes are used again.
   * @param messageBytesMax largest message at all; ordinary clients need no room for our own.
   */
  constructor(
    forward: (messages: Uint8Array) => void,
    messageBytesMax: number = LIMITS.overlayMessageBytesMax,
  ) {
    this.#forward = forward;
    this.#messageBytesMax = messageBytesMax;
  }

  /** Bytes held back until their message is whole. */
  get bufferedBytes(): number {
    return this.#heldBytes;
  }

  /** @throws GuardError on the first rule that the bytes break. */
  push(data: Buffer): void {
    let rest = data;
    while (this.#heldBytes > 0 && rest.length > 0) rest = this.#continue(rest);
    if (rest.length === 0) return;
    const end = this.#endOfWhole(rest);
    if (end > 0) this.#forward(rest.subarray(0, end));
    if (end < rest.length) {
      this.#needBytes = this.#sizeOf(rest.subarray(end));
      this.#hold(rest.subarray(end));
    }
  }

  /** Completes the begun message from `data` as far as it goes; returns what is left. */
  #continue(data: Buffer): Buffer {
    const taken = data.subarray(0, this.#needBytes - this.#heldBytes);
    this.#hold(taken);
    if (this.#heldBytes === this.#needBytes) {
      const begun = this.#held.subarray(0, this.#heldBytes);
      this.#needBytes = this.#sizeOf(begun);
      if (begun.length === this.#needBytes) {
        this.#heldBytes = 0;
        this.#handshakeDone = true;
        this.#forward(begun);
        // A block has been copied by now; whatever else was forwarded may be kept by its reader.
        if (begun[LENGTH_BYTES] !== PIECE) this.#held = Buffer.alloc(0);
      }
    }
    return data.subarray(taken.length);
  }

  #hold(part: Buffer): void {
    const total = this.#heldBytes + part.length;
    if (total > this.#held.length) {
      const roomBytes = Math.max(total, Math.min(this.#needBytes, Math.max(ROOM_BYTES, 2 * total)));
      const grown = Buffer.allocUnsafeSlow(roomBytes);
      this.#held.copy(grown, 0, 0, this.#heldBytes);
      this.#held = grown;
    }
    part.copy(this.#held, this.#heldBytes);
    this.#heldBytes = total;
  }

  /** Where the last whole message in `data` ends. */
  #endOfWhole(data: Buffer): number {
    let end = 0;
    while (end < data.length) {
      const message = data.subarray(end);
      const size = this.#sizeOf(message);
      if (message.length < size) break;
      this.#handshakeDone = true;
      end += size;
    }
    return end;
  }

  /**
   * Size of the message that begins with `begun`, or, while its kind cannot be seen yet, the
   * number of bytes that will show it.
   */
  #sizeOf(begun: Buffer): number {
    if (!this.#handshakeDone) {
      if (begun[0] !== 19)
        throw new GuardError(`not BitTorrent: first byte ${begun[0]}, expected 19`);
      return HANDSHAKE_BYTES;
    }
    if (begun.length < LENGTH_BYTES) return LENGTH_BYTES;
    const payloadBytes = begun.readUInt32BE(0);
    if (payloadBytes === 0) return LENGTH_BYTES;
    if (payloadBytes > this.#messageBytesMax) {
      throw new GuardError(
        `message of ${payloadBytes} bytes, at most ${this.#messageBytesMax} are taken`,
      );
    }
    const id = begun[LENGTH_BYTES];
    if (id === undefined) return LENGTH_BYTES + 1;
    requireBounds(id, payloadBytes);
    if (id === 20) {
      const extension = begun[LENGTH_BYTES + 1];
      if (extension === undefined) return LENGTH_BYTES + 2;
      if (extension === 0 && payloadBytes > EXTENDED_HANDSHAKE_BYTES_MAX) {
        throw new GuardError(
          `extended handshake of ${payloadBytes} bytes, at most ${EXTENDED_HANDSHAKE_BYTES_MAX}`,
        );
      }
    }
    return LENGTH_BYTES + payloadBytes;
  }
}

function requireBounds(id: number, payloadBytes: number): void {
  const bounds = BOUNDS.get(id);
  if (bounds === undefined) throw new GuardError(`unknown message id ${id}`);
  if (payloadBytes < bounds.min || payloadBytes > bounds.max) {
    throw new GuardError(
      `${bounds.name} of ${payloadBytes} bytes, expected ${bounds.min} to ${bounds.max}`,
    );
  }
}
