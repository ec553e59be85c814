/**
 * Challenges between owners: does another owner still have a chunk that it signed for?
 * (docs/PROTOCOL.md, "Challenges".)
 *
 * The challenger commits to a nonce, the answerer gives one of its own, the challenger reveals: both
 * hashed together say which block of which chunk is meant, and salt the answer, so neither chose it
 * alone and no stored hash will do. The answer is signed, and whoever has the chunk can check it.
 */
import { sha256 } from '@noble/hashes/sha2.js';
import { hasBit, indicesOf } from './bitfield.ts';
import { concatBytes, equalBytes, fromHex, toHex } from './bytes.ts';
import { decodeCanonical, encodeCanonical } from './cbor.ts';
import { ProtocolError } from './errors.ts';
import { Fields } from './fields.ts';
import type { Hex, MspId } from './ledger-api.ts';
import { LIMITS } from './limits.ts';
import type { Receipt } from './receipt.ts';
import { sign, signingInput, verify } from './signing.ts';

/** Length of either side's nonce and of every hash here, in bytes. */
export const CHALLENGE_BYTES = 32;

/** What both sides have said before the block is known. */
export interface ChallengeTerms {
  readonly channel: string;
  readonly fileId: Hex;
  readonly challenger: MspId;
  readonly answerer: MspId;
  /** Chunks of the whole file. */
  readonly chunkCount: number;
  /** Chunks that may be asked for: BEP 3 bitfield, at least one set. */
  readonly chunks: Uint8Array;
  /** 32 bytes; its SHA-256 was said first. */
  readonly challengerNonce: Uint8Array;
  /** 32 bytes, said before the challenger's was revealed. */
  readonly answererNonce: Uint8Array;
}

/** What an answerer signs. */
export interface Answer extends ChallengeTerms {
  readonly version: 1;
  /** Name of the peer that answers and signs. */
  readonly peer: string;
  readonly chunk: number;
  readonly block: number;
  /** SHA-256 of seed and block, 32 bytes; empty where the answerer says that it has lost it. */
  readonly hash: Uint8Array;
}

/** An answer on its way: its canonical bytes, signed by the answerer's overlay key. */
export interface SignedAnswer {
  readonly answer: Uint8Array;
  readonly signature: Uint8Array;
}

/** Which block is asked for. */
export interface Draw {
  /** 32 bytes: salts the answer. */
  readonly seed: Uint8Array;
  readonly chunk: number;
  readonly block: number;
}

const DOMAIN = 'blocktorrent/challenge/v1';
const KEYS = [
  'version',
  'channel',
  'fileId',
  'challenger',
  'answerer',
  'peer',
  'chunkCount',
  'chunks',
  'challengerNonce',
  'answererNonce',
  'chunk',
  'block',
  'hash',
] as const;

/** What the challenger says first: SHA-256 of its nonce. */
export function commitmentTo(nonce: Uint8Array): Uint8Array {
  return sha256(nonce);
}

/**
 * The block that the terms ask for. `chunkBytes` says a chunk's length.
 * Throws ProtocolError `malformed` where no chunk is set.
 */
export function drawOf(terms: ChallengeTerms, chunkBytes: (index: number) => number): Draw {
  const seed = seedOf(terms);
  const indices = indicesOf(terms.chunks, terms.chunkCount);
  const view = new DataView(seed.buffer, seed.byteOffset, seed.length);
  const chunk = indices[Number(view.getBigUint64(0) % BigInt(Math.max(1, indices.length)))];
  if (chunk === undefined) throw new ProtocolError('malformed', 'challenge: no chunk is asked for');
  const blocks = Math.ceil(chunkBytes(chunk) / LIMITS.blockBytes);
  return { seed, chunk, block: Number(view.getBigUint64(8) % BigInt(blocks)) };
}

/** The right answer: SHA-256 of the seed and the block's bytes. */
export function answerHash(seed: Uint8Array, block: Uint8Array): Uint8Array {
  return sha256(concatBytes(seed, block));
}

/** Signs an answer as its peer, with that peer's 32-byte overlay seed. */
export function signAnswer(answer: Answer, overlaySeed: Uint8Array): SignedAnswer {
  const bytes = encodeCanonical({ ...answer, fileId: fromHex(answer.fileId, 32) });
  decodeAnswer(bytes);
  const input = signingInput(DOMAIN, answer.channel, bytes);
  return { answer: bytes, signature: sign(overlaySeed, input) };
}

