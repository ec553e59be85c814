/**
 * The gateway's side of an agent: brokers, ingest, the open batch, and its hand-over to the pipeline.
 *
 * Enters: MQTT messages, rows of tables. Leaves: closed batches in the queue of files
 * (`closed-batches.ts`). Always holds: a reading is committed and synced before it is acknowledged.
 */

import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Reading } from '@blocktorrent/protocol/reading.ts';
import { matchesFilter } from '@blocktorrent/protocol/topic-filter.ts';
import { Anchorer, type AnchorStatus } from './batch/anchorer.ts';
import { batchRulesOf } from './batch/batch-rule.ts';
import { BatchStore, type BatchStoreOptions, type ClosedBatch } from './batch/batch-store.ts';
import { type DeadLetter, type DeadLetterQuery, findDeadLetters } from './batch/dead-letters.ts';
import { DiskKeeper, type DiskStatus, NO_ROOM } from './batch/disk-keeper.ts';
import { newestSample } from './batch/newest-sample.ts';
import { ClosedBatches, safetyAt } from './closed-batches.ts';
import type { Config } from './config/schema.ts';
import type { House } from './house.ts';
import { createDecode } from './ingest/decode.ts';
import { createDecoderMemory, type StoredMemory } from './ingest/decoder-memory.ts';
import { DUPLICATES_REMEMBERED, Duplicates } from './ingest/duplicates.ts';
import type { DecoderMemory } from './ingest/finding.ts';
import { Ingest, type IngestMetrics, ownReading, type ReadingStore } from './ingest/ingest.ts';
import { MqttSource, type MqttSourceState } from './ingest/mqtt-source.ts';
import { Rebirths } from './ingest/rebirths.ts';
import {
  CURSOR_SAMPLE,
  type Cursor,
  type SourceState,
  TableSource,
} from './ingest/table-source.ts';
import { Taps } from './ingest/taps.ts';
import { linkOf, memoriesOf, statusTopicOf } from './mqtt-link.ts';
import { openQuarantine } from './open-quarantine.ts';
import { systemClock } from './runtime/clock.ts';
import { folderBytes, freeBytes } from './runtime/disk-space.ts';
import type { Metrics } from './runtime/metrics.ts';
import type { Quarantine } from './runtime/quarantine.ts';
import { type Database, openDatabase, openReadOnly, openSound } from './runtime/sqlite.ts';

/** How often age is looked at, at most. */
const ROTATE_CHECK_MS_MAX = 1_000;
/** How often the disk is looked at, besides after each closed batch and when the open one grows. */
const DISK_CHECK_MS = 2_000;
type Mqtt = NonNullable<Config['mqtt']>;
type Table = Config['sources']['tables'][number];

export interface GatewayCounts {
  /** Readings committed and synced since the gateway's first start. */
  readonly readings: number;
  /** Payloads that no decoder took, since this start. */
  readonly deadLetters: number;
  readonly openReadings: number;
  readonly disk: DiskStatus;
  readonly anchor: AnchorStatus;
  /** `connected`: and subscribed, so that nothing published from here on is missed. */
  readonly brokers: readonly {
    url: string;
    connected: boolean;
    reason: string | null;
    /** Since the first start. */
    sessionsLost: number;
    /** When it was noticed last, ms since 1970. */
    sessionLostMs: number | null;
  }[];
}

/** The gateway, or null where the agent has not the role `ingest`. */
export function makeGateway(house: House, wake: () => void): Gateway | null {
  const { roles, mqtt } = house.config;
  return roles.includes('ingest') && mqtt !== undefined ? new Gateway(house, mqtt, wake) : null;
}

