/**
 * The ledger as the agent sees it: typed transactions in, results and events out.
 * Implemented by `fabric-ledger.ts`; stages import only these types (and `LedgerError` to switch
 * on its code). Any `keys/*` transaction is endorsed by our own organisation alone.
 */
import type {
  Argument,
  LedgerEventName,
  LedgerEvents,
  MspId,
  Result,
  TransactionName,
} from '@blocktorrent/protocol/ledger-api.ts';

/** What goes beside a transaction and is never written to the ledger: field name -> bytes. */
export type Transient = Readonly<Record<string, Uint8Array>>;

export interface SubmitOptions {
  readonly transient?: Transient;
  /**
   * Called with each transaction id before anything is sent under it, so that the caller can make
   * it durable and look the outcome up after a crash. Throwing stops the submission.
   */
  readonly onTransactionId?: (txId: string) => void;
  /** Another peer than the usual one is asked first, where there is one: that one may be behind. */
  readonly elsewhere?: boolean;
}

export interface EventsOptions {
  readonly signal: AbortSignal;
  /** Remembers the last event that was dealt with, over restarts. */
  readonly checkpointFile?: string;
  /** Without a checkpoint: from the first block instead of from now. */
  readonly fromStart?: boolean;
}

export interface Ledger {
  readonly mspId: MspId;
  /** Asks one peer; nothing is written. Throws LedgerError. */
  evaluate<T extends TransactionName>(name: T, argument: Argument<T>): Promise<Result<T>>;
  /** Endorses, orders and waits for the commit. Throws LedgerError. */
  submit<T extends TransactionName>(
    name: T,
    argument: Argument<T>,
    options?: SubmitOptions,
  ): Promise<{ result: Result<T>; txId: string }>;
  /**
   * Events of the `ledger` chaincode from the checkpoint kept in `checkpointFile` (or from now, or
   * from the start), reconnecting until aborted. An event that was yielded is checkpointed when
   * the next one is asked for: a crash in between delivers it again.
   */
  events(options: EventsOptions): AsyncIterable<LedgerEvent>;
  /** Ends connections and running calls. */
  close(): void;
}

/** One chaincode event; switch on `name`. */
export type LedgerEvent = {
  [N in LedgerEventName]: {
    readonly name: N;
    readonly payload: LedgerEvents[N];
    readonly txId: string;
    readonly blockNumber: bigint;
  };
}[LedgerEventName];

/**
 * The step in which a call failed: making a connection, asking one peer, endorsement, handing the
 * transaction to ordering, learning its outcome.
 */
export type LedgerStep = 'connect' | 'evaluate' | 'endorse' | 'submit' | 'commit';

/**
 * What became of a call. `rejected`: the contract said no, and the message begins with its sentence;
 * `conflict`: another transaction was faster, again and again; `unavailable`: no peer answered,
 * nothing was ordered; `endorse`: peers refused or disagreed; `submit`: refused by ordering;
 * `commit`: ordered but invalid; `timeout`: ordered perhaps, outcome unknown (ask by `txId`);
 * `clock`: not sent, because our clock cannot be trusted now.
 */
export type LedgerErrorCode =
  | 'unavailable'
  | 'endorse'
  | 'submit'
  | 'commit'
  | 'timeout'
  | 'rejected'
  | 'conflict'
  | 'clock';

export class LedgerError extends Error {
  override readonly name = 'LedgerError';
  readonly code: LedgerErrorCode;
  /** Id under which peers were asked last, also by `evaluate`; null where nothing has been sent. */
  readonly txId: string | null;
  readonly step: LedgerStep | null;
  /** Of `rejected`: no peer of our own organisation has said so, only others'. */
  readonly hearsay: boolean;

  /** `message` is to name step and transaction as well (`stepError`): it may be all that is seen. */
  constructor(
    code: LedgerErrorCode,
    message: string,
    txId: string | null = null,
    {
      step = null,
      hearsay = false,
      ...options
    }: ErrorOptions & { readonly step?: LedgerStep | null; readonly hearsay?: boolean } = {},
  ) {
    super(message, options);
    this.code = code;
    this.txId = txId;
    this.step = step;
    this.hearsay = hearsay;
  }
}

/** `NOT_FOUNDED`, … : how the text of a contract's refusal begins; null where it is no such text. */
export function refusalCode(message: string): string | null {
  return /^([A-Z][A-Z_]*): /.exec(message)?.[1] ?? null;
}
