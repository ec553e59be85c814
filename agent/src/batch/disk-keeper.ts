/**
 * Keeps the gateway's files within their budget (see `disk-plan.ts`), and says what that has cost.
 *
 * Enters: closed batches and how safe they are. Leaves: unlinked files, and a reading on
 * `$blocktorrent/dropped` for each loss, in the batch that is open then. Always holds: the record is
 * durable before its batch is unlinked, wherever the disk still takes a record at all.
 */
import type { Reading } from '@blocktorrent/protocol/reading.ts';
import type { Log } from '../runtime/log.ts';
import type { ClosedBatch } from './batch-store.ts';
import { type Admission, type BatchSafety, type DiskLimits, planDisk } from './disk-plan.ts';

/** Topic of the records of what was dropped; no MQTT subscription of ours can mean it. */
export const DROPPED_TOPIC = '$blocktorrent/dropped';

/** Alarm while nothing is taken; also why commits fail meanwhile. */
export const NO_ROOM =
  'no room: readings are not taken, their brokers keep them; make room or raise batch.disk';

/** What the keeper does of a batch store. */
export interface KeptBatches {
  readonly nextSeq: number;
  readonly currentBytes: number;
  readonly owedBytes: number;
  list(): readonly ClosedBatch[];
  append(readings: readonly Reading[]): void;
  /** Also one that is still needed to know repetitions by. */
  drop(batch: number): void;
}

export interface DiskKeeperOptions {
  readonly store: KeptBatches;
  readonly limits: () => DiskLimits;
  readonly safetyOf: (batch: number) => BatchSafety;
  /** Priority of a rule, by its topic filter; 0 for null, where no rule fits. */
  readonly priorityOfRule: (rule: string | null) => number;
  readonly priorityOfTopic: (topic: string) => number;
  /** The highest of all rules. */
  readonly priorityMax: number;
  /** Of the sealed files that wait in the spool. */
  readonly spoolBytes: () => number;
  readonly freeBytes: () => number;
  readonly nowMs: () => number;
  /** A reading as it would be received now; for the records. */
  readonly blank: () => Omit<Reading, 'seq' | 'topic' | 'payload'>;
  readonly onDropped: (readings: number, where: 'batch' | 'arrival') => void;
  readonly log: Log;
}

/** For `status`. */
export interface DiskStatus {
  readonly usedBytes: number;
  readonly maxBytes: number;
  readonly freeBytes: number;
  readonly admission: Admission;
  /** Readings lost, in closed batches and on arrival: since this start, and as the newest batches say. */
  readonly droppedReadings: number;
  /** When the last of them were, ms since 1970; null if none. */
  readonly droppedMs: number | null;
  /** What needs somebody's attention; null if nothing. */
  readonly alarm: string | null;
}

interface Arrivals {
  readings: number;
  readonly fromMs: number;
  toMs: number;
  readonly topics: Map<string, number>;
}

/** A look is due when the open batch has grown by so much since the last one. */
const GROWN_BYTES = 1024 * 1024;
/** Unlinking is a sync each, and holds up readings: of a budget made much smaller, the rest waits. */
const DROPS_AT_ONCE = 32;
/** Topics that are counted one by one in a record. */
const TOPICS_RECORDED_MAX = 100;

export class DiskKeeper {
  readonly #options: DiskKeeperOptions;
  #status: DiskStatus;
  /** Records of batches that no batch could take yet. */
  #unrecorded: Uint8Array[] = [];
  /** Batches whose record is made, and that are still there; how safe each was then. */
  readonly #noted = new Map<number, BatchSafety>();
  /** Why the last batch could not be unlinked. */
  #failure: string | null = null;
  /** What was left out since its last record, which the disk has taken. */
  #arrivals: Arrivals | null = null;
  #dropped = 0;
  #droppedMs: number | null = null;
  /** Size of the open batch at the last look. */
  #seenBytes = 0;

  constructor(options: DiskKeeperOptions) {
    this.#options = options;
    const { maxBytes } = options.limits();
    const start = {
      usedBytes: 0,
      maxBytes,
      freeBytes: 0,
      admission: 'all',
      droppedReadings: 0,
      droppedMs: null,
    } as const;
    this.#status = { ...start, alarm: null };
  }

  /** Hands on the newest readings, and learns from them what was dropped before this start. */
  *learn(readings: Iterable<Reading>): Generator<Reading> {
    for (const reading of readings) {
      const loss = reading.topic === DROPPED_TOPIC ? lossIn(reading.payload) : 0;
      this.#dropped += loss;
      if (loss > 0) this.#droppedMs = Math.max(this.#droppedMs ?? 0, reading.receivedMs);
      yield reading;
    }
  }

  get status(): DiskStatus {
    return this.#status;
  }

  /** Whether `check` is due before its time: what came in since is more than a little. */
  get isDue(): boolean {
    return this.#options.store.currentBytes - this.#seenBytes >= GROWN_BYTES;
  }

