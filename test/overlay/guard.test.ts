import { randomBytes, randomInt } from 'node:crypto';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import { describe, expect, it } from 'vitest';
import { GuardError, MessageGuard } from '../../agent/src/overlay/guard.ts';

const HANDSHAKE = Buffer.concat([
  Buffer.from([19]),
  Buffer.from('BitTorrent protocol'),
  Buffer.alloc(48, 7),
]);

function message(id: number, body: Uint8Array, claimed = body.length + 1): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(claimed, 0);
  head[4] = id;
  return Buffer.concat([head, body]);
}

function guarded(): { guard: MessageGuard; seen: Buffer[] } {
  const seen: Buffer[] = [];
  return { seen, guard: new MessageGuard((bytes) => seen.push(Buffer.from(bytes))) };
}

describe('the guard in front of the wire', () => {
  it('passes every byte of whole messages on, whatever the cut', () => {
    const stream = Buffer.concat([
      HANDSHAKE,
      Buffer.alloc(4),
      message(20, randomBytes(5000)),
      message(7, randomBytes(8 + LIMITS.blockBytes)),
      message(1, Buffer.alloc(0)),
      message(20, randomBytes(300_000)),
      message(4, Buffer.alloc(4)),
    ]);
    // The extended handshake (id 20, extension 0) has a bound of its own: keep clear of it.
    stream[HANDSHAKE.length + 4 + 5] = 1;
    stream[stream.length - 9 - 300_000] = 1;
    for (const step of [1, 2, 3, 67, 68, 69, 1000, 16_384, stream.length]) {
      const { guard, seen } = guarded();
      for (let at = 0; at < stream.length; at += step) guard.push(stream.subarray(at, at + step));
      expect(Buffer.concat(seen).equals(stream), `cut every ${step} bytes`).toBe(true);
      expect(guard.bufferedBytes).toBe(0);
    }
  });

  it('only passes whole messages on', () => {
    const { guard, seen } = guarded();
    guard.push(HANDSHAKE.subarray(0, 67));
    expect(seen).toEqual([]);
    guard.push(Buffer.concat([HANDSHAKE.subarray(67), message(4, Buffer.alloc(4)).subarray(0, 8)]));
    expect(Buffer.concat(seen)).toHaveLength(HANDSHAKE.length);
    expect(guard.bufferedBytes).toBe(8);
  });

  it.each([
    ['a first byte that is not 19', Buffer.from([20]), false],
    [
      'a length that is negative when read as signed',
      message(20, Buffer.alloc(2), 0xffff_fff0),
      true,
    ],
    [
      'a length above the cap',
      message(20, Buffer.alloc(2), LIMITS.overlayMessageBytesMax + 1),
      true,
    ],
    ['a block above 16 KiB', message(7, Buffer.alloc(8), 10 + LIMITS.blockBytes), true],
    ['a short request', message(6, Buffer.alloc(8)), true],
    ['a bitfield of too many chunks', message(5, Buffer.alloc(8), 4096), true],
    ['a large extended handshake', message(20, Buffer.from([0, 0]), 20_000), true],
    ['an unknown id', message(99, Buffer.alloc(8)), true],
  ])('refuses %s before anything is buffered', (_, bytes, afterHandshake) => {
    const { guard } = guarded();
    if (afterHandshake) guard.push(HANDSHAKE);
    expect(() => guard.push(bytes)).toThrow(GuardError);
    expect(guard.bufferedBytes).toBeLessThan(1000);
  });

  it('holds no more than one message of random bytes', () => {
    for (let round = 0; round < 200; round++) {
      const { guard } = guarded();
      guard.push(HANDSHAKE);
      try {
        for (let n = 0; n < 50; n++) guard.push(randomBytes(randomInt(1, 2000)));
      } catch (error) {
        expect(error).toBeInstanceOf(GuardError);
      }
      expect(guard.bufferedBytes).toBeLessThanOrEqual(LIMITS.overlayMessageBytesMax + 4);
    }
  });
});
