/**
 * What is counted of the parts that do not count themselves: the ledger's transactions, the store's
 * events, the state of the queue and the sockets. Names are those of `runtime/metric-table.ts`.
 */

import type { MspId } from '@blocktorrent/protocol/ledger-api.ts';
import type { AgentStatus } from './controls.ts';
import type { OwnerState } from './distribute/types.ts';
import type { House } from './house.ts';
import type { Ledger, LedgerEvent } from './ledger/ledger.ts';
import { systemClock } from './runtime/clock.ts';
import type { FileQueue, QueuedFile } from './runtime/file-queue.ts';
import type { HostFacts } from './runtime/host.ts';
import type { Metrics } from './runtime/metrics.ts';
import type { StoreEvent, StoreStatus } from './store/types.ts';
import type { UpkeepStatus } from './store/upkeep.ts';

/** The same ledger, with every transaction counted and timed. */
export function measuredLedger(ledger: Ledger, metrics: Metrics): Ledger {
  async function timed<R>(transaction: string, call: () => Promise<R>): Promise<R> {
    const startedMs = performance.now();
    let outcome = 'ok';
    try {
      return await call();
    } catch (error) {
      outcome = String((error as { code?: unknown }).code ?? 'failed');
      throw error;
    } finally {
      metrics.add('ledgerTransactions', 1, { transaction, outcome });
      metrics.observe('ledgerSeconds', (performance.now() - startedMs) / 1000, { transaction });
    }
  }
  return {
    mspId: ledger.mspId,
    evaluate: (name, argument) => timed(name, () => ledger.evaluate(name, argument)),
    submit: (name, argument, options) => timed(name, () => ledger.submit(name, argument, options)),
    async *events(options): AsyncGenerator<LedgerEvent> {
      for await (const event of ledger.events(options)) {
        metrics.add('ledgerEvents', 1, { event: event.name });
        metrics.set('ledgerBlock', Number(event.blockNumber));
        yield event;
      }
    },
    close: () => ledger.close(),
  };
}

/** What is known of the machine; a fact that is not known has no value. */
export function gaugeHost(facts: HostFacts, metrics: Metrics): void {
  const { temperatureCelsius, throttled, flashWear } = facts;
  metrics.set('hostTemperatureCelsius', temperatureCelsius);
  metrics.set('hostThrottled', throttled === null ? null : Number(throttled));
  metrics.set('hostMemoryBytes', facts.memoryBytes);
  metrics.set('hostMemoryAvailableBytes', facts.memoryAvailableBytes);
  metrics.set('hostDiskBytes', facts.diskBytes);
  metrics.set('hostDiskFreeBytes', facts.diskFreeBytes);
  metrics.set('hostFlashWearRatio', flashWear);
}

/** Counts what the store tells. */
export function countStore(event: StoreEvent, metrics: Metrics): void {
  if (event.type === 'stored') {
    metrics.add('storeChunksAccepted', 1);
    if (!event.repair) return;
    metrics.add('repairChunks', 1);
    metrics.add('repairBytes', event.bytes);
  } else if (event.type === 'lost') metrics.add('scrubLost', 1);
  else if (event.type === 'receipt') metrics.add('storeReceipts', 1);
  else if (event.type === 'refused') metrics.add('storeRefused', 1, { msp: event.mspId });
}

/** Counts a file that has moved to its next stage. */
export function countFile(file: QueuedFile, metrics: Metrics): void {
  const { kind, stage, receipts } = file;
  if (stage === 'recorded') metrics.add('recordFiles', 1, { kind });
  if (stage === 'void') metrics.add('recordVoided', 1);
  if (stage !== 'distributed') return;
  metrics.add('distributeFiles', 1, { kind });
  metrics.add('distributeUplinkBytes', file.uplinkBytes);
  metrics.add('distributeCiphertextBytes', file.ciphertextBytes ?? 0);
  for (const { mspId } of receipts) metrics.add('distributeReceipts', 1, { msp: mspId });
}

