/**
 * Anchors the head of the gateway's chain on the ledger, every few seconds while it changes: from
 * then on no reading before it can be changed without being found (PROTOCOL §7).
 *
 * Enters: the chain's head. Leaves: `records:Anchor`. Always holds: one transaction at a time, only
 * the newest head; what cannot be anchored now is in the anchor that is made when the ledger is back.
 */
import { toHex } from '@blocktorrent/protocol/bytes.ts';
import type { MspId } from '@blocktorrent/protocol/ledger-api.ts';
import { type Ledger, LedgerError } from '../ledger/ledger.ts';
import type { Log } from '../runtime/log.ts';

/** The chain as it is now; a part of `BatchMeta`. */
export interface ChainHead {
  readonly batch: number;
  /** Readings in the chain. */
  readonly lastSeq: number;
  readonly chainEnd: Uint8Array;
}

export interface AnchorerOptions {
  readonly ledger: Pick<Ledger, 'submit' | 'evaluate'>;
  readonly source: MspId;
  /** Peer name. */
  readonly gateway: string;
  readonly head: () => ChainHead;
  /** 0: never. */
  readonly everyMs: number;
  /**
   * Keeps a contradiction over restarts: the next anchor hides it, since from then on the newest is ours
   * again. Under another name it is another chain.
   */
  readonly memory: { get(key: string): string | null; put(key: string, value: string): void };
  readonly nowMs: () => number;
  readonly onOutcome: (outcome: 'anchored' | 'failed') => void;
  readonly log: Log;
}

/** For `status`. */
export interface AnchorStatus {
  /** Readings that the last anchor covers; null before the ledger has told. */
  readonly count: number | null;
  /** Why the last try failed; null if it did not. */
  readonly error: string | null;
  /** The ledger and our files contradicted each other; null if they never did. */
  readonly alarm: string | null;
  /** When that was found last, ms since 1970. */
  readonly alarmMs: number | null;
}

const NO_ALARM = '{ "alarm": null, "alarmMs": null }';
/** While the ledger is away it is asked so often at least: it may be back. */
const OFFLINE_RETRY_MS = 10_000;

export class Anchorer {
  readonly #options: AnchorerOptions;
  #status: AnchorStatus;
  #compared = false;
  #timer: NodeJS.Timeout | null = null;
  #running: Promise<void> = Promise.resolve();
  #stopped = false;
  /** The last try met no ledger. */
  #offline = false;

  constructor(options: AnchorerOptions) {
    this.#options = options;
    const known = options.memory.get(keyOf(options));
    const found = JSON.parse(known ?? NO_ALARM) as Pick<AnchorStatus, 'alarm' | 'alarmMs'>;
    this.#status = { count: null, error: null, ...found };
  }

  get status(): AnchorStatus {
    return this.#status;
  }

  start(): void {
    this.#schedule();
  }

  /** Waits for a transaction that is under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    await this.#running;
  }

  #schedule(): void {
    const { everyMs } = this.#options;
    if (everyMs === 0 || this.#stopped) return;
    const delayMs = this.#offline ? Math.min(everyMs, OFFLINE_RETRY_MS) : everyMs;
    this.#timer = setTimeout(() => {
      this.#running = this.#anchor().finally(() => this.#schedule());
    }, delayMs);
  }

  async #anchor(): Promise<void> {
    const { ledger, gateway, head, onOutcome, log } = this.#options;
    const { batch, lastSeq: count, chainEnd } = head();
    if (count === 0 || count === this.#status.count) return;
    try {
      if (!this.#compared) await this.#compare(count, toHex(chainEnd));
      this.#compared = true;
      // A restart without a reading in between.
      if (count === this.#status.count) return;
      const anchor = { gateway, batch, count, head: toHex(chainEnd) };
      await ledger.submit('ledger/records:Anchor', anchor);
      if (this.#status.error !== null) log.info('anchors work again', { count });
      this.#status = { ...this.#status, count, error: null };
      this.#offline = false;
      onOutcome('anchored');
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (this.#status.error !== reason) log.warn('no anchor, will be tried again', { error });
      this.#status = { ...this.#status, error: reason };
      this.#offline = error instanceof LedgerError && error.code === 'unavailable';
      onOutcome('failed');
    }
  }

  /** Once after the start: where the ledger has got to; a disk that was set back shows in the anchors that were made since. */
  async #compare(count: number, head: string): Promise<void> {
    const { ledger, source, gateway, memory, nowMs, log } = this.#options;
    const last = await ledger.evaluate('ledger/records:GetAnchor', { source, gateway });
    if (last === null) return;
    if (last.count < count || (last.count === count && last.head === head)) {
      this.#status = { ...this.#status, count: last.count, error: null };
      this.#offline = false;
      return;
    }
    const alarm =
      last.count > count
        ? `the ledger has an anchor over ${last.count} readings, here are ${count}: readings are missing; with an old or empty dataDir give the gateway another name`
        : `the ledger has another anchor over ${count} readings: readings were changed`;
    const found = { alarm, alarmMs: nowMs() };
    this.#status = { ...this.#status, ...found };
    memory.put(keyOf(this.#options), JSON.stringify(found));
    log.error(alarm);
  }
}

function keyOf({ gateway }: AnchorerOptions): string {
  return `anchor-alarm/${gateway}`;
}
