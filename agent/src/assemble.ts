/**
 * Makes the adapters from the configuration: ledger, view of the consortium, overlay, address book.
 * The daemon and the one-off commands (audit, get) put the same parts together here.
 */
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fromHex } from '@blocktorrent/protocol/bytes.ts';
import type { MspId } from '@blocktorrent/protocol/ledger-api.ts';
import type { Config } from './config/schema.ts';
import { clockedLedger } from './ledger/clocked-ledger.ts';
import { FabricLedger } from './ledger/fabric-ledger.ts';
import type { Ledger } from './ledger/ledger.ts';
import type { LedgerWatch } from './ledger/ledger-watch.ts';
import { ConsortiumView } from './ledger/membership.ts';
import { DhtAddressBook } from './overlay/dht.ts';
import { PlainListener } from './overlay/plain-listener.ts';
import type { RateLimit } from './overlay/rate-limit.ts';
import { StandingLinks } from './overlay/standing-links.ts';
import { TlsOverlay } from './overlay/tls-overlay.ts';
import { Tracker } from './overlay/tracker.ts';
import type { OverlayIdentity, PeerAddress } from './overlay/types.ts';
import { systemClock } from './runtime/clock.ts';
import { ClockWatch } from './runtime/clock-watch.ts';
import type { Doors } from './runtime/doors.ts';
import type { Log } from './runtime/log.ts';
import { migrate } from './runtime/migrate.ts';
import { systemRandom } from './runtime/random.ts';
import { type Database, openDatabase } from './runtime/sqlite.ts';
import { STORE_MIGRATIONS } from './store/catalog.ts';
import { followTransferLimits } from './transfer-limits.ts';

/** What this machine's clock is worth; `notBeforeMs`: of something that the ledger is known to hold. */
export function openClock(config: Config, notBeforeMs: () => number): ClockWatch {
  const need = config.ledger.submitWhenClock;
  return new ClockWatch({ clock: systemClock, need, notBeforeMs });
}

/** The ledger through our gateway peers; nothing is dialled yet. Sends while `clock` can be trusted. */
export function openLedger(
  config: Config,
  log: Log,
  clock = openClock(config, () => 0),
  watch?: LedgerWatch,
): Ledger {
  const { organisation, ledger } = config;
  const patienceMs = ledger.requestTimeoutMs;
  const timeouts = { endorseMs: patienceMs, submitMs: patienceMs, commitMs: patienceMs };
  const fabric = new FabricLedger(
    { ...ledger, mspId: organisation.mspId, timeouts },
    log.child({ component: 'ledger' }),
    watch,
  );
  return clockedLedger(watch?.watch(fabric) ?? fabric, () => clock.mistrust);
}

/** The consortium as last seen; kept in `dataDir` over restarts when `keep`. */
export function openView(config: Config, ledger: Ledger, keep: boolean): ConsortiumView {
  const cacheFile = keep ? join(config.dataDir, 'consortium.json') : null;
  return new ConsortiumView(ledger, config.ledger.channel, cacheFile);
}

export interface Net {
  readonly overlay: TlsOverlay;
  readonly addressBook: DhtAddressBook;
  /** Doors for ordinary clients; null where `overlay.plain` is not configured. */
  readonly readers: { readonly plain: PlainListener; readonly tracker: Tracker } | null;
  /** What others are told of us; null while nothing listens. */
  address(): PeerAddress | null;
  /** Announces our listener, if there is one. */
  start(): Promise<void>;
  stop(): Promise<void>;
  /** Reads certificate and key again, for new links. @throws Error; then the old ones stay. */
  reloadCertificate(): void;
}

