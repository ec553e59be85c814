/**
 * The spool: sealed files, by the queue id of their file, until owners and ledger have all of them.
 *
 * Always holds: what is the only copy of a batch's readings (its own file was dropped to make room)
 * stays until it is sealed anew; everything else goes with the file's stage, after a crash at the
 * next start.
 */
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { folderBytes } from './runtime/disk-space.ts';
import type { FileQueue, QueuedFile } from './runtime/file-queue.ts';

export interface SpoolOptions {
  /** Is there. */
  readonly folder: string;
  readonly queue: FileQueue;
  /** What may be sealed ahead of owners and ledger, in bytes. */
  readonly maxBytes: () => number;
}

/** `<id>.age`, and what a crash leaves of making it. */
const FILE_NAME = /^([1-9]\d{0,14})\.age(\.partial|\.zst)?$/;

export class Spool {
  readonly #options: SpoolOptions;

  constructor(options: SpoolOptions) {
    this.#options = options;
  }

  get folder(): string {
    return this.#options.folder;
  }

  pathOf(id: number): string {
    return join(this.folder, `${id}.age`);
  }

  /** Whether sealing has to wait until some of what is sealed has gone. */
  isFull(): boolean {
    const { queue, maxBytes } = this.#options;
    // What waits for sealing itself cannot go before.
    return folderBytes(this.folder) - queue.bytesToSealAgain() > maxBytes();
  }

  /** A file has moved on: what nobody needs of it any more goes. */
  tidy(file: QueuedFile): void {
    if (file.stage !== 'sealed' && file.stage !== 'void') return;
    const { queue } = this.#options;
    for (const one of [file, queue.givenUpBefore(file)]) {
      if (one?.stage !== 'void' || queue.isToSealAgain(one.id)) continue;
      rmSync(this.pathOf(one.id), { force: true });
    }
  }

  /** At the start: what a crash has left of files that have moved on. */
  sweep(): void {
    const { queue } = this.#options;
    for (const name of readdirSync(this.folder)) {
      const id = Number(FILE_NAME.exec(name)?.[1] ?? 0);
      // What a queue that was lost knew is left alone.
      if (id === 0 || !queue.has(id)) continue;
      const { stage } = queue.get(id);
      const isOver = stage === 'available' || (stage === 'void' && !queue.isToSealAgain(id));
      if (isOver) rmSync(join(this.folder, name), { force: true });
    }
  }
}
