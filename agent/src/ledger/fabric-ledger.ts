/**
 * `Ledger` over Hyperledger Fabric's gateway client, unmodified. Several gateway peers, the next
 * one when one does not answer; new transactions after read conflicts; one transaction is never
 * ordered twice: an unknown outcome is asked for by transaction id.
 * Transient data go through peers of our own organisation only; without one they fail as 'unavailable',
 * and the caller queues. Transactions of `keys` carry secrets: our own organisation endorses them alone,
 * and they are never run a second time by themselves: a key must not be split twice unless the caller
 * says so.
 */
import { randomInt } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import {
  type Argument,
  CHAINCODE,
  type MspId,
  type Result,
  type TransactionName,
} from '@blocktorrent/protocol/ledger-api.ts';
import type { Gateway, ProposalOptions, Status, Transaction } from '@hyperledger/fabric-gateway';
import {
  CONFLICT_PAUSE_MS,
  CONFLICT_RETRIES_MAX,
  deployedName,
  type FabricLedgerConfig,
  type FabricTimeouts,
  TIMEOUTS,
} from './fabric-config.ts';
import { FabricConnection } from './fabric-connection.ts';
import {
  isConflict,
  isMismatch,
  isUnavailable,
  ledgerError,
  type Step,
  stepError,
} from './fabric-errors.ts';
import { type EventLog, followEvents } from './fabric-events.ts';
import { IdentityKey } from './identity-key.ts';
import {
  type EventsOptions,
  type Ledger,
  LedgerError,
  type LedgerEvent,
  type SubmitOptions,
} from './ledger.ts';
import type { LedgerWatch } from './ledger-watch.ts';

/** Pause before the commit status is asked for again. */
const STATUS_PAUSE_MS = 200;
/** Events come from another peer than the first for so long before the first is tried again. */
const HOME_AFTER_MS = 30_000;
const NO_LOG: EventLog = { warn: () => undefined };

/** Who hears how the stream of events fares. */
type StreamWatch = Pick<LedgerWatch, 'streamOpened' | 'streamEnded'>;
const NOBODY: StreamWatch = { streamOpened: () => undefined, streamEnded: () => undefined };

/** Where a transaction lives. */
interface Target {
  readonly chaincode: string;
  readonly contractFunction: string;
  /** Our own organisation alone endorses it, and it is never run a second time by itself. */
  readonly ownOnly: boolean;
  /** Transient data come along: it goes to peers of our own organisation only. */
  readonly viaOwn?: boolean;
  /** The first peer has had its say: it comes last. */
  readonly elsewhere?: boolean;
}

/** The id under which a step's last proposal was made; null before that. */
interface Asked {
  txId: string | null;
}

/** What became of one attempt: committed, or beaten by another transaction. */
type Attempt =
  | { readonly result: Uint8Array; readonly txId: string }
  | { readonly conflict: LedgerError };

export class FabricLedger implements Ledger {
  readonly mspId: MspId;
  readonly #config: FabricLedgerConfig;
  readonly #timeouts: FabricTimeouts;
  readonly #connections: readonly FabricConnection[];
  readonly #identity: IdentityKey;
  readonly #log: EventLog;
  readonly #watch: StreamWatch;
  readonly #closing = new AbortController();
  /** Where events come from now. What they tell of can be read there; another peer may be behind. */
  #following: FabricConnection | null = null;

  constructor(config: FabricLedgerConfig, log: EventLog = NO_LOG, watch: StreamWatch = NOBODY) {
    const own = config.peers.filter((peer) => peer.mspId === config.mspId);
    const others = config.peers.filter((peer) => peer.mspId !== config.mspId);
    this.mspId = config.mspId;
    this.#config = config;
    this.#timeouts = { ...TIMEOUTS, ...config.timeouts };
    this.#connections = [...own, ...others].map(
      (peer) => new FabricConnection(peer, config, () => this.#identity.signer()),
    );
    this.#identity = new IdentityKey(config);
    this.#log = log;
    this.#watch = watch;
  }

