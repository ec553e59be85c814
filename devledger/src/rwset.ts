/**
 * What a simulated transaction read and wrote, and its wire form (ledger/rwset protos).
 * The encoding is deterministic: keys are sorted, so two endorsers that did the same agree byte
 * for byte. Private values never enter it: collections appear as hashes only.
 */
import { createHash } from 'node:crypto';
import { ledger } from '@hyperledger/fabric-protos';

const {
  rwset,
  rwset: { kvrwset },
} = ledger;

/** Position of the transaction that wrote a value; null = the key did not exist. */
export type Version = { readonly block: number; readonly tx: number } | null;
/** State metadata: name (e.g. `VALIDATION_PARAMETER`) -> value. */
export type Metadata = Readonly<Record<string, Uint8Array>>;

export interface Read {
  readonly key: string;
  readonly version: Version;
}
/** `value` null = deleted. */
export interface Write {
  readonly key: string;
  readonly value: Uint8Array | null;
}
export interface MetadataWrite {
  readonly key: string;
  readonly metadata: Metadata;
}
/** A range that was read; if not exhausted, `end` is the last key seen, inclusive. */
export interface RangeRead {
  readonly start: string;
  readonly end: string;
  readonly exhausted: boolean;
  readonly reads: readonly Read[];
}
export interface HashedRead {
  readonly keyHash: Uint8Array;
  readonly version: Version;
}
/** `valueHash` null = deleted; `purge` = forget every former value as well. */
export interface HashedWrite {
  readonly keyHash: Uint8Array;
  readonly valueHash: Uint8Array | null;
  readonly purge: boolean;
}
export interface HashedMetadataWrite {
  readonly keyHash: Uint8Array;
  readonly metadata: Metadata;
}
export interface CollectionSet {
  readonly collection: string;
  readonly reads: readonly HashedRead[];
  readonly writes: readonly HashedWrite[];
  readonly metadataWrites: readonly HashedMetadataWrite[];
  /** SHA-256 of the private write set; empty if nothing was written. */
  readonly privateHash: Uint8Array;
}
/** Everything a transaction did in one chaincode's namespace. */
export interface ReadWriteSet {
  readonly namespace: string;
  readonly reads: readonly Read[];
  readonly ranges: readonly RangeRead[];
  readonly writes: readonly Write[];
  readonly metadataWrites: readonly MetadataWrite[];
  readonly collections: readonly CollectionSet[];
}

/** SHA-256, 32 bytes. */
export function sha256(...parts: readonly Uint8Array[]): Uint8Array {
  const hash = createHash('sha256');
  for (const part of parts) {
    hash.update(part);
  }
  return hash.digest();
}

/** True if both are absent or the same position. */
export function sameVersion(a: Version, b: Version): boolean {
  return a === null || b === null ? a === b : a.block === b.block && a.tx === b.tx;
}

/** TxReadWriteSet bytes; an empty set has no namespaces. */
export function encodeReadWriteSet(set: ReadWriteSet): Uint8Array {
  const ns = new rwset.NsReadWriteSet();
  ns.setNamespace(set.namespace);
  ns.setRwset(encodeKvSet(set));
  ns.setCollectionHashedRwsetList(set.collections.map(encodeCollection));
  const tx = new rwset.TxReadWriteSet();
  tx.setDataModel(rwset.TxReadWriteSet.DataModel.KV);
  tx.setNsRwsetList([ns]);
  return tx.serializeBinary();
}

/** Inverse of `encodeReadWriteSet`; throws on malformed bytes or other than one namespace. */
export function decodeReadWriteSet(bytes: Uint8Array): ReadWriteSet {
  const [ns, ...others] = rwset.TxReadWriteSet.deserializeBinary(bytes).getNsRwsetList();
  if (ns === undefined || others.length > 0) {
    throw new Error('a read-write set must have exactly one namespace');
  }
  const kv = kvrwset.KVRWSet.deserializeBinary(ns.getRwset_asU8());
  return {
    namespace: ns.getNamespace(),
    reads: kv.getReadsList().map(decodeRead),
    ranges: kv.getRangeQueriesInfoList().map((range) => ({
      start: range.getStartKey(),
      end: range.getEndKey(),
      exhausted: range.getItrExhausted(),
      reads: (range.getRawReads()?.getKvReadsList() ?? []).map(decodeRead),
    })),
    writes: kv.getWritesList().map(decodeWrite),
    metadataWrites: kv.getMetadataWritesList().map((write) => ({
      key: write.getKey(),
      metadata: decodeEntries(write.getEntriesList()),
    })),
    collections: ns.getCollectionHashedRwsetList().map(decodeCollection),
  };
}

/** A collection's private write set as it travels between peers; its SHA-256 is on the ledger. */
export function encodePrivateWrites(writes: readonly Write[]): Uint8Array {
  const kv = new kvrwset.KVRWSet();
  kv.setWritesList(writes.map(encodeWrite));
  return kv.serializeBinary();
}

/** Inverse of `encodePrivateWrites`. */
export function decodePrivateWrites(bytes: Uint8Array): Write[] {
  return kvrwset.KVRWSet.deserializeBinary(bytes).getWritesList().map(decodeWrite);
}

