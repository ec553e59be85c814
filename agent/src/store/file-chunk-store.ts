/**
 * Chunks as files: DIR/ab/FILE_ID/INDEX.chunk, the chunk's bytes followed by a table of checksums.
 *
 * Enters and leaves: chunks. Always holds: a chunk file appears whole, by rename; what is written is
 * read back before it counts; each 16 KiB block's CRC-32 is compared at every read, so that rot is
 * an error and never served. (Against malice there are the manifest's digests; this is for disks.)
 */
import { type FileHandle, mkdir, open, readdir, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { crc32 } from 'node:zlib';
import type { Hex } from '@blocktorrent/protocol/ledger-api.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import { writeChunkInThread } from '../crypto/chunk-thread.ts';
import { type ChunkStore, ChunkStoreError } from './chunk-store.ts';
import { HandleCache } from './handle-cache.ts';

const BLOCK_BYTES = LIMITS.blockBytes;
const CRC_BYTES = 4;
const FILE_ID = /^[0-9a-f]{64}$/;
const CHUNK_NAME = /^(0|[1-9][0-9]{0,5})\.chunk$/;
/** fsyncs at once. */
const SYNCS_AT_ONCE = 8;

/** An open chunk file. */
interface OpenChunk {
  readonly handle: FileHandle;
  /** Bytes of the chunk, without its table. */
  readonly bytes: number;
  readonly table: Buffer;
}

export class FileChunkStore implements ChunkStore {
  readonly #dir: string;
  readonly #handles = new HandleCache<OpenChunk>(
    (path) => openChunk(path),
    (chunk) => chunk.handle.close(),
  );
  readonly #unsynced = new Map<Hex, Set<string>>();
  readonly #folders = new Set<string>();
  #temporary = 0;

  /** @param dir is created when the first chunk comes. */
  constructor(dir: string) {
    this.#dir = dir;
  }

  async put(fileId: Hex, index: number, bytes: Uint8Array): Promise<void> {
    const path = this.#path(fileId, index);
    if (bytes.length === 0 || bytes.length > LIMITS.chunkBytesMax) {
      throw new ChunkStoreError('bad-argument', `a chunk of ${bytes.length} bytes`);
    }
    const folder = dirname(path);
    if (!this.#folders.has(folder)) {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      this.#folders.add(folder);
    }
    this.#temporary += 1;
    const temporary = join(folder, `${index}.${process.pid}-${this.#temporary}.tmp`);
    try {
      await writeChunkInThread(path, temporary, bytes, tableOf(bytes));
    } catch (error) {
      throw ioError(`writing ${path}`, error);
    }
    // Whoever opened the chunk that was there before reads this one from now on.
    await this.#handles.drop(path);
    const unsynced = this.#unsynced.get(fileId) ?? new Set();
    unsynced.add(path);
    this.#unsynced.set(fileId, unsynced);
  }

  async sync(fileId: Hex): Promise<void> {
    const paths = [...(this.#unsynced.get(fileId) ?? [])];
    if (paths.length === 0) return;
    this.#unsynced.delete(fileId);
    try {
      for (let at = 0; at < paths.length; at += SYNCS_AT_ONCE) {
        await Promise.all(paths.slice(at, at + SYNCS_AT_ONCE).map((path) => fsyncPath(path)));
      }
      const folder = this.#folder(fileId);
      for (const dir of [folder, dirname(folder), this.#dir, dirname(this.#dir)]) {
        await fsyncPath(dir);
      }
    } catch (error) {
      const again = this.#unsynced.get(fileId) ?? new Set();
      for (const path of paths) again.add(path);
      this.#unsynced.set(fileId, again);
      throw ioError(`syncing ${fileId}`, error);
    }
  }

  async read(
    fileId: Hex,
    index: number,
    offset: number,
    length: number,
    options?: { readonly fresh: boolean },
  ): Promise<Uint8Array> {
    const path = this.#path(fileId, index);
    if (options?.fresh === true) await this.#handles.drop(path);
    return this.#handles.use(path, async (chunk) => {
      if (offset < 0 || length < 1 || offset + length > chunk.bytes) {
        throw new ChunkStoreError(
          'range',
          `${length} bytes at ${offset} of chunk ${index}, which has ${chunk.bytes}`,
        );
      }
      const start = offset - (offset % BLOCK_BYTES);
      const end = Math.min(chunk.bytes, Math.ceil((offset + length) / BLOCK_BYTES) * BLOCK_BYTES);
      const data = await readAt(chunk.handle, start, end - start);
      requireChecksums(data, chunk.table, start / BLOCK_BYTES, path);
      return data.subarray(offset - start, offset - start + length);
    });
  }

  async chunksOf(fileId: Hex): Promise<{ index: number; bytes: number }[]> {
    const folder = this.#folder(fileId);
    const names = await namesIn(folder);
    const chunks: { index: number; bytes: number }[] = [];
    for (const name of names) {
      const match = CHUNK_NAME.exec(name);
      if (match === null) continue;
      const { size } = await stat(join(folder, name));
      chunks.push({ index: Number(match[1]), bytes: dataBytesOf(size) });
    }
    return chunks.sort((a, b) => a.index - b.index);
  }

  async delete(fileId: Hex, index?: number): Promise<void> {
    const folder = this.#folder(fileId);
    if (index !== undefined) {
      const path = this.#path(fileId, index);
      await this.#handles.drop(path);
      this.#unsynced.get(fileId)?.delete(path);
      await rm(path, { force: true });
      return;
    }
    for (const chunk of await this.chunksOf(fileId)) {
      await this.#handles.drop(this.#path(fileId, chunk.index));
    }
    this.#unsynced.delete(fileId);
    this.#folders.delete(folder);
    await rm(folder, { recursive: true, force: true });
  }

  async *list(): AsyncGenerator<Hex> {
    for (const prefix of await namesIn(this.#dir)) {
      for (const name of await namesIn(join(this.#dir, prefix))) {
        if (!FILE_ID.test(name)) continue;
        const chunks = await namesIn(join(this.#dir, prefix, name));
        if (chunks.some((chunk) => CHUNK_NAME.test(chunk))) yield name;
      }
    }
  }

  async close(): Promise<void> {
    await this.#handles.clear();
  }

  #folder(fileId: Hex): string {
    if (!FILE_ID.test(fileId)) {
      throw new ChunkStoreError('bad-argument', `a file id is 64 hex digits, got "${fileId}"`);
    }
    return join(this.#dir, fileId.slice(0, 2), fileId);
  }

  #path(fileId: Hex, index: number): string {
    if (!Number.isInteger(index) || index < 0 || index >= LIMITS.chunksPerFileMax) {
      throw new ChunkStoreError('bad-argument', `no such chunk index: ${index}`);
    }
    return join(this.#folder(fileId), `${index}.chunk`);
  }
}

function blocksOf(bytes: number): number {
  return Math.ceil(bytes / BLOCK_BYTES);
}

/** Size of the chunk in a file of `size` bytes; 0 when it can be none. */
function dataBytesOf(size: number): number {
  const blocks = blocksOf(size / (1 + CRC_BYTES / BLOCK_BYTES));
  const bytes = size - blocks * CRC_BYTES;
  return bytes > 0 && blocksOf(bytes) === blocks ? bytes : 0;
}

function tableOf(bytes: Uint8Array): Buffer {
  const table = Buffer.alloc(blocksOf(bytes.length) * CRC_BYTES);
  for (let block = 0; block * BLOCK_BYTES < bytes.length; block++) {
    const data = bytes.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES);
    table.writeUInt32BE(crc32(data), block * CRC_BYTES);
  }
  return table;
}

function requireChecksums(data: Buffer, table: Buffer, firstBlock: number, path: string): void {
  for (let at = 0; at < data.length; at += BLOCK_BYTES) {
    const block = firstBlock + at / BLOCK_BYTES;
    if (crc32(data.subarray(at, at + BLOCK_BYTES)) !== table.readUInt32BE(block * CRC_BYTES)) {
      throw new ChunkStoreError('rotten', `${path}: block ${block} changed on disk`);
    }
  }
}

async function openChunk(path: string): Promise<OpenChunk> {
  let handle: FileHandle;
  try {
    handle = await open(path, 'r');
  } catch (error) {
    if (isCode(error, 'ENOENT')) throw new ChunkStoreError('missing', `${path} is not there`);
    throw ioError(`opening ${path}`, error);
  }
  try {
    const { size } = await handle.stat();
    const bytes = dataBytesOf(size);
    if (bytes === 0 || bytes > LIMITS.chunkBytesMax) {
      throw new ChunkStoreError('rotten', `${path}: no chunk file has ${size} bytes`);
    }
    return { handle, bytes, table: await readAt(handle, bytes, size - bytes) };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

async function readAt(handle: FileHandle, position: number, length: number): Promise<Buffer> {
  const data = Buffer.allocUnsafe(length);
  for (let done = 0; done < length; ) {
    const { bytesRead } = await handle.read(data, done, length - done, position + done);
    if (bytesRead === 0) throw new ChunkStoreError('rotten', 'a chunk file ends early');
    done += bytesRead;
  }
  return data;
}

async function fsyncPath(path: string): Promise<void> {
  let handle: FileHandle;
  try {
    handle = await open(path, 'r');
  } catch (error) {
    // Deleted meanwhile: nothing is left to keep.
    if (isCode(error, 'ENOENT')) return;
    throw error;
  }
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).sort();
  } catch (error) {
    if (isCode(error, 'ENOENT') || isCode(error, 'ENOTDIR')) return [];
    throw ioError(`listing ${folder}`, error);
  }
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}

function ioError(what: string, cause: unknown): ChunkStoreError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new ChunkStoreError('io', `${what}: ${reason}`, { cause });
}
