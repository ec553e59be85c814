/**
 * What systemd is told about the agent: `READY=1`, `STOPPING=1`, `STATUS=…`, `WATCHDOG=1`,
 * `RELOADING=1`. The datagrams are `systemd/notify.ts`'s; here is what is logged where that fails.
 */
import { type Notify, notifySender } from '../../../systemd/notify.ts';
import type { Log } from './log.ts';

export { type Notify, watchdogIntervalMs } from '../../../systemd/notify.ts';

type Env = Readonly<Record<string, string | undefined>>;

/** A `Notify` for this environment; does nothing where `NOTIFY_SOCKET` is not set. Never rejects. */
export async function createNotify(env: Env, log: Log): Promise<Notify> {
  const path = env.NOTIFY_SOCKET ?? '';
  if (path === '') return () => undefined;
  try {
    return await notifySender(path, (state, errno) =>
      log.warn('the service manager could not be told', { state, errno }),
    );
  } catch (error) {
    log.error('the service manager cannot be told that the agent is ready', { path, error });
    return () => undefined;
  }
}
