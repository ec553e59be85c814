/**
 * One run of a transaction on one organisation's view: answers reads from a snapshot, collects
 * writes, and gives the read-write set. As in Fabric, a transaction does not see its own writes,
 * and a paginated query and writes exclude each other.
 */
import type { ChaincodeDefinition, CollectionConfig } from './config.ts';
import {
  type CollectionSet,
  encodePrivateWrites,
  type Metadata,
  type RangeRead,
  type ReadWriteSet,
  sameVersion,
  sha256,
  type Version,
  type Write,
} from './rwset.ts';
import { hashKey, type StateRow, type View } from './views.ts';

/** Rows of one QueryResponse; Fabric's default too. */
const ROWS_PER_BATCH = 100;
/** Open iterators of one transaction. */
const ITERATORS_MAX = 100;
/** Rows of one page, Fabric's totalQueryLimit. */
const PAGE_ROWS_MAX = 100_000;

/** Who simulates for whom. */
export interface SimulationContext {
  readonly chaincode: ChaincodeDefinition;
  /** The organisation whose peer this is. */
  readonly peerMspId: string;
  /** The organisation of the client that signed the proposal. */
  readonly clientMspId: string;
}

/** Some rows of a range, and the id under which to ask for more. */
export interface RangeBatch {
  readonly id: string;
  readonly rows: readonly StateRow[];
  readonly hasMore: boolean;
  /** First key of the next page; '' if there is none. Only for a page. */
  readonly bookmark: string;
}

/** Private values written to one collection, as they go to its members. */
export interface PrivateWriteSet {
  readonly collection: CollectionConfig;
  readonly writes: Uint8Array;
}

/** What the chaincode asked for is not allowed or not there; it gets the message as an error. */
export class SimulationError extends Error {
  override readonly name = 'SimulationError';
}

interface CollectionLog {
  readonly config: CollectionConfig;
  readonly reads: Map<string, Version>;
  readonly writes: Map<string, { value: Uint8Array | null; purge: boolean }>;
  readonly metadataWrites: Map<string, Metadata>;
  /** Values were read, not only hashes: only members can endorse. */
  valuesRead: boolean;
}

interface OpenRange {
  readonly start: string;
  readonly end: string;
  next: string;
  readonly reads: { key: string; version: Version }[];
  exhausted: boolean;
}

export class Simulator {
  readonly #view: View;
  readonly #context: SimulationContext;
  readonly #ns: string;
  readonly #reads = new Map<string, Version>();
  readonly #writes = new Map<string, Uint8Array | null>();
  readonly #metadataWrites = new Map<string, Metadata>();
  readonly #collections = new Map<string, CollectionLog>();
  readonly #ranges: OpenRange[] = [];
  #paginated = false;

  constructor(view: View, context: SimulationContext) {
    this.#view = view;
    this.#context = context;
    this.#ns = context.chaincode.name;
  }

  /** A public value; empty if the key does not exist. */
  getState(key: string): Uint8Array {
    const found = this.#readState(key);
    return found?.value ?? new Uint8Array();
  }

  getStateMetadata(key: string): Metadata {
    return this.#readState(key)?.metadata ?? {};
  }

  /** An empty value deletes, as in Fabric. */
  putState(key: string, value: Uint8Array): void {
    this.#beforeWrite(key);
    this.#writes.set(key, value.length === 0 ? null : value);
  }

  putStateMetadata(key: string, metadata: Metadata): void {
    this.#beforeWrite(key);
    this.#metadataWrites.set(key, metadata);
  }

