/**
 * Answering other owners' challenges: our nonce first, then, once theirs is revealed, the salted hash
 * of the block that both draw, signed.
 *
 * Always holds: one open challenge for each organisation, answered at a bounded rate; a chunk that
 * turns out to be rotten is said to be lost, and fetched again.
 */
import { requireBitfield } from '@blocktorrent/protocol/bitfield.ts';
import { equalBytes } from '@blocktorrent/protocol/bytes.ts';
import {
  answerHash,
  CHALLENGE_BYTES,
  type ChallengeTerms,
  commitmentTo,
  drawOf,
  signAnswer,
} from '@blocktorrent/protocol/challenge.ts';
import { chunkLengthOf, decodeInfo } from '@blocktorrent/protocol/chunking.ts';
import type { MspId } from '@blocktorrent/protocol/ledger-api.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import { decodeManifest, manifestChunkCount } from '@blocktorrent/protocol/manifest.ts';
import type { ChallengeMessage, OwnerMessage } from '@blocktorrent/protocol/owner-messages.ts';
import type { KeptFile } from './catalog.ts';
import type { UpkeepParts } from './upkeep-types.ts';

/** Between two challenges of one organisation. */
const PAUSE_MS = 100;

interface Open extends ChallengeMessage {
  readonly nonce: Uint8Array;
}
type Reply = (message: OwnerMessage) => void;

export class Answerer {
  readonly #parts: UpkeepParts;
  readonly #open = new Map<MspId, Open>();
  readonly #lastMs = new Map<MspId, number>();

  constructor(parts: UpkeepParts) {
    this.#parts = parts;
  }

  /** Takes challenges from now on. */
  listen(): void {
    const { links, log } = this.#parts;
    links.listen((from, message, reply) => {
      if (message.t === 'challenge') this.#accept(from, message, reply);
      if (message.t !== 'reveal') return;
      this.#answer(from, message, reply).catch((error: unknown) =>
        log.warn('a challenge could not be answered', { from, error }),
      );
    });
  }

  #accept(from: MspId, message: ChallengeMessage, reply: Reply): void {
    const { catalog, random } = this.#parts;
    const { fileId, commitment } = message;
    const nowMs = performance.now();
    const refusal = this.#refusalOf(from, nowMs, catalog.get(fileId));
    if (refusal !== null) {
      const { code, reason } = refusal;
      reply({ t: 'decline', fileId, code, reason });
      return;
    }
    this.#lastMs.set(from, nowMs);
    const nonce = random(CHALLENGE_BYTES);
    this.#open.set(from, { ...message, nonce });
    reply({ t: 'nonce', commitment, nonce });
  }

  #refusalOf(
    from: MspId,
    nowMs: number,
    file: KeptFile | null,
  ): { readonly code: string; readonly reason: string } | null {
    const lastMs = this.#lastMs.get(from) ?? Number.NEGATIVE_INFINITY;
    if (nowMs - lastMs < PAUSE_MS) return { code: 'busy', reason: 'one challenge at a time' };
    if (file === null) return { code: 'unknown-file', reason: 'no such file is kept here' };
    return null;
  }

  async #answer(
    from: MspId,
    revealed: { readonly commitment: Uint8Array; readonly nonce: Uint8Array },
    reply: Reply,
  ): Promise<void> {
    const { catalog, membership, self, peer, overlaySeed } = this.#parts;
    const open = this.#open.get(from);
    this.#open.delete(from);
    const { commitment } = revealed;
    if (open === undefined || !equalBytes(open.commitment, commitment)) return;
    if (!equalBytes(commitmentTo(revealed.nonce), commitment)) return;
    const file = catalog.get(open.fileId);
    if (file === null) return;
    const manifest = decodeManifest(file.signed.manifest);
    const chunkCount = manifestChunkCount(manifest);
    requireBitfield(open.chunks, chunkCount);
    const terms: ChallengeTerms = {
      channel: membership.channel,
      fileId: open.fileId,
      challenger: from,
      answerer: self,
      chunkCount,
      chunks: open.chunks,
      challengerNonce: revealed.nonce,
      answererNonce: open.nonce,
    };
    const { pieceLength } = decodeInfo(manifest.info);
    const lengthOf = (index: number) => chunkLengthOf(manifest.ciphertextBytes, pieceLength, index);
    const { seed, chunk, block } = drawOf(terms, lengthOf);
    const start = block * LIMITS.blockBytes;
    const length = Math.min(LIMITS.blockBytes, lengthOf(chunk) - start);
    const bytes = await this.#block(file, chunk, start, length);
    const hash = bytes === null ? new Uint8Array(0) : answerHash(seed, bytes);
    const answer = { ...terms, version: 1, peer, chunk, block, hash } as const;
    reply({ t: 'answer', commitment, ...signAnswer(answer, overlaySeed) });
  }

  async #block(
    file: KeptFile,
    index: number,
    start: number,
    length: number,
  ): Promise<Uint8Array | null> {
    const { chunks, store } = this.#parts;
    try {
      return await chunks.read(file.fileId, index, start, length, { fresh: true });
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : null;
      if (code !== 'rotten' && code !== 'missing') throw error;
      await store.lost(file, index, code);
      return null;
    }
  }
}