export class Gateway {
  /** Who is shown the readings as they come. */
  readonly taps = new Taps();
  readonly #house: House;
  readonly #wake: () => void;
  readonly #store: BatchStore;
  readonly #closedBatches: ClosedBatches;
  readonly #quarantine: Quarantine;
  readonly #memory: Database;
  readonly #disk: DiskKeeper;
  readonly #anchorer: Anchorer;
  readonly #ingest: Ingest;
  readonly #sources: readonly MqttSource[];
  readonly #tables: readonly TableSource[];
  readonly #rebirths: Rebirths;
  readonly #clockSynchronised: () => boolean;
  #deadLetters = 0;
  /** Why the open batch could not be closed when that was due. */
  #closeFailure: string | null = null;
  /** What the metrics know of the brokers. */
  #counted = { reconnects: 0, lost: 0 };
  #timer: NodeJS.Timeout | null = null;
  #diskTimer: NodeJS.Timeout | null = null;

  constructor(house: House, mqtt: Mqtt, wake: () => void) {
    const { config, log, metrics } = house;
    const ingestLog = log.child({ component: 'ingest' });
    this.#house = house;
    this.#clockSynchronised = () => house.clock.state === 'synchronised';
    this.#wake = wake;
    this.#quarantine = openQuarantine(config);
    this.#store = BatchStore.open(this.#storeOptions(mqtt));
    this.#closedBatches = new ClosedBatches({
      store: this.#store,
      queue: house.queue,
      log: house.log,
    });
    this.#memory = openSound(join(config.dataDir, 'decoders.sqlite'), () => undefined, {
      quarantine: this.#quarantine,
      log: ingestLog,
    });
    const memory = createDecoderMemory(this.#memory, ingestLog);
    const duplicates = new Duplicates();
    this.#disk = this.#diskKeeper(mqtt);
    duplicates.learn(this.#disk.learn(this.#store.recent(DUPLICATES_REMEMBERED)));
    this.#disk.check();
    this.#anchorer = new Anchorer({
      ledger: house.ledger,
      source: config.organisation.mspId,
      gateway: config.name,
      head: () => this.#store.durable,
      everyMs: config.batch.anchorEveryMs,
      memory,
      nowMs: systemClock.nowMs,
      onOutcome: (outcome) => metrics.add('batchAnchors', 1, { outcome }),
      log: log.child({ component: 'anchor' }),
    });
    // What we say of ourselves is no reading, whatever the rules.
    const ownTopic = statusTopicOf(config, mqtt);
    this.#ingest = new Ingest({
      store: guarded(this.#store, this.#disk, memory),
      admits: (topic, nowMs) => topic !== ownTopic && this.#disk.admits(topic, nowMs),
      decode: createDecode(mqtt.rules, memory.later),
      duplicates,
      clock: systemClock,
      bootId: bootId(),
      clockSynchronised: this.#clockSynchronised,
      metrics: this.#ingestMetrics(metrics),
      log: ingestLog,
      maxReadings: Math.min(config.batch.commitMaxReadings, config.batch.maxReadings),
      maxDelayMs: config.batch.commitMaxDelayMs,
      onCommitted: (readings) => {
        this.#logCommitted(readings);
        this.#rebirths.see(readings);
        const show = this.taps.keep(readings);
        // Not when it is durable: while the disk syncs, thousands more may be committed.
        this.#rotateIfDue();
        return () => {
          show();
          if (this.#disk.isDue) this.#checkDisk();
        };
      },
    });
    this.#sources = mqtt.brokers.map(
      (broker) =>
        new MqttSource({
          ...linkOf(config, mqtt, broker),
          ...memoriesOf(memory, broker),
          random: Math.random,
          clock: systemClock,
          sink: this.#ingest,
          log: ingestLog,
          onState: () => this.#countBrokers(),
        }),
    );
    // Of former starts; counters begin at 0.
    this.#counted.lost = this.#sources.reduce((sum, { state }) => sum + state.sessionsLost, 0);
    this.#rebirths = new Rebirths({
      filters: mqtt.rules.filter(({ rebirth }) => rebirth).map(({ topic }) => topic),
      publish: (topic, payload) => {
        for (const source of this.#sources) source.publish(topic, payload);
      },
      ...systemClock,
      onAsked: () => metrics.add('ingestRebirthRequests', 1),
      log: ingestLog,
    });
    this.#tables = config.sources.tables.map((table) => this.#tableSource(table, memory));
  }

  /** Other sources than brokers. */
  get tables(): readonly SourceState[] {
    return this.#tables.map(({ state }) => state);
  }

  start(): void {
    this.#logOpen();
    this.queueAgain();
    this.#closedBatches.deleteAvailable();
    this.#rotateIfDue();
    const checkMs = Math.min(ROTATE_CHECK_MS_MAX, this.#house.config.batch.maxAgeMs / 4);
    this.#timer = setInterval(() => this.#rotateIfDue(), checkMs);
    this.#diskTimer = setInterval(() => {
      this.#checkDisk();
      if (!this.#closedBatches.isUnqueued) return;
      this.queueAgain();
      this.#wake();
    }, DISK_CHECK_MS);
    this.#anchorer.start();
    for (const source of this.#sources) source.start();
    for (const table of this.#tables) table.start();
    this.#wake();
  }

  /** Commits and acknowledges what was taken; the open batch stays open over the restart. */
  async stop(): Promise<void> {
    for (const timer of [this.#timer, this.#diskTimer]) if (timer !== null) clearInterval(timer);
    for (const table of this.#tables) table.stop();
    this.#rebirths.stop();
    await Promise.all([this.#anchorer.stop(), ...this.#sources.map((source) => source.stop())]);
    this.#ingest.stop();
    this.#disk.stop();
    this.#store.stop();
    this.#memory.close();
  }

  /** Closes the open batch now, whatever its age. */
  closeBatch(): void {
    this.#ingest.flush();
    this.#closed(this.#store.closeCurrent(), 'asked');
  }

  /**
   * Every closed batch is in the queue: new ones, and those whose last try was given up. Where the disk
   * does not take that now, it is tried again.
   */
  queueAgain(): void {
    this.#closedBatches.queueAgain();
  }

  /** A batch is available on the ledger: our copy may go. */
  batchAvailable(batch: number): void {
    this.#closedBatches.becameAvailable(batch);
  }

  /** Dead letters of all batches that are still here, the newest first. */
  deadLetters(query: DeadLetterQuery): Promise<DeadLetter[]> {
    return findDeadLetters(this.#store.newestFirst(), query);
  }

  counts(): GatewayCounts {
    const { lastSeq, count } = this.#store.durable;
    return {
      readings: lastSeq,
      deadLetters: this.#deadLetters,
      openReadings: count,
      disk: this.#diskStatus(),
      anchor: this.#anchorer.status,
      brokers: this.#sources.map(({ state }) => {
        const { url, subscribed, refused, sessionsLost, sessionLostMs } = state;
        const refusal = refused.length === 0 ? null : `not granted: ${refused.join(', ')}`;
        const reason = state.reason ?? refusal;
        return { url, connected: subscribed, reason, sessionsLost, sessionLostMs };
      }),
    };
  }

  #rotateIfDue(): void {
    try {
      const now = systemClock.nowMs();
      const reason = this.#store.due(now);
      if (reason !== null) {
        this.#closed(this.#store.rotateIfDue(now), reason);
        this.#closeFailure = null;
      }
      const { metrics } = this.#house;
      metrics.set('ingestReadingsHeld', this.#ingest.held);
      metrics.set('batchOpenReadings', this.#store.current.count);
      metrics.set('batchOpenBytes', this.#store.currentBytes);
    } catch (error) {
      // A reader may be looking at the file: readings are safe in the open batch meanwhile.
      const failure = error instanceof Error ? error.message : String(error);
      if (failure !== this.#closeFailure) {
        this.#house.log.warn('the batch could not be closed, will be tried again', { error });
      }
      this.#closeFailure = failure;
    }
  }

  #closed(closed: ClosedBatch | null, reason: string): void {
    if (closed === null) return;
    this.#house.metrics.add('batchesClosed', 1, { reason });
    this.#house.log.info('batch closed', { batch: closed.batch, readings: closed.count, reason });
    this.#logOpen();
    this.#closedBatches.add(closed);
    this.#checkDisk();
    this.#wake();
  }

  /** By the batch's number a reading can be followed through the log, to the ledger's transaction. */
  #logOpen(): void {
    const { batch, firstSeq, count } = this.#store.current;
    this.#house.log.info('batch open', { batch, firstSeq, readings: count });
  }

  #logCommitted(readings: readonly Reading[]): void {
    const { batch } = this.#store.current;
    const [first, last] = [readings[0]?.seq, readings.at(-1)?.seq];
    this.#house.log.debug('readings committed', { batch, fromSeq: first, toSeq: last });
  }

  /** Also what the disk says by itself: a commit that fails is somebody's to look at. */
  #diskStatus(): DiskStatus {
    const { failure } = this.#ingest;
    const { status } = this.#disk;
    // Why there was no room until a moment ago is not said twice.
    if (failure === null || failure === NO_ROOM || status.admission === 'none') {
      return { ...status, alarm: status.alarm ?? this.#damageAlarm() };
    }
    const before = status.alarm === null ? '' : `; ${status.alarm}`;
    return {
      ...status,
      admission: 'none',
      alarm: `readings cannot be committed, their brokers keep them: ${failure}${before}`,
    };
  }

  /** Of damaged batches that are still in their place; those that are not are in the quarantine. */
  #damageAlarm(): string | null {
    const left = this.#store.damages.filter(({ salvaged }) => salvaged === null);
    if (left.length === 0) return null;
    const batches = left.map(({ batch }) => batch).join(', ');
    return `damaged, and not put aside for what the disk says: batch ${batches}; the next start tries again`;
  }

  #checkDisk(): void {
    try {
      this.#disk.check();
    } catch (error) {
      this.#house.log.error('the disk could not be looked at', { error });
    }
    const { usedBytes, maxBytes } = this.#disk.status;
    this.#house.metrics.set('batchDiskUsedBytes', usedBytes);
    this.#house.metrics.set('batchDiskMaxBytes', maxBytes);
  }

  #diskKeeper(mqtt: Mqtt): DiskKeeper {
    const { config, metrics, log } = this.#house;
    const spool = join(config.dataDir, 'spool');
    return new DiskKeeper({
      store: this.#store,
      limits: () => config.batch.disk,
      safetyOf: (batch) => this.#closedBatches.safetyOf(batch),
      priorityOfRule: (name) => mqtt.rules.find(({ topic }) => topic === name)?.priority ?? 0,
      priorityOfTopic: (topic) =>
        mqtt.rules.find((rule) => matchesFilter(rule.topic, topic))?.priority ?? 0,
      priorityMax: Math.max(...mqtt.rules.map(({ priority }) => priority)),
      // What is being sealed is no reason to lose a reading: it goes, or takes the place of its input.
      spoolBytes: () => folderBytes(spool, (name) => name.endsWith('.age')),
      freeBytes: () => freeBytes(config.dataDir),
      nowMs: systemClock.nowMs,
      blank: () => ownReading(systemClock, bootId(), this.#clockSynchronised()),
      onDropped: (readings, where) => metrics.add('batchDroppedReadings', readings, { where }),
      log: log.child({ component: 'disk' }),
    });
  }

  #storeOptions(mqtt: Mqtt): BatchStoreOptions {
    const { config, queue, log, starting } = this.#house;
    return {
      folder: join(config.dataDir, 'batches'),
      source: config.organisation.mspId,
      gateway: config.name,
      bootId: bootId(),
      rules: batchRulesOf(mqtt.rules),
      // Looked at each time: a reload changes them.
      get maxAgeMs() {
        return config.batch.maxAgeMs;
      },
      get maxReadings() {
        return config.batch.maxReadings;
      },
      get maxBytes() {
        return config.batch.maxBytes;
      },
      nowMs: systemClock.nowMs,
      openDatabase,
      openReadOnly,
      quarantine: this.#quarantine,
      blank: () => ownReading(systemClock, bootId(), this.#clockSynchronised()),
      isSafe: (batch) => safetyAt(queue.batchStage(batch)) !== 'unsealed',
      opening: (done, of) => starting(`closed batch ${done + 1} of ${of}`),
      log: log.child({ component: 'batch' }),
    };
  }

  #tableSource(table: Table, memory: DecoderMemory): TableSource {
    const { config, metrics, log } = this.#house;
    const store = this.#store;
    const { file, table: name, topic } = table;
    const key = `cursor/${JSON.stringify([file, name, topic])}`;
    return new TableSource({
      ...table,
      rowsMax: config.batch.commitMaxReadings,
      openReadOnly,
      sink: this.#ingest,
      // The batches know best: the memory is told after them.
      newest() {
        const remembered = memory.get(key);
        return (
          newestSample(store.newestFirst(), topic, CURSOR_SAMPLE) ??
          (remembered === null ? null : (JSON.parse(remembered) as Cursor))
        );
      },
      remember: (cursor) => memory.put(key, JSON.stringify(cursor)),
      admits: () => this.#disk.admits(topic, systemClock.nowMs()),
      onTaken: (rows) => metrics.add('ingestTableRows', rows),
      log: log.child({ component: 'tables' }),
    });
  }

  #countBrokers(): void {
    const { metrics } = this.#house;
    const states = this.#sources.map(({ state }) => state);
    metrics.set('ingestBrokersConnected', states.filter(({ subscribed }) => subscribed).length);
    const sum = (of: (state: MqttSourceState) => number) =>
      states.reduce((total, state) => total + of(state), 0);
    const reconnects = sum(({ connections }) => Math.max(0, connections - 1));
    const lost = sum(({ sessionsLost }) => sessionsLost);
    metrics.add('ingestReconnects', reconnects - this.#counted.reconnects);
    metrics.add('ingestSessionsLost', lost - this.#counted.lost);
    this.#counted = { reconnects, lost };
  }

  #ingestMetrics(metrics: Metrics): IngestMetrics {
    return {
      received: (count) => metrics.add('ingestReadingsReceived', count),
      committed: (count, seconds) => {
        metrics.add('ingestReadingsCommitted', count);
        metrics.observe('ingestCommitSeconds', seconds);
      },
      acknowledged: (count) => metrics.add('ingestReadingsAcknowledged', count),
      unacknowledged: (count) => metrics.add('ingestReadingsUnacknowledged', count),
      duplicates: (count) => metrics.add('ingestDuplicates', count),
      deadLetters: (count) => {
        this.#deadLetters += count;
        metrics.add('ingestDeadLetters', count, { reason: 'decoder' });
      },
      commitFailed: () => metrics.add('ingestCommitFailures', 1),
    };
  }
}

/** The store, as long as there is room for more, and not before what decoders have learnt. */
function guarded(store: BatchStore, disk: DiskKeeper, memory: StoredMemory): ReadingStore {
  return {
    get nextSeq() {
      return store.nextSeq;
    },
    write(readings) {
      memory.flush();
      disk.requireRoom();
      store.write(readings);
    },
    sync: () => store.sync(),
    syncNow: () => store.syncNow(),
  };
}

/** The kernel's name for this boot; where it has none, one for this process. */
function bootId(): string {
  const path = '/proc/sys/kernel/random/boot_id';
  return existsSync(path) ? readFileSync(path, 'utf8').trim() : randomUUID();
}
