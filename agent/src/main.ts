/**
 * One running agent: puts the parts together, starts them in order, ends them in order.
 *
 * Always holds: nothing is subscribed before what was left over from the last run is picked up, and
 * on the way out the open batch is committed before anything else is let go.
 */
import { createHash } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { AlarmLog, alarmsOf } from './alarms.ts';
import { type Net, openClock, openLedger, openNet, openView, overlaySeed } from './assemble.ts';
import { applyLive } from './config/live.ts';
import type { Config } from './config/schema.ts';
import { Duties } from './consortium/duties.ts';
import { DutyList } from './consortium/duty-list.ts';
import { type AgentStatus, type ControlsOptions, controlRoutes, NO_GATEWAY } from './controls.ts';
import { runEventLoop } from './event-loop.ts';
import { makeFolders } from './folders.ts';
import { type Gateway, makeGateway } from './gateway.ts';
import type { House } from './house.ts';
import type { WatchedFolder } from './ingest/watched-folder.ts';
import { makeStore } from './keeping.ts';
import { LedgerWatch } from './ledger/ledger-watch.ts';
import {
  awaitedOwners,
  countDuty,
  countFile,
  gaugeHost,
  gaugeHouse,
  gaugeUpkeep,
  measuredLedger,
  overdueOf,
  waitingForOwners,
} from './measure.ts';
import { openQuarantine } from './open-quarantine.ts';
import { pipeline } from './pipeline.ts';
import { exportTorrent, OwnersDirectory, serveReaders } from './readers.ts';
import { readiness } from './readiness.ts';
import { DepositGroup } from './record/deposit-group.ts';
import { Refusals } from './record/refused.ts';
import { keepLate } from './record/settle.ts';
import { ownPeer, Registration } from './registration.ts';
import { systemClock } from './runtime/clock.ts';
import { startControl } from './runtime/control.ts';
import { claimDataFolder } from './runtime/data-format.ts';
import { untilWritable } from './runtime/disk-space.ts';
import { Doors } from './runtime/doors.ts';
import { FileQueue, type QueuedFile } from './runtime/file-queue.ts';
import { type HostFacts, HostWatch } from './runtime/host.ts';
import { type Health, type HttpListener, startHttp } from './runtime/http.ts';
import { Lifecycle, StoppedError } from './runtime/lifecycle.ts';
import type { LeveledLog, Log } from './runtime/log.ts';
import { MemoryKeeper, ownMemory } from './runtime/memory-keeper.ts';
import { createMetrics } from './runtime/metrics.ts';
import { migrate } from './runtime/migrate.ts';
import { createNotify, type Notify, watchdogIntervalMs } from './runtime/notify.ts';
import { systemRandom } from './runtime/random.ts';
import { openSound } from './runtime/sqlite.ts';
import { StageRunner } from './runtime/stage-runner.ts';
import { Watchdog } from './runtime/watchdog.ts';
import { Work } from './runtime/work.ts';
import { Spool } from './spool.ts';
import { STATE_MIGRATIONS } from './state-file.ts';
import { statusLine } from './status-line.ts';
import type { StoreNode } from './store/store-node.ts';
import type { Upkeep } from './store/upkeep.ts';

/** Of the budget of the disk, what sealed files may take before sealing waits. */
const SPOOL_SHARE_MAX = 0.5;
/** A holder that has not confirmed its shard for this long is dealt it again. */
const REISSUE_AFTER_MS = 15_000;
/** Longest that sealing one file may take before the agent counts as stuck. */
const SEAL_MS_MAX = 3_600_000;
/** So many times the patience with one ledger request may one call of a stage take. */
const TRANSACTIONS_IN_HAND_MAX = 20;
/** Files of one kind that `status` names as problems. */
const PROBLEMS_MAX = 100;
/** How often alarms are looked for, gauges set, the status line said, and erased keys taken out of the queue's journal. */
const REPORTS_MS = 5_000;

/** Where a changed configuration comes from. */
export interface Reloads {
  /** Calls back at each SIGHUP. */
  set(listener: () => void): void;
  /** Reads and checks the configuration again. Rejects with ConfigError with every problem. */
  read(): Promise<Config>;
}

/**
 * Runs an agent until the signal is aborted. What `reloads` brings is applied to `config` in place.
 * @throws what kept it from starting, after what had started was stopped
 */
