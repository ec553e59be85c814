/** The doctor's looks at this machine: clock, room on the disk, how fast the disk keeps its word. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Config } from '../../config/load.ts';
import { freeBytes } from '../../runtime/disk-space.ts';
import { bytesText } from '../output.ts';
import { type Finding, fail, ok, warn } from './finding.ts';

const run = promisify(execFile);
const COMMAND_MS_MAX = 3_000;
/** A commit is one sync: fewer than these a second, and readings wait. */
const SYNCS_A_SECOND_MIN = 20;
const SYNC_TRIES = 50;
const SYNC_MS_MAX = 1_000;
const PAGE_BYTES = 4_096;
const BULK_BYTES = 8 * 1024 * 1024;
const BULK_BYTES_A_SECOND_MIN = 5 * 1024 * 1024;

/** Whether the wall clock is synchronised: by systemd-timesyncd, or any other as the kernel knows. */
export async function checkClock(): Promise<Finding[]> {
  if (existsSync('/run/systemd/timesync/synchronized')) {
    return [ok('clock', 'synchronised by systemd-timesyncd')];
  }
  const args = ['show', '--value', '--property=NTPSynchronized'];
  const said = await run('timedatectl', args, { timeout: COMMAND_MS_MAX }).then(
    ({ stdout }) => stdout.trim(),
    () => '',
  );
  if (said === 'yes') return [ok('clock', 'synchronised')];
  const todo =
    'Set up systemd-timesyncd or chrony: a clock that is off by more than 2 minutes is refused by the ledger.';
  const found = said === 'no' ? 'not synchronised' : 'nobody on this machine knows';
  return [warn('clock', found, todo)];
}

/** Room for what the configuration lets the agent keep. */
export function checkSpace(config: Config): Finding[] {
  const { dataDir, batch } = config;
  if (!existsSync(dataDir)) {
    const todo = 'The agent makes it at its first start; systemd makes that of the service.';
    return [warn('disk', `${dataDir} is not there yet`, todo)];
  }
  const free = freeBytes(dataDir);
  const found = `${bytesText(free)} free in ${dataDir}`;
  if (free < batch.disk.reserveBytes) {
    const reserve = bytesText(batch.disk.reserveBytes);
    return [fail('disk', found, `Make room: batch.disk.reserveBytes alone is ${reserve}.`)];
  }
  const budget = batch.disk.maxBytes;
  if (!config.roles.includes('ingest') || free >= budget) return [ok('disk', found)];
  const todo = `batch.disk.maxBytes is ${bytesText(budget)}: lower it, or make room.`;
  return [warn('disk', found, todo)];
}

/** Writes and syncs a small file of its own in dataDir, for about two seconds at most. */
export async function checkWriteSpeed({ dataDir }: Config): Promise<Finding[]> {
  if (!existsSync(dataDir)) return [];
  const path = join(dataDir, `.check-${process.pid}`);
  const file = await open(path, 'wx', 0o600);
  try {
    const page = Buffer.alloc(PAGE_BYTES, 0x5a);
    const startMs = performance.now();
    let syncs = 0;
    while (syncs < SYNC_TRIES && performance.now() - startMs < SYNC_MS_MAX) {
      await file.write(page, 0, page.length, syncs * PAGE_BYTES);
      await file.datasync();
      syncs += 1;
    }
    const perSecond = syncs / ((performance.now() - startMs) / 1_000);
    const bulkMs = performance.now();
    await file.write(Buffer.alloc(BULK_BYTES, 0xa5), 0, BULK_BYTES, 0);
    await file.datasync();
    const bytesASecond = BULK_BYTES / ((performance.now() - bulkMs) / 1_000);
    const found = `${Math.round(perSecond)} syncs/s, ${bytesText(bytesASecond)}/s`;
    if (perSecond >= SYNCS_A_SECOND_MIN && bytesASecond >= BULK_BYTES_A_SECOND_MIN) {
      return [ok('write speed', found)];
    }
    const todo =
      'Readings are acknowledged after a sync: put dataDir on a faster disk, or raise batch.commitMaxDelayMs.';
    return [warn('write speed', found, todo)];
  } finally {
    await file.close();
    await rm(path, { force: true });
  }
}