function encodeKvSet(set: ReadWriteSet): Uint8Array {
  const kv = new kvrwset.KVRWSet();
  kv.setReadsList(set.reads.map(encodeRead));
  kv.setRangeQueriesInfoList(
    set.ranges.map((range) => {
      const info = new kvrwset.RangeQueryInfo();
      info.setStartKey(range.start);
      info.setEndKey(range.end);
      info.setItrExhausted(range.exhausted);
      const raw = new kvrwset.QueryReads();
      raw.setKvReadsList(range.reads.map(encodeRead));
      info.setRawReads(raw);
      return info;
    }),
  );
  kv.setWritesList(set.writes.map(encodeWrite));
  kv.setMetadataWritesList(
    set.metadataWrites.map(({ key, metadata }) => {
      const write = new kvrwset.KVMetadataWrite();
      write.setKey(key);
      write.setEntriesList(encodeEntries(metadata));
      return write;
    }),
  );
  return kv.serializeBinary();
}

function encodeCollection(set: CollectionSet): ledger.rwset.CollectionHashedReadWriteSet {
  const hashed = new kvrwset.HashedRWSet();
  hashed.setHashedReadsList(
    set.reads.map(({ keyHash, version }) => {
      const read = new kvrwset.KVReadHash();
      read.setKeyHash(keyHash);
      read.setVersion(encodeVersion(version));
      return read;
    }),
  );
  hashed.setHashedWritesList(
    set.writes.map(({ keyHash, valueHash, purge }) => {
      const write = new kvrwset.KVWriteHash();
      write.setKeyHash(keyHash);
      write.setIsDelete(valueHash === null);
      write.setValueHash(valueHash ?? new Uint8Array());
      write.setIsPurge(purge);
      return write;
    }),
  );
  hashed.setMetadataWritesList(
    set.metadataWrites.map(({ keyHash, metadata }) => {
      const write = new kvrwset.KVMetadataWriteHash();
      write.setKeyHash(keyHash);
      write.setEntriesList(encodeEntries(metadata));
      return write;
    }),
  );
  const result = new rwset.CollectionHashedReadWriteSet();
  result.setCollectionName(set.collection);
  result.setHashedRwset(hashed.serializeBinary());
  result.setPvtRwsetHash(set.privateHash);
  return result;
}

function decodeCollection(set: ledger.rwset.CollectionHashedReadWriteSet): CollectionSet {
  const hashed = kvrwset.HashedRWSet.deserializeBinary(set.getHashedRwset_asU8());
  return {
    collection: set.getCollectionName(),
    reads: hashed.getHashedReadsList().map((read) => ({
      keyHash: read.getKeyHash_asU8(),
      version: decodeVersion(read.getVersion()),
    })),
    writes: hashed.getHashedWritesList().map((write) => ({
      keyHash: write.getKeyHash_asU8(),
      valueHash: write.getIsDelete() ? null : write.getValueHash_asU8(),
      purge: write.getIsPurge(),
    })),
    metadataWrites: hashed.getMetadataWritesList().map((write) => ({
      keyHash: write.getKeyHash_asU8(),
      metadata: decodeEntries(write.getEntriesList()),
    })),
    privateHash: set.getPvtRwsetHash_asU8(),
  };
}

function encodeRead({ key, version }: Read): ledger.rwset.kvrwset.KVRead {
  const read = new kvrwset.KVRead();
  read.setKey(key);
  read.setVersion(encodeVersion(version));
  return read;
}

function decodeRead(read: ledger.rwset.kvrwset.KVRead): Read {
  return { key: read.getKey(), version: decodeVersion(read.getVersion()) };
}

function encodeWrite({ key, value }: Write): ledger.rwset.kvrwset.KVWrite {
  const write = new kvrwset.KVWrite();
  write.setKey(key);
  write.setIsDelete(value === null);
  write.setValue(value ?? new Uint8Array());
  return write;
}

function decodeWrite(write: ledger.rwset.kvrwset.KVWrite): Write {
  return { key: write.getKey(), value: write.getIsDelete() ? null : write.getValue_asU8() };
}

function encodeVersion(version: Version): ledger.rwset.kvrwset.Version | undefined {
  if (version === null) {
    return undefined;
  }
  const result = new kvrwset.Version();
  result.setBlockNum(version.block);
  result.setTxNum(version.tx);
  return result;
}

function decodeVersion(version: ledger.rwset.kvrwset.Version | undefined): Version {
  return version === undefined ? null : { block: version.getBlockNum(), tx: version.getTxNum() };
}

function encodeEntries(metadata: Metadata): ledger.rwset.kvrwset.KVMetadataEntry[] {
  return Object.keys(metadata)
    .sort()
    .map((name) => {
      const entry = new kvrwset.KVMetadataEntry();
      entry.setName(name);
      entry.setValue(metadata[name] ?? new Uint8Array());
      return entry;
    });
}

function decodeEntries(entries: ledger.rwset.kvrwset.KVMetadataEntry[]): Metadata {
  return Object.fromEntries(entries.map((entry) => [entry.getName(), entry.getValue_asU8()]));
}
