/**
 * The baseline: `libtorrent-swarm.py` as a process, by Debian's python3-libtorrent.
 *
 * In: the same files with the same owners as ours. Out: its times and what its source sent.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import type { SplitFile } from './work.ts';

/** Debian's: it has the packages of apt, which another Python on the path may not have. */
const PYTHON = '/usr/bin/python3';
const SCRIPT = join(import.meta.dirname, 'libtorrent-swarm.py');

/** One round of libtorrent's. */
export interface SwarmRound {
  readonly splitSeconds: number;
  readonly distributeSeconds: number;
  /** By all sources, as libtorrent counts it: TCP's payload. */
  readonly sentBytes: number;
}

export class Swarm {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #reader: Interface;
  readonly #stdin: NodeJS.WritableStream;

  /** @throws Error when libtorrent is not installed. */
  static async start(): Promise<Swarm> {
    const child = spawn(PYTHON, [SCRIPT], { stdio: ['pipe', 'pipe', 'inherit'] });
    const swarm = new Swarm(child, child.stdin, createInterface({ input: child.stdout }));
    await swarm.#answer().catch((cause: Error) => {
      const message = 'libtorrent, the baseline, does not run: install python3-libtorrent';
      throw new Error(message, { cause });
    });
    return swarm;
  }

  private constructor(child: ChildProcess, stdin: NodeJS.WritableStream, reader: Interface) {
    this.#child = child;
    this.#stdin = stdin;
    this.#reader = reader;
    this.#lines = reader[Symbol.asyncIterator]();
    child.on('error', () => reader.close());
  }

  /** @param uploadBytesPerSecond what each file's source may send; null: as much as it can. */
  round(
    files: readonly SplitFile[],
    sources: readonly string[],
    dir: string,
    uploadBytesPerSecond: number | null,
  ): Promise<SwarmRound> {
    const torrents = files.map((file, at) => {
      const wanted: Record<string, number[]> = {};
      file.owners.forEach((owners, index) => {
        for (const owner of owners) {
          const pieces = wanted[owner] ?? [];
          pieces.push(index);
          wanted[owner] = pieces;
        }
      });
      return { path: file.path, pieceBytes: file.chunkBytes, source: sources[at], wanted };
    });
    const limit = uploadBytesPerSecond ?? 0;
    return this.#ask({ do: 'round', dir, limit, torrents }) as Promise<SwarmRound>;
  }

  /** Seconds that a fresh peer needs for whole files of the last round, each from its source. */
  async fetch(numbers: readonly number[], dir: string): Promise<number> {
    const answer = await this.#ask({ do: 'fetch', dir, torrents: numbers });
    return (answer as { regenerateSeconds: number }).regenerateSeconds;
  }

  async forget(): Promise<void> {
    await this.#ask({ do: 'forget' });
  }

  async stop(): Promise<void> {
    const { exitCode, signalCode } = this.#child;
    const exited = exitCode === null && signalCode === null ? once(this.#child, 'exit') : null;
    this.#stdin.end();
    await exited;
    this.#reader.close();
  }

  #ask(order: object): Promise<unknown> {
    this.#stdin.write(`${JSON.stringify(order)}\n`);
    return this.#answer();
  }

  async #answer(): Promise<unknown> {
    for (;;) {
      const { done, value } = await this.#lines.next();
      if (done === true) throw new Error('libtorrent ended');
      // Anything else is something that the library says.
      if (!value.startsWith('{')) continue;
      const answer = JSON.parse(value) as { error?: string };
      if (answer.error !== undefined) throw new Error(`libtorrent: ${answer.error}`);
      return answer;
    }
  }
}
