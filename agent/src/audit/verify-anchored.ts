/**
 * Verifying a batch against the ledger (P §3.2.4, step 4): whose it is, and that its readings lead to
 * every chain head that its gateway has anchored while it wrote them.
 *
 * A source that changes a reading afterwards can make the file's own chain fit again, but not the
 * anchors. Two anchors that enclose nothing of this batch say nothing about it.
 */
import type { Anchor, AnchorList, FileRecord } from '@blocktorrent/protocol/ledger-api.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { BadBatchError, claimedRange, type VerifiedBatch, verifyBatch } from './verify-batch.ts';

/**
 * The batch by itself, that it is of the gateway which recorded it, and against every anchor that
 * falls into it. Throws BadBatchError, LedgerError.
 */
export async function verifyAnchored(
  path: string,
  { source, gateway }: Pick<FileRecord, 'source' | 'gateway'>,
  ledger: Pick<Ledger, 'evaluate'>,
): Promise<VerifiedBatch> {
  const { firstSeq, lastSeq } = claimedRange(path);
  const anchors: Anchor[] = [];
  for (let fromCount: number | null = Math.max(0, firstSeq - 1); fromCount !== null; ) {
    const page: AnchorList = await ledger.evaluate('ledger/records:ListAnchors', {
      source,
      gateway,
      fromCount,
      limit: LIMITS.listLimitMax,
    });
    anchors.push(...page.anchors.filter(({ count }) => count <= lastSeq));
    fromCount = page.nextCount === null || page.nextCount > lastSeq ? null : page.nextCount;
  }
  const batch = verifyBatch(path, anchors);
  if (batch.source !== source || batch.gateway !== gateway) {
    const found = `${batch.source}/${batch.gateway}`;
    throw new BadBatchError(`batch: of ${found}, but recorded by ${source}/${gateway}`);
  }
  return batch;
}
