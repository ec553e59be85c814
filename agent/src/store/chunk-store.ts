/**
 * Where an admin node keeps chunks: one interface, so that other storage could stand there
 * (P §3.2.4 names IPFS and Swarm). test/compliance/chunk-store.ts is run on every implementation.
 */
import type { Hex } from '@blocktorrent/protocol/ledger-api.ts';

export type ChunkStoreErrorCode = 'missing' | 'rotten' | 'range' | 'bad-argument' | 'io';

export class ChunkStoreError extends Error {
  override readonly name = 'ChunkStoreError';
  readonly code: ChunkStoreErrorCode;

  constructor(code: ChunkStoreErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** Chunks by file and index. Every method may be called again with the same arguments. */
export interface ChunkStore {
  /** Writes a whole chunk, replacing what was there, and reads it back; readable when it resolves. */
  put(fileId: Hex, index: number, bytes: Uint8Array): Promise<void>;
  /** Everything put for this file before the call survives a loss of power when it resolves. */
  sync(fileId: Hex): Promise<void>;
  /**
   * `length` bytes of a chunk from `offset`. `fresh`: as it is stored now, past everything that is
   * kept open, for checking.
   * @throws ChunkStoreError 'missing'; 'range' past the end; 'rotten' when the bytes changed on disk.
   */
  read(
    fileId: Hex,
    index: number,
    offset: number,
    length: number,
    options?: { readonly fresh: boolean },
  ): Promise<Uint8Array>;
  /** Indices of the chunks that are there, ascending, each with its size in bytes. */
  chunksOf(fileId: Hex): Promise<readonly { readonly index: number; readonly bytes: number }[]>;
  /** One chunk, or the whole file without `index`. */
  delete(fileId: Hex, index?: number): Promise<void>;
  /** Files of which at least one chunk is there. */
  list(): AsyncIterable<Hex>;
  /** Waits for what is running. */
  close(): Promise<void>;
}
