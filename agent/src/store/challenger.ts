/**
 * Asking other owners for blocks of chunks that both hold (docs/PROTOCOL.md, "Challenges").
 *
 * Enters: our chunks, receipts on the ledger. Leaves: counts, and faults on the ledger: a wrong answer
 * as its signer's own evidence, silence or an admitted loss only after a stated time. Always holds:
 * nobody is accused before our own chunk was compared with the manifest; a fault that is due is on
 * disk until the ledger has it.
 */
import { hasBit } from '@blocktorrent/protocol/bitfield.ts';
import { equalBytes, toBase64, toHex } from '@blocktorrent/protocol/bytes.ts';
import {
  type Answer,
  CHALLENGE_BYTES,
  type ChallengeTerms,
  commitmentTo,
  drawOf,
  judgeAnswer,
  type SignedAnswer,
  verifyAnswer,
} from '@blocktorrent/protocol/challenge.ts';
import { chunkLengthOf, decodeInfo } from '@blocktorrent/protocol/chunking.ts';
import type { FileRecord, MspId, SignedReceipt } from '@blocktorrent/protocol/ledger-api.ts';
import { decodeManifest } from '@blocktorrent/protocol/manifest.ts';
import type { OwnerMessage } from '@blocktorrent/protocol/owner-messages.ts';
import { openReceipt, type Receipt } from '@blocktorrent/protocol/receipt.ts';
import type { KeptFile } from './catalog.ts';
import type { ChallengeFaults } from './challenge-faults.ts';
import { receiptsOn } from './copies.ts';
import { Lane } from './lane.ts';
import { ownChunk } from './own-chunk.ts';
import { NoAnswerError } from './owner-links.ts';
import type { UpkeepParts } from './upkeep-types.ts';

/** How a challenge ended. `skipped`: there was nobody, or nothing, to ask. */
export type ChallengeOutcome = 'right' | 'wrong' | 'lost' | 'silent' | 'skipped';

export interface ChallengeStatus {
  /** Challenges by outcome, since ever; those that were skipped are not counted. */
  readonly right: number;
  readonly wrong: number;
  readonly lost: number;
  readonly silent: number;
  /** Organisations that owe a right answer, and since when, ms since 1970. */
  readonly doubted: Readonly<Record<MspId, number>>;
  /** Faults that the ledger does not have yet. */
  readonly unreported: number;
}

/** Whom and what to ask. */
interface Target {
  readonly file: KeptFile;
  readonly record: FileRecord;
  readonly receipt: Receipt;
  /** Chunks that both have. */
  readonly chunks: Uint8Array;
}

export class Challenger {
  readonly #parts: UpkeepParts;
  readonly #faults: ChallengeFaults;
  readonly #everyMs: () => number;
  readonly #lane: Lane;
  #first = true;

  /** @param everyMs time between two challenges, as it is configured now; 0: none. */
  constructor(parts: UpkeepParts, faults: ChallengeFaults, everyMs: () => number) {
    this.#parts = parts;
    this.#faults = faults;
    this.#everyMs = everyMs;
    this.#lane = new Lane('challenging', () => this.#round(), parts.log);
  }

  start(): void {
    this.#lane.start();
  }
  async stop(): Promise<void> {
    await this.#lane.stop();
  }

  status(): ChallengeStatus {
    const { list } = this.#parts;
    const count = (outcome: ChallengeOutcome) => list.count(`challenge/${outcome}`);
    const [right, wrong] = [count('right'), count('wrong')];
    const [lost, silent] = [count('lost'), count('silent')];
    return { right, wrong, lost, silent, ...this.#faults.status() };
  }

  async #round(): Promise<number> {
    const everyMs = this.#everyMs();
    if (everyMs === 0) return 60_000;
    // The first one is not due at each start: an agent that crashes often would ask too often.
    if (!this.#first) await this.challenge();
    this.#first = false;
    const [random = 0] = this.#parts.random(1);
    return everyMs * (0.5 + random / 256);
  }

  /** One challenge, to an owner and about a file that chance picks. */
  async challenge(): Promise<ChallengeOutcome> {
    const { list, log } = this.#parts;
    const target = await this.#target();
    if (target === null) return 'skipped';
    const outcome = await this.#ask(target);
    if (outcome === 'skipped') return outcome;
    const { owner, fileId } = target.receipt;
    list.addCount(`challenge/${outcome}`, 1);
    if (outcome === 'right') this.#faults.clear(owner);
    else {
      log.warn('a challenge was not answered rightly', { owner, fileId, outcome });
      // It may not know of the file: then it is told, and repairs itself.
      list.addHandover(fileId, owner, 0);
    }
    return outcome;
  }

  async #target(): Promise<Target | null> {
    const { catalog, random, ledger, membership, self } = this.#parts;
    const start = toHex(random(32));
    const file = catalog.after(start, 1)[0] ?? catalog.after('', 1)[0];
    if (file === undefined) return null;
    const { fileId } = file;
    const record = await ledger.evaluate('ledger/records:GetRecord', { fileId });
    const members = membership.epochOf(membership.epoch())?.ranges.map(({ mspId }) => mspId) ?? [];
    const possible = receiptsOn(record, membership).flatMap((receipt) => {
      if (receipt.owner === self || !members.includes(receipt.owner)) return [];
      const chunks = receipt.chunks.map((bits, at) => bits & (file.have[at] ?? 0));
      return chunks.some((bits) => bits !== 0) ? [{ receipt, chunks }] : [];
    });
    const [pick = 0] = random(1);
    const chosen = possible[pick % Math.max(1, possible.length)];
    if (chosen === undefined || record === null) return null;
    return { file, record, ...chosen };
  }