export async function runAgent(
  config: Config,
  log: LeveledLog,
  signal: AbortSignal,
  reloads?: Reloads,
): Promise<void> {
  const notify = await createNotify(process.env, log);
  if (!(await untilWritable(config.dataDir, signal, log))) return;
  const lifecycle = new Lifecycle({ log, notify, signal });
  try {
    const { net, line } = await startAgent(config, log, lifecycle, notify);
    lifecycle.ready(line());
    // One after another, so that the newest file is the last that is applied.
    let reloaded = Promise.resolve();
    reloads?.set(() => {
      reloaded = reloaded.then(() => lifecycle.reload(() => reload(config, reloads, net, log)));
    });
    await lifecycle.untilStopped();
  } catch (error) {
    // What had not begun is not missed.
    if (!(error instanceof StoppedError)) throw error;
  } finally {
    await lifecycle.stop('the agent ends');
  }
}

/** Starts part after part. Returns what a reload needs, and what makes the status line. */
async function startAgent(
  config: Config,
  log: LeveledLog,
  lifecycle: Lifecycle,
  notify: Notify,
): Promise<{ readonly net: Net; readonly line: () => string }> {
  for (const folder of ['', 'spool', 'chunks', 'batches']) {
    mkdirSync(join(config.dataDir, folder), { recursive: true, mode: 0o700 });
  }
  claimDataFolder(config.dataDir);
  // Without it, closed batches are queued again, and the chain of files goes on where the ledger is.
  const state = openSound(
    join(config.dataDir, 'state.sqlite'),
    (database) => void migrate(database, STATE_MIGRATIONS),
    { quarantine: openQuarantine(config), log },
  );
  await lifecycle.start({ name: 'state', stop: () => void state.close() });
  const queue = new FileQueue(state, systemClock.nowMs);
  const watchdog = makeWatchdog(config, queue, notify, log);
  await lifecycle.start({ ...bound(watchdog), name: 'watchdog' });
  const metrics = createMetrics({ processMetrics: true });
  const clock = openClock(config, () => view.newestEpochMs);
  const ledgerWatch = new LedgerWatch(systemClock);
  const ledger = measuredLedger(openLedger(config, log, clock, ledgerWatch), metrics);
  await lifecycle.start({ name: 'ledger', stop: () => ledger.close() });
  const view = openView(config, ledger, true);
  const doors = new Doors({ log: log.child({ component: 'net' }) });
  const net = openNet(config, view, log, {
    doors,
    onThrottled: (msp) => metrics.add('overlayThrottled', 1, { msp }),
  });
  await lifecycle.start({ name: 'net', start: () => net.start(), stop: () => net.stop() });
  const spool = new Spool({
    folder: join(config.dataDir, 'spool'),
    queue,
    maxBytes: () => config.batch.disk.maxBytes * SPOOL_SHARE_MAX,
    quarantine: openQuarantine(config),
    log: log.child({ component: 'spool' }),
  });
  spool.sweep();
  const starting = (what: string) => lifecycle.starting(what);
  const shared = { config, log, metrics, queue, spool, ledger, view, net, clock, starting };
  const house = makeHouse(shared);
  const keeping = makeStore(house);
  const store = keeping?.store ?? null;
  const upkeep = keeping?.upkeep ?? null;
  if (store !== null) await lifecycle.start({ ...bound(store), name: 'store' });
  const owners = new OwnersDirectory({
    membership: view,
    addressBook: net.addressBook,
    own: () => net.address(),
    monotonicMs: systemClock.monotonicMs,
  });
  if (store !== null && net.readers !== null) serveReaders({ ...net.readers, store, owners });
  if (upkeep !== null) await lifecycle.start({ ...bound(upkeep), name: 'upkeep' });

  const runners = makeRunners(house, watchdog, lifecycle.signal, (file) => advanced(file));
  const wake = () => {
    for (const runner of runners) runner.wake();
  };
  const work = new Work(lifecycle);
  await lifecycle.start({ name: 'pipeline', stop: () => work.ended() });
  for (const runner of runners) work.add(runner.run());
  const { signal } = lifecycle;
  const registration = new Registration({ ...house, peer: () => ownPeer(config, net), signal });
  work.add(registration.run());
  const duties = store === null ? null : makeDuties(house, new DutyList(state));
  work.add(
    runEventLoop({
      ledger,
      view,
      duties,
      checkpointFile: join(config.dataDir, 'ledger-checkpoint.json'),
      log: log.child({ component: 'events' }),
      signal: lifecycle.signal,
      note: (event) => upkeep?.noteLedger(event),
      wake,
      get gatherMs() {
        return config.consortium.confirmMaxDelayMs;
      },
    }),
  );
  const gateway = makeGateway(house, wake);
  const advanced = (file: QueuedFile) => {
    countFile(file, metrics);
    if (file.stage === 'void') {
      house.progress.delete(file.id);
      gateway?.queueAgain();
    }
    wake();
    house.spool.tidy(file);
    if (file.stage === 'available' && file.batch !== null) gateway?.batchAvailable(file.batch);
  };
  if (gateway !== null) await lifecycle.start({ ...bound(gateway), name: 'gateway' });
  const folders = makeFolders(house, state, wake);
  for (const folder of folders) await lifecycle.start({ ...bound(folder), name: 'folder' });
  const line = await startReports(lifecycle, {
    house,
    ledgerWatch,
    registration,
    doors,
    gateway,
    store,
    upkeep,
    owners,
    watchdog,
    wake,
    folders,
    advanced,
  });
  return { net, line };
}

