/**
 * `node --import systemd/ready.ts PROGRAM`: READY for a program that knows nothing of systemd.
 *
 * Enters: a message on the diagnostics channel `blocktorrent:ready`, which broker and chaincodes
 * publish once they serve. Leaves: READY and STATUS, WATCHDOG from the event loop in half the time
 * that the unit allows, STOPPING at the end. Does nothing where no service manager asks.
 */
import { subscribe } from 'node:diagnostics_channel';
import { notifySender, watchdogIntervalMs } from './notify.ts';

const path = process.env.NOTIFY_SOCKET ?? '';
if (path !== '') {
  const notify = await notifySender(path, (state, errno) =>
    process.stderr.write(`the service manager could not be told ${state}: errno ${errno}\n`),
  );
  subscribe('blocktorrent:ready', (message) => {
    const { address } = message as { address: string };
    notify(`READY=1\nSTATUS=serving at ${address}`);
  });
  const intervalMs = watchdogIntervalMs(process.env, process.pid);
  if (intervalMs !== null) setInterval(() => notify('WATCHDOG=1'), intervalMs).unref();
  process.once('exit', () => notify('STOPPING=1'));
}
