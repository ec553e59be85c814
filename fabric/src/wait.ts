/**
 * Waiting for something outside to become true, with a bound and a useful error.
 */
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { FabricError } from './error.ts';

const POLL_MS = 50;

/**
 * Asks again and again until `check` returns null; a text is the reason why not yet. Throws
 * FabricError `start` with the last reason after `timeoutMs`, and whatever `check` throws.
 */
export async function waitFor(
  what: string,
  timeoutMs: number,
  check: () => Promise<string | null>,
): Promise<void> {
  const deadlineMs = performance.now() + timeoutMs;
  for (;;) {
    const reason = await check();
    if (reason === null) return;
    if (performance.now() > deadlineMs) {
      throw new FabricError('start', `${what}: not within ${timeoutMs / 1000} s: ${reason}`);
    }
    await sleep(POLL_MS);
  }
}

/** Whether somebody listens at `127.0.0.1:port`. */
export async function listens(port: number): Promise<boolean> {
  const socket = connect({ host: '127.0.0.1', port });
  try {
    return await new Promise((resolve) => {
      socket.once('connect', () => resolve(true));
      socket.once('error', () => resolve(false));
    });
  } finally {
    socket.destroy();
  }
}
