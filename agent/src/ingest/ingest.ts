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
import { CommitGroup, type Draft } from './commit-group.ts';
import type { Decode } from './decode.ts';
import type { Duplicates } from './duplicates.ts';
import { InFlightWindow } from './in-flight-window.ts';

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
  /** Durable readings of QoS 0. */
  unacknowledged(count: number): void;
  duplicates(count: number): void;
  deadLetters(count: number): void;
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
  /** Told of each group that is committed; what it returns is called once that is durable. */
  readonly onCommitted?: (readings: readonly Reading[]) => () => void;
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

/** When a message came. */
type Moment = Pick<Reading, 'receivedMs' | 'monotonicMs' | 'clockSynchronised'>;

/** What is known of a group from its commit until it is durable. */
interface Committed {
  readonly group: CommitGroup;
  readonly startedMs: number;
  readonly readings: number;
  readonly duplicates: number;
  readonly deadLetters: number;
  readonly onDurable: (() => void) | undefined;
}

/** The stage; one for all brokers. */
export class Ingest implements MessageSink {
  readonly #options: IngestOptions;
  readonly #maxReadings: number;
  readonly #maxDelayMs: number;
  readonly #window = new InFlightWindow();
  /** The group that is being gathered. */
  #group: CommitGroup | null = null;
  /** Committed and not known to be synced, in order. */
  #unsynced: Committed[] = [];
  #syncing = false;
  #moment: Moment | null = null;
  #timer: NodeJS.Timeout | null = null;
  #failure: string | null = null;

  constructor(options: IngestOptions) {
    this.#options = options;
    this.#maxReadings = options.maxReadings ?? INGEST_DEFAULTS.maxReadings;
    this.#maxDelayMs = options.maxDelayMs ?? INGEST_DEFAULTS.maxDelayMs;
  }

  /** Messages taken and not yet durable. */
  get held(): number {
    return this.#unsynced.reduce((sum, { group }) => sum + group.count, this.#group?.count ?? 0);
  }

  /** Why the last commit failed, for status; null when it did not. */
  get failure(): string | null {
    return this.#failure;
  }

  take(message: Message, from: Delivery): void {
    const now = this.#now();
    this.#group ??= new CommitGroup(now.monotonicMs);
    const group = this.#group;
    group.lastMs = now.monotonicMs;
    const taken = this.#options.admits?.(message.topic, now.receivedMs) ?? true;
    group.add(message, taken ? this.#draft(message, now) : null, from);
    this.#window.taken();
    // The source may deliver without ever letting a timer run: the group's size ends it, too.
    if (
      group.count >= Math.min(this.#maxReadings, this.#window.size) ||
      group.bytes >= INGEST_DEFAULTS.maxPayloadBytes
    ) {
      this.#window.full(group);
      this.#close();
    } else if (this.#timer === null) {
      this.#timer = setTimeout(() => this.#flushLate(), this.#maxDelayMs);
    }
  }

  flush(): void {
    this.#close();
    this.#syncNow();
  }

  /** Commits what is held; take nothing afterwards. */
  stop(): void {
    this.flush();
  }

  #flushLate(): void {
    const { clock } = this.#options;
    if (this.#group !== null) {
      this.#window.waited(this.#group, this.#maxDelayMs, clock.monotonicMs());
    }
    this.#close();
  }

  /** Ends the group that is being gathered: it is committed, and its sync begun. */
  #close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const group = this.#group;
    if (group === null) return;
    this.#group = null;
    this.#options.metrics.received(group.count);
    const committed = this.#commit(group);
    if (committed === null) {
      abandon([group], `commit failed: ${this.#failure}`);
      return;
    }
    this.#unsynced.push(committed);
    const { maxUnsynced, maxPayloadBytes } = INGEST_DEFAULTS;
    const unsyncedBytes = this.#unsynced.reduce((sum, one) => sum + one.group.bytes, 0);
    if (this.held >= maxUnsynced || unsyncedBytes >= maxPayloadBytes) this.#syncNow();
    else this.#sync();
  }