  async evaluate<T extends TransactionName>(name: T, argument: Argument<T>): Promise<Result<T>> {
    const target = this.#target(name);
    const asked: Asked = { txId: null };
    const bytes = await this.#onAnyPeer('evaluate', target, asked, async (gateway) => {
      const contract = gateway.getNetwork(this.#config.channel).getContract(target.chaincode);
      const proposal = contract.newProposal(target.contractFunction, {
        arguments: [JSON.stringify(argument)],
        ...(target.ownOnly ? { endorsingOrganizations: [this.mspId] } : {}),
      });
      asked.txId = proposal.getTransactionId();
      return await proposal.evaluate(deadline(this.#timeouts.evaluateMs));
    });
    return decode(bytes, 'evaluate', asked.txId);
  }

  async submit<T extends TransactionName>(
    name: T,
    argument: Argument<T>,
    options: SubmitOptions = {},
  ): Promise<{ result: Result<T>; txId: string }> {
    const target = this.#target(name);
    const proposalOptions: ProposalOptions = {
      arguments: [JSON.stringify(argument)],
      ...(options.transient === undefined ? {} : { transientData: { ...options.transient } }),
      ...(target.ownOnly ? { endorsingOrganizations: [this.mspId] } : {}),
    };
    const { onTransactionId, elsewhere = false } = options;
    const viaOwn = Object.keys(options.transient ?? {}).length > 0;
    let pauseMs = CONFLICT_PAUSE_MS;
    for (let retry = 0; ; retry += 1) {
      const attempt = await this.#attempt(
        { ...target, elsewhere, viaOwn },
        proposalOptions,
        onTransactionId,
      );
      if ('result' in attempt) {
        return { result: decode(attempt.result, 'commit', attempt.txId), txId: attempt.txId };
      }
      if (target.ownOnly || retry >= CONFLICT_RETRIES_MAX) {
        throw attempt.conflict;
      }
      // Jitter: two clients that met once should not meet again.
      await pause(pauseMs + randomInt(pauseMs));
      pauseMs *= 2;
    }
  }

  async *events(options: EventsOptions): AsyncGenerator<LedgerEvent> {
    const signal = AbortSignal.any([options.signal, this.#closing.signal]);
    const { channel } = this.#config;
    const chaincode = deployedName(this.#config, CHAINCODE.ledger);
    const { connectMs } = this.#timeouts;
    const connections = this.#connections;
    yield* followEvents(
      async (checkpoint, startBlock, failed) => {
        // Our own peer first; the next one after each stream that broke before it gave anything.
        const order = connections.map((_, i) => connections[(failed + i) % connections.length]);
        let reason = 'no peer is configured';
        for (const connection of order) {
          const gateway = await connection?.gateway(connectMs, true).catch((error: unknown) => {
            reason = error instanceof Error ? error.message : String(error);
            return null;
          });
          if (connection === undefined || gateway == null) continue;
          const start = startBlock === undefined ? {} : { startBlock };
          const network = gateway.getNetwork(channel);
          const from = { checkpoint, ...start };
          const stream = await network
            .getChaincodeEvents(chaincode, from)
            .catch((error: unknown) => {
              this.#watch.streamEnded(String(error));
              throw error;
            });
          this.#following = connection;
          this.#watch.streamOpened();
          return {
            stream,
            leaveAfterMs: connection === connections[0] ? null : HOME_AFTER_MS,
            onEnd: (broke) => {
              this.#following = null;
              this.#watch.streamEnded(broke);
            },
          };
        }
        if (!signal.aborted) this.#watch.streamEnded(reason);
        return null;
      },
      { ...options, signal, channel },
      this.#log,
    );
  }

  close(): void {
    this.#closing.abort();
    for (const connection of this.#connections) {
      connection.close();
    }
    this.#identity.close();
  }

  /** One transaction, from proposal to commit; a conflict is reported, not thrown. */
  async #attempt(
    target: Target,
    options: ProposalOptions,
    onTransactionId: SubmitOptions['onTransactionId'],
  ): Promise<Attempt> {
    const asked: Asked = { txId: null };
    let transaction: Transaction;
    try {
      transaction = await this.#onAnyPeer('endorse', target, asked, async (gateway) => {
        const contract = gateway.getNetwork(this.#config.channel).getContract(target.chaincode);
        const proposal = contract.newProposal(target.contractFunction, options);
        onTransactionId?.(proposal.getTransactionId());
        asked.txId = proposal.getTransactionId();
        return await proposal.endorse(deadline(this.#timeouts.endorseMs));
      });
    } catch (error) {
      const failure = this.#failure('endorse', error, asked.txId);
      if (isMismatch(failure.cause)) {
        return { conflict: failure };
      }
      throw failure;
    }
    const txId = transaction.getTransactionId();
    const status = await this.#order(target, transaction, txId);
    if (status.successful) {
      return { result: transaction.getResult(), txId };
    }
    const code = Number(status.code);
    if (isConflict(code)) {
      const text = `lost against another transaction (code ${code})`;
      return { conflict: stepError('conflict', 'commit', text, { txId }) };
    }
    throw stepError('commit', 'commit', `it is invalid (code ${code})`, { txId });
  }

  /**
   * Hands the signed transaction to ordering and waits for its outcome. Where a peer does not
   * answer, the next one gets the same signed bytes: the ledger takes a transaction id once.
   */
  async #order(target: Target, transaction: Transaction, txId: string): Promise<Status> {
    const commit = await this.#onAnyPeer('submit', target, { txId }, async (gateway) => {
      const same = gateway.newTransaction(transaction.getBytes());
      const submitted = await same.submit(deadline(this.#timeouts.submitMs));
      return submitted.getBytes();
    });
    const giveUpMs = performance.now() + this.#timeouts.commitMs;
    for (;;) {
      try {
        return await this.#onAnyPeer('commit', target, { txId }, async (gateway) => {
          const leftMs = Math.max(1, giveUpMs - performance.now());
          return await gateway.newCommit(commit).getStatus(deadline(leftMs));
        });
      } catch (error) {
        const failure = this.#failure('commit', error, txId);
        if (
          failure.code !== 'timeout' ||
          performance.now() >= giveUpMs ||
          this.#closing.signal.aborted
        ) {
          throw failure;
        }
        await pause(STATUS_PAUSE_MS);
      }
    }
  }

