/**
 * Everything that one running agent shares: made once by `main.ts`, handed to the pipeline, the
 * control routes and the event loop. No behaviour lives here but what joins two of its parts.
 */
import type { SignedReceipt } from '@blocktorrent/protocol/ledger-api.ts';
import type { Config } from './config/schema.ts';
import type { DistributeProgress } from './distribute/types.ts';
import type { Ledger } from './ledger/ledger.ts';
import type { ConsortiumView } from './ledger/membership.ts';
import type { AddressBook, Overlay } from './overlay/types.ts';
import type { DepositOptions } from './record/deposit.ts';
import type { NamingOptions } from './record/name.ts';
import type { RecordOptions } from './record/record.ts';
import type { SettleOptions } from './record/settle.ts';
import type { ClockWatch } from './runtime/clock-watch.ts';
import type { FileQueue } from './runtime/file-queue.ts';
import type { Log } from './runtime/log.ts';
import type { Metrics } from './runtime/metrics.ts';
import type { Spool } from './spool.ts';

export interface House {
  readonly config: Config;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly random: (bytes: number) => Uint8Array;
  readonly queue: FileQueue;
  readonly ledger: Ledger;
  readonly view: ConsortiumView;
  /** What this machine's clock is worth. */
  readonly clock: ClockWatch;
  readonly overlay: Overlay;
  readonly addressBook: AddressBook;
  /** What naming, depositing, recording and settling need. */
  readonly record: NamingOptions & DepositOptions & RecordOptions & SettleOptions;
  /** How far the distribution of each file is, by queue id. */
  readonly progress: Map<number, DistributeProgress>;
  readonly spool: Pick<Spool, 'folder' | 'pathOf' | 'isFull' | 'tidy'>;
  /** What a start that lasts is at: see `Lifecycle.starting`. */
  starting(what: string): void;
  /** A receipt that came after its file had gone on: appended to the record. */
  lateReceipt(id: number, receipt: SignedReceipt): void;
}