/** One runner a stage; the watchdog sees what each has in hand. */
function makeRunners(
  house: House,
  watchdog: Watchdog,
  signal: AbortSignal,
  onAdvance: (file: QueuedFile) => void,
): StageRunner[] {
  const { queue, log } = house;
  return pipeline(house).map(
    (step) =>
      new StageRunner(watchdog.watch(step), {
        queue,
        log: log.child({ component: step.name }),
        signal,
        onAdvance,
        random: Math.random,
      }),
  );
}

/** What tells others how the agent is: gauges, control socket, HTTP, the status line it returns. */
async function startReports(
  lifecycle: Lifecycle,
  parts: {
    readonly house: House;
    readonly ledgerWatch: LedgerWatch;
    readonly registration: Registration;
    readonly doors: Doors;
    readonly gateway: Gateway | null;
    readonly store: StoreNode | null;
    readonly owners: OwnersDirectory;
    readonly upkeep: Upkeep | null;
    readonly watchdog: Watchdog;
    readonly wake: () => void;
    readonly advanced: (file: QueuedFile) => void;
    readonly folders: readonly WatchedFolder[];
  },
): Promise<() => string> {
  const { house, ledgerWatch, doors, gateway, store, upkeep, owners, watchdog } = parts;
  const { wake, folders, advanced, registration } = parts;
  const { config, metrics, log } = house;
  const onFacts = (facts: HostFacts) => gaugeHost(facts, metrics);
  const host = new HostWatch({ dataDir: config.dataDir, onFacts, log });
  await lifecycle.start({ ...bound(host), name: 'host' });
  const memory = ownMemory(systemClock.monotonicMs);
  if (memory !== null)
    await lifecycle.start({ ...bound(new MemoryKeeper(memory)), name: 'memory' });
  const status = (): AgentStatus => {
    const facts = {
      ...statusOf(house, gateway, store, upkeep),
      ledgerTrouble: ledgerWatch.trouble,
      unregistered: registration.failure,
      stuck: watchdog.health().reasons,
      host: host.facts,
      doors: doors.waiting,
      sources: [...folders.map(({ state }) => state), ...(gateway?.tables ?? [])],
    };
    return { ...facts, alarms: alarmsOf(facts, systemClock.nowMs()) };
  };
  const line = () => statusLine(status());
  const alarmLog = new AlarmLog(metrics, log.child({ component: 'alarms' }));
  const report = () => {
    const now = status();
    alarmLog.note(now.alarms);
    gaugeHouse(house, now.store);
    if (now.upkeep !== null) gaugeUpkeep(now.upkeep, metrics);
    lifecycle.status(statusLine(now));
    house.queue.purgeErased();
  };
  const reports = setInterval(() => {
    try {
      report();
    } catch (error) {
      log.error('the agent cannot say how it is, or erase old keys: what the disk says', { error });
    }
  }, REPORTS_MS);
  await lifecycle.start({ name: 'reports', stop: () => clearInterval(reports) });
  await startDoors(lifecycle, house, {
    doors,
    wake,
    status,
    closeBatch: async () => gateway?.closeBatch(),
    gateway,
    exportTorrent: (fileId) =>
      exportTorrent(fileId, [store?.manifestOf(fileId), house.queue.manifestOf(fileId)], owners),
    advanced,
    upkeep,
    healthz: () => watchdog.health(),
  });
  return line;
}

/** Applies what can be applied live, and says what waits for a restart; a bad file changes nothing. */
async function reload(config: Config, reloads: Reloads, net: Net, log: LeveledLog): Promise<void> {
  try {
    const { applied, needRestart } = applyLive(config, await reloads.read());
    log.setLevel(config.log.level);
    log.info('configuration read again', { applied, needRestart });
    if (needRestart.length > 0) log.warn('these changes wait for a restart', { needRestart });
  } catch (error) {
    log.error('the new configuration is wrong; the one in force stays', { error });
    return;
  }
  try {
    net.reloadCertificate();
  } catch (error) {
    log.error('the new overlay certificate cannot be used; the one in force stays', { error });
  }
}

/** Local work has a limit, a transaction many times its patience; distributing waits for owners. */
function makeWatchdog(config: Config, queue: FileQueue, notify: Notify, log: Log): Watchdog {
  const ledgerMsMax = TRANSACTIONS_IN_HAND_MAX * config.ledger.requestTimeoutMs;
  return new Watchdog({
    notify,
    intervalMs: watchdogIntervalMs(process.env, process.pid),
    queue,
    monotonicMs: systemClock.monotonicMs,
    workMsMax: (stage) =>
      stage === 'distribute' ? null : stage === 'seal' ? SEAL_MS_MAX : ledgerMsMax,
    log: log.child({ component: 'watchdog' }),
  });
}