  /** Opens a range; `pageRows` 0 = no page. */
  openRange(start: string, end: string, pageRows: number): RangeBatch {
    if (this.#ranges.length >= ITERATORS_MAX) {
      throw new SimulationError(`a transaction may open at most ${ITERATORS_MAX} ranges`);
    }
    if (pageRows > 0) {
      if (this.#hasWrites()) {
        throw new SimulationError('a paginated query and writes exclude each other');
      }
      this.#paginated = true;
    }
    const range: OpenRange = { start, end, next: start, reads: [], exhausted: false };
    this.#ranges.push(range);
    const id = String(this.#ranges.length - 1);
    if (pageRows === 0) {
      return this.#fetch(id, range);
    }
    const batch = this.#read(range, Math.min(pageRows, PAGE_ROWS_MAX));
    return { id, rows: batch, hasMore: false, bookmark: range.exhausted ? '' : range.next };
  }

  nextRows(id: string): RangeBatch {
    const range = this.#ranges[Number(id)];
    if (range === undefined) {
      throw new SimulationError(`query iterator ${id} not found`);
    }
    return this.#fetch(id, range);
  }

  getPrivateData(collection: string, key: string): Uint8Array {
    const log = this.#collection(collection);
    this.#mayRead(log.config);
    const keyHash = hashKey(key);
    const known = this.#view.hashed(this.#ns, collection, keyHash);
    const { peerMspId } = this.#context;
    const mine = this.#view.privateValue(peerMspId, this.#ns, collection, keyHash);
    const version = mine?.version ?? null;
    if (!sameVersion(known?.version ?? null, version) && known !== null) {
      throw new SimulationError(
        'private data matching public hash version is not available. ' +
          `Public hash version = ${show(known.version)}, Private data version = ${show(version)}`,
      );
    }
    log.valuesRead = true;
    log.reads.set(key, known === null ? null : version);
    return known === null || mine === null ? new Uint8Array() : mine.value;
  }

  /** SHA-256 of the value; empty if the key does not exist. Open to everybody. */
  getPrivateDataHash(collection: string, key: string): Uint8Array {
    return this.#readHashed(collection, key)?.valueHash ?? new Uint8Array();
  }

  getPrivateDataMetadata(collection: string, key: string): Metadata {
    this.#mayRead(this.#collection(collection).config);
    return this.#readHashed(collection, key)?.metadata ?? {};
  }

  putPrivateData(collection: string, key: string, value: Uint8Array): void {
    const log = this.#writable(collection, key);
    log.writes.set(key, { value: value.length === 0 ? null : value, purge: false });
  }

  purgePrivateData(collection: string, key: string): void {
    this.#writable(collection, key).writes.set(key, { value: null, purge: true });
  }

  putPrivateDataMetadata(collection: string, key: string, metadata: Metadata): void {
    this.#writable(collection, key).metadataWrites.set(key, metadata);
  }

  /** The result; equal for every endorser that saw the same. */
  readWriteSet(): ReadWriteSet {
    return {
      namespace: this.#ns,
      reads: sorted(this.#reads).map(([key, version]) => ({ key, version })),
      ranges: this.#ranges.map(rangeRead),
      writes: sorted(this.#writes).map(([key, value]) => ({ key, value })),
      metadataWrites: sorted(this.#metadataWrites).map(([key, metadata]) => ({ key, metadata })),
      collections: sorted(this.#collections).map(([, log]) => collectionSet(log)),
    };
  }

  /** Private values of every collection that was written to. */
  privateWrites(): PrivateWriteSet[] {
    return sorted(this.#collections)
      .filter(([, log]) => log.writes.size > 0)
      .map(([, log]) => ({ collection: log.config, writes: privateWrites(log) }));
  }

  /** Collections touched; `valuesRead`: an endorser must be a member to do the same. */
  touched(): { collection: CollectionConfig; valuesRead: boolean }[] {
    return [...this.#collections.values()].map((log) => ({
      collection: log.config,
      valuesRead: log.valuesRead,
    }));
  }

  #readState(key: string) {
    const found = this.#view.state(this.#ns, key);
    this.#reads.set(key, found?.version ?? null);
    return found;
  }

  #readHashed(collection: string, key: string) {
    const log = this.#collection(collection);
    const found = this.#view.hashed(this.#ns, collection, hashKey(key));
    log.reads.set(key, found?.version ?? null);
    return found;
  }

  #fetch(id: string, range: OpenRange): RangeBatch {
    const rows = this.#read(range, ROWS_PER_BATCH);
    return { id, rows, hasMore: !range.exhausted, bookmark: '' };
  }

  /** One row of read-ahead tells whether there is more; it does not count as read. */
  #read(range: OpenRange, limit: number): StateRow[] {
    const rows = this.#view.range(this.#ns, range.next, range.end, limit + 1);
    const ahead = rows[limit];
    range.exhausted = ahead === undefined;
    range.next = ahead?.key ?? range.next;
    const batch = rows.slice(0, limit);
    for (const { key, version } of batch) {
      range.reads.push({ key, version });
    }
    return batch;
  }

