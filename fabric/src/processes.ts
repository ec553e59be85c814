/**
 * Background processes that outlive the command that started them. Each leaves DIR/run/NAME.json
 * (process id and start time) and DIR/logs/NAME.log.
 * Always holds: a signal goes only to a process whose start time is the one that was noted, so an
 * id that the system has given to somebody else's process meanwhile is never touched.
 */
import { execFileSync, spawn } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { FabricError } from './error.ts';
import { bareEnvironment } from './run.ts';
import { waitFor } from './wait.ts';

const STOP_TIMEOUT_MS = 10_000;
const KILL_TIMEOUT_MS = 5_000;
const LOG_TAIL_CHARACTERS = 1_500;

export interface ProcessSpec {
  /** Letters, digits, dots and hyphens; unique in its network. */
  readonly name: string;
  readonly program: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
}

export interface ProcessStatus {
  readonly name: string;
  readonly pid: number;
  readonly running: boolean;
}

interface Note {
  readonly pid: number;
  readonly startedAt: string;
}

/** Starts it unless it runs already. Throws FabricError `start` when it cannot be started. */
export async function startProcess(dir: string, spec: ProcessSpec): Promise<void> {
  if (isRunning(dir, spec.name)) return;
  mkdirSync(join(dir, 'run'), { recursive: true });
  mkdirSync(join(dir, 'logs'), { recursive: true });
  const log = openSync(logFile(dir, spec.name), 'a');
  try {
    const child = spawn(spec.program, [...spec.args], {
      cwd: spec.cwd,
      env: { ...bareEnvironment(), ...spec.env },
      detached: true,
      stdio: ['ignore', log, log],
    });
    const { pid } = child;
    // At once: whoever ends the network from now on must find this process.
    if (pid !== undefined) noteStart(dir, spec.name, pid);
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', (cause) =>
        reject(new FabricError('start', `cannot start ${spec.program}`, { cause })),
      );
    });
    child.unref();
  } finally {
    closeSync(log);
  }
}

function noteStart(dir: string, name: string, pid: number): void {
  const note: Note = { pid, startedAt: startTimeOf(pid) ?? 'ended at once' };
  writeFileSync(noteFile(dir, name), `${JSON.stringify(note)}\n`);
}

/** SIGTERM, or another signal; SIGKILL when it does not listen. Resolves when it is gone. */
export async function stopProcess(
  dir: string,
  name: string,
  signal: NodeJS.Signals = 'SIGTERM',
): Promise<void> {
  const note = readNote(dir, name);
  if (note === null) return;
  const gone = async () => (signalIfOurs(note, 0) ? `process ${note.pid} still runs` : null);
  signalIfOurs(note, signal);
  try {
    await waitFor(`end of ${name}`, STOP_TIMEOUT_MS, gone);
  } catch (error) {
    if (!(error instanceof FabricError)) throw error;
    signalIfOurs(note, 'SIGKILL');
    await waitFor(`end of ${name} by force`, KILL_TIMEOUT_MS, gone);
  }
  rmSync(noteFile(dir, name), { force: true });
}

/** Kills without waiting: for the last moment of a process that started others. */
export function killAllNow(dir: string): void {
  for (const { name } of listProcesses(dir)) {
    const note = readNote(dir, name);
    if (note !== null) signalIfOurs(note, 'SIGKILL');
  }
}

/** Every process that was started and not stopped, by name. */
export function listProcesses(dir: string): ProcessStatus[] {
  return names(dir).flatMap((name) => {
    const note = readNote(dir, name);
    return note === null ? [] : [{ name, pid: note.pid, running: signalIfOurs(note, 0) }];
  });
}

export function isRunning(dir: string, name: string): boolean {
  const note = readNote(dir, name);
  return note !== null && signalIfOurs(note, 0);
}

/** Throws FabricError `start` with the end of its log if it has died. */
export function requireRunning(dir: string, name: string): void {
  if (isRunning(dir, name)) return;
  const tail = readFileSync(logFile(dir, name), 'utf8').slice(-LOG_TAIL_CHARACTERS);
  throw new FabricError('start', `${name} has ended; its log ${logFile(dir, name)} says:\n${tail}`);
}

function logFile(dir: string, name: string): string {
  return join(dir, 'logs', `${name}.log`);
}

function noteFile(dir: string, name: string): string {
  return join(dir, 'run', `${name}.json`);
}

function names(dir: string): string[] {
  try {
    return readdirSync(join(dir, 'run'))
      .filter((file) => file.endsWith('.json'))
      .map((file) => file.slice(0, -'.json'.length))
      .sort();
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

function readNote(dir: string, name: string): Note | null {
  try {
    return JSON.parse(readFileSync(noteFile(dir, name), 'utf8')) as Note;
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

/** Signal 0 only asks. Returns whether the process is there and ours. */
function signalIfOurs({ pid, startedAt }: Note, signal: NodeJS.Signals | 0): boolean {
  if (startTimeOf(pid) !== startedAt) return false;
  try {
    process.kill(pid, signal);
    return true;
  } catch (error) {
    // It ended between the two lines.
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return false;
    throw error;
  }
}

/** A text that tells this process from any other that ever had its id; null if it is gone. */
function startTimeOf(pid: number): string | null {
  if (process.platform === 'linux') {
    try {
      const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
      // The name, in brackets, may hold spaces; after it: state is field 3, start time field 22.
      const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
        .replace(/^.*\) /s, '')
        .split(' ');
      return fields[0] === 'Z' ? null : `${bootId} ${fields[19]}`;
    } catch (error) {
      if (isMissing(error)) return null;
      throw error;
    }
  }
  try {
    const found = execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' });
    return found.trim() === '' ? null : found.trim();
  } catch {
    // ps fails for an id that nobody has.
    return null;
  }
}

function isMissing(error: unknown): boolean {
  // ESRCH: the process ended while its file in /proc was read.
  return (
    error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ESRCH')
  );
}
