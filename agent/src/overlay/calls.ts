/**
 * Calling peers that only dial out: whoever listens keeps their standing links, and asks over one of
 * them to be dialled about a torrent (PROTOCOL §5: a peer behind NAT is repaired from).
 *
 * Enters: incoming links. Leaves: those that were called for, to who called. Always holds: a called
 * link is of the organisation that was meant; a call that is not answered in time fails.
 */
import { toHex } from '@blocktorrent/protocol/bytes.ts';
import type { Hex, MspId } from '@blocktorrent/protocol/ledger-api.ts';
import { standingHash } from '@blocktorrent/protocol/overlay-messages.ts';
import { type DialMemberOptions, type Link, LinkError, type LinkHandler } from './types.ts';

/** Standing links of one organisation; the peers of one that only dial out. */
const STANDING_PER_MEMBER_MAX = 16;

type Called = (link: Link) => LinkHandler;

export class Calls {
  readonly #standingHash: Hex;
  readonly #timeoutMs: number;
  readonly #standing = new Set<Link>();
  /** By organisation and info-hash; those that wait for the same are answered in turn. */
  readonly #waiting = new Map<string, Called[]>();

  constructor(channel: string, timeoutMs: number) {
    this.#standingHash = toHex(standingHash(channel));
    this.#timeoutMs = timeoutMs;
  }

  /** Takes a standing link, or one that was called for; undefined: it is neither. */
  take(link: Link): LinkHandler | null | undefined {
    if (link.infoHash === this.#standingHash) return this.#stand(link);
    const name = `${link.mspId} ${link.infoHash}`;
    const called = this.#waiting.get(name)?.shift();
    if (this.#waiting.get(name)?.length === 0) this.#waiting.delete(name);
    return called?.(link);
  }

  /** Whether a peer of the organisation can be called. */
  reaches(mspId: MspId): boolean {
    return [...this.#standing].some((link) => link.mspId === mspId);
  }

  /** Asks every peer that stands by to dial; the first that does is it. @throws LinkError */
  async call(options: DialMemberOptions): Promise<Link> {
    const { mspId, infoHash, handler, signal } = options;
    const answered = Promise.withResolvers<Link>();
    const called: Called = (link) => {
      answered.resolve(link);
      return handler;
    };
    const name = `${mspId} ${infoHash}`;
    const waiting = [...(this.#waiting.get(name) ?? []), called];
    this.#waiting.set(name, waiting);
    const fail = (code: 'unreachable' | 'aborted', message: string) =>
      answered.reject(new LinkError(code, message));
    const onAbort = () => fail('aborted', 'dialling was aborted');
    const timer = setTimeout(
      () => fail('unreachable', `${mspId} was called, and did not dial`),
      this.#timeoutMs,
    );
    signal?.addEventListener('abort', onAbort, { once: true });
    if (signal?.aborted) onAbort();
    try {
      for (const link of this.#standing) if (link.mspId === mspId) link.sendCall(infoHash);
      return await answered.promise;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      const left = (this.#waiting.get(name) ?? []).filter((one) => one !== called);
      if (left.length === 0) this.#waiting.delete(name);
      else this.#waiting.set(name, left);
    }
  }

  #stand(link: Link): LinkHandler | null {
    const count = [...this.#standing].filter(({ mspId }) => mspId === link.mspId).length;
    if (count >= STANDING_PER_MEMBER_MAX) return null;
    this.#standing.add(link);
    return { onClose: () => this.#standing.delete(link) };
  }
}
