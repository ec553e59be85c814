/** What a person sees of the demo: one line a step, a progress line, the map of owners. */
import type { MspId } from '@blocktorrent/protocol/ledger-api.ts';

export class Show {
  readonly #startedMs = performance.now();
  readonly #quiet: boolean;
  readonly #live: boolean;
  #statusShown = false;

  /** `quiet`: only standard output's last line counts (`--json`); progress goes to stderr then. */
  constructor(quiet: boolean) {
    this.#quiet = quiet;
    this.#live = process.stderr.isTTY === true && !quiet;
  }

  /** A step of the story, with the time since the start. */
  step(text: string): void {
    this.#endStatus();
    const seconds = ((performance.now() - this.#startedMs) / 1000).toFixed(1).padStart(5);
    this.#write(`${seconds} s  ${text}\n`);
  }

  /** A line that belongs to the step above. */
  detail(text: string): void {
    this.#endStatus();
    this.#write(`         ${text}\n`);
  }

  /** One line that is written over by the next; nothing where there is no terminal. */
  status(text: string): void {
    if (!this.#live) return;
    process.stderr.write(`\r\x1b[2K         ${text.slice(0, (process.stderr.columns ?? 80) - 10)}`);
    this.#statusShown = true;
  }

  /** Who owns which chunk: a row for each file, a column for each chunk, one letter an owner. */
  ownerMap(files: readonly { fileId: string; owners: readonly (readonly MspId[])[] }[]): void {
    const all = [...new Set(files.flatMap((file) => file.owners.flat()))].sort();
    const letter = (mspId: MspId) => String.fromCharCode(65 + all.indexOf(mspId));
    this.detail(`owners: ${all.map((mspId) => `${letter(mspId)} = ${mspId}`).join(', ')}`);
    for (const { fileId, owners } of files.slice(0, 12)) {
      const chunks = owners.slice(0, 14).map((chunk) => chunk.map(letter).sort().join(''));
      const rest = owners.length > chunks.length ? ` … ${owners.length} chunks` : '';
      this.detail(`file ${fileId.slice(0, 10)}  ${chunks.join(' ')}${rest}`);
    }
    if (files.length > 12) this.detail(`… ${files.length} files`);
  }

  #write(text: string): void {
    (this.#quiet ? process.stderr : process.stdout).write(text);
  }

  #endStatus(): void {
    if (this.#statusShown) process.stderr.write('\r\x1b[2K');
    this.#statusShown = false;
  }
}
