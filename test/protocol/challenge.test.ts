import { bitfieldOf } from '@blocktorrent/protocol/bitfield.ts';
import {
  type Answer,
  answerHash,
  type ChallengeTerms,
  commitmentTo,
  drawOf,
  judgeAnswer,
  signAnswer,
  verifyAnswer,
} from '@blocktorrent/protocol/challenge.ts';
import type { Receipt } from '@blocktorrent/protocol/receipt.ts';
import { publicKeyOf } from '@blocktorrent/protocol/signing.ts';
import { describe, expect, it } from 'vitest';
import { codeOf } from '../support/errors.ts';
import { Seeded, seedOfRun } from '../support/seeded.ts';

const seed = seedOfRun();
const random = new Seeded(seed);
const CHUNK_BYTES = 64 * 1024;
const chunkBytes = () => CHUNK_BYTES;
const overlaySeed = random.bytes(32);
const key = publicKeyOf(overlaySeed);

const termsOf = (change: Partial<ChallengeTerms> = {}): ChallengeTerms => ({
  channel: 'blocktorrent',
  fileId: 'ab'.repeat(32),
  challenger: 'Org2MSP',
  answerer: 'Org3MSP',
  chunkCount: 40,
  chunks: bitfieldOf([3, 17, 39], 40),
  challengerNonce: random.bytes(32),
  answererNonce: random.bytes(32),
  ...change,
});
const chunk = random.bytes(CHUNK_BYTES);
const receipt: Receipt = {
  version: 1,
  channel: 'blocktorrent',
  fileId: 'ab'.repeat(32),
  source: 'Org1MSP',
  owner: 'Org3MSP',
  peer: 'admin',
  epoch: 1,
  chunkCount: 40,
  chunks: bitfieldOf([3, 17, 39], 40),
  nonce: new Uint8Array(16),
  timeMs: 1,
};

function answerTo(terms: ChallengeTerms, change: Partial<Answer> = {}): Answer {
  const draw = drawOf(terms, chunkBytes);
  const start = draw.block * 16_384;
  const hash = answerHash(draw.seed, chunk.subarray(start, start + 16_384));
  const { chunk: index, block } = draw;
  return { ...terms, version: 1, peer: 'admin', chunk: index, block, hash, ...change };
}

describe('a challenge', () => {
  it('draws only from the chunks that are set, and every block of them in turn', () => {
    const seen = new Set<string>();
    for (let round = 0; round < 400; round++) {
      const { chunk: index, block } = drawOf(termsOf(), chunkBytes);
      expect([3, 17, 39], `seed ${seed}`).toContain(index);
      seen.add(`${index}/${block}`);
    }
    expect(seen.size, `seed ${seed}`).toBe(12);
  });

  it('is another one after any change of either nonce', () => {
    const terms = termsOf();
    const drawn = drawOf(terms, chunkBytes);
    for (const name of ['challengerNonce', 'answererNonce'] as const) {
      const nonce = terms[name].slice();
      nonce[31] = (nonce[31] ?? 0) ^ 1;
      expect(drawOf({ ...terms, [name]: nonce }, chunkBytes).seed).not.toEqual(drawn.seed);
    }
  });

  it('binds the challenger to its nonce by a hash', () => {
    const { challengerNonce } = termsOf();
    expect(commitmentTo(challengerNonce)).toHaveLength(32);
    expect(commitmentTo(challengerNonce)).not.toEqual(commitmentTo(random.bytes(32)));
  });
});

describe('an answer', () => {
  it('that is right is told from a wrong one and an admitted loss, by whoever has the chunk', () => {
    const judged = (change: Partial<Answer>) => {
      const signed = signAnswer(answerTo(termsOf(), change), overlaySeed);
      return judgeAnswer(verifyAnswer(signed, [key]), receipt, chunk, chunkBytes);
    };
    expect(judged({})).toBe('right');
    expect(judged({ hash: random.bytes(32) })).toBe('wrong');
    expect(judged({ hash: new Uint8Array(0) })).toBe('lost');
  });

  it('about another block than the drawn one is wrong', () => {
    const terms = termsOf();
    const right = answerTo(terms);
    const other = { ...right, block: (right.block + 1) % 4 };
    expect(judgeAnswer(other, receipt, chunk, chunkBytes)).toBe('wrong');
  });

  it('owes nothing where the answerer has not signed for the chunk', async () => {
    const answer = answerTo(termsOf());
    const others = { ...receipt, chunks: bitfieldOf([5], 40) };
    expect(await codeOf(() => judgeAnswer(answer, others, chunk, chunkBytes))).toBe('bad-argument');
    const foreign = { ...receipt, owner: 'Org4MSP' };
    expect(await codeOf(() => judgeAnswer(answer, foreign, chunk, chunkBytes))).toBe(
      'bad-argument',
    );
  });

  it('is not believed under another key, or altered in any byte', async () => {
    const signed = signAnswer(answerTo(termsOf()), overlaySeed);
    const other = publicKeyOf(random.bytes(32));
    expect(await codeOf(() => verifyAnswer(signed, [other]))).toBe('bad-signature');
    for (let round = 0; round < 200; round++) {
      const answer = signed.answer.slice();
      const at = random.integer(0, answer.length - 1);
      answer[at] = (answer[at] ?? 0) ^ (1 << random.integer(0, 7));
      expect(
        await codeOf(() => verifyAnswer({ ...signed, answer }, [key])),
        `seed ${seed}`,
      ).not.toBe(null);
    }
  });
});

describe('sampling', () => {
  it('catches a loss of 10% with 30 samples in 95.8% of cases', () => {
    const chunkCount = 200;
    const all = bitfieldOf(
      Array.from({ length: chunkCount }, (_, index) => index),
      chunkCount,
    );
    const trials = 600;
    let caught = 0;
    for (let trial = 0; trial < trials; trial++) {
      const lost = new Set<number>();
      while (lost.size < chunkCount / 10) lost.add(random.integer(0, chunkCount - 1));
      let met = false;
      for (let sample = 0; sample < 30 && !met; sample++) {
        met = lost.has(drawOf(termsOf({ chunkCount, chunks: all }), chunkBytes).chunk);
      }
      if (met) caught += 1;
    }
    expect(caught / trials, `seed ${seed}`).toBeGreaterThan(0.9);
    expect(caught / trials, `seed ${seed}`).toBeLessThan(1);
  });
});
