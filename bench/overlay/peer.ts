/**
 * One peer of the benchmark, as a process: the agent's own overlay, store and distribution, without
 * ledger and DHT (neither is measured): members come from certificates on disk, addresses are told.
 *
 * In: orders (`work.ts`). Out: answers. An owner keeps chunks in the real store on disk, synced, and
 * signs receipts; a source splits and distributes; an auditor fetches.
 */
import { mkdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { identityFromRandom, recipientOf } from '@blocktorrent/protocol/age.ts';
import { toHex } from '@blocktorrent/protocol/bytes.ts';
import { encodeInfo } from '@blocktorrent/protocol/chunking.ts';
import type { Epoch, MspId } from '@blocktorrent/protocol/ledger-api.ts';
import {
  CHAIN_ROOT,
  decodeManifest,
  encodeManifest,
  fileIdOf,
  manifestChunkCount,
  manifestChunkDigests,
  signManifest,
} from '@blocktorrent/protocol/manifest.ts';
import { ownersOf } from '@blocktorrent/protocol/placement.ts';
import { fetchFile } from '../../agent/src/audit/fetch.ts';
import { readPieces } from '../../agent/src/crypto/files.ts';
import { distribute } from '../../agent/src/distribute/distribute.ts';
import { TlsOverlay } from '../../agent/src/overlay/tls-overlay.ts';
import type { Address, AddressBook } from '../../agent/src/overlay/types.ts';
import { silentLog } from '../../agent/src/runtime/log.ts';
import { migrate } from '../../agent/src/runtime/migrate.ts';
import { systemRandom } from '../../agent/src/runtime/random.ts';
import { openDatabase } from '../../agent/src/runtime/sqlite.ts';
import { ChunkHasher } from '../../agent/src/seal/chunk-hasher.ts';
import { STORE_MIGRATIONS } from '../../agent/src/store/catalog.ts';
import { FileChunkStore } from '../../agent/src/store/file-chunk-store.ts';
import { StoreNode } from '../../agent/src/store/store-node.ts';
import { readTrialPeers, TrialMembership, type TrialPeer } from '../../test/support/membership.ts';
import {
  type Answer,
  type Distributed,
  type Order,
  type OrderName,
  type Orders,
  type PeerSettings,
  SETTINGS,
  type SplitFile,
} from './work.ts';

/** What is timed ends with the last receipt, however late it is. */
const PATIENCE_MS = 300_000;
const LOOPBACK: Address = { host: '127.0.0.1', port: 0 };

/** Addresses that the benchmark told us. */
class ToldAddresses implements AddressBook {
  readonly #known = new Map<string, Address>();

  set(overlayKey: string, address: Address): void {
    this.#known.set(overlayKey, address);
  }

  announce(): Promise<void> {
    return Promise.resolve();
  }

  async lookup(overlayKey: Uint8Array): Promise<Address | null> {
    return this.#known.get(toHex(overlayKey)) ?? null;
  }
}

class BenchPeer {
  readonly overlay: TlsOverlay;
  readonly #self: TrialPeer;
  readonly #membership: TrialMembership;
  readonly #epoch: Epoch;
  readonly #addressBook = new ToldAddresses();
  readonly #chunks: FileChunkStore | null = null;
  readonly #store: StoreNode | null = null;
  readonly #abort = new AbortController();
  #chunksToLive = Number.POSITIVE_INFINITY;

  static async start(settings: PeerSettings): Promise<BenchPeer> {
    const peers = await readTrialPeers(settings.pkiDir, settings.organisations);
    const self = peers.find(({ mspId }) => mspId === settings.mspId);
    if (self === undefined) throw new Error(`no certificates of ${settings.mspId}`);
    if (settings.storeDir !== null) await mkdir(settings.storeDir, { recursive: true });
    const peer = new BenchPeer(settings, self, new TrialMembership(peers));
    await peer.overlay.start();
    await peer.#store?.start();
    return peer;
  }

  private constructor(settings: PeerSettings, self: TrialPeer, membership: TrialMembership) {
    const { storeDir, uploadBytesPerSecond } = settings;
    const epoch = membership.epochOf(1);
    if (epoch === null) throw new Error('the trial membership has no epoch 1');
    this.#self = self;
    this.#membership = membership;
    this.#epoch = epoch;
    this.overlay = new TlsOverlay({
      membership,
      identity: self.identity,
      listen: storeDir === null ? null : LOOPBACK,
      random: systemRandom,
      log: silentLog,
      uploadBytesPerSecond: uploadBytesPerSecond ?? undefined,
    });
    if (storeDir === null) return;
    const database = openDatabase(join(storeDir, 'store.sqlite'));
    migrate(database, STORE_MIGRATIONS);
    this.#chunks = new FileChunkStore(join(storeDir, 'chunks'));
    this.#store = new StoreNode({
      membership,
      database,
      overlay: this.overlay,
      addressBook: this.#addressBook,
      chunks: this.#chunks,
      overlaySeed: self.identity.overlaySeed,
      random: systemRandom,
      nowMs: () => Date.now(),
      monotonicMs: () => performance.now(),
      log: silentLog,
      onEvent: ({ type }) => {
        if (type !== 'stored') return;
        this.#chunksToLive -= 1;
        if (this.#chunksToLive === 0) process.kill(process.pid, 'SIGKILL');
      },
    });
  }

  readonly work: { readonly [N in OrderName]: (i: Orders[N]['input']) => Promise<unknown> } = {
    meet: async (addresses) => {
      for (const { mspId, overlayKey } of this.#membership.peers()) {
        const address = addresses[mspId];
        if (address !== undefined) this.#addressBook.set(overlayKey, address);
      }
      return null;
    },
    split: ({ path, chunksTarget }) => this.#split(path, chunksTarget),
    distribute: ({ files, graceMs }) => this.#distribute(files, graceMs),
    fetch: ({ files, dir }) => this.#fetch(files, dir),
    forget: async ({ fileId }) => {
      await this.#chunks?.delete(fileId);
      return null;
    },
    dieAfter: async ({ chunks }) => {
      this.#chunksToLive = chunks;
      return null;
    },
    stop: async () => {
      this.#abort.abort();
      await this.#store?.stop();
      await this.overlay.stop();
      return null;
    },
  };

  /** Reads the ciphertext once: SHA-1 and three digests of each chunk, the whole, the manifest. */
  async #split(path: string, chunksTarget: number): Promise<Orders['split']['output']> {
    const { size } = await stat(path);
    const startedMs = performance.now();
    const hasher = new ChunkHasher(size, chunksTarget);
    for await (const piece of readPieces(path)) await hasher.update(piece);
    const ciphertextSha256 = await hasher.finish();
    const { chunkBytes, pieces, digests } = hasher;
    const name = `${toHex(ciphertextSha256.subarray(0, 16))}.age`;
    const manifest = encodeManifest({
      version: 1,
      channel: this.#membership.channel,
      source: this.#self.mspId,
      gateway: this.#self.peer.name,
      seq: 1,
      previous: CHAIN_ROOT,
      kind: 'file',
      epoch: this.#epoch.epoch,
      timeMs: Date.now(),
      recipient: recipientOf(identityFromRandom(systemRandom(32))),
      ciphertextBytes: size,
      ciphertextSha256,
      info: encodeInfo({ name, pieceLength: chunkBytes, length: size, pieces }),
      digests,
    });
    const signed = signManifest(manifest, this.#self.identity.overlaySeed);
    const seconds = (performance.now() - startedMs) / 1000;
    const owners = this.#ownersOf(manifest);
    const fileId = fileIdOf(manifest);
    return { seconds, file: { path, fileId, signed, chunkBytes, owners, ciphertextBytes: size } };
  }

  #ownersOf(manifestBytes: Uint8Array): MspId[][] {
    const manifest = decodeManifest(manifestBytes);
    const { replicas } = this.#membership.policy();
    return Array.from({ length: manifestChunkCount(manifest) }, (_, index) =>
      ownersOf(manifestChunkDigests(manifest, index), this.#epoch, manifest.source, replicas),
    );
  }

  async #distribute(files: readonly SplitFile[], graceMs: number | null): Promise<Distributed> {
    const before = this.overlay.accounts.total().sentBytes;
    const startedMs = performance.now();
    const results = await Promise.all(
      files.map((file) =>
        distribute({
          signedManifest: file.signed,
          ciphertextPath: file.path,
          epoch: this.#epoch,
          policy: this.#membership.policy(),
          overlay: this.overlay,
          addressBook: this.#addressBook,
          membership: this.#membership,
          signal: this.#abort.signal,
          timing: { graceMs: graceMs ?? PATIENCE_MS, lingerMs: 0 },
        }),
      ),
    );
    const seconds = (performance.now() - startedMs) / 1000;
    await Promise.all(results.map(({ background }) => background));
    return {
      seconds,
      sentBytes: this.overlay.accounts.total().sentBytes - before,
      sentForFiles: results.reduce((sum, result) => sum + result.sentBytes, 0),
      receipts: results.map(({ receipts }) => receipts),
      complete: results.every(({ complete }) => complete),
    };
  }

  async #fetch(
    files: Orders['fetch']['input']['files'],
    dir: string,
  ): Promise<Orders['fetch']['output']> {
    const startedMs = performance.now();
    const paths = await Promise.all(
      files.map(async ({ file, receipts }) => {
        const outputPath = join(dir, file.fileId);
        await fetchFile({
          receipts,
          outputPath,
          recordedAtMs: Date.now(),
          manifest: decodeManifest(file.signed.manifest),
          fileId: file.fileId,
          owners: file.owners,
          overlay: this.overlay,
          addressBook: this.#addressBook,
          membership: this.#membership,
          signal: this.#abort.signal,
        });
        return outputPath;
      }),
    );
    const seconds = (performance.now() - startedMs) / 1000;
    await Promise.all(paths.map((path) => rm(path)));
    return { seconds };
  }
}

async function main(): Promise<void> {
  const settings = JSON.parse(process.env[SETTINGS] ?? '') as PeerSettings;
  const peer = await BenchPeer.start(settings);
  const answer = (message: Answer) => void process.send?.(message);
  process.on('message', (order: Order) => {
    const work = peer.work[order.name] as (input: Order['input']) => Promise<unknown>;
    work(order.input).then(
      (output) => {
        answer({ id: order.id, output });
        if (order.name === 'stop') process.disconnect();
      },
      (error: unknown) => {
        const reason = error instanceof Error ? (error.stack ?? error.message) : String(error);
        answer({ id: order.id, error: `${settings.mspId}: ${order.name}: ${reason}` });
      },
    );
  });
  // Whoever started us is gone: nobody will tell us to stop.
  process.once('disconnect', () => process.exit());
  answer({ id: 0, output: peer.overlay.address });
}

await main();
