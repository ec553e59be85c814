/**
 * The first stage (P §3.2.3, step 1): message in, durable reading, acknowledgement out.
 *
 * Enters: messages in order of receipt, with whoever delivered them. Leaves: readings in the open
 * batch, then the acknowledgement of each message. Always holds: nothing is acknowledged before its
 * commit is synced; acknowledgements of one connection are in order of receipt [MQTT-4.6.0-2];
 * a payload that no decoder takes is a dead letter, never an exception. Commits are grouped: at most
 * `maxReadings` messages, and the first of a group waits at most `maxDelayMs`, or until nothing more
 * can come (`in-flight-window.ts`). The next groups are committed while the disk syncs the ones before:
 * one sync at a time, each for all that was committed until then.
 * When a commit or a sync fails, nothing of it is acknowledged and the connections are given up, so
 * that their brokers send it again.
 */
import { createHash } from 'node:crypto';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import { type Reading, requireReading, type Sample } from '@blocktorrent/protocol/reading.ts';
import type { Clock } from '../runtime/clock.ts';
import type { Log } from '../runtime/log.ts';
import type { Decode } from './decode.ts';
import type { Duplicates } from './duplicates.ts';
import { type GroupTimes, InFlightWindow } from './in-flight-window.ts';

/** One message as a broker delivered it. */
export interface Message {
  readonly topic: string;
  readonly payload: Uint8Array;
  readonly qos: 0 | 1 | 2;
  readonly dup: boolean;
  readonly retain: boolean;
  /** Packet identifier to acknowledge; null for QoS 0. */
  readonly messageId: number | null;
  /** What stands on its envelope (MQTT 5), to be kept with the reading; none if not given. */
  readonly properties?: readonly Sample[];
}

/** The connection that delivered a message. */
export interface Delivery {
  /** Acknowledges messages, in this order; returns how many of them could be (0 once it is lost). */
  acknowledge(messageIds: readonly number[]): number;
  /** Ends the connection without acknowledging; its broker keeps what is not acknowledged. */
  abandon(reason: string): void;
}

/** Where messages go; what a source knows of this stage. */
export interface MessageSink {
  take(message: Message, from: Delivery): void;
  /** Commits, syncs and acknowledges all that was taken, before it returns. */
  flush(): void;
}

/** Where readings go: the open batch. */
export interface ReadingStore {
  readonly nextSeq: number;
  /** All or none; throws otherwise. Survives a power cut once synced. */
  write(readings: readonly Reading[]): void;
  /** Resolves when all that was written before survives a power cut. */
  sync(): Promise<void>;
  /** The same before it returns; throws otherwise. */
  syncNow(): void;
}

/** What is counted; durations in seconds. */
export interface IngestMetrics {
  received(count: number): void;
  committed(count: number, seconds: number): void;
  acknowledged(count: number): void;
  duplicate(): void;
  deadLetter(): void;
  commitFailed(): void;
}

export interface IngestOptions {
  readonly store: ReadingStore;
  readonly decode: Decode;
  readonly duplicates: Duplicates;
  readonly clock: Clock;
  readonly bootId: string;
  readonly clockSynchronised: () => boolean;
  readonly metrics: IngestMetrics;
  readonly log: Log;
  /** Messages of one commit, at most. */
  readonly maxReadings?: number;
  /** How long the first message of a group waits for its commit. */
  readonly maxDelayMs?: number;
  /** Whether a reading of this topic is taken now; one that is not is acknowledged and gone. */
  readonly admits?: (topic: string, nowMs: number) => boolean;
  /** Told of each group that is durable; for rotation, and for watching. */
  readonly onCommitted?: (readings: readonly Reading[]) => void;
}

/** Every default of this stage. */
export const INGEST_DEFAULTS = {
  maxReadings: 500,
  maxDelayMs: 8,
  /** Payload bytes of one commit: a group is closed early when it has so many. */
  maxPayloadBytes: 8 * 1024 * 1024,
  /** Messages that are committed and not synced; beyond that, and beyond the bytes above, nothing is taken until they are. */
  maxUnsynced: 4_000,
} as const;

/** A reading that its commit will give a place: `seq` is 1 and `duplicateOf` null until then. */
type Draft = { -readonly [Field in keyof Reading]: Reading[Field] };

interface Held {
  /** Null where it is not taken, and only to be acknowledged in its turn. */
  readonly draft: Draft | null;
  readonly messageId: number | null;
  readonly from: Delivery;
}

/** What was committed together. */
interface Group {
  readonly held: readonly Held[];
  readonly readings: readonly Reading[];
  readonly bytes: number;
  readonly startedMs: number;
}