/** The answer in `bytes`; ProtocolError `malformed`, `too-large`, `not-canonical`, `bad-version`. */
export function decodeAnswer(bytes: Uint8Array): Answer {
  if (bytes.length > LIMITS.answerBytesMax) {
    throw new ProtocolError('too-large', `answer: ${bytes.length} bytes`);
  }
  const fields = new Fields('answer', decodeCanonical(bytes), KEYS);
  const chunkCount = fields.integer('chunkCount', 1, LIMITS.chunksPerFileMax);
  const hash = fields.bytesWithin('hash', 0, CHALLENGE_BYTES);
  if (hash.length !== 0 && hash.length !== CHALLENGE_BYTES) {
    throw new ProtocolError('malformed', `answer.hash: expected 0 or 32 bytes, got ${hash.length}`);
  }
  const chunks = fields.bytes('chunks', Math.ceil(chunkCount / 8));
  indicesOf(chunks, chunkCount);
  return {
    version: fields.version('version', 1),
    channel: fields.text('channel', 249),
    fileId: toHex(fields.bytes('fileId', 32)),
    challenger: fields.text('challenger'),
    answerer: fields.text('answerer'),
    peer: fields.text('peer'),
    chunkCount,
    chunks,
    challengerNonce: fields.bytes('challengerNonce', CHALLENGE_BYTES),
    answererNonce: fields.bytes('answererNonce', CHALLENGE_BYTES),
    chunk: fields.integer('chunk', 0, chunkCount - 1),
    block: fields.integer('block', 0, LIMITS.chunkBytesMax / LIMITS.blockBytes - 1),
    hash,
  };
}

/**
 * The answer that `signed` carries, if one of `overlayKeys` (32 bytes each, of its peer:
 * `countingKeys`) signed it; else ProtocolError `bad-signature`.
 */
export function verifyAnswer(signed: SignedAnswer, overlayKeys: readonly Uint8Array[]): Answer {
  const answer = decodeAnswer(signed.answer);
  const input = signingInput(DOMAIN, answer.channel, signed.answer);
  if (!overlayKeys.some((key) => verify(key, signed.signature, input))) {
    throw new ProtocolError(
      'bad-signature',
      `an answer about ${answer.fileId} is not signed by ${answer.answerer}/${answer.peer}`,
    );
  }
  return answer;
}

/**
 * What a verified answer shows to whoever has the chunk (`chunk`, its bytes, checked against the
 * manifest before): `right`, `wrong`, or `lost` where it admits a loss. Throws ProtocolError
 * `bad-argument` where the answerer never signed for the chunk: then it owes nothing.
 */
export function judgeAnswer(
  answer: Answer,
  receipt: Receipt,
  chunk: Uint8Array,
  chunkBytes: (index: number) => number,
): 'right' | 'wrong' | 'lost' {
  const draw = drawOf(answer, chunkBytes);
  const owes =
    receipt.owner === answer.answerer &&
    receipt.fileId === answer.fileId &&
    receipt.channel === answer.channel &&
    hasBit(receipt.chunks, draw.chunk);
  if (!owes) {
    throw new ProtocolError(
      'bad-argument',
      `${answer.answerer} has not signed for chunk ${draw.chunk} of ${answer.fileId}`,
    );
  }
  if (answer.hash.length === 0) return 'lost';
  const start = draw.block * LIMITS.blockBytes;
  const block = chunk.subarray(start, start + LIMITS.blockBytes);
  const rightPlace = answer.chunk === draw.chunk && answer.block === draw.block;
  return rightPlace && equalBytes(answer.hash, answerHash(draw.seed, block)) ? 'right' : 'wrong';
}

function seedOf(terms: ChallengeTerms): Uint8Array {
  const { channel, fileId, challenger, answerer, chunkCount, chunks } = terms;
  return sha256(
    encodeCanonical([
      DOMAIN,
      channel,
      fromHex(fileId, 32),
      challenger,
      answerer,
      chunkCount,
      chunks,
      terms.challengerNonce,
      terms.answererNonce,
    ]),
  );
}
