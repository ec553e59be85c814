/**
 * How a contract says no: one Error whose text is `CODE: what was wrong, what was expected`.
 *
 * Fabric carries only the text to the client, so the code is its first word. Checks that the
 * protocol makes keep the protocol's code: `bad-signature` becomes BAD_SIGNATURE.
 */
import { ProtocolError } from '@blocktorrent/protocol/errors.ts';

/** Why a transaction was refused, besides the protocol's own codes in upper case. */
export type RefusalCode =
  | 'BAD_ARGUMENT'
  | 'TOO_LARGE'
  | 'BAD_DIGEST'
  | 'NOT_ALLOWED'
  | 'NOT_FOUNDED'
  | 'NOT_FOUND'
  | 'ALREADY_EXISTS'
  | 'TOO_EARLY'
  | 'WRONG_EPOCH'
  | 'WRONG_CHAIN'
  | 'WRONG_DEALING'
  | 'WRONG_RECEIPT'
  | 'TOO_FEW_RECEIPTS'
  | 'NOT_HOLDER'
  | 'NO_FAULT'
  | 'NOT_DRAWN'
  | 'NOT_OPEN'
  | 'NOT_APPROVED'
  | 'NOT_APPROVABLE';

/** A transaction that the contract refuses; its message begins with the code. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly code: RefusalCode;

  constructor(code: RefusalCode, sentence: string, options?: ErrorOptions) {
    super(`${code}: ${sentence}`, options);
    this.code = code;
  }
}

/** `error` as the client shall read it: a Refusal as it is, anything else with a code in front. */
export function refusalText(error: unknown): string {
  if (error instanceof Refusal) return error.message;
  if (error instanceof ProtocolError) {
    return `${error.code.toUpperCase().replaceAll('-', '_')}: ${error.message}`;
  }
  return `INTERNAL: ${error instanceof Error ? error.message : String(error)}`;
}

/** Adds where it happened to a protocol error's message; other errors pass unchanged. */
export function within<T>(place: string, check: () => T): T {
  try {
    return check();
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    throw new ProtocolError(error.code, `${place}: ${error.message}`, { cause: error });
  }
}
