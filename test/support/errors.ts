/** What a call throws, so that a test can look at its code. */
import { ProtocolError, type ProtocolErrorCode } from '@blocktorrent/protocol/errors.ts';

/** Code of the ProtocolError that `call` throws or rejects with; null where it succeeds. */
export async function codeOf(call: () => unknown): Promise<ProtocolErrorCode | null> {
  try {
    await call();
  } catch (error) {
    if (error instanceof ProtocolError) return error.code;
    throw error;
  }
  return null;
}