/** The control socket and, where configured, the HTTP listener. */
async function startDoors(
  lifecycle: Lifecycle,
  house: House,
  {
    healthz,
    doors,
    ...controls
  }: Omit<ControlsOptions, 'house'> & { readonly doors: Doors; healthz: () => Health },
): Promise<void> {
  const { config, log, metrics } = house;
  const control = await startControl({
    dataDir: config.dataDir,
    log: log.child({ component: 'control' }),
    routes: controlRoutes({ house, ...controls }),
  });
  await lifecycle.start({ name: 'control', stop: () => control.stop() });
  if (config.metrics === undefined) return;
  const { listen } = config.metrics;
  let http: HttpListener | null = null;
  const open = async () => {
    http = await startHttp({
      listen,
      metrics,
      log: log.child({ component: 'http' }),
      healthz,
      readyz: () => readiness(controls.status()),
    });
  };
  await lifecycle.start({
    name: 'http',
    start: () => doors.open('metrics', open),
    stop: () => doors.stop().then(() => http?.stop()),
  });
}

function bound(part: { start(): Promise<void> | void; stop(): Promise<void> | void }) {
  return { start: () => part.start(), stop: () => part.stop() };
}

function statusOf(
  house: House,
  gateway: Gateway | null,
  store: StoreNode | null,
  upkeep: Upkeep | null,
): Omit<
  AgentStatus,
  'sources' | 'host' | 'doors' | 'alarms' | 'ledgerTrouble' | 'unregistered' | 'stuck'
> {
  const { config, view, queue } = house;
  return {
    mspId: config.organisation.mspId,
    name: config.name,
    roles: config.roles,
    epoch: view.known ? (view.current().epochs[0]?.epoch ?? null) : null,
    peers: view.peers().length,
    ...(gateway?.counts() ?? NO_GATEWAY),
    quarantine: openQuarantine(config).list(),
    files: queue.counts(),
    clock: { state: house.clock.state, waiting: house.clock.mistrust },
    uplink: queue.uplink(),
    overdue: overdueOf(house),
    awaitedOwners: awaitedOwners(house),
    store: store?.status() ?? null,
    upkeep: view.known ? (upkeep?.status() ?? null) : null,
    problems: [...queue.problems(PROBLEMS_MAX), ...waitingForOwners(house)],
  };
}

interface Parts
  extends Pick<
    House,
    'config' | 'log' | 'metrics' | 'queue' | 'spool' | 'ledger' | 'view' | 'clock' | 'starting'
  > {
  readonly net: Net;
}

function makeHouse({ net, ...parts }: Parts): House {
  const { config, queue, ledger, view, log } = parts;
  const refusals = new Refusals(() => performance.now());
  const source = config.organisation.mspId;
  return {
    ...parts,
    random: systemRandom,
    overlay: net.overlay,
    addressBook: net.addressBook,
    progress: new Map(),
    lateReceipt: (id, receipt) => {
      parts.metrics.add('distributeReceipts', 1, { msp: receipt.mspId });
      keepLate({ ...parts, refusals }, id, receipt);
    },
    record: {
      ledger,
      deposits: new DepositGroup(ledger, systemRandom),
      refusals,
      queue,
      source,
      gateway: config.name,
      channel: config.ledger.channel,
      overlaySeed: overlaySeed(config),
      epoch: () => view.epoch(),
      policy: () => view.policy(),
      requireEpoch: (epoch) => view.requireEpoch(epoch),
      takesEpoch: (epoch) => view.takesEpoch(epoch),
      chainOnLedger: () =>
        ledger.evaluate('ledger/records:GetChain', { source, gateway: config.name }),
      random: systemRandom,
      sha256: (bytes) => createHash('sha256').update(bytes).digest(),
      nowMs: systemClock.nowMs,
      monotonicMs: systemClock.monotonicMs,
      log: log.child({ component: 'record' }),
      ciphertextPathOf: (id) => parts.spool.pathOf(id),
      reissueAfterMs: REISSUE_AFTER_MS,
    },
  };
}

function makeDuties(house: House, list: DutyList): Duties {
  const { config, ledger, log, metrics } = house;
  return new Duties({
    ledger,
    list,
    log: log.child({ component: 'consortium' }),
    mspId: config.organisation.mspId,
    get vote() {
      return config.consortium.vote;
    },
    random: systemRandom,
    nowMs: systemClock.nowMs,
    onCount: (what, count) => countDuty(what, count, metrics),
  });
}