/** Counts what was done for the consortium; shards that were released count as one release. */
export function countDuty(
  what: 'confirmed' | 'voted' | 'released',
  count: number,
  metrics: Metrics,
): void {
  if (what === 'confirmed') metrics.add('consortiumShardsConfirmed', count);
  else if (what === 'voted') metrics.add('consortiumVotes', count, { vote: 'approve' });
  else metrics.add('consortiumReleases', 1);
}

/** An owner whose receipts are missing, as its link is now. */
export interface AwaitedOwner {
  readonly mspId: MspId;
  /** Files that cannot go on without it, or wait a while for it. */
  readonly files: number;
  readonly state: OwnerState;
}

/** Owners that files on their way wait for, those that cannot be reached among them. */
export function awaitedOwners({ queue, progress }: House): AwaitedOwner[] {
  const owners = new Map<MspId, AwaitedOwner>();
  for (const [id, { states }] of progress) {
    if (!queue.has(id) || queue.get(id).stage !== 'named') continue;
    for (const [mspId, state] of Object.entries(states)) {
      if (state === 'done') continue;
      owners.set(mspId, { mspId, state, files: (owners.get(mspId)?.files ?? 0) + 1 });
    }
  }
  return [...owners.values()].sort((a, b) => (a.mspId < b.mspId ? -1 : 1));
}

/** Files that should be available by now, and are neither that nor given up. */
export function overdueOf({ config, queue }: House): ReturnType<FileQueue['overdue']> {
  return queue.overdue(systemClock.nowMs() - config.distribute.availableWithinMs);
}

/** Files that are overdue because owners have not signed for them, and which: no failure of ours. */
export function waitingForOwners({
  config,
  queue,
  progress,
}: Pick<House, 'config' | 'queue' | 'progress'>): AgentStatus['problems'] {
  const beforeMs = systemClock.nowMs() - config.distribute.availableWithinMs;
  return [...progress].flatMap(([id, { states, chunkCount, chunksCovered }]) => {
    const { stage, error, createdMs } = queue.get(id);
    if (stage !== 'named' || error !== null || createdMs >= beforeMs) return [];
    const owners = Object.entries(states).filter(([, state]) => state !== 'done');
    const waited = owners.map(([mspId, state]) => `${mspId} (${state})`).join(', ');
    const covered = `${chunksCovered} of ${chunkCount} chunks have enough receipts`;
    return [{ id, stage, error: `distribute: waits for ${waited}; ${covered}` }];
  });
}

/** Sets the gauges to how things stand now. */
export function gaugeHouse(house: House, store: StoreStatus | null): void {
  const { queue, metrics, overlay } = house;
  for (const [step, count] of Object.entries(queue.counts())) {
    if (step !== 'available' && step !== 'void') metrics.set('pipelineFiles', count, { step });
  }
  metrics.set('pipelineFilesOverdue', overdueOf(house).count);
  const { sentBytes, receivedBytes } = overlay.accounts.total();
  metrics.set('overlaySentBytes', sentBytes);
  metrics.set('overlayReceivedBytes', receivedBytes);
  if (store === null) return;
  metrics.set('storeFiles', store.files);
  metrics.set('storeChunks', store.chunks);
  metrics.set('storeBytes', store.bytes);
}

/** Sets the gauges of upkeep. */
export function gaugeUpkeep(status: UpkeepStatus, metrics: Metrics): void {
  const { repair, copies, scrub, challenges } = status;
  for (const step of ['workingOut', 'handovers', 'wanted', 'unfinished', 'unrecorded'] as const) {
    metrics.set('repairFiles', repair[step], { step });
  }
  for (let holders = 1; holders <= copies.wanted; holders += 1) {
    const chunks = copies.chunksByHolders[holders] ?? 0;
    metrics.set('copiesChunks', chunks, { holders: String(holders) });
  }
  metrics.set('scrubOpen', scrub.open);
  metrics.set('scrubRounds', scrub.rounds);
  for (const outcome of ['right', 'wrong', 'lost', 'silent'] as const) {
    metrics.set('challenges', challenges[outcome], { outcome });
  }
}
