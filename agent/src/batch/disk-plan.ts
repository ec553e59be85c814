/**
 * What to drop when the disk's budget is full, and what may still come in. Only reckoning.
 *
 * Always holds: what is available on the ledger goes first, then what is sealed (its ciphertext goes
 * on), and of what is neither nothing unless the policy is `keep-newest`: the least important first,
 * and of equal ones the oldest. What is being sealed is never dropped, and nothing in its place: it
 * can go in a moment. Nor is anything lost that makes no room all the same: a file from `put` that is
 * larger than the budget. Low space that others have used up is no reason to lose a reading: then new
 * ones are not taken, and their brokers keep them.
 */

export type DiskPolicy = 'keep-oldest' | 'keep-newest';

export interface DiskLimits {
  /** For batches and the spool of sealed files together. */
  readonly maxBytes: number;
  /** Free space of the file system that sealing and deleting need. */
  readonly reserveBytes: number;
  readonly policy: DiskPolicy;
}

/** How safe a closed batch is without its file. */
export type BatchSafety = 'available' | 'sealed' | 'sealing' | 'unsealed';

export interface BatchOnDisk {
  readonly batch: number;
  readonly bytes: number;
  readonly safety: BatchSafety;
  /** Of its most important topic. */
  readonly priority: number;
}

export interface DiskUse {
  /** Closed batches, in any order. */
  readonly batches: readonly BatchOnDisk[];
  /** Of the open batch and of the spool. */
  readonly otherBytes: number;
  readonly freeBytes: number;
}

/** Which readings are taken: all, those of the highest priority, or none. */
export type Admission = 'all' | 'important' | 'none';

export interface DiskPlan {
  /** Batches to unlink, in this order. */
  readonly drop: readonly BatchOnDisk[];
  readonly admission: Admission;
}

/** Where no more of the budget is left, `keep-oldest` takes only what is most important. */
const IMPORTANT_ONLY_BELOW = 0.1;
const SAFETY: readonly BatchSafety[] = ['available', 'sealed', 'sealing', 'unsealed'];

/** Plans for what is on the disk now. */
export function planDisk(limits: DiskLimits, use: DiskUse): DiskPlan {
  const { maxBytes, reserveBytes, policy } = limits;
  const closedBytes = use.batches.reduce((sum, { bytes }) => sum + bytes, 0);
  const drop: BatchOnDisk[] = [];
  // Once the spool alone is over it, no loss makes room.
  const helps = policy === 'keep-newest' && use.otherBytes <= maxBytes;
  let excess = closedBytes + use.otherBytes - maxBytes;
  let lack = reserveBytes - use.freeBytes;
  for (const one of [...use.batches].sort(byWorth)) {
    if (one.safety === 'sealing') {
      if (excess > 0) excess = Math.max(0, excess - one.bytes);
      continue;
    }
    const loss = one.safety === 'unsealed';
    const wanted = loss ? excess > 0 && helps : excess > 0 || lack > 0;
    if (!wanted) continue;
    drop.push(one);
    excess -= one.bytes;
    lack -= one.bytes;
  }
  return { drop, admission: admissionOf(limits, excess, lack) };
}

function byWorth(a: BatchOnDisk, b: BatchOnDisk): number {
  return (
    SAFETY.indexOf(a.safety) - SAFETY.indexOf(b.safety) ||
    (a.safety === 'unsealed' ? a.priority - b.priority : 0) ||
    a.batch - b.batch
  );
}

function admissionOf(limits: DiskLimits, excess: number, lack: number): Admission {
  if (excess > 0 || lack > 0) return 'none';
  const isTight = -excess <= limits.maxBytes * IMPORTANT_ONLY_BELOW;
  return limits.policy === 'keep-oldest' && isTight ? 'important' : 'all';
}
