/**
 * Programs of another architecture on this machine: qemu's user mode, registered with the kernel.
 * The registration outlives the tests; it is what the package qemu-user-binfmt would have made.
 */
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { nicely } from './packages.ts';

const BINFMT = '/proc/sys/fs/binfmt_misc';

/** Lets the kernel run arm64 programs, also in other roots; does nothing on arm64. */
export async function emulateArm64(): Promise<void> {
  if (process.arch === 'arm64') return;
  if (!existsSync(`${BINFMT}/register`)) {
    await nicely('mount', ['-t', 'binfmt_misc', 'binfmt_misc', BINFMT]);
  }
  if (existsSync(`${BINFMT}/qemu-aarch64`)) return;
  const line = await readFile('/usr/lib/binfmt.d/qemu-aarch64.conf', 'latin1');
  await writeFile(`${BINFMT}/register`, line.trim(), 'latin1');
}
