/**
 * One case of the ledger's benchmark: the first organisation deposits, the n after it hold. Gives
 * rates in calls, keys or shards a second, and how many calls failed.
 */
import { createHash, randomBytes } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { fromBase64 } from '@blocktorrent/protocol/bytes.ts';
import { CHAINCODE, type Dealing, type GetShardInput } from '@blocktorrent/protocol/ledger-api.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import { FabricLedger } from '../../agent/src/ledger/fabric-ledger.ts';
import { DepositGroup } from '../../agent/src/record/deposit-group.ts';
import { BARE } from './bare-chaincode.ts';
import { BenchClient } from './client.ts';
import { KeySource } from './keys.ts';
import { type Outcome, rateInFlight, sendAtRate } from './load.ts';
import type { BenchNetwork } from './network.ts';
import { PRIVATE_PUTS } from './private-chaincode.ts';

const CALLS_IN_FLIGHT = 100;
const QUERIES_IN_FLIGHT = 50;
/** Transactions of 300 shards under way at once: fewer mostly wait for the next block. */
const BATCHES_IN_FLIGHT = 8;
/** Deposits whose shards are queried, and how many of them are made at once. */
const QUERIED = 20;
const QUERIED_AT_ONCE = 5;
/** What a holder has not got by then was lost on its way: it would be dealt again. */
const ARRIVAL_MS = 5_000;
const ARRIVAL_PAUSE_MS = 10;
const VALUE = 'x'.repeat(32);

export class Trial {
  readonly #depositor: BenchClient;
  readonly #holders: readonly BenchClient[];
  readonly #ledger: FabricLedger;
  readonly #group: DepositGroup;
  readonly #keys: KeySource;
  /** Shards that are there: with the holder's client, and as its agent asks for them. */
  #shards: { readonly client: BenchClient; readonly ref: GetShardInput }[] = [];

  static async start(network: BenchNetwork, n: number): Promise<Trial> {
    const [depositor = '', ...others] = network.mspIds;
    const holders = others.slice(0, n);
    if (holders.length < n) throw new RangeError(`${n} shards need ${n} other organisations`);
    const connect = (mspId: string) => BenchClient.connect(network.ledgerConfigFor(mspId));
    const trial = new Trial(
      await connect(depositor),
      await Promise.all(holders.map(connect)),
      new FabricLedger(network.ledgerConfigFor(depositor)),
    );
    await trial.#prepareShards();
    return trial;
  }

  private constructor(depositor: BenchClient, holders: BenchClient[], ledger: FabricLedger) {
    this.#depositor = depositor;
    this.#holders = holders;
    this.#ledger = ledger;
    this.#group = new DepositGroup(ledger, randomBytes);
    this.#keys = new KeySource(holders.map(({ mspId }) => mspId));
  }

