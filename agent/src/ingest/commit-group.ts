/**
 * Messages that are committed together, from the first one that comes to their acknowledgement.
 *
 * Enters: messages in order of receipt, each with its connection and its draft. Leaves: drafts for
 * the commit, then acknowledgements, in the same order for each connection. Always holds: a group that
 * waits for its sync keeps no readings: they would outlive V8's young generation, and copying them
 * out of it takes longer than deciding what of them is still wanted.
 */
import type { Reading } from '@blocktorrent/protocol/reading.ts';
import type { Delivery, Message } from './ingest.ts';

/** A reading that its commit will give a place: `seq` is 1 and `duplicateOf` null until then. */
export type Draft = { -readonly [Field in keyof Reading]: Reading[Field] };

/** See the header. */
export class CommitGroup {
  /** By a clock that never jumps: when the first and the last message came. */
  readonly firstMs: number;
  lastMs: number;
  /** Messages, and the bytes of their payloads. */
  count = 0;
  bytes = 0;
  /** Messages of QoS 0 that are taken: no broker keeps them. */
  unkept = 0;
  drafts: Draft[] = [];
  /** Packet identifiers to acknowledge; also of a connection that has none. */
  readonly #messageIds = new Map<Delivery, number[]>();

  constructor(firstMs: number) {
    this.firstMs = firstMs;
    this.lastMs = firstMs;
  }

  /** @param draft null where the message is not taken, and only to be acknowledged in its turn */
  add({ messageId, payload }: Message, draft: Draft | null, from: Delivery): void {
    this.count += 1;
    this.bytes += payload.length;
    if (draft !== null) this.drafts.push(draft);
    let ids = this.#messageIds.get(from);
    if (ids === undefined) {
      ids = [];
      this.#messageIds.set(from, ids);
    }
    if (messageId !== null) ids.push(messageId);
    else if (draft !== null) this.unkept += 1;
  }

  /** Returns how many could be acknowledged. */
  acknowledge(): number {
    let count = 0;
    for (const [from, ids] of this.#messageIds) {
      if (ids.length > 0) count += from.acknowledge(ids);
    }
    return count;
  }

  /** Whose messages these are. */
  get deliveries(): Iterable<Delivery> {
    return this.#messageIds.keys();
  }
}