  /** Measures, and drops what must go. Throws nothing that the disk may say. */
  check(): void {
    const { store, limits, safetyOf, spoolBytes, freeBytes } = this.#options;
    const { maxBytes, reserveBytes } = limits();
    const batches = store.list();
    const freeDisk = freeBytes();
    const free = freeDisk - store.owedBytes;
    this.#seenBytes = store.currentBytes;
    const otherBytes = store.currentBytes + spoolBytes();
    const usedBytes = batches.reduce((sum, { bytes }) => sum + bytes, otherBytes);
    // There may be thousands of batches, and mostly nothing has to go.
    const isTight = usedBytes > maxBytes || free < reserveBytes;
    const closed = new Map((isTight ? batches : []).map((one) => [one.batch, one]));
    const plan = planDisk(limits(), {
      batches: [...closed.values()].map(({ batch, bytes, rules }) => {
        return { batch, bytes, safety: safetyOf(batch), priority: this.#priorityOf(rules) };
      }),
      otherBytes: isTight ? otherBytes : usedBytes,
      freeBytes: free,
    });
    const drop = plan.drop.slice(0, DROPS_AT_ONCE).flatMap(({ batch, safety }) => {
      const found = closed.get(batch);
      return found === undefined ? [] : [{ found, safety }];
    });
    for (const { found, safety } of drop) if (safety !== 'available') this.#note(found, safety);
    // Before anything is unlinked: it begins a batch where none is open, so that the newest can go, too.
    this.#record();
    let freed = 0;
    for (const { found, safety } of drop) if (this.#drop(found, safety)) freed += found.bytes;
    this.#status = {
      usedBytes: usedBytes - freed,
      maxBytes,
      freeBytes: freeDisk,
      admission: plan.admission,
      droppedReadings: this.#dropped,
      droppedMs: this.#droppedMs,
      alarm: this.#alarm(plan.admission),
    };
  }

  /** Whether a reading of this topic is taken now. One that is not is counted, and recorded later. */
  admits(topic: string, nowMs: number): boolean {
    const { priorityOfTopic, priorityMax } = this.#options;
    if (this.#status.admission !== 'important' || priorityOfTopic(topic) >= priorityMax)
      return true;
    this.#arrivals ??= { readings: 0, fromMs: nowMs, toMs: nowMs, topics: new Map() };
    const { topics } = this.#arrivals;
    this.#arrivals.readings += 1;
    this.#arrivals.toMs = nowMs;
    if (topics.has(topic) || topics.size < TOPICS_RECORDED_MAX) {
      topics.set(topic, (topics.get(topic) ?? 0) + 1);
    }
    this.#count(1, 'arrival');
    return false;
  }

  /** Throws where no reading may come in now: nothing is acknowledged then, and brokers keep it. */
  requireRoom(): void {
    if (this.#status.admission !== 'none') return;
    throw new Error(NO_ROOM);
  }

  /** Records what was dropped on arrival; before the store is stopped. */
  stop(): void {
    this.#record();
  }

  #note(closed: ClosedBatch, safety: BatchSafety): void {
    const { batch, firstSeq, lastSeq, count, openedMs, closedMs, bytes } = closed;
    const noted = this.#noted.get(batch);
    // What was sealed then may have been given up since.
    if (noted !== undefined && (noted === safety || safety === 'sealed')) return;
    const chain = {
      chainStart: Buffer.from(closed.chainStart).toString('hex'),
      chainEnd: Buffer.from(closed.chainEnd).toString('hex'),
    };
    const place = { batch, firstSeq, lastSeq, readings: count, openedMs, closedMs, bytes };
    this.#unrecorded.push(json({ what: 'batch', ...place, sealed: safety === 'sealed', ...chain }));
    this.#noted.set(batch, safety);
  }

  /** Whether the batch has gone. */
  #drop({ batch, count }: ClosedBatch, safety: BatchSafety): boolean {
    const { store, log } = this.#options;
    // The next batch has to follow the newest one: that goes once there is a next one.
    if (store.currentBytes === 0 && store.list().at(-1)?.batch === batch) return false;
    try {
      store.drop(batch);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (this.#failure !== reason) log.error('a batch could not be dropped', { batch, error });
      this.#failure = reason;
      return false;
    }
    this.#failure = null;
    this.#noted.delete(batch);
    if (safety !== 'unsealed') {
      log.debug('a batch was unlinked to make room: it is sealed', { batch });
      return true;
    }
    this.#count(count, 'batch');
    log.error('a batch was dropped: the budget of the disk is used up', { batch, readings: count });
    return true;
  }

  #count(readings: number, where: 'batch' | 'arrival'): void {
    this.#dropped += readings;
    this.#droppedMs = this.#options.nowMs();
    this.#options.onDropped(readings, where);
  }

  /** Puts what is to be recorded into the open batch; tried again where that fails. */
  #record(): void {
    const { store, blank, log } = this.#options;
    const arrivals = this.#arrivals === null ? [] : [recordOf(this.#arrivals)];
    const payloads = [...this.#unrecorded, ...arrivals];
    if (payloads.length === 0) return;
    const firstSeq = store.nextSeq;
    const readings = payloads.map((payload, index) => {
      return { ...blank(), seq: firstSeq + index, topic: DROPPED_TOPIC, payload };
    });
    try {
      store.append(readings);
      this.#unrecorded = [];
      this.#arrivals = null;
    } catch (error) {
      log.error('what was dropped cannot be recorded yet', { error, records: readings.length });
    }
  }

  #priorityOf(rules: readonly (string | null)[]): number {
    return rules.reduce((most, rule) => Math.max(most, this.#options.priorityOfRule(rule)), 0);
  }

  #alarm(admission: Admission): string | null {
    if (admission === 'none') return NO_ROOM;
    if (admission === 'important') {
      return 'little room: only readings of the highest priority are taken';
    }
    return null;
  }
}

/** Readings that a record on `DROPPED_TOPIC` calls lost; 0 where it is none. */
function lossIn(payload: Uint8Array): number {
  const text = Buffer.from(payload).toString();
  const [count] = /"readings":\d+/.exec(text) ?? [];
  return count === undefined || text.includes('"sealed":true') ? 0 : Number(count.slice(11));
}

function recordOf({ topics, ...counts }: Arrivals): Uint8Array {
  return json({ what: 'arrivals', ...counts, topics: Object.fromEntries(topics) });
}

function json(value: object): Uint8Array {
  return Buffer.from(JSON.stringify(value));
}