  stop(): void {
    for (const client of [this.#depositor, ...this.#holders, this.#ledger]) client.close();
  }

  barePuts(windowMs: number): Promise<Outcome> {
    return rateInFlight(() => this.#put(), CALLS_IN_FLIGHT, windowMs);
  }

  /** What a deposit at the least asks of Fabric: a private value for each holder, a public key. */
  privatePuts(windowMs: number): Promise<Outcome> {
    return rateInFlight(() => this.#privatePuts(), CALLS_IN_FLIGHT, windowMs);
  }

  depositsOneByOne(windowMs: number): Promise<Outcome> {
    return rateInFlight(() => this.#deposit(), CALLS_IN_FLIGHT, windowMs);
  }

  /** By the gateway's way: callers that wait together share a transaction. */
  deposits(windowMs: number): Promise<Outcome> {
    const one = async () => {
      const { input, identity } = this.#keys.next();
      await this.#group.deposit({ input, identity, onDepositId: () => undefined });
      return 1;
    };
    return rateInFlight(one, CALLS_IN_FLIGHT, windowMs);
  }

  keys(windowMs: number): Promise<Outcome> {
    return rateInFlight(() => this.#depositMany(), BATCHES_IN_FLIGHT, windowMs);
  }

  queries(windowMs: number): Promise<Outcome> {
    return rateInFlight((turn) => this.#query(turn), QUERIES_IN_FLIGHT, windowMs);
  }

  nothings(windowMs: number): Promise<Outcome> {
    const one = async (turn: number) => {
      const { chaincode, nothing: name } = BARE;
      await this.#shardAt(turn).client.evaluate({ chaincode, name, args: [] });
      return 1;
    };
    return rateInFlight(one, QUERIES_IN_FLIGHT, windowMs);
  }

  sendAt(kind: 'deposit' | 'query', perSecond: number, windowMs: number): Promise<Outcome> {
    const one = kind === 'deposit' ? () => this.#deposit() : (turn: number) => this.#query(turn);
    return sendAtRate(one, perSecond, windowMs);
  }

  async #put(): Promise<number> {
    const { chaincode, put: name } = BARE;
    await this.#depositor.submit({
      chaincode,
      name,
      args: [randomBytes(32).toString('hex'), VALUE],
    });
    return 1;
  }

  async #privatePuts(): Promise<number> {
    const args = this.#holders.map(({ mspId }) => mspId);
    await this.#depositor.submit({ chaincode: CHAINCODE.keys, name: PRIVATE_PUTS, args });
    return 1;
  }

  async #deposit(): Promise<number> {
    await this.#depositor.submit(this.#keys.deposit());
    return 1;
  }

  /** One full transaction; its keys count when every holder has read its own shards. */
  async #depositMany(): Promise<number> {
    const count = Math.floor(LIMITS.shardsPerDepositMax / this.#holders.length);
    const dealings = parse<Dealing[]>(await this.#depositor.submit(this.#keys.depositMany(count)));
    const reads = this.#holders.map((holder, i) => arrived(holder, i + 1, dealings));
    const missing = (await Promise.all(reads)).filter((all) => !all).length;
    if (missing > 0) throw new Error(`${missing} holders have not got their shards`);
    return dealings.length;
  }

  async #query(turn: number): Promise<number> {
    const { client, ref } = this.#shardAt(turn);
    const args = [JSON.stringify(ref)];
    const found = await client.evaluate({ chaincode: CHAINCODE.keys, name: 'keys:GetShard', args });
    if (parse<{ shard: string } | null>(found) === null) throw new Error('a shard is missing');
    return 1;
  }

  #shardAt(turn: number) {
    const shard = this.#shards[turn % this.#shards.length];
    if (shard === undefined) throw new Error('no shards were prepared');
    return shard;
  }

  async #prepareShards(): Promise<void> {
    for (let i = 0; i < QUERIED; i += QUERIED_AT_ONCE) {
      await Promise.all(Array.from({ length: QUERIED_AT_ONCE }, () => this.#prepareShard()));
    }
  }

  async #prepareShard(): Promise<void> {
    const dealing = parse<Dealing>(await this.#depositor.submit(this.#keys.deposit()));
    await Promise.all(
      this.#holders.map(async (client, at) => {
        const index = at + 1;
        if (!(await arrived(client, index, [dealing]))) return;
        const hash = dealing.shardHashes[at] ?? '';
        this.#shards.push({ client, ref: { depositTx: dealing.depositTx, index, hash } });
      }),
    );
  }
}

/**
 * Reads shard `index` of every dealing of one transaction as its holder; whether all of them came in
 * time and are right. Asks for one alone until it is there: they come together.
 */
async function arrived(
  holder: BenchClient,
  index: number,
  dealings: readonly Dealing[],
): Promise<boolean> {
  const giveUpMs = performance.now() + ARRIVAL_MS;
  while (!(await areRight(holder, index, dealings.slice(0, 1)))) {
    if (performance.now() > giveUpMs) return false;
    await pause(ARRIVAL_PAUSE_MS);
  }
  return dealings.length === 1 || (await areRight(holder, index, dealings));
}

/** Whether the holder's shards of these dealings are there and have the pinned hashes. */
async function areRight(
  holder: BenchClient,
  index: number,
  dealings: readonly Dealing[],
): Promise<boolean> {
  const shards = dealings.map(({ depositTx }) => ({ depositTx, index }));
  const args = [JSON.stringify({ shards })];
  const answer = await holder.evaluate({ chaincode: CHAINCODE.keys, name: 'keys:GetShards', args });
  const found = parse<(string | null)[]>(answer);
  return dealings.every(({ shardHashes }, i) => {
    const shard = found[i] ?? null;
    if (shard === null) return false;
    const hash = createHash('sha256').update(fromBase64(shard)).digest('hex');
    return hash === shardHashes[index - 1];
  });
}

function parse<T>(bytes: Uint8Array): T {
  return JSON.parse(Buffer.from(bytes).toString());
}
