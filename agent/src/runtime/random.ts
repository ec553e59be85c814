/**
 * Randomness, passed in wherever it is needed. Keys, nonces and names come from `systemRandom`;
 * tests and simulations take `seededRandom`, which is reproducible and therefore never secret.
 */
import { createHash, randomBytes } from 'node:crypto';

/** `bytes` fresh bytes. */
export type Random = (bytes: number) => Uint8Array;

/** The operating system's generator. */
export const systemRandom: Random = (bytes) => new Uint8Array(randomBytes(bytes));

/** SHA-256 in counter mode over `seed`: the same bytes in every run. Never for secrets. */
export function seededRandom(seed: string): Random {
  let block = new Uint8Array(0);
  let used = 0;
  let counter = 0;
  return (bytes) => {
    const out = new Uint8Array(bytes);
    for (let i = 0; i < bytes; i += 1) {
      if (used === block.length) {
        block = new Uint8Array(createHash('sha256').update(`${seed}/${counter}`).digest());
        counter += 1;
        used = 0;
      }
      out[i] = block[used] ?? 0;
      used += 1;
    }
    return out;
  };
}
