/**
 * What a holder's withdrawal from a file's key is worth (P §3.2.4): from when on nobody may expect
 * its shard. Both times are claims of their transactions, each within the ledger's time window, so
 * a withdrawal counts only for requests that are later whatever the clocks said.
 */
import type { FileRecord, MspId, Withdrawal } from './ledger-api.ts';
import { LIMITS } from './limits.ts';

/** When a withdrawal begins to excuse its holder, ms since 1970; its shard must be kept until then. */
export function effectiveAtMs({ atMs }: Pick<Withdrawal, 'atMs'>): number {
  return atMs + LIMITS.withdrawalDelayMs;
}

/**
 * Whether a release for a request that was made at `requestedAtMs` has to hold `holder`'s shard of a
 * file. Only who has confirmed it is known to have it: a source may have dealt it nothing, or a wrong
 * one. Who withdrew in good time before the request owes nothing any more.
 */
export function owesShard(
  { confirmedBy, withdrawals }: Pick<FileRecord, 'confirmedBy' | 'withdrawals'>,
  holder: MspId,
  requestedAtMs: number,
): boolean {
  const own = withdrawals?.find(({ mspId }) => mspId === holder);
  return own === undefined ? confirmedBy.includes(holder) : effectiveAtMs(own) > requestedAtMs;
}
