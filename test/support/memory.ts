/** Peak resident memory of processes, by sampling /proc (Linux); for tests that bound its growth. */
import { readFileSync } from 'node:fs';

const SAMPLE_MS = 50;
const MIB = 1024 * 1024;

/** Resident set size of a process in MiB, or null when it is gone. */
export function residentMiB(pid: number): number | null {
  try {
    const pages = Number(readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1]);
    return (pages * 4096) / MIB;
  } catch {
    return null;
  }
}

export interface Watch {
  /** Peak of each process seen so far, MiB by name. */
  readonly peaks: ReadonlyMap<string, number>;
  stop(): void;
}

/** Samples every process that `list` names, until stopped. */
export function watchMemory(list: () => readonly { name: string; pid: number }[]): Watch {
  const peaks = new Map<string, number>();
  const timer = setInterval(() => {
    for (const { name, pid } of list()) {
      const mib = residentMiB(pid);
      if (mib !== null) peaks.set(name, Math.max(peaks.get(name) ?? 0, mib));
    }
  }, SAMPLE_MS);
  return { peaks, stop: () => clearInterval(timer) };
}
