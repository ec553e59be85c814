/**
 * A cap on the size of MQTT packets, in front of aedes, which has none.
 *
 * Enters: the bytes of one connection, in pieces of any size. Leaves: nothing, or the reason why the
 * connection must end. Reads fixed headers only [MQTT-2.2], so that a packet which says that it is
 * too large is refused before its body is buffered.
 */
import type { Readable } from 'node:stream';

/** Walks over packets; `accept` returns why the connection must end, or null. */
export class PacketMeter {
  readonly #packetBytesMax: number;
  /** Body bytes of the current packet still to come; -1 while its header is being read. */
  #bodyLeft = -1;
  /** Header bytes read so far, the type's byte included. */
  #headerBytes = 0;
  #remainingLength = 0;

  constructor(packetBytesMax: number) {
    this.#packetBytesMax = packetBytesMax;
  }

  accept(chunk: Uint8Array): string | null {
    let at = 0;
    while (at < chunk.length) {
      if (this.#bodyLeft > 0) {
        const step = Math.min(this.#bodyLeft, chunk.length - at);
        this.#bodyLeft -= step;
        at += step;
      } else {
        const refusal = this.#readHeaderByte(chunk[at] ?? 0);
        if (refusal !== null) return refusal;
        at += 1;
      }
      if (this.#bodyLeft === 0) this.#bodyLeft = -1;
    }
    return null;
  }

  #readHeaderByte(byte: number): string | null {
    this.#headerBytes += 1;
    if (this.#headerBytes === 1) {
      this.#remainingLength = 0;
      return null;
    }
    this.#remainingLength += (byte & 0x7f) * 128 ** (this.#headerBytes - 2);
    if (this.#remainingLength > this.#packetBytesMax) {
      return `packet of ${this.#remainingLength} bytes or more, at most ${this.#packetBytesMax}`;
    }
    if ((byte & 0x80) !== 0) {
      return this.#headerBytes > 4 ? 'malformed remaining length [MQTT-2.2.3]' : null;
    }
    this.#bodyLeft = this.#remainingLength;
    this.#headerBytes = 0;
    return null;
  }
}

/** Ends `connection` with an error as soon as a packet of more than `packetBytesMax` begins. */
export function capPackets<T extends Readable>(connection: T, packetBytesMax: number): T {
  const meter = new PacketMeter(packetBytesMax);
  const push = connection.push.bind(connection);
  connection.push = (chunk: unknown, encoding?: BufferEncoding): boolean => {
    if (chunk instanceof Uint8Array) {
      const refusal = meter.accept(chunk);
      if (refusal !== null) {
        connection.destroy(new Error(refusal));
        return false;
      }
    }
    return push(chunk, encoding);
  };
  return connection;
}
