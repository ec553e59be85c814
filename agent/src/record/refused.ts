/**
 * What the ledger refuses for good: a contract's own refusal of this very file. Everything behind it
 * in the gateway's chain waits for it, so the file is given up; but a peer that is behind may not know
 * a key or a policy of a moment ago. So it is asked again, elsewhere if possible, and given up only
 * when it is still refused some time later.
 *
 * What only others' peers refuse while ours does not is nobody's last word: one hostile organisation,
 * where another's peer is away, would otherwise make us give up every file.
 * Never final: a ledger that is away, a lost race, an outcome that is unknown, and refusals of us
 * (membership, registration), of the chain's place or of the epoch, which others can mend.
 */
import { LedgerError, type LedgerErrorCode, refusalCode } from '../ledger/ledger.ts';
import type { GivenUp } from '../runtime/stage-runner.ts';

const REJECTED: LedgerErrorCode = 'rejected';
/** Refusals that the same file may not meet a moment later. */
const PASSING: ReadonlySet<string> = new Set([
  'NOT_ALLOWED',
  'NOT_FOUNDED',
  'NOT_FOUND',
  'WRONG_CHAIN',
  'WRONG_EPOCH',
  'TOO_EARLY',
  'INTERNAL',
]);

/** Whether a failure is a contract's final refusal: its text begins with a code in capitals. */
export function isFinal(error: unknown): error is Error {
  if (!(error instanceof Error) || !('code' in error) || error.code !== REJECTED) return false;
  const code = refusalCode(error.message);
  return code !== null && !PASSING.has(code);
}

/** From the first refusal until one counts as the last word: a peer that is behind catches up by then. */
export const LAST_WORD_AFTER_MS = 60_000;

/** Which files were refused, and when first; forgotten at a restart, which asks again, harmlessly. */
export class Refusals {
  readonly #nowMs: () => number;
  /** By file id; bounded by the files under way. */
  readonly #firstMs = new Map<number, number>();

  /** `nowMs`: of a clock that does not jump. */
  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** Whether this file was refused before: who asks now asks another peer first. */
  has(fileId: number): boolean {
    return this.#firstMs.has(fileId);
  }

  /** The file was taken, or has gone. */
  forget(fileId: number): void {
    this.#firstMs.delete(fileId);
  }

  /**
   * What a failure means for the file: it is given up, with the contract's sentence as the reason.
   * @throws the same error where it is not final, or not the last word yet: it is tried again
   */
  judge(fileId: number, error: unknown): GivenUp {
    if (!isFinal(error) || !this.isLastWord(fileId, error)) throw error;
    return { giveUp: error.message, byLedger: true };
  }

  /**
   * Notes that the file is refused; true where that has lasted long enough, and is forgotten. What others
   * say counts once our own peer has said it.
   */
  isLastWord(fileId: number, error: unknown): boolean {
    const isHearsay = error instanceof LedgerError && error.hearsay;
    if (isHearsay && !this.has(fileId)) return false;
    const firstMs = this.#firstMs.get(fileId) ?? this.#nowMs();
    const isLast = this.#nowMs() - firstMs >= LAST_WORD_AFTER_MS;
    if (isLast) this.forget(fileId);
    else this.#firstMs.set(fileId, firstMs);
    return isLast;
  }
}