  /** Runs a step on the first peer that answers; throws LedgerError. */
  async #onAnyPeer<R>(
    step: Step,
    target: Target,
    asked: Readonly<Asked>,
    run: (gateway: Gateway) => Promise<R>,
  ): Promise<R> {
    const [first, ...others] = this.#inOrder(step).filter(
      ({ peer }) => !(target.ownOnly || target.viaOwn === true) || peer.mspId === this.mspId,
    );
    const last = first === undefined ? [] : [first];
    const usable = target.elsewhere === true ? [...others, ...last] : [...last, ...others];
    const mayRunTwice = !(target.ownOnly && step === 'endorse');
    for (const connection of usable) {
      try {
        return await run(await connection.gateway(this.#timeouts.connectMs, true));
      } catch (error) {
        const again = isUnreachable(error) || (isUnavailable(error) && mayRunTwice);
        if (!again || this.#closing.signal.aborted) {
          throw this.#failure(step, error, asked.txId);
        }
      }
    }
    // None is up at this moment: wait for the first that comes back.
    const waiting = usable.map((connection) => connection.gateway(this.#timeouts.connectMs, false));
    try {
      return await run(await Promise.any(waiting));
    } catch (error) {
      const cause: unknown = error instanceof AggregateError ? error.errors[0] : error;
      const { txId } = asked;
      throw cause === undefined
        ? stepError('unavailable', step, `no peer of ${this.mspId} is configured`, { txId })
        : this.#failure(step, cause, txId);
    }
  }

  #failure(step: Step, error: unknown, txId: string | null): LedgerError {
    return ledgerError(step, error, { txId, own: this.mspId });
  }

  /** Our own peers first; for reading, the one whose events we follow before all others. */
  #inOrder(step: Step): readonly FabricConnection[] {
    const following = this.#following;
    if (step !== 'evaluate' || following === null) {
      return this.#connections;
    }
    return [following, ...this.#connections.filter((each) => each !== following)];
  }

  #target(name: TransactionName): Target {
    const [chaincode = '', contractFunction = ''] = name.split('/');
    return {
      chaincode: deployedName(this.#config, chaincode),
      contractFunction,
      ownOnly: chaincode === CHAINCODE.keys,
    };
  }
}

/** True if there was no connection: nothing has been sent. */
function isUnreachable(error: unknown): boolean {
  return error instanceof LedgerError && error.code === 'unavailable';
}

function deadline(ms: number): { deadline: number } {
  return { deadline: Date.now() + ms };
}

/** A transaction's result is one JSON value; nothing at all stands for null. */
function decode<T extends TransactionName>(
  bytes: Uint8Array,
  step: Step,
  txId: string | null,
): Result<T> {
  if (bytes.length === 0) return JSON.parse('null');
  try {
    return JSON.parse(Buffer.from(bytes).toString());
  } catch (cause) {
    const text = 'the answer is no JSON: is another chaincode deployed under this name?';
    throw stepError(step === 'evaluate' ? 'endorse' : step, step, text, { txId, cause });
  }
}
