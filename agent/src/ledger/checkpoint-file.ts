/**
 * The last event that was dealt with, in a small file, in the form that the gateway client's own
 * checkpointer writes. Unlike that one it is replaced atomically: a crash while it is written
 * must not make the agent forget where it was. A position in another channel is none in this one: a peer
 * would wait in silence until the new channel is as long.
 */
import { open, readFile, rename } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Position to resume from; what the gateway client calls a Checkpoint. */
export class CheckpointFile {
  readonly #path: string | null;
  readonly #channel: string;
  #blockNumber: bigint | undefined;
  #transactionId: string | undefined;

  /** Reads the file if there is one; `path` null = kept in memory only. Throws on other content. */
  static async open(path: string | null, channel: string): Promise<CheckpointFile> {
    const checkpoint = new CheckpointFile(path, channel);
    if (path !== null) {
      checkpoint.#load(await readIfPresent(path));
    }
    return checkpoint;
  }

  constructor(path: string | null, channel: string) {
    this.#path = path;
    this.#channel = channel;
  }

  getBlockNumber(): bigint | undefined {
    return this.#blockNumber;
  }

  getTransactionId(): string | undefined {
    return this.#transactionId;
  }

  /** Everything up to and including this transaction has been dealt with. */
  async advance(blockNumber: bigint, transactionId: string): Promise<void> {
    this.#blockNumber = blockNumber;
    this.#transactionId = transactionId;
    if (this.#path !== null) {
      const text = JSON.stringify({
        blockNumber: blockNumber.toString(),
        transactionId,
        channel: this.#channel,
      });
      await replaceFile(this.#path, text);
    }
  }

  #load(text: string): void {
    if (text === '') {
      return;
    }
    const { blockNumber, transactionId, channel }: Record<string, unknown> = JSON.parse(text);
    // Release 0.1.0 wrote none.
    if (channel !== undefined && channel !== this.#channel) return;
    if (typeof blockNumber !== 'string') {
      throw new Error(`${this.#path}: not a checkpoint, expected a block number`);
    }
    this.#blockNumber = BigInt(blockNumber);
    this.#transactionId = typeof transactionId === 'string' ? transactionId : undefined;
  }
}

async function readIfPresent(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') {
      return '';
    }
    throw error;
  }
}

async function replaceFile(path: string, text: string): Promise<void> {
  const next = `${path}.next`;
  const file = await open(next, 'w', 0o600);
  try {
    await file.writeFile(text);
    await file.datasync();
  } finally {
    await file.close();
  }
  await rename(next, path);
  const folder = await open(dirname(path), 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
