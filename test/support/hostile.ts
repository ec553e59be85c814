/**
 * The other side of `hostile-process.ts`: starts it, gives it orders, and reads what it has stored.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { verifyBatch } from '@blocktorrent/agent/audit/verify-batch.ts';
import { openReadOnly } from '@blocktorrent/agent/runtime/sqlite.ts';
import type { HostileAnswer, HostileOrder } from './hostile-process.ts';

const SCRIPT = fileURLToPath(new URL('./hostile-process.ts', import.meta.url));
const PATIENCE_MS = 30_000;

/** A gateway that runs as a process of its own. */
export class HostileGateway {
  readonly #child: ChildProcess;
  #stderr = '';
  #last: HostileAnswer | null = null;

  constructor(folder: string, url: string) {
    this.#child = fork(SCRIPT, [folder, url], {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      // As the agent's launcher tells it.
      execArgv: ['--max-semi-space-size=4', '--expose-gc', '--no-allocation-site-pretenuring'],
    });
    this.#child.stderr?.on('data', (data: Buffer) => {
      this.#stderr += data.toString();
    });
  }

  /** Gives an order; what status says then. @throws Error when the process has ended */
  async tell(order: HostileOrder = {}): Promise<HostileAnswer> {
    const child = this.#child;
    if (!child.connected) throw new Error(`the gateway has ended: ${this.#stderr}`);
    const ended = new AbortController();
    const gone = () => ended.abort(new Error(`the gateway has ended: ${this.#stderr}`));
    child.once('exit', gone);
    try {
      child.send(order);
      const [answer] = await once(child, 'message', { signal: ended.signal });
      this.#last = answer as HostileAnswer;
      return this.#last;
    } catch (error) {
      throw ended.signal.aborted ? ended.signal.reason : error;
    } finally {
      child.off('exit', gone);
    }
  }

  /** Asks until `what` holds. @throws Error with the last answer when it does not come true */
  async until(what: (answer: HostileAnswer) => boolean): Promise<HostileAnswer> {
    for (const end = performance.now() + PATIENCE_MS; ; ) {
      const answer = await this.tell();
      if (what(answer)) return answer;
      if (performance.now() > end) throw new Error(`never true: ${JSON.stringify(answer)}`);
      await setTimeout(20);
    }
  }

  /** Stops it in order; resolves with its exit code. */
  async stop(): Promise<number | null> {
    const ended = once(this.#child, 'exit');
    await this.tell({ stop: true });
    const [code] = await ended;
    return code as number | null;
  }

  /** The last resort of a test that has failed. */
  kill(): void {
    this.#child.kill('SIGKILL');
  }
}

/** What is in the batches: readings that are no duplicates, and why others were refused. */
export interface Stored {
  /** The sensors' numbers, in the order of receipt. */
  readonly numbers: readonly number[];
  /** Numbers that were received after a greater one of their topic. */
  readonly disorder: readonly number[];
  readonly refusals: readonly string[];
}

const STORED = `SELECT device_seq AS n, topic.name AS topic, refusal FROM reading
  JOIN topic ON topic.id = reading.topic WHERE duplicate_of IS NULL ORDER BY reading.seq`;
interface StoredRow {
  readonly n: number | null;
  readonly topic: string;
  readonly refusal: string | null;
}

/** Reads all batches; @throws where a closed one does not verify. */
export function storedIn(folder: string): Stored {
  const batches = join(folder, 'batches');
  const numbers: number[] = [];
  const refusals: string[] = [];
  const disorder: number[] = [];
  const newest = new Map<string, number>();
  const names = readdirSync(batches).filter((name) => name.endsWith('.sqlite'));
  for (const name of names.sort((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10))) {
    const path = join(batches, name);
    const database = openReadOnly(path);
    const rows = database.prepare(STORED).all() as StoredRow[];
    database.close();
    for (const { n, topic, refusal } of rows) {
      if (refusal !== null) refusals.push(refusal);
      else if (n !== null) {
        numbers.push(n);
        if (n < (newest.get(topic) ?? 0)) disorder.push(n);
        else newest.set(topic, n);
      }
    }
    if (!name.includes('open')) verifyBatch(path);
  }
  return { numbers, disorder, refusals };
}
