/**
 * A network as the trial consortium's ledger: each organisation through the agent's own client, and
 * a transcript of what was asked and answered, with ids, times and bytes masked.
 */
import type { Argument, Result, TransactionName } from '@blocktorrent/protocol/ledger-api.ts';
import { FabricLedger } from '../../agent/src/ledger/fabric-ledger.ts';
import { LedgerError } from '../../agent/src/ledger/ledger.ts';
import type { TrialLedger } from '../support/consortium.ts';
import { type FabricClient, fabricClient, type NetworkAccess } from '../support/fabric-client.ts';
import type { Caller, Proposal } from '../support/memory-fabric.ts';

/** What the suite needs of a network: the dev ledger's `Network` and the real one's have it. */
export interface ComplianceNetwork extends NetworkAccess {
  readonly organisations: readonly { readonly mspId: string }[];
  stopPeer(mspId: string): Promise<void>;
  startPeer(mspId: string): Promise<void>;
  stop(): Promise<void>;
}

export class NetworkLedger implements TrialLedger {
  readonly network: ComplianceNetwork;
  /** One JSON line a call, in order. */
  readonly transcript: string[] = [];
  readonly #ledgers = new Map<string, FabricLedger>();
  /** A connection to each organisation's peer. */
  readonly #peers = new Map<string, FabricClient>();
  readonly #stopped = new Set<string>();

  constructor(network: ComplianceNetwork) {
    this.network = network;
  }

  get timeMs(): number {
    return Date.now();
  }

  /** The client of an organisation. */
  of(mspId: string): FabricLedger {
    const ledger =
      this.#ledgers.get(mspId) ?? new FabricLedger(this.network.ledgerConfigFor(mspId));
    this.#ledgers.set(mspId, ledger);
    return ledger;
  }

  async evaluate<T extends TransactionName>(
    { mspId }: Caller,
    name: T,
    argument: Argument<T>,
  ): Promise<Result<T>> {
    return this.#noted({ mspId, evaluate: name }, () => this.of(mspId).evaluate(name, argument));
  }

  async submit<T extends TransactionName>(
    { mspId }: Caller,
    name: T,
    argument: Argument<T>,
    { transient }: Proposal = {},
  ): Promise<{ result: Result<T>; txId: string }> {
    const options = transient === undefined ? {} : { transient };
    return this.#noted({ mspId, submit: name }, async () => {
      const done = await this.of(mspId).submit(name, argument, options);
      await this.settled(done.txId);
      return done;
    });
  }

  /** Waits until every peer that runs has the transaction, so that all of them answer alike. */
  async settled(txId: string): Promise<void> {
    const running = this.network.organisations.filter(({ mspId }) => !this.#stopped.has(mspId));
    for (const { mspId } of running) {
      const peer = this.#peers.get(mspId) ?? (await fabricClient(this.network, mspId));
      this.#peers.set(mspId, peer);
      await peer.committed(txId);
    }
  }

  async stopPeer(mspId: string): Promise<void> {
    this.#stopped.add(mspId);
    await this.network.stopPeer(mspId);
  }

  async startPeer(mspId: string): Promise<void> {
    await this.network.startPeer(mspId);
    this.#peers.get(mspId)?.[Symbol.dispose]();
    this.#peers.delete(mspId);
    this.#stopped.delete(mspId);
  }

  close(): void {
    for (const peer of this.#peers.values()) peer[Symbol.dispose]();
    for (const ledger of this.#ledgers.values()) ledger.close();
  }

  async #noted<R>(call: Record<string, string>, run: () => Promise<R>): Promise<R> {
    try {
      const answer = await run();
      this.transcript.push(masked({ ...call, answer }));
      return answer;
    } catch (error) {
      if (error instanceof LedgerError) {
        this.transcript.push(masked({ ...call, error: error.code, message: error.message }));
      }
      throw error;
    }
  }
}

/** The JSON of `value` without what differs from run to run. */
function masked(value: unknown): string {
  return JSON.stringify(value)
    .replace(/age1[0-9a-z]{58}/g, '<recipient>')
    .replace(/[0-9a-f]{32,}/g, '<hex>')
    .replace(/"[A-Za-z0-9+/]{32,}={0,2}"/g, '"<bytes>"')
    .replace(/\b0*1[0-9]{12}\b/g, '<time>');
}
