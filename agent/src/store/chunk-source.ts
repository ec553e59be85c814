/**
 * Where a chunk is fetched from (PROTOCOL §2.5): the source uploads each chunk once, to its primary
 * owner; the others take it from an owner that has it, and turn to the source when it is late.
 *
 * The primary of chunk i is owner i mod (number of owners) in placement order, so that the load is
 * even; the owners after it, in turn, are next in line should it be late.
 */
import type { MspId } from '@blocktorrent/protocol/ledger-api.ts';
import type { Link } from '../overlay/types.ts';

/** Blocks queued on one link before other links are preferred, bytes. */
const LINK_QUEUE_BYTES_MAX = 1536 * 1024;

export interface SourceQuestion {
  readonly index: number;
  readonly owners: readonly MspId[];
  readonly self: MspId;
  readonly source: MspId;
  /** Open links of this torrent. */
  readonly links: readonly Link[];
  /** Links that must not be asked for this chunk now. */
  readonly isBarred: (link: Link, index: number) => boolean;
  /** Organisations that gave us a bad chunk of this file. */
  readonly distrusted: ReadonlySet<MspId>;
  /** When an organisation last had news for us, by the clock of `nowMs`. */
  readonly newsAtMs: (mspId: MspId) => number;
  readonly nowMs: number;
  /** No news for this long: late. */
  readonly lateMs: number;
}

/** A link to ask now, or when to think again (Infinity: when something changes). */
export type SourceAnswer =
  | { readonly link: Link }
  | { readonly link: null; readonly waitMs: number };

/** Owners in the order in which they turn to the source. */
export function turnOrder(owners: readonly MspId[], index: number): MspId[] {
  const primary = owners.length === 0 ? 0 : index % owners.length;
  return [...owners.slice(primary), ...owners.slice(0, primary)];
}

export function chooseSource(question: SourceQuestion): SourceAnswer {
  const { index, source, self, distrusted } = question;
  const usable = question.links.filter(
    (link) =>
      !link.closed &&
      link.has(index) &&
      !distrusted.has(link.mspId) &&
      !question.isBarred(link, index),
  );
  const owners = usable.filter((link) => link.mspId !== source);
  if (owners.length > 0) return leastLoaded(owners);
  const sources = usable.filter((link) => link.mspId === source);
  if (sources.length === 0) return { link: null, waitMs: Number.POSITIVE_INFINITY };

  const order = turnOrder(question.owners, index);
  const before = order
    .slice(0, Math.max(0, order.indexOf(self)))
    .filter((mspId) => mspId !== source && !distrusted.has(mspId));
  if (before.length === 0) return leastLoaded(sources);
  const newsAtMs = Math.max(...before.map(question.newsAtMs));
  const waitMs = newsAtMs + question.lateMs * before.length - question.nowMs;
  return waitMs > 0 ? { link: null, waitMs } : leastLoaded(sources);
}

function leastLoaded(links: readonly Link[]): SourceAnswer {
  const link = links.reduce((best, next) => (next.queuedBytes < best.queuedBytes ? next : best));
  if (link.queuedBytes >= LINK_QUEUE_BYTES_MAX) {
    return { link: null, waitMs: Number.POSITIVE_INFINITY };
  }
  return { link };
}