/** The stage; one for all brokers. */
export class Ingest implements MessageSink {
  readonly #options: IngestOptions;
  readonly #maxReadings: number;
  readonly #maxDelayMs: number;
  readonly #window = new InFlightWindow();
  #held: Held[] = [];
  #heldBytes = 0;
  /** Committed and not known to be synced, in order. */
  #unsynced: Group[] = [];
  #syncing = false;
  #firstMs = 0;
  #lastMs = 0;
  #timer: NodeJS.Timeout | null = null;
  #failure: string | null = null;

  constructor(options: IngestOptions) {
    this.#options = options;
    this.#maxReadings = options.maxReadings ?? INGEST_DEFAULTS.maxReadings;
    this.#maxDelayMs = options.maxDelayMs ?? INGEST_DEFAULTS.maxDelayMs;
  }

  /** Messages taken and not yet durable. */
  get held(): number {
    return this.#held.length + this.#unsynced.reduce((sum, { held }) => sum + held.length, 0);
  }

  /** Why the last commit failed, for status; null when it did not. */
  get failure(): string | null {
    return this.#failure;
  }

  take(message: Message, from: Delivery): void {
    const { admits, clock } = this.#options;
    const nowMs = clock.nowMs();
    this.#lastMs = clock.monotonicMs();
    if (this.#held.length === 0) this.#firstMs = this.#lastMs;
    const taken = admits?.(message.topic, nowMs) ?? true;
    const draft = taken ? this.#draft(message, nowMs, this.#lastMs) : null;
    this.#held.push({ draft, messageId: message.messageId, from });
    this.#heldBytes += message.payload.length;
    this.#window.taken();
    const count = this.#held.length;
    // The source may deliver without ever letting a timer run: the group's size ends it, too.
    if (
      count >= Math.min(this.#maxReadings, this.#window.size) ||
      this.#heldBytes >= INGEST_DEFAULTS.maxPayloadBytes
    ) {
      this.#window.full(this.#times());
      this.#close();
    } else if (this.#timer === null) {
      this.#timer = setTimeout(() => this.#flushLate(), this.#maxDelayMs);
    }
  }

  flush(): void {
    this.#close();
    this.#syncNow();
  }

  /** Ends the group that is being gathered: it is committed, and its sync begun. */
  #close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#held.length === 0) return;
    const held = this.#held;
    const bytes = this.#heldBytes;
    this.#held = [];
    this.#heldBytes = 0;
    this.#options.metrics.received(held.length);
    const startedMs = this.#options.clock.monotonicMs();
    const readings = this.#commit(held);
    if (readings === null) {
      abandon([held], `commit failed: ${this.#failure}`);
      return;
    }
    this.#unsynced.push({ held, readings, bytes, startedMs });
    const { maxUnsynced, maxPayloadBytes } = INGEST_DEFAULTS;
    const unsyncedBytes = this.#unsynced.reduce((sum, group) => sum + group.bytes, 0);
    if (this.held >= maxUnsynced || unsyncedBytes >= maxPayloadBytes) this.#syncNow();
    else this.#sync();
  }

  #sync(): void {
    const last = this.#unsynced.at(-1);
    if (this.#syncing || last === undefined) return;
    this.#syncing = true;
    this.#options.store.sync().then(
      () => {
        this.#syncing = false;
        this.#settle(last);
        this.#sync();
      },
      (error: unknown) => {
        this.#syncing = false;
        this.#giveUpUnsynced(error);
      },
    );
  }

