/**
 * What the ledger refuses for good: a contract's own refusal of this very file. Nothing is gained by
 * asking again, and everything behind it in the gateway's chain would wait, so the file is given up.
 *
 * Never final: a ledger that is away, a lost race, an outcome that is unknown, and refusals of us
 * (membership, registration), of the chain's place or of the epoch, which others can mend.
 */
import type { LedgerErrorCode } from '../ledger/ledger.ts';
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
  const code = /^([A-Z][A-Z_]*): /.exec(error.message)?.[1];
  return code !== undefined && !PASSING.has(code);
}

/** Gives a file up that was refused; the contract's sentence is the reason. */
export function givenUpFor(error: Error): GivenUp {
  return { giveUp: error.message, byLedger: true };
}
