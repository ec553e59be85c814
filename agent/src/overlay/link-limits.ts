/** Bounds and time-outs of one link; every one can be set, these are the defaults. */

export interface LinkLimits {
  /** From the TCP connection to both extended handshakes. */
  readonly handshakeMs: number;
  /** No byte either way (keep-alives count): the other side is gone. */
  readonly idleMs: number;
  /** Blocks are owed and none came: the other side hangs. */
  readonly stallMs: number;
  /** Blocks asked for at once (16 KiB each). */
  readonly depth: number;
  /** Unanswered requests that the other side may pile up. */
  readonly requestsMax: number;
  /** Bytes waiting for a slow reader before blocks are held back. */
  readonly sendHighBytes: number;
  /** Bytes waiting for a slow reader before it is dropped. */
  readonly sendBytesMax: number;
  /** Adjacent blocks that are read from disk together. */
  readonly readBytesMax: number;
}

export const LINK_LIMITS: LinkLimits = {
  handshakeMs: 10_000,
  idleMs: 150_000,
  stallMs: 20_000,
  depth: 96,
  requestsMax: 1024,
  sendHighBytes: 512 * 1024,
  sendBytesMax: 16 * 1024 * 1024,
  readBytesMax: 256 * 1024,
};
