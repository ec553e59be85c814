/**
 * The control routes of a running agent: what the command line may ask of it over its unix socket.
 * Bodies are checked here; what is refused says what was wrong and what was expected.
 */
import { accessSync, constants, existsSync, statSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { decodeRecipient } from '@blocktorrent/protocol/age.ts';
import { toBase64 } from '@blocktorrent/protocol/bytes.ts';
import type { Hex } from '@blocktorrent/protocol/ledger-api.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import type { Alarm } from './alarms.ts';
import type { AnchorStatus } from './batch/anchorer.ts';
import type { DiskStatus } from './batch/disk-keeper.ts';
import type { Gateway, GatewayCounts } from './gateway.ts';
import { gatewayRoutes } from './gateway-controls.ts';
import type { House } from './house.ts';
import type { SourceState } from './ingest/table-source.ts';
import type { LedgerTrouble } from './ledger/ledger-watch.ts';
import type { AwaitedOwner } from './measure.ts';
import { listPeers } from './peer-list.ts';
import type { ExportedTorrent } from './readers.ts';
import type { ClockState } from './runtime/clock-watch.ts';
import { type ControlCall, type ControlHandler, refusal } from './runtime/control.ts';
import type { WaitingDoor } from './runtime/doors.ts';
import { BY_HAND, isOnlyCopy, type QueuedFile, type Stage } from './runtime/file-queue.ts';
import type { HostFacts } from './runtime/host.ts';
import type { QuarantinedFile } from './runtime/quarantine.ts';
import type { StoreStatus } from './store/types.ts';
import type { Upkeep, UpkeepStatus } from './store/upkeep.ts';
import { storeRoutes } from './store-controls.ts';

/** What `status` answers. */
export interface AgentStatus {
  readonly mspId: string;
  readonly name: string;
  readonly roles: readonly string[];
  readonly epoch: number | null;
  readonly peers: number;
  /** Why the ledger does not answer now; null while it does. */
  readonly ledgerTrouble: LedgerTrouble | null;
  /** Why this agent is not registered on the ledger; null where it is, or no try has failed. */
  readonly unregistered: string | null;
  /** What needs somebody's attention. */
  readonly alarms: readonly Alarm[];
  /** Stages that are stuck: the watchdog is not fed. */
  readonly stuck: readonly string[];
  /** Readings committed since the agent's first start. */
  readonly readings: number;
  readonly deadLetters: number;
  readonly openReadings: number;
  /** Brokers that are subscribed at; empty without the role `ingest`. */
  readonly brokers: GatewayCounts['brokers'];
  /** Folders and tables, with why nothing is taken from one. */
  readonly sources: readonly SourceState[];
  /** Listeners whose address this machine does not have yet. */
  readonly doors: readonly WaitingDoor[];
  /** Null for an agent without the role `ingest`. */
  readonly disk: DiskStatus | null;
  readonly anchor: AnchorStatus | null;
  /** Damaged files that are kept, the newest first. */
  readonly quarantine: readonly QuarantinedFile[];
  readonly files: Readonly<Record<Stage, number>>;
  /** This machine's clock; `waiting`: why no transaction is sent, or null. */
  readonly clock: { readonly state: ClockState; readonly waiting: string | null };
  /** What this agent's sockets sent to distribute its files, and those files' size, bytes. */
  readonly uplink: {
    readonly ciphertextBytes: number;
    readonly sentBytes: number;
    /** Sent over size: 1 is each byte once. Null before the first file. */
    readonly uplinkRatio: number | null;
  };
  /** Owners whose receipts are missing. */
  readonly awaitedOwners: readonly AwaitedOwner[];
  readonly store: StoreStatus | null;
  /** The machine, as last looked at; null before the first look. */
  readonly host: HostFacts | null;
  /** Files that are neither available nor given up `availableWithinMs` after they came. */
  readonly overdue: { readonly count: number; readonly oldestMs: number | null };
  /** Null without the role `store`, and while the ledger was never reached. */
  readonly upkeep: UpkeepStatus | null;
  /** Files that are stuck, with the last error. */
  readonly problems: readonly { id: number; stage: Stage; error: string }[];
}

/** Counts of an agent without the role `ingest`. */
export const NO_GATEWAY = {
  readings: 0,
  deadLetters: 0,
  openReadings: 0,
  brokers: [],
  disk: null,
  anchor: null,
};

/** What `put` and `files` answer for each file. */
export interface FileStatus {
  readonly id: number;
  readonly kind: string;
  readonly stage: Stage;
  readonly path: string;
  readonly fileId: string | null;
  readonly bytes: number | null;
  readonly error: string | null;
}

export interface ControlsOptions {
  readonly house: House;
  readonly wake: () => void;
  readonly status: () => AgentStatus;
  /** Closes the open batch now; does nothing for an agent without the role `ingest`. */
  readonly closeBatch: () => Promise<void>;
  /** Null for an agent without the role `ingest`. */
  readonly gateway: Gateway | null;
  /** @throws TorrentError */
  readonly exportTorrent: (fileId: Hex) => Promise<ExportedTorrent>;
  /** A file has moved in the queue. */
  readonly advanced: (file: QueuedFile) => void;
  /** Null for an agent without the role `store`. */
  readonly upkeep: Upkeep | null;
}

const LIST_MAX = 1_000;
const PUT_POLL_MS = 200;

export function controlRoutes(options: ControlsOptions): Record<string, ControlHandler> {
  const { house, status, closeBatch } = options;
  return {
    ...gatewayRoutes(options.gateway),
    ...storeRoutes(options.upkeep),
    status: async () => status(),
    peers: async () => {
      const { view, addressBook, overlay } = house;
      const own = ({ mspId, name }: { mspId: string; name: string }) =>
        mspId === overlay.mspId && name === overlay.peer;
      return listPeers(view.peers(), addressBook, own);
    },
    files: async () => house.queue.list(LIST_MAX).map(describe),
    put: (body, call) => put(body, call, options),
    'export-torrent': async (body) => {
      const { fileId } = Object(body) as { fileId?: unknown };
      if (typeof fileId !== 'string' || !/^[0-9a-f]{64}$/.test(fileId)) {
        throw refusal('export-torrent: "fileId" must be 64 hex digits');
      }
      const { torrent, trackers } = await options.exportTorrent(fileId);
      return { torrent: toBase64(torrent), trackers };
    },
    'give-up': async (body) => giveUp(body, options),
    'close-batch': async () => {
      await closeBatch();
      return null;
    },
  };
}

/** Takes a file and follows it until it is available (or as far as the caller listens). */
async function put(
  body: unknown,
  call: ControlCall,
  options: ControlsOptions,
): Promise<FileStatus> {
  // The ledger records files of registered sources only: any other's would wait in the queue for ever.
  if (!options.house.config.roles.includes('ingest')) {
    throw refusal('put: this agent has not the role ingest: no file of it is recorded');
  }
  const { path, to } = putArguments(body);
  const { queue } = options.house;
  const queued = queue.add({ kind: 'file', inputPath: path, batch: null, recipients: to });
  options.wake();
  for (let last = ''; ; ) {
    const file = queue.get(queued.id);
    const progress = options.house.progress.get(file.id);
    const line = JSON.stringify([file.stage, progress?.chunksCovered, file.error]);
    if (line !== last) call.progress({ ...describe(file), distribute: progress ?? null });
    last = line;
    if (file.stage === 'available' || file.stage === 'void') return describe(file);
    await setTimeout(PUT_POLL_MS, undefined, { signal: call.signal });
  }
}

function putArguments(body: unknown): { path: string; to: string[] } {
  const { path, to = [] } = Object(body) as { path?: unknown; to?: unknown };
  if (typeof path !== 'string' || !isAbsolute(path)) {
    throw refusal(`put: "path" must be an absolute path, found ${JSON.stringify(path)}`);
  }
  if (!existsSync(path) || !statSync(path).isFile()) {
    throw refusal(`put: ${path} is no file that the agent can see`);
  }
  try {
    accessSync(path, constants.R_OK);
  } catch {
    throw refusal(`put: the agent may not read ${path}: its user needs the right to`);
  }
  if (!Array.isArray(to) || !to.every((one) => typeof one === 'string')) {
    throw refusal('put: "to" must be a list of age recipients (age1...)');
  }
  for (const recipient of to) decodeRecipient(recipient);
  return { path, to };
}

/** Gives a file up that is not recorded yet; whatever a stage has in hand of it counts no more. */
function giveUp(body: unknown, { house, advanced }: ControlsOptions): FileStatus {
  const { id, reason, lose } = Object(body) as { id?: unknown; reason?: unknown; lose?: unknown };
  if (typeof id !== 'number' || typeof reason !== 'string' || reason.trim() === '') {
    throw refusal('give-up: "id" must be a number and "reason" a text');
  }
  const { queue, log } = house;
  if (!queue.has(id)) throw refusal(`give-up: there is no file ${id}`);
  const queued = queue.get(id);
  const { stage } = queued;
  if (stage === 'recorded' || stage === 'available' || stage === 'void') {
    throw refusal(`give-up: file ${id} is ${stage} already`);
  }
  if (isOnlyCopy(queued) && lose !== true) {
    throw refusal(
      `give-up: the file of batch ${queued.batch} was dropped to make room: its readings are in the ` +
        'sealed copy alone, and would be lost; with --lose-readings they are',
    );
  }
  const error = `${BY_HAND}${reason.slice(0, LIMITS.reasonCharsMax - BY_HAND.length)}`;
  const file = queue.giveUp(id, error);
  log.warn('a file was given up by hand', { id, batch: file.batch, reason });
  advanced(file);
  return describe(file);
}

function describe(file: QueuedFile): FileStatus {
  const { id, kind, stage, inputPath: path, fileId, ciphertextBytes: bytes, error } = file;
  return { id, kind, stage, path, fileId, bytes, error };
}
