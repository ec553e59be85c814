/** Randomness, passed in wherever it is needed: keys, nonces and names come from `systemRandom`. */
import { randomBytes } from 'node:crypto';

/** `bytes` fresh bytes. */
export type Random = (bytes: number) => Uint8Array;

/** The operating system's generator. */
export const systemRandom: Random = (bytes) => new Uint8Array(randomBytes(bytes));
