/**
 * The spool: sealed files, by the queue id of their file, until owners and ledger have all of them.
 *
 * Always holds: what is the only copy of a batch's readings (its own file was dropped to make room)
 * stays until it is sealed anew; everything else goes with the file's stage, after a crash at the
 * next start. What a queue that was lost has left there has no key any more: it is put aside, since
 * it would take its part of the budget for ever, or be overwritten under a number that comes again.
 */
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { folderBytes } from './runtime/disk-space.ts';
import type { FileQueue, QueuedFile } from './runtime/file-queue.ts';
import type { Log } from './runtime/log.ts';
import type { Quarantine } from './runtime/quarantine.ts';

export interface SpoolOptions {
  /** Is there. */
  readonly folder: string;
  readonly queue: FileQueue;
  /** What may be sealed ahead of owners and ledger, in bytes. */
  readonly maxBytes: () => number;
  readonly quarantine: Pick<Quarantine, 'take'>;
  readonly log: Log;
}

/** `<id>.age`, and what a crash leaves of making it. */
const FILE_NAME = /^([1-9]\d{0,14})\.age(\.partial|\.zst)?$/;

const KEY_IS_GONE =
  'the queue does not know it: its key was in a state.sqlite that is gone, and only who else it was sealed to can open it';

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

  /** At the start: what a crash has left. Throws nothing that the disk may say of one file. */
  sweep(): void {
    for (const name of readdirSync(this.folder)) {
      try {
        this.#sweepOne(name);
      } catch (error) {
        this.#options.log.error('a sealed file that is over could not be removed', { name, error });
      }
    }
  }

  #sweepOne(name: string): void {
    const { queue, quarantine, log } = this.#options;
    const [, digits = '', unfinished] = FILE_NAME.exec(name) ?? [];
    const id = Number(digits);
    if (id === 0) return;
    const path = join(this.folder, name);
    if (unfinished !== undefined) rmSync(path);
    else if (queue.has(id)) {
      const { stage } = queue.get(id);
      // One that is queued is sealed from the start: what was made of it would only take up room.
      const isOver = stage === 'queued' || stage === 'available' || stage === 'void';
      if (isOver && !queue.isToSealAgain(id)) rmSync(path);
    } else {
      quarantine.take(path, { reason: KEY_IS_GONE, salvaged: null });
      log.error('a sealed file was put into quarantine', { name, reason: KEY_IS_GONE });
    }
  }
}