  #syncNow(): void {
    const last = this.#unsynced.at(-1);
    if (last === undefined) return;
    try {
      this.#options.store.syncNow();
    } catch (error) {
      this.#giveUpUnsynced(error);
      return;
    }
    this.#settle(last);
  }

  /** Everything up to `last` is on the disk; it may have been settled by another sync before. */
  #settle(last: Group): void {
    const { metrics, clock, log, onCommitted } = this.#options;
    const groups = this.#unsynced.splice(0, this.#unsynced.indexOf(last) + 1);
    if (groups.length === 0) return;
    if (this.#failure !== null) log.info('commits work again');
    this.#failure = null;
    for (const group of groups) {
      const { held, readings, startedMs } = group;
      if (readings.length > 0) {
        metrics.committed(readings.length, (clock.monotonicMs() - startedMs) / 1000);
      }
      for (const { duplicateOf, refusal } of readings) {
        if (duplicateOf !== null) metrics.duplicate();
        else if (refusal !== null) metrics.deadLetter();
      }
      this.#acknowledge(held);
      onCommitted?.(readings);
    }
  }

  /** They are in the batch, and marked as sent before when their brokers send them again. */
  #giveUpUnsynced(error: unknown): void {
    const groups = this.#unsynced.splice(0).map(({ held }) => held);
    this.#failed(error, groups);
    abandon(groups, `sync failed: ${this.#failure}`);
  }

  #failed(error: unknown, groups: readonly (readonly Held[])[]): void {
    const reason = error instanceof Error ? error.message : String(error);
    const lost = groups.flat().filter(({ messageId }) => messageId === null).length;
    if (this.#failure !== reason) this.#options.log.error('commit failed', { error, lost });
    this.#failure = reason;
    this.#options.metrics.commitFailed();
  }

  #flushLate(): void {
    this.#window.waited(this.#times(), this.#maxDelayMs, this.#options.clock.monotonicMs());
    this.#close();
  }

  #times(): GroupTimes {
    return { count: this.#held.length, firstMs: this.#firstMs, lastMs: this.#lastMs };
  }

  /** Commits what is held; take nothing afterwards. */
  stop(): void {
    this.flush();
  }

  #commit(group: readonly Held[]): Reading[] | null {
    const { store, duplicates } = this.#options;
    const firstSeq = store.nextSeq;
    const readings: Reading[] = [];
    for (const { draft } of group) {
      if (draft === null) continue;
      draft.seq = firstSeq + readings.length;
      draft.duplicateOf = duplicates.check(draft, draft.seq);
      readings.push(draft);
    }
    if (readings.length === 0) return readings;
    try {
      store.write(readings);
    } catch (error) {
      duplicates.forget(readings, firstSeq);
      this.#failed(error, [group]);
      return null;
    }
    return readings;
  }

  #acknowledge(group: readonly Held[]): void {
    const byDelivery = new Map<Delivery, number[]>();
    for (const { messageId, from } of group) {
      if (messageId === null) continue;
      const ids = byDelivery.get(from);
      if (ids === undefined) byDelivery.set(from, [messageId]);
      else ids.push(messageId);
    }
    for (const [from, ids] of byDelivery) {
      this.#options.metrics.acknowledged(from.acknowledge(ids));
    }
  }

  #draft(message: Message, nowMs: number, monotonicMs: number): Draft {
    const { bootId } = this.#options;
    const { topic, payload, qos, dup, retain } = message;
    const draft: Draft = {
      seq: 1,
      receivedMs: Math.max(0, Math.round(nowMs)),
      monotonicMs: Math.max(0, Math.round(monotonicMs)),
      bootId,
      clockSynchronised: this.#options.clockSynchronised(),
      topic,
      qos,
      dup,
      retain,
      payload,
      // Field by field: spreading NOTHING_FOUND makes an object of twice the size.
      sensor: null,
      deviceSeq: null,
      deviceMs: null,
      historical: false,
      // Also with a dead letter: what stands on the envelope does not depend on the payload.
      samples: message.properties ?? NOTHING_FOUND.samples,
      duplicateOf: null,
      refusal: null,
    };
    if (payload.length > LIMITS.payloadBytesMax) {
      const digest = createHash('sha256').update(payload).digest('hex');
      const limit = LIMITS.payloadBytesMax;
      draft.refusal = `payload of ${payload.length} bytes not kept, at most ${limit}; SHA-256 ${digest}`;
      draft.payload = new Uint8Array(0);
      return draft;
    }
    const decoded = this.#options.decode(topic, payload, draft.receivedMs);
    if (decoded.refusal !== null) {
      draft.refusal = decoded.refusal;
      return draft;
    }
    draft.sensor = decoded.sensor;
    draft.deviceSeq = decoded.deviceSeq;
    draft.deviceMs = decoded.deviceMs;
    draft.historical = decoded.historical;
    const { samples: properties } = draft;
    draft.samples = properties.length === 0 ? decoded.samples : [...decoded.samples, ...properties];
    try {
      requireReading(draft);
    } catch (error) {
      // What a decoder found and no batch can hold must not stop the group.
      Object.assign(draft, NOTHING_FOUND, { samples: properties });
      draft.refusal = error instanceof Error ? error.message : String(error);
    }
    return draft;
  }
}

function abandon(groups: readonly (readonly Held[])[], reason: string): void {
  for (const from of new Set(groups.flat().map((held) => held.from))) from.abandon(reason);
}

/** A reading of the gateway's own, without topic and payload. */
export function ownReading(
  clock: Clock,
  bootId: string,
  clockSynchronised: boolean,
): Omit<Reading, 'seq' | 'topic' | 'payload'> {
  return {
    receivedMs: Math.max(0, Math.round(clock.nowMs())),
    monotonicMs: Math.max(0, Math.round(clock.monotonicMs())),
    bootId,
    clockSynchronised,
    qos: 0,
    dup: false,
    retain: false,
    ...NOTHING_FOUND,
    duplicateOf: null,
    refusal: null,
  };
}

const NOTHING_FOUND = {
  sensor: null,
  deviceSeq: null,
  deviceMs: null,
  historical: false,
  samples: [],
} as const;
