/**
 * Links between owners that are about no torrent: one to each organisation that there is something
 * to say to, dialled when needed, closed when nothing was said for a while.
 *
 * Enters and leaves: `bt_owner` messages. Always holds: the other side is a member by its certificate
 * and by the ledger; what is asked is answered or given up in its time.
 */
import type { MspId } from '@blocktorrent/protocol/ledger-api.ts';
import { type OwnerMessage, ownersHash } from '@blocktorrent/protocol/owner-messages.ts';
import type { AddressBook, Link, LinkHandler, Membership, Overlay } from '../overlay/types.ts';
import type { Log } from '../runtime/log.ts';

/** Takes a message that nobody was waiting for; `reply` goes back over the same link. */
export type OwnerListener = (
  from: MspId,
  message: OwnerMessage,
  reply: (message: OwnerMessage) => void,
) => void;

export interface OwnerLinksOptions {
  readonly overlay: Overlay;
  readonly addressBook: AddressBook;
  readonly membership: Membership;
  readonly log: Log;
}

/** An organisation did not answer in its time, or could not be reached. */
export class NoAnswerError extends Error {
  override readonly name = 'NoAnswerError';
  readonly code = 'no-answer';
}

interface Waiter {
  readonly from: MspId;
  readonly isIt: (message: OwnerMessage) => boolean;
  readonly resolve: (message: OwnerMessage) => void;
}

/** A link is closed after so many messages, long before the overlay would. */
const MESSAGES_MAX = 1_500;
/** Nothing said for this long: the link is closed by who dialled it. */
const IDLE_MS = 60_000;

export class OwnerLinks {
  readonly #options: OwnerLinksOptions;
  readonly #abort = new AbortController();
  readonly #links = new Map<MspId, Link>();
  readonly #said = new WeakMap<Link, number>();
  readonly #idle = new Map<Link, NodeJS.Timeout>();
  readonly #dialling = new Map<MspId, Promise<Link>>();
  readonly #waiters = new Set<Waiter>();
  readonly #listeners: OwnerListener[] = [];

  constructor(options: OwnerLinksOptions) {
    this.#options = options;
  }

  /** Every listener sees every message that was not waited for, and takes what it knows. */
  listen(listener: OwnerListener): void {
    this.#listeners.push(listener);
  }

  /** An incoming link; null refuses an organisation without a peer on the ledger. */
  accept(link: Link): LinkHandler | null {
    const isMember = this.#options.membership.peers().some(({ mspId }) => mspId === link.mspId);
    if (!isMember || this.#abort.signal.aborted) return null;
    if (!this.#links.has(link.mspId)) this.#links.set(link.mspId, link);
    return this.#handler();
  }

  /** @throws LinkError when the organisation cannot be reached */
  async send(to: MspId, message: OwnerMessage): Promise<void> {
    const link = await this.#linkTo(to);
    this.#say(link, message);
  }

  /** @throws NoAnswerError when nothing fitting came in time, or nobody was reached */
  async ask(
    to: MspId,
    message: OwnerMessage,
    isIt: (message: OwnerMessage) => boolean,
    timeoutMs: number,
  ): Promise<OwnerMessage> {
    const answer = Promise.withResolvers<OwnerMessage>();
    const waiter: Waiter = { from: to, isIt, resolve: answer.resolve };
    const fail = (reason: string) => answer.reject(new NoAnswerError(`${to}: ${reason}`));
    const timer = setTimeout(() => fail(`no answer within ${timeoutMs} ms`), timeoutMs);
    const onAbort = () => fail('stopping');
    this.#abort.signal.addEventListener('abort', onAbort, { once: true });
    this.#waiters.add(waiter);
    this.send(to, message).catch((error: unknown) =>
      fail(error instanceof Error ? error.message : String(error)),
    );
    try {
      return await answer.promise;
    } finally {
      clearTimeout(timer);
      this.#abort.signal.removeEventListener('abort', onAbort);
      this.#waiters.delete(waiter);
    }
  }

  /** Ends every link; what is still asked fails. */
  stop(): void {
    this.#abort.abort();
    for (const timer of this.#idle.values()) clearTimeout(timer);
    for (const link of this.#links.values()) link.close('stopping');
    this.#links.clear();
  }

  async #linkTo(mspId: MspId): Promise<Link> {
    const open = this.#links.get(mspId);
    if (open !== undefined && !open.closed) {
      if ((this.#said.get(open) ?? 0) < MESSAGES_MAX) return open;
      open.close('enough said on this link');
    }
    const dialling = this.#dialling.get(mspId) ?? this.#dial(mspId);
    this.#dialling.set(mspId, dialling);
    try {
      return await dialling;
    } finally {
      this.#dialling.delete(mspId);
    }
  }

  async #dial(mspId: MspId): Promise<Link> {
    const { overlay, addressBook, membership } = this.#options;
    const link = await overlay.dialMember({
      mspId,
      addressBook,
      infoHash: ownersHash(membership.channel),
      handler: this.#handler(),
      signal: this.#abort.signal,
    });
    this.#links.set(mspId, link);
    return link;
  }

  #handler(): LinkHandler {
    return {
      onOwnerMessage: (link, message) => this.#take(link, message),
      onClose: (link) => {
        clearTimeout(this.#idle.get(link));
        this.#idle.delete(link);
        if (this.#links.get(link.mspId) === link) this.#links.delete(link.mspId);
      },
    };
  }

  #say(link: Link, message: OwnerMessage): void {
    if (link.closed) return;
    this.#said.set(link, (this.#said.get(link) ?? 0) + 1);
    this.#rest(link);
    link.sendOwnerMessage(message);
  }

  #take(link: Link, message: OwnerMessage): void {
    this.#rest(link);
    const from = link.mspId;
    for (const waiter of this.#waiters) {
      if (waiter.from !== from || !waiter.isIt(message)) continue;
      this.#waiters.delete(waiter);
      waiter.resolve(message);
      return;
    }
    for (const listener of this.#listeners) {
      listener(from, message, (reply) => this.#say(link, reply));
    }
  }

  #rest(link: Link): void {
    if (link.incoming || link.closed) return;
    clearTimeout(this.#idle.get(link));
    const timer = setTimeout(() => link.close('nothing was said for a while'), IDLE_MS);
    this.#idle.set(link, timer);
  }
}