  async #ask(target: Target): Promise<ChallengeOutcome> {
    const { links, random, self, timing, membership } = this.#parts;
    const { file, receipt, chunks } = target;
    const { fileId } = file;
    const to = receipt.owner;
    const challengerNonce = random(CHALLENGE_BYTES);
    const commitment = commitmentTo(challengerNonce);
    const isAbout = (message: OwnerMessage, t: 'nonce' | 'answer') =>
      (message.t === t && equalBytes(message.commitment, commitment)) ||
      (message.t === 'decline' && message.fileId === fileId);
    try {
      const accepted = await links.ask(
        to,
        { t: 'challenge', fileId, chunks, commitment },
        (message) => isAbout(message, 'nonce'),
        timing.askMs,
      );
      if (accepted.t !== 'nonce') return this.#doubt(target, null);
      const terms: ChallengeTerms = {
        channel: membership.channel,
        fileId,
        challenger: self,
        answerer: to,
        chunkCount: receipt.chunkCount,
        chunks,
        challengerNonce,
        answererNonce: accepted.nonce,
      };
      const answered = await links.ask(
        to,
        { t: 'reveal', commitment, nonce: challengerNonce },
        (message) => isAbout(message, 'answer'),
        timing.askMs,
      );
      if (answered.t !== 'answer') return this.#doubt(target, null);
      return await this.#judge(target, terms, answered);
    } catch (error) {
      if (!(error instanceof NoAnswerError)) throw error;
      return this.#doubt(target, null);
    }
  }

  async #judge(
    target: Target,
    terms: ChallengeTerms,
    signed: SignedAnswer,
  ): Promise<ChallengeOutcome> {
    const { file, receipt } = target;
    const answer = this.#verified(terms, signed);
    if (answer === null) return this.#doubt(target, null);
    const manifest = decodeManifest(file.signed.manifest);
    const { pieceLength } = decodeInfo(manifest.info);
    const lengthOf = (index: number) => chunkLengthOf(manifest.ciphertextBytes, pieceLength, index);
    const { chunk: index } = drawOf(answer, lengthOf);
    const promise = signedFor(target.record, receipt.owner, index);
    const chunk = await ownChunk(this.#parts, file, index);
    if (chunk === null || promise === null) return 'skipped';
    const verdict = judgeAnswer(answer, receipt, chunk, lengthOf);
    if (verdict === 'right') return verdict;
    const input = {
      fileId: file.fileId,
      receipt: promise,
      answer: toBase64(signed.answer),
      signature: toHex(signed.signature),
    };
    if (verdict === 'lost') return this.#doubt(target, input);
    this.#faults.addWrong(receipt.owner, input, index);
    return verdict;
  }

  /** The answer, if its peer signed it and it is to what we asked. */
  #verified(terms: ChallengeTerms, signed: SignedAnswer): Answer | null {
    const { membership } = this.#parts;
    try {
      const peers = membership.peers().filter(({ mspId }) => mspId === terms.answerer);
      const keys = peers.flatMap(({ mspId, name }) => membership.keysOf(mspId, name));
      const answer = verifyAnswer(signed, keys);
      const same =
        answer.channel === terms.channel &&
        answer.fileId === terms.fileId &&
        answer.challenger === terms.challenger &&
        answer.answerer === terms.answerer &&
        answer.chunkCount === terms.chunkCount &&
        equalBytes(answer.chunks, terms.chunks) &&
        equalBytes(answer.challengerNonce, terms.challengerNonce) &&
        equalBytes(answer.answererNonce, terms.answererNonce);
      return same ? answer : null;
    } catch (error) {
      if (error instanceof Error && 'code' in error) return null;
      throw error;
    }
  }

  #doubt(
    { file, receipt }: Target,
    admitted: Parameters<ChallengeFaults['doubt']>[2],
  ): ChallengeOutcome {
    this.#faults.doubt(receipt.owner, file.fileId, admitted);
    return admitted === null ? 'silent' : 'lost';
  }
}

/** The receipt of a record by which `owner` has signed for a chunk. */
function signedFor(record: FileRecord, owner: MspId, index: number): SignedReceipt | null {
  const all = [...record.receipts, ...record.replacements.flatMap(({ receipts }) => receipts)];
  const found = all.find(
    (signed) => signed.mspId === owner && hasBit(openReceipt(signed).chunks, index),
  );
  return found ?? null;
}
