/**
 * Just enough of Fabric, in memory, to run the chaincodes through fabric-shim's own dispatcher.
 *
 * Mimics what contracts can trip over: reads see committed state only, an empty value is absence,
 * range reads are in key order, private data is a map for each collection and answers only its
 * member, keys of composite form are refused, transient data and the caller's certificate come
 * with the proposal. `simulate` gives read and write sets, `submit` commits them one by one.
 */
import { createHash } from 'node:crypto';
import type { Argument, Result, TransactionName } from '@blocktorrent/protocol/ledger-api.ts';
import { chaincodeDefinitions } from '../../chaincode/collections.ts';
import { type ChaincodeName, createChaincode } from '../../chaincode/src/contracts.ts';
import { certificateOf } from './role-certificate.ts';

/** Who submits. */
export interface Caller {
  readonly mspId: string;
  readonly role: string | null;
  /** Its certificate is of the gateway `NAMED_PEER` alone. */
  readonly isNamed?: boolean;
}

/** What one simulation did. Keys of private data are `collection:key`. */
export interface Simulation {
  readonly status: number;
  readonly message: string;
  readonly payload: Buffer;
  readonly reads: Set<string>;
  readonly scanned: boolean;
  /** Ranges that it opened. */
  readonly rangeCount: number;
  readonly writes: Map<string, Uint8Array>;
  readonly policies: Map<string, Uint8Array>;
  readonly event: { name: string; payload: unknown } | null;
  readonly txId: string;
}

/** Beside the argument. */
export interface Proposal {
  /** For a second endorser of the same transaction. */
  readonly txId?: string;
  readonly transient?: Readonly<Record<string, Uint8Array>>;
}

export class MemoryFabric {
  readonly channel: string;
  readonly members: readonly string[];
  timeMs = 1_800_000_000_000;
  readonly events: { name: string; payload: unknown }[] = [];
  readonly #state: Record<ChaincodeName, Map<string, Uint8Array>> = {
    ledger: new Map(),
    keys: new Map(),
  };
  readonly #policies = new Map<string, Uint8Array>();
  readonly #chaincodes = { ledger: createChaincode('ledger'), keys: createChaincode('keys') };
  readonly #collections: ReadonlySet<string>;
  /** Private data that is known by its hash alone. */
  readonly #neverArrived = new Set<string>();
  #transactions = 0;

  constructor(channel: string, members: readonly string[]) {
    this.channel = channel;
    this.members = members;
    this.#collections = new Set(
      chaincodeDefinitions(members).flatMap((one) => one.collections.map(({ name }) => name)),
    );
  }

  /** Runs a transaction and throws its text where it was refused; commits nothing. */
  async evaluate<T extends TransactionName>(
    caller: Caller,
    name: T,
    argument: Argument<T>,
  ): Promise<Result<T>> {
    const done = await this.simulate(caller, name, JSON.stringify(argument), {});
    if (done.status !== 200) throw new Error(done.message);
    return JSON.parse(done.payload.toString()) as Result<T>;
  }

  /** Runs a transaction, commits it, and returns its result and id. */
  async submit<T extends TransactionName>(
    caller: Caller,
    name: T,
    argument: Argument<T>,
    proposal: Proposal = {},
  ): Promise<{ result: Result<T>; txId: string; simulation: Simulation }> {
    const simulation = await this.simulate(caller, name, JSON.stringify(argument), proposal);
    if (simulation.status !== 200) throw new Error(simulation.message);
    this.commit(name, simulation);
    const result = JSON.parse(simulation.payload.toString()) as Result<T>;
    return { result, txId: simulation.txId, simulation };
  }

  /** Applies what a simulation wrote. */
  commit(name: string, simulation: Simulation): void {
    if (simulation.scanned && simulation.writes.size > 0) {
      throw new Error(`${name} reads a range and writes: it would clash with every parallel one`);
    }
    const state = this.#state[chaincodeOf(name)];
    for (const [key, value] of simulation.writes) {
      if (value.length > 0) state.set(key, value);
      else if (state.delete(key)) this.#policies.delete(key);
    }
    for (const [key, value] of simulation.policies) this.#policies.set(key, value);
    if (simulation.event !== null) this.events.push(simulation.event);
    this.timeMs += 1000;
  }

  /** Everything that is stored under a key of a chaincode; private data as `collection:key`. */
  stored(chaincode: ChaincodeName, key: string): Uint8Array | null {
    return this.#state[chaincode].get(key) ?? null;
  }

  /** All keys of a chaincode. */
  keys(chaincode: ChaincodeName): string[] {
    return [...this.#state[chaincode].keys()].sort();
  }

  /** Key-level policy of a key, as it was serialized. */
  policy(key: string): Uint8Array | null {
    return this.#policies.get(key) ?? null;
  }

  /** Loses a private value: for good, or where the peer alone has not got it, with its hash left. */
  losePrivate(
    collection: string,
    key: string,
    where: 'everywhere' | 'at this peer' = 'everywhere',
  ) {
    if (where === 'at this peer') this.#neverArrived.add(`${collection}:${key}`);
    else this.#state.keys.delete(`${collection}:${key}`);
  }

  /** Writes a private value, as changed chaincode may do where no policy forbids it. */
  writePrivate(collection: string, key: string, value: Uint8Array): void {
    this.writeState('keys', `${collection}:${key}`, value);
  }

  /** Writes a public value, as changed chaincode may do where no policy forbids it. */
  writeState(chaincode: ChaincodeName, key: string, value: Uint8Array): void {
    this.#state[chaincode].set(key, value);
  }

  /** Runs a transaction through the shim's dispatcher. */
  async simulate(
    caller: Caller,
    name: string,
    argument: string | null,
    proposal: Proposal,
  ): Promise<Simulation> {
    const chaincode = chaincodeOf(name);
    const call = name.slice(name.indexOf('/') + 1);
    const next = createHash('sha256')
      .update(`tx ${++this.#transactions}`)
      .digest('hex');
    const txId = proposal.txId ?? next;
    const simulation = {
      reads: new Set<string>(),
      scanned: false,
      rangeCount: 0,
      writes: new Map<string, Uint8Array>(),
      policies: new Map<string, Uint8Array>(),
      event: null as Simulation['event'],
      txId,
    };
    const args = [call, ...(argument === null ? [] : [argument])];
    const stub = {
      getBufferArgs: () => args.map((one) => Buffer.from(one)),
      getFunctionAndParameters: () => ({ fcn: call, params: args.slice(1) }),
      getTxID: () => txId,
      getChannelID: () => this.channel,
      getCreator: () => ({
        mspid: caller.mspId,
        idBytes: certificateOf(caller.role, caller.isNamed),
      }),
      getDateTimestamp: () => new Date(this.timeMs),
      getTransient: () => new Map(Object.entries(proposal.transient ?? {})),
      ...publicState(this.#state[chaincode], simulation),
      ...privateState(this.#state[chaincode], simulation, {
        collections: this.#collections,
        neverArrived: this.#neverArrived,
        mspId: caller.mspId,
      }),
      setEvent: (event: string, payload: Uint8Array) => {
        if (simulation.event !== null) throw new Error('a second event');
        simulation.event = { name: event, payload: JSON.parse(Buffer.from(payload).toString()) };
      },
    };
    const invoke = this.#chaincodes[chaincode].Invoke as (stub: unknown) => Promise<{
      status: number;
      message?: string;
      payload?: Uint8Array;
    }>;
    const response = await invoke.call(this.#chaincodes[chaincode], stub);
    return {
      ...simulation,
      status: response.status,
      message: response.message ?? '',
      payload: Buffer.from(response.payload ?? []),
    };
  }
}

