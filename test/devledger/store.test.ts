/** The ledger on disk: snapshots, metadata, private data between members, expiry, purge. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  encodePrivateWrites,
  type ReadWriteSet,
  sha256,
  type Write,
} from '../../devledger/src/rwset.ts';
import { Store } from '../../devledger/src/store.ts';
import { hashKey } from '../../devledger/src/views.ts';

const NS = 'keys';
const COLLECTION = {
  name: 'shared',
  memberOrgs: ['A', 'B'],
  memberOnlyRead: true,
  memberOnlyWrite: false,
  requiredPeerCount: 0,
  maxPeerCount: 1,
  blockToLive: 2,
};
let dir: string;
let store: Store;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'store-'));
  store = new Store(dir);
});
afterEach(async () => {
  store.close();
  await rm(dir, { recursive: true, force: true });
});

const bytes = (text: string) => Buffer.from(text);
const nothing: ReadWriteSet = {
  namespace: NS,
  reads: [],
  ranges: [],
  writes: [],
  metadataWrites: [],
  collections: [],
};
const publicly = (...writes: Write[]): ReadWriteSet => ({ ...nothing, writes });

/** Commits one block with one transaction. */
function commit(set: ReadWriteSet, after?: (at: { block: number; tx: number }) => void): void {
  store.atomically(() => {
    const at = { block: store.height(), tx: 0 };
    store.apply(set, at);
    after?.(at);
    const txId = `tx${at.block}`;
    const envelope = bytes(txId);
    store.appendBlock([{ txId, code: 0, chaincode: NS, event: null, envelope }], 0);
  });
}

/** Writes a private value; only these organisations' peers get it. */
function hide(key: string, value: string | null, holders: readonly string[]) {
  const writes = encodePrivateWrites([{ key, value: value === null ? null : bytes(value) }]);
  const valueHash = value === null ? null : sha256(bytes(value));
  const hashed = [{ keyHash: hashKey(key), valueHash, purge: value === null }];
  const collection = {
    collection: COLLECTION.name,
    reads: [],
    writes: hashed,
    metadataWrites: [],
    privateHash: sha256(writes),
  };
  commit({ ...nothing, collections: [collection] }, (at) => {
    for (const mspId of holders) {
      store.applyPrivate(mspId, NS, COLLECTION.name, writes, at);
    }
  });
}

const seen = (mspId: string, key: string) =>
  store.view.privateValue(mspId, NS, COLLECTION.name, hashKey(key))?.value.toString();
const known = (key: string) => store.view.hashed(NS, COLLECTION.name, hashKey(key));

describe('a snapshot', () => {
  it('shows the ledger as it was, while blocks go on', () => {
    commit(publicly({ key: 'a', value: bytes('old') }));
    const snapshot = store.views.snapshot();
    commit(publicly({ key: 'a', value: bytes('new') }, { key: 'b', value: bytes('more') }));
    expect(snapshot.view.state(NS, 'a')?.value.toString()).toBe('old');
    expect(snapshot.view.range(NS, 'a', '', 10)).toHaveLength(1);
    snapshot.release();
    const next = store.views.snapshot();
    expect(next.view.state(NS, 'a')?.value.toString()).toBe('new');
    next.release();
  });
});

describe('public state', () => {
  it('keeps metadata over writes, and loses it with the key', () => {
    const metadata = { VALIDATION_PARAMETER: bytes('policy') };
    const metadataWrites = [{ key: 'a', metadata }];
    commit({ ...publicly({ key: 'a', value: bytes('1') }), metadataWrites });
    commit(publicly({ key: 'a', value: bytes('2') }));
    expect(store.view.state(NS, 'a')).toMatchObject({ metadata, version: { block: 1, tx: 0 } });
    commit(publicly({ key: 'a', value: null }));
    commit(publicly({ key: 'a', value: bytes('3') }));
    expect(store.view.state(NS, 'a')?.metadata).toEqual({});
  });

  it('is in order of the keys’ UTF-8 bytes, zero bytes included', () => {
    const keys = ['\u0000x\u0000', 'a', 'a\u0000', 'b', 'é', '\u{10ffff}'];
    commit(publicly(...keys.map((key) => ({ key, value: bytes('v') }))));
    expect(store.view.range(NS, '', '', 10).map((row) => row.key)).toEqual(keys);
    expect(store.view.range(NS, 'a', 'b', 10).map((row) => row.key)).toEqual(['a', 'a\u0000']);
  });
});

describe('private data', () => {
  it('is caught up from another member, and from nobody else', () => {
    hide('k', 'secret', ['B']);
    hide('lost', 'secret', []);
    expect(seen('A', 'k')).toBeUndefined();
    store.reconcile('A', NS, COLLECTION);
    expect(seen('A', 'k')).toBe('secret');
    expect(seen('A', 'lost')).toBeUndefined();
    expect(known('lost')).not.toBeNull();
  });

  it('is forgotten by everybody when it is purged or its time is over', () => {
    hide('k', 'secret', ['A', 'B']);
    hide('k', null, ['A']);
    expect([seen('A', 'k'), seen('B', 'k'), known('k')]).toEqual([undefined, undefined, null]);
    hide('old', 'secret', ['A']);
    const { block } = known('old')?.version ?? { block: -1 };
    store.expire(NS, COLLECTION, block + 2);
    expect(seen('A', 'old')).toBe('secret');
    store.expire(NS, COLLECTION, block + 3);
    expect([seen('A', 'old'), known('old')]).toEqual([undefined, null]);
  });

  it('waits for its transaction with everybody who got it, over a restart', () => {
    const item = { txId: 't', ns: NS, collection: COLLECTION.name, writes: bytes('w') };
    store.keepTransient({ ...item, mspIds: ['A'] });
    store.keepTransient({ ...item, mspIds: ['B', 'A'] });
    store.close();
    store = new Store(dir);
    const kept = store.transient('t', NS, COLLECTION.name, sha256(bytes('w')));
    expect(kept?.mspIds.sort()).toEqual(['A', 'B']);
    expect(store.transient('t', NS, COLLECTION.name, sha256(bytes('other')))).toBeNull();
    store.dropTransient('t');
    expect(store.transient('t', NS, COLLECTION.name, sha256(bytes('w')))).toBeNull();
  });
});
