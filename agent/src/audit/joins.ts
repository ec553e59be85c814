/**
 * Whether the batches that an audit recovered of a gateway join: each begins with the number and the
 * chain hash with which the one before it ends (docs/PROTOCOL.md, "Readings and batches").
 *
 * Enters: verified batches, in any order. Leaves: for each gateway what joins, what is missing in
 * between, and what contradicts itself. A gap is no fault by itself: its batches may not have been
 * asked for, or were dropped for want of room, which a later batch says.
 */
import type { Hex, MspId } from '@blocktorrent/protocol/ledger-api.ts';

/** One verified batch and its place in its gateway's chain of files. */
export interface BatchChain {
  readonly fileId: Hex;
  readonly source: MspId;
  readonly gateway: string;
  /** Place of its record among all files of the gateway. */
  readonly place: number;
  /** Numbers of its readings; one without readings ends before it begins. */
  readonly firstSeq: number;
  readonly lastSeq: number;
  /** Chain hashes before the first reading and after the last, hex. */
  readonly chainStart: Hex;
  readonly chainEnd: Hex;
}

/** Readings that none of the recovered batches has. */
export interface ChainGap {
  readonly after: Hex;
  readonly before: Hex;
  readonly firstSeq: number;
  readonly lastSeq: number;
  /** Files of the gateway that the ledger has between the two: 0 where none can hold the readings. */
  readonly filesBetween: number;
}

/** Two batches that cannot both be of one chain. */
export interface ChainBreak {
  readonly first: Hex;
  readonly second: Hex;
  readonly reason: string;
}

/** What is known of one gateway's chain over its recovered batches. */
export interface ChainReport {
  readonly source: MspId;
  readonly gateway: string;
  readonly batches: number;
  readonly firstSeq: number;
  readonly lastSeq: number;
  readonly gaps: readonly ChainGap[];
  readonly breaks: readonly ChainBreak[];
}

/** One report for each gateway, in order of source and gateway. */
export function chainReports(batches: readonly BatchChain[]): ChainReport[] {
  const byGateway = new Map<string, BatchChain[]>();
  for (const batch of batches) {
    const name = `${batch.source}/${batch.gateway}`;
    byGateway.set(name, [...(byGateway.get(name) ?? []), batch]);
  }
  return [...byGateway.entries()]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, own]) => report(own));
}

function report(batches: readonly BatchChain[]): ChainReport {
  const sorted = [...batches].sort(
    (a, b) => a.firstSeq - b.firstSeq || a.lastSeq - b.lastSeq || a.place - b.place,
  );
  const gaps: ChainGap[] = [];
  const breaks: ChainBreak[] = [];
  const [start, ...rest] = sorted;
  if (start === undefined) throw new Error('a gateway without batches');
  // The one that reaches furthest: another may lie within it.
  let first = start;
  for (const second of rest) {
    if (second.firstSeq > first.lastSeq + 1) gaps.push(gapBetween(first, second));
    else {
      const reason = contradiction(first, second);
      if (reason !== null) breaks.push({ first: first.fileId, second: second.fileId, reason });
    }
    if (second.lastSeq >= first.lastSeq) first = second;
  }
  const { source, gateway, firstSeq } = start;
  return {
    source,
    gateway,
    batches: sorted.length,
    firstSeq,
    lastSeq: first.lastSeq,
    gaps,
    breaks,
  };
}

function gapBetween(first: BatchChain, second: BatchChain): ChainGap {
  return {
    after: first.fileId,
    before: second.fileId,
    firstSeq: first.lastSeq + 1,
    lastSeq: second.firstSeq - 1,
    filesBetween: Math.max(0, Math.abs(second.place - first.place) - 1),
  };
}

function contradiction(first: BatchChain, second: BatchChain): string | null {
  if (second.firstSeq <= first.lastSeq) {
    return `readings ${second.firstSeq} to ${Math.min(first.lastSeq, second.lastSeq)} are in both`;
  }
  if (second.chainStart === first.chainEnd) return null;
  return (
    `after reading ${first.lastSeq} the chain is ${first.chainEnd}, ` +
    `the next batch begins with ${second.chainStart}`
  );
}