/** What a simulation notes down while it runs. */
interface Notes {
  readonly reads: Set<string>;
  scanned: boolean;
  rangeCount: number;
  readonly writes: Map<string, Uint8Array>;
  readonly policies: Map<string, Uint8Array>;
}

function publicState(state: ReadonlyMap<string, Uint8Array>, notes: Notes) {
  return {
    getState: async (key: string) => {
      notes.reads.add(key);
      return Buffer.from(state.get(key) ?? []);
    },
    putState: async (key: string, value: Uint8Array) => {
      if (key === '' || key.startsWith('\u0000')) throw new Error(`key ${key} refused`);
      notes.writes.set(key, value);
    },
    setStateValidationParameter: async (key: string, policy: Uint8Array) => {
      notes.policies.set(key, policy);
    },
    getStateByRange: (start: string, end: string) => {
      notes.scanned = true;
      notes.rangeCount += 1;
      return rangeOf(state, start, end);
    },
  };
}

function privateState(
  state: ReadonlyMap<string, Uint8Array>,
  notes: Notes,
  {
    collections,
    neverArrived,
    mspId,
  }: {
    readonly collections: ReadonlySet<string>;
    readonly neverArrived: ReadonlySet<string>;
    readonly mspId: string;
  },
) {
  const full = (collection: string, key: string) => {
    if (!collections.has(collection)) throw new Error(`collection ${collection} unknown`);
    return `${collection}:${key}`;
  };
  return {
    getPrivateData: async (collection: string, key: string) => {
      if (collection !== `shards-${mspId}`) throw new Error('tx creator has no read access');
      notes.reads.add(full(collection, key));
      if (neverArrived.has(full(collection, key))) {
        throw new Error('private data matching public hash version is not available');
      }
      return Buffer.from(state.get(full(collection, key)) ?? []);
    },
    getPrivateDataHash: async (collection: string, key: string) => {
      const value = state.get(full(collection, key));
      return value === undefined ? Buffer.alloc(0) : createHash('sha256').update(value).digest();
    },
    putPrivateData: async (collection: string, key: string, value: Uint8Array) => {
      notes.writes.set(full(collection, key), value);
    },
    purgePrivateData: async (collection: string, key: string) => {
      notes.writes.set(full(collection, key), new Uint8Array());
    },
    setPrivateDataValidationParameter: async (
      collection: string,
      key: string,
      policy: Uint8Array,
    ) => {
      notes.policies.set(full(collection, key), policy);
    },
  };
}

function chaincodeOf(name: string): ChaincodeName {
  return name.startsWith('keys/') ? 'keys' : 'ledger';
}

async function* rangeOf(
  state: ReadonlyMap<string, Uint8Array>,
  start: string,
  end: string,
): AsyncGenerator<{ key: string; value: Uint8Array }> {
  for (const key of [...state.keys()].filter((one) => one >= start && one < end).sort()) {
    yield { key, value: state.get(key) ?? new Uint8Array() };
  }
}
