/**
 * The demo's child processes: start, wait until ready, kill by name, end all of them.
 *
 * Always holds: each child is ended by its own process id, on every way out, Ctrl-C included.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { openLog, pipeToLog } from '@blocktorrent/devledger/child-process.ts';

export interface StartOptions {
  readonly name: string;
  readonly script: string;
  readonly args: readonly string[];
  /** Wait for the first line of standard output that is a JSON object. */
  readonly waitForLine: boolean;
  /** More of its environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Sees each line of its standard error. */
  readonly onLog?: (line: string) => void;
}

/** A child's first JSON line. */
export type ReadyLine = Record<string, unknown>;

export class Processes {
  readonly #children = new Map<string, ChildProcess>();
  readonly #logDir: string;
  /** Children that are meant to end. */
  readonly #ending = new WeakSet<ChildProcess>();
  #lost: Error | null = null;

  /** `logDir`: where each child's standard error goes. */
  constructor(logDir: string) {
    this.#logDir = logDir;
  }

  /** Names and process ids of the children that run now. */
  get running(): { name: string; pid: number }[] {
    return [...this.#children].map(([name, { pid = 0 }]) => ({ name, pid }));
  }

  /** Starts a child; @throws Error with the end of its log when it dies before it is ready. */
  async start(options: StartOptions): Promise<ReadyLine> {
    const { name, script, args, waitForLine, env, onLog } = options;
    await mkdir(this.#logDir, { recursive: true });
    const logPath = join(this.#logDir, `${name}.log`);
    const log = openLog(logPath);
    const child = spawn(process.execPath, [script, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, NODE_NO_WARNINGS: '1', ...env },
    });
    pipeToLog(child.stderr, log);
    if (onLog !== undefined) createInterface({ input: child.stderr }).on('line', onLog);
    this.#children.set(name, child);
    child.once('exit', (code, signal) => {
      if (this.#children.get(name) === child) this.#children.delete(name);
      if (this.#ending.has(child)) return;
      this.#lost = new Error(`${name} ended by itself (${code ?? signal}); see ${logPath}`);
    });
    const lines = createInterface({ input: child.stdout });
    if (!waitForLine) {
      lines.on('line', (line) => log.write(`${line}\n`));
      return {};
    }
    return new Promise((resolve, reject) => {
      child.once('exit', (code, signal) =>
        reject(new Error(`${name} ended before it was ready (${code ?? signal}); see ${logPath}`)),
      );
      child.once('error', reject);
      lines.on('line', (line) => {
        if (line.startsWith('{')) resolve(JSON.parse(line) as ReadyLine);
        else log.write(`${line}\n`);
      });
    });
  }

  /** @throws Error when a child has ended that nobody told to. */
  requireAlive(): void {
    if (this.#lost !== null) throw this.#lost;
  }

  /** Runs a child to its end; returns what it printed. @throws Error when it fails. */
  async run(name: string, script: string, args: readonly string[]): Promise<string> {
    await mkdir(this.#logDir, { recursive: true });
    const child = spawn(process.execPath, [script, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, NODE_NO_WARNINGS: '1' },
    });
    this.#children.set(name, child);
    let out = '';
    let err = '';
    child.stdout.on('data', (data: Buffer) => (out += data.toString()));
    child.stderr.on('data', (data: Buffer) => (err += data.toString()));
    const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve) =>
      child.once('close', (...end) => resolve(end)),
    );
    this.#children.delete(name);
    if (code === 0) return out;
    throw new Error(`${name} failed (${code ?? signal}): ${err.trim() || out.trim()}`);
  }

  /** Sends a signal to one child and waits until it is gone. */
  async end(name: string, signal: NodeJS.Signals): Promise<void> {
    const child = this.#children.get(name);
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    this.#ending.add(child);
    const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    child.kill(signal);
    const patience = setTimeout(() => child.kill('SIGKILL'), 3_000);
    await gone;
    clearTimeout(patience);
  }

  /** Ends every child that still runs. */
  async endAll(): Promise<void> {
    await Promise.all([...this.#children.keys()].map((name) => this.end(name, 'SIGTERM')));
  }

  /** The last resort, when there is no time to wait. */
  killAllNow(): void {
    for (const child of this.#children.values()) child.kill('SIGKILL');
  }
}
