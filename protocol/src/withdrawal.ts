/**
 * What a holder's withdrawal from a file's key is worth (P §3.2.4): from when on nobody may expect
 * its shard. Both times are claims of their transactions, each within the ledger's time window, so
 * a withdrawal counts only for requests that are later whatever the clocks said.
 */
import type { MspId, Withdrawal } from './ledger-api.ts';
import { LIMITS } from './limits.ts';

/** When a withdrawal begins to excuse its holder, ms since 1970; its shard must be kept until then. */
export function effectiveAtMs({ atMs }: Pick<Withdrawal, 'atMs'>): number {
  return atMs + LIMITS.withdrawalDelayMs;
}

/** Whether `holder` had withdrawn in good time before a request that was made at `requestedAtMs`. */
export function isExcused(
  withdrawals: readonly Withdrawal[] | undefined,
  holder: MspId,
  requestedAtMs: number,
): boolean {
  const own = withdrawals?.find(({ mspId }) => mspId === holder);
  return own !== undefined && effectiveAtMs(own) <= requestedAtMs;
}