  /** Null where nothing of it is committed. */
  #commit(group: CommitGroup): Committed | null {
    const { store, duplicates, clock, onCommitted } = this.#options;
    const startedMs = clock.monotonicMs();
    const { drafts } = group;
    group.drafts = [];
    const firstSeq = store.nextSeq;
    let repeated = 0;
    let deadLetters = 0;
    let seq = firstSeq;
    for (const draft of drafts) {
      draft.seq = seq;
      seq += 1;
      draft.duplicateOf = duplicates.check(draft, draft.seq);
      if (draft.duplicateOf !== null) repeated += 1;
      else if (draft.refusal !== null) deadLetters += 1;
    }
    try {
      if (drafts.length > 0) store.write(drafts);
    } catch (error) {
      duplicates.forget(drafts, firstSeq);
      this.#failed(error, [group]);
      return null;
    }
    const readings = drafts.length;
    const onDurable = this.#tell(() => onCommitted?.(drafts));
    return { group, startedMs, readings, duplicates: repeated, deadLetters, onDurable };
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
  #settle(last: Committed): void {
    const { metrics, clock, log } = this.#options;
    const settled = this.#unsynced.splice(0, this.#unsynced.indexOf(last) + 1);
    if (settled.length === 0) return;
    if (this.#failure !== null) log.info('commits work again');
    this.#failure = null;
    for (const { group, startedMs, readings, duplicates, deadLetters, onDurable } of settled) {
      if (readings > 0) metrics.committed(readings, (clock.monotonicMs() - startedMs) / 1000);
      if (group.unkept > 0) metrics.unacknowledged(group.unkept);
      if (duplicates > 0) metrics.duplicates(duplicates);
      if (deadLetters > 0) metrics.deadLetters(deadLetters);
      metrics.acknowledged(group.acknowledge());
      this.#tell(() => onDurable?.());
    }
  }

  /** Whatever befalls who is told: these are acknowledged, and those behind them. */
  #tell<T>(tell: () => T): T | undefined {
    try {
      return tell();
    } catch (error) {
      this.#options.log.error('readings are safe, what follows a commit has failed', { error });
      return undefined;
    }
  }

  /** They are in the batch, and marked as sent before when their brokers send them again. */
  #giveUpUnsynced(error: unknown): void {
    const groups = this.#unsynced.splice(0).map(({ group }) => group);
    this.#failed(error, groups);
    abandon(groups, `sync failed: ${this.#failure}`);
  }

  #failed(error: unknown, groups: readonly CommitGroup[]): void {
    const reason = error instanceof Error ? error.message : String(error);
    const lost = groups.reduce((sum, { unkept }) => sum + unkept, 0);
    if (this.#failure !== reason) this.#options.log.error('commit failed', { error, lost });
    this.#failure = reason;
    this.#options.metrics.commitFailed();
  }

  /** The same for all that comes at once: what one read of a socket brings was there with its first. */
  #now(): Moment {
    if (this.#moment === null) {
      const { clock, clockSynchronised } = this.#options;
      this.#moment = {
        receivedMs: Math.max(0, Math.round(clock.nowMs())),
        monotonicMs: Math.max(0, Math.round(clock.monotonicMs())),
        clockSynchronised: clockSynchronised(),
      };
      queueMicrotask(() => {
        this.#moment = null;
      });
    }
    return this.#moment;
  }

  #draft(message: Message, now: Moment): Draft {
    const { bootId } = this.#options;
    const { topic, payload, qos, dup, retain } = message;
    const draft: Draft = {
      seq: 1,
      receivedMs: now.receivedMs,
      monotonicMs: now.monotonicMs,
      bootId,
      clockSynchronised: now.clockSynchronised,
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

function abandon(groups: readonly CommitGroup[], reason: string): void {
  for (const from of new Set(groups.flatMap(({ deliveries }) => [...deliveries]))) {
    from.abandon(reason);
  }
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
