/**
 * A child process that says on standard output, in one JSON line, that it is ready. Other lines
 * before it (a library's log) are passed over. Its output goes to a log file.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, openSync, type WriteStream } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';

/** How long a child may take to become ready (two dozen start at once), and to go away when asked. */
const READY_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 3_000;

/** Compiled modules are kept here, so that the next start takes a third of the time. */
const COMPILE_CACHE = join(import.meta.dirname, '..', '..', 'node_modules', '.cache', 'compile');

/** Children to kill when this process ends; one listener for all, however many. */
const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

export interface ChildOptions {
  readonly name: string;
  /** Program and arguments. */
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Gets standard output and standard error. */
  readonly logFile: string;
}

/** The child ended or stayed silent. */
export class ChildError extends Error {
  override readonly name = 'ChildError';
}

export class Child {
  readonly name: string;
  readonly process: ChildProcess;
  readonly #ready: Promise<Record<string, unknown>>;
  readonly #exited: Promise<unknown>;

  constructor({ name, command, env, logFile }: ChildOptions) {
    const [program, ...args] = command;
    if (program === undefined) {
      throw new ChildError(`${name}: empty command`);
    }
    const log = openLog(logFile);
    const child = spawn(program, args, {
      env: { NODE_COMPILE_CACHE: COMPILE_CACHE, ...process.env, ...env },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.name = name;
    this.process = child;
    // With an error where it could not even be started, which `ready` says.
    this.#exited = once(child, 'exit').catch(() => undefined);
    running.add(child);
    child.once('exit', () => running.delete(child));
    pipeToLog(child.stdout, log);
    pipeToLog(child.stderr, log);
    // A child that is gone cannot be written to; its exit tells the rest.
    child.stdin.on('error', () => child.stdin.destroy());
    this.#ready = readyLine(child, name, logFile);
    // Observed by ready(); a child that nobody waits for must not crash its parent.
    this.#ready.catch(() => undefined);
  }

  /** The ready line; throws ChildError. */
  async ready(): Promise<Record<string, unknown>> {
    return await this.#ready;
  }

  /** Writes one line to its standard input. */
  send(line: string): void {
    this.process.stdin?.write(`${line}\n`);
  }

  /** Ends it: SIGTERM first (or `signal`), SIGKILL when it does not listen. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) {
      return;
    }
    this.process.kill(signal);
    const timer = setTimeout(() => this.process.kill('SIGKILL'), STOP_TIMEOUT_MS);
    await this.#exited;
    clearTimeout(timer);
  }
}

/** For appending. @throws Error of the file system */
export function openLog(path: string): WriteStream {
  return createWriteStream(path, { fd: openSync(path, 'a') });
}

/** What a log cannot take, on a full disk for one, is lost; the child must not wait for it. */
export function pipeToLog(output: Readable, log: WriteStream): void {
  log.on('error', () => output.resume());
  output.pipe(log);
}

async function readyLine(
  child: ChildProcess,
  name: string,
  logFile: string,
): Promise<Record<string, unknown>> {
  return await new Promise((resolve, reject) => {
    const fail = (reason: string) => reject(new ChildError(`${name} ${reason}; see ${logFile}`));
    const timer = setTimeout(() => fail('was not ready in time'), READY_TIMEOUT_MS);
    child.once('error', (error) => {
      clearTimeout(timer);
      fail(`could not be started (${error.message})`);
    });
    child.once('exit', (code, signal) => {
      clearTimeout(timer);
      fail(`ended before it was ready (${code ?? signal})`);
    });
    if (child.stdout !== null) {
      createInterface({ input: child.stdout }).on('line', (line) => {
        const parsed = jsonObject(line);
        if (parsed !== null) {
          clearTimeout(timer);
          resolve(parsed);
        }
      });
    }
  });
}

function jsonObject(line: string): Record<string, unknown> | null {
  if (!line.startsWith('{')) {
    return null;
  }
  try {
    return Object.fromEntries(Object.entries(JSON.parse(line)));
  } catch {
    return null;
  }
}