  #collection(name: string): CollectionLog {
    let log = this.#collections.get(name);
    if (log === undefined) {
      const config = this.#context.chaincode.collections.find((each) => each.name === name);
      if (config === undefined) {
        throw new SimulationError(`collection ${name} is not defined for chaincode ${this.#ns}`);
      }
      log = {
        config,
        reads: new Map(),
        writes: new Map(),
        metadataWrites: new Map(),
        valuesRead: false,
      };
      this.#collections.set(name, log);
    }
    return log;
  }

  #mayRead(config: CollectionConfig): void {
    if (config.memberOnlyRead && !config.memberOrgs.includes(this.#context.clientMspId)) {
      throw new SimulationError(
        'tx creator does not have read access permission on privatedata in ' +
          `chaincodeName:${this.#ns} collectionName: ${config.name}`,
      );
    }
  }

  #writable(collection: string, key: string): CollectionLog {
    const log = this.#collection(collection);
    const { memberOnlyWrite, memberOrgs } = log.config;
    if (memberOnlyWrite && !memberOrgs.includes(this.#context.clientMspId)) {
      throw new SimulationError(
        'tx creator does not have write access permission on privatedata in ' +
          `chaincodeName:${this.#ns} collectionName: ${collection}`,
      );
    }
    this.#beforeWrite(key);
    return log;
  }

  #beforeWrite(key: string): void {
    if (key === '') {
      throw new SimulationError('a key must not be empty');
    }
    if (this.#paginated) {
      throw new SimulationError('a paginated query and writes exclude each other');
    }
  }

  #hasWrites(): boolean {
    const privately = [...this.#collections.values()].some(
      (log) => log.writes.size + log.metadataWrites.size > 0,
    );
    return privately || this.#writes.size + this.#metadataWrites.size > 0;
  }
}

function rangeRead(range: OpenRange): RangeRead {
  const last = range.reads.at(-1)?.key ?? range.start;
  const { start, exhausted, reads } = range;
  return { start, end: exhausted ? range.end : last, exhausted, reads };
}

function collectionSet(log: CollectionLog): CollectionSet {
  const byHash = <T>(map: ReadonlyMap<string, T>) =>
    [...map]
      .map(([key, value]) => ({ keyHash: hashKey(key), value }))
      .sort((a, b) => Buffer.compare(a.keyHash, b.keyHash));
  return {
    collection: log.config.name,
    reads: byHash(log.reads).map(({ keyHash, value: version }) => ({ keyHash, version })),
    writes: byHash(log.writes).map(({ keyHash, value: { value, purge } }) => ({
      keyHash,
      valueHash: value === null ? null : sha256(value),
      purge,
    })),
    metadataWrites: byHash(log.metadataWrites).map(({ keyHash, value: metadata }) => ({
      keyHash,
      metadata,
    })),
    privateHash: log.writes.size === 0 ? new Uint8Array() : sha256(privateWrites(log)),
  };
}

function privateWrites(log: CollectionLog): Uint8Array {
  const writes: Write[] = sorted(log.writes).map(([key, { value }]) => ({ key, value }));
  return encodePrivateWrites(writes);
}

function sorted<T>(map: ReadonlyMap<string, T>): [string, T][] {
  return [...map].sort(([a], [b]) => (a < b ? -1 : 1));
}

function show(version: Version): string {
  return version === null ? '<nil>' : `{BlockNum: ${version.block}, TxNum: ${version.tx}}`;
}
