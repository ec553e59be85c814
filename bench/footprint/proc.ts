/** What the kernel says of a process: its memory, and the processor time that it has used (Linux). */
import { readFileSync } from 'node:fs';

/** Clock ticks of /proc/PID/stat a second, on every Linux. */
const TICKS_A_SECOND = 100;

export interface ProcessMemory {
  /** All that is resident, also pages of files that others share. */
  readonly rssMiB: number;
  /** The same, with each shared page divided by the number of its users. */
  readonly pssMiB: number;
  /** What the process has alone. */
  readonly privateMiB: number;
}

/** @throws Error where the process has gone */
export function memoryOf(pid: number): ProcessMemory {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const mib = (key: string) => {
    const kib = new RegExp(`^${key}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1];
    if (kib === undefined) throw new Error(`smaps_rollup of ${pid} has no ${key}`);
    return Number(kib) / 1024;
  };
  return {
    rssMiB: mib('Rss'),
    pssMiB: mib('Pss'),
    privateMiB: mib('Private_Clean') + mib('Private_Dirty'),
  };
}

/** Of all its threads, user and system. @throws Error where the process has gone */
export function cpuSecondsOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) / TICKS_A_SECOND;
}
