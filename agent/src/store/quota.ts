/**
 * Whether there is room for one more file: the source's quota on the ledger (P Table 2, flooding), and
 * what is left of the disk. A refusal says which bound was met, so that the source can tell its people.
 */
import type { Policy } from '@blocktorrent/protocol/ledger-api.ts';
import type { OfferSummary } from './types.ts';

/** What an organisation has here now. */
export interface Usage {
  /** Bytes of its chunks, those included that are still to come. */
  readonly bytes: number;
  /** Its files that are not complete here. */
  readonly unfinished: number;
}

/** Kept free for what must not fail: databases, batches, the operating system. */
const RESERVE_BYTES = 256 * 1024 * 1024;

/** Why an offer is not taken, or null. `freeBytes` is what the disk has left. */
export function noRoom(
  { source, ownedBytes }: OfferSummary,
  usage: Usage,
  quotas: Policy['quotas'],
  freeBytes: number,
): string | null {
  const quota = quotas?.[source];
  if (quota !== undefined && usage.bytes + ownedBytes > quota.bytes) {
    return `${source} has ${usage.bytes} bytes here, with ${ownedBytes} more it would be past its quota of ${quota.bytes}`;
  }
  if (quota !== undefined && usage.unfinished >= quota.files) {
    return `${source} has ${usage.unfinished} unfinished files here, its quota is ${quota.files}`;
  }
  if (ownedBytes + RESERVE_BYTES > freeBytes) {
    return `the disk has ${freeBytes} bytes left, ${RESERVE_BYTES} of them stay free`;
  }
  return null;
}
