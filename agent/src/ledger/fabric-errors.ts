/**
 * From the gateway client's errors to `LedgerError`: which step failed, whether another peer or
 * another attempt may help, and the contract's own sentence where it was the contract that refused.
 */
import { LedgerError, type LedgerErrorCode, type LedgerStep } from './ledger.ts';

/** gRPC status codes that are looked at (grpc.status). */
const CANCELLED = 1;
const DEADLINE_EXCEEDED = 4;
const ABORTED = 10;
const UNAVAILABLE = 14;

/** Transaction validation codes that mean "somebody was faster" (peer.TxValidationCode). */
const MVCC_READ_CONFLICT = 11;
const PHANTOM_READ_CONFLICT = 12;

/** A contract's refusal as peers report it: `chaincode response 500, CODE: sentence`. */
const REFUSAL = /chaincode response \d+, (.*)/s;

interface GatewayErrorShape {
  readonly code: number;
  readonly message: string;
  readonly details: readonly { readonly mspId: string; readonly message: string }[];
}

/** A step of a call that asks a peer. */
export type Step = Exclude<LedgerStep, 'connect'>;

/**
 * An error whose message names step and transaction: `STEP: text (transaction ID)`, and of a
 * contract's refusal `CODE: sentence (STEP, transaction ID)`, so that it still begins with its code.
 */
export function stepError(
  code: LedgerErrorCode,
  step: Step,
  text: string,
  detail: { readonly txId: string | null; readonly cause?: unknown; readonly hearsay?: boolean },
): LedgerError {
  const { txId, cause, hearsay = false } = detail;
  const named = txId === null ? '' : `transaction ${txId}`;
  const where = [...(code === 'rejected' ? [step] : []), ...(named === '' ? [] : [named])];
  const after = where.length === 0 ? '' : ` (${where.join(', ')})`;
  const message = code === 'rejected' ? `${text}${after}` : `${step}: ${text}${after}`;
  const why = cause === undefined ? {} : { cause };
  return new LedgerError(code, message, txId, { step, hearsay, ...why });
}

/** True if another peer may do better: this one did not answer, or could not reach others. */
export function isUnavailable(error: unknown): boolean {
  const shape = gatewayError(error);
  return (
    shape !== null &&
    (shape.code === UNAVAILABLE || shape.code === DEADLINE_EXCEEDED || shape.code === CANCELLED)
  );
}

/** True if endorsers saw different states: the same transaction, run anew, may agree. */
export function isMismatch(error: unknown): boolean {
  const shape = gatewayError(error);
  return shape?.code === ABORTED && shape.message.includes('ProposalResponsePayloads do not match');
}

/** True if the transaction failed only because another one committed first. */
export function isConflict(validationCode: number): boolean {
  return validationCode === MVCC_READ_CONFLICT || validationCode === PHANTOM_READ_CONFLICT;
}

/** The LedgerError for what a step threw; `own` is our organisation. */
export function ledgerError(
  step: Step,
  error: unknown,
  { txId, own }: { readonly txId: string | null; readonly own: string },
): LedgerError {
  if (error instanceof LedgerError) {
    // A connection that could not be made does not know what it was for.
    return error.step === 'connect'
      ? stepError(unavailableCode(step), step, error.message, { txId, cause: error })
      : error;
  }
  const detail = { txId, cause: error };
  const shape = gatewayError(error);
  if (shape === null) {
    const message = error instanceof Error ? error.message : String(error);
    return stepError(codeOf(step), step, message, detail);
  }
  const refusals = shape.details.flatMap(({ mspId, message }) => {
    const sentence = REFUSAL.exec(message)?.[1];
    return sentence === undefined ? [] : [{ mspId, sentence }];
  });
  const [other] = refusals;
  const ours = refusals.find(({ mspId }) => mspId === own);
  const refusal = (ours ?? other)?.sentence ?? REFUSAL.exec(shape.message)?.[1];
  if (refusal !== undefined) {
    const hearsay = other !== undefined && ours === undefined;
    return stepError('rejected', step, refusal, { ...detail, hearsay });
  }
  const peers = shape.details.map((each) => `${each.mspId}: ${each.message}`).join('; ');
  const code = isUnavailable(error) ? unavailableCode(step) : codeOf(step);
  return stepError(code, step, `${shape.message}${peers === '' ? '' : ` (${peers})`}`, detail);
}

/** After endorsement an unanswered call leaves the outcome open. */
function unavailableCode(step: Step): LedgerErrorCode {
  return step === 'evaluate' || step === 'endorse' ? 'unavailable' : 'timeout';
}

function codeOf(step: Step): LedgerErrorCode {
  return step === 'evaluate' ? 'endorse' : step;
}

/** By shape, not by class: the client library is loaded only when it is needed. */
function gatewayError(error: unknown): GatewayErrorShape | null {
  if (!(error instanceof Error) || !('code' in error) || typeof error.code !== 'number') {
    return null;
  }
  const details =
    'details' in error && Array.isArray(error.details)
      ? error.details.map((detail: { mspId?: unknown; message?: unknown }) => ({
          mspId: String(detail.mspId ?? ''),
          message: String(detail.message ?? ''),
        }))
      : [];
  return { code: error.code, message: error.message, details };
}