/** Overlay and DHT. `doors: null` for a command that only dials out. */
export function openNet(
  config: Config,
  view: ConsortiumView,
  log: Log,
  { doors, onThrottled }: { doors: Doors | null; onThrottled?: (mspId: MspId) => void },
): Net {
  const listen = doors !== null;
  const identity = overlayIdentity(config);
  const overlay = new TlsOverlay({
    identity,
    membership: view,
    listen: listen && !config.overlay.dialOutOnly ? config.overlay.listen : null,
    random: systemRandom,
    log: log.child({ component: 'overlay' }),
    ...(onThrottled === undefined ? {} : { onThrottled }),
  });
  const addressBook = new DhtAddressBook({
    identity,
    membership: view,
    listen: listen ? config.overlay.dht.listen : { host: config.overlay.dht.listen.host, port: 0 },
    bootstrap: config.overlay.dht.bootstrap,
    nowMs: systemClock.nowMs,
    monotonicMs: systemClock.monotonicMs,
    log: log.child({ component: 'dht' }),
  });
  const { dialOutOnly } = config.overlay;
  const standing =
    listen && dialOutOnly && config.roles.includes('store')
      ? new StandingLinks({
          overlay,
          addressBook,
          membership: view,
          log: log.child({ component: 'overlay' }),
        })
      : null;
  let endLimits: (() => void) | null = null;
  const readers = listen ? openReaders(config, log, overlay.uplink) : null;
  const address = () => {
    const listener = config.overlay.advertise ?? overlay.address;
    return listener === null ? null : { ...listener, ...doorsOf(config, readers) };
  };
  const announce = () => {
    const told = address();
    // Not awaited: an announcement ends only when another node has taken it.
    if (told !== null) void addressBook.announce(told);
  };
  return {
    overlay,
    addressBook,
    readers,
    address,
    async start() {
      endLimits = followTransferLimits({
        overlay: config.overlay,
        nowMs: systemClock.nowMs,
        log: log.child({ component: 'overlay' }),
        apply: (limits) => overlay.setLimits(limits),
      });
      if (doors === null) {
        await overlay.start();
        await addressBook.start();
        return;
      }
      await doors.open('overlay', () => overlay.start(), announce);
      await doors.open('DHT', () => addressBook.start(), announce);
      if (readers !== null) {
        await doors.open('plain', () => readers.plain.start(), announce);
        await doors.open('tracker', () => readers.tracker.start(), announce);
      }
      log.info('overlay runs', {
        listens: overlay.address,
        dht: addressBook.address,
        ...doorsOf(config, readers),
      });
      standing?.start();
      announce();
    },
    async stop() {
      await doors?.stop();
      await standing?.stop();
      endLimits?.();
      await readers?.tracker.stop();
      await readers?.plain.stop();
      await addressBook.stop();
      await overlay.stop();
    },
    reloadCertificate() {
      const tlsCertificate = readFileSync(config.overlay.certFile, 'utf8');
      const tlsKey = readFileSync(config.overlay.keyFile, 'utf8');
      overlay.setIdentity({ ...identity, tlsCertificate, tlsKey });
      const { validTo } = new X509Certificate(tlsCertificate);
      log.info('overlay certificate read again, for new links', { validTo });
    },
  };
}

function openReaders(config: Config, log: Log, uplink: RateLimit | null): Net['readers'] {
  const { plain } = config.overlay;
  if (plain === undefined) return null;
  return {
    plain: new PlainListener({
      listen: plain.listen,
      uplink,
      random: systemRandom,
      log: log.child({ component: 'plain' }),
    }),
    tracker: new Tracker({
      listen: plain.tracker.listen,
      monotonicMs: systemClock.monotonicMs,
      log: log.child({ component: 'tracker' }),
    }),
  };
}

/** The addresses of our doors for ordinary clients, where there are any. */
function doorsOf(config: Config, readers: Net['readers']): Pick<PeerAddress, 'plain' | 'tracker'> {
  const told = config.overlay.plain;
  const plain = told?.advertise ?? readers?.plain.address ?? null;
  const tracker = told?.tracker.advertise ?? readers?.tracker.address ?? null;
  return {
    ...(plain === null ? {} : { plain }),
    ...(tracker === null ? {} : { tracker }),
  };
}

/** `store.sqlite`, migrated: what the store knows of the files it keeps. */
export function openStoreDatabase(config: Config): Database {
  const database = openDatabase(join(config.dataDir, 'store.sqlite'));
  migrate(database, STORE_MIGRATIONS);
  return database;
}

/** Ed25519 seed of the overlay key, 32 bytes. An auditor signs nothing: any seed will do. */
export function overlaySeed(config: Config): Uint8Array {
  const { signingKeyFile } = config.overlay;
  if (signingKeyFile === undefined) return systemRandom(32);
  return fromHex(readFileSync(signingKeyFile, 'utf8').trim(), 32);
}

function overlayIdentity(config: Config): OverlayIdentity {
  return {
    mspId: config.organisation.mspId,
    peer: config.name,
    tlsCertificate: readFileSync(config.overlay.certFile, 'utf8'),
    tlsKey: readFileSync(config.overlay.keyFile, 'utf8'),
    overlaySeed: overlaySeed(config),
  };
}
