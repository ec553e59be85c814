/**
 * One datagram to the service manager (sd_notify(3)), for every program here that a unit starts.
 *
 * Enters: assignments, one a line. Leaves: one datagram each to `NOTIFY_SOCKET`. Node has no unix
 * datagram sockets: libc is called by koffi, in this process, since a helper of its own would not
 * be believed (`NotifyAccess=main`). Imports nothing of ours; anybody may import it.
 */

/** Tells the service manager; several lines are several assignments. Never throws. */
export type Notify = (state: string) => void;

type Env = Readonly<Record<string, string | undefined>>;

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const MSG_NOSIGNAL = 0x4000;
/** `sun_path` of Linux. */
const SOCKET_PATH_BYTES_MAX = 108;

/**
 * A sender to the socket at `path`, a path or `@NAME`. `failed` hears of a datagram that could not
 * be sent, with libc's errno. @throws Error for an address that cannot be one
 */
export async function notifySender(
  path: string,
  failed: (state: string, errno: number) => void,
): Promise<Notify> {
  const address = socketAddress(path);
  const { default: koffi } = await import('koffi');
  const libc = koffi.load(null);
  const socket = libc.func('int socket(int domain, int type, int protocol)');
  const close = libc.func('int close(int fd)');
  const sendto = libc.func(
    'long sendto(int fd, const void *bytes, size_t length, int flags, const void *address, unsigned int addressBytes)',
  );
  return (state) => {
    const fd: number = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const bytes = Buffer.from(state);
    const sent: number =
      fd < 0 ? -1 : sendto(fd, bytes, bytes.length, MSG_NOSIGNAL, address, address.length);
    if (sent < 0) failed(state, koffi.errno());
    if (fd >= 0) close(fd);
  };
}

/** `struct sockaddr_un` of a path, or of an abstract name that begins with `@`. */
function socketAddress(path: string): Buffer {
  if (!path.startsWith('/') && !path.startsWith('@')) {
    throw new Error(`NOTIFY_SOCKET: expected a path or @NAME, found '${path}'`);
  }
  const name = Buffer.from(path.startsWith('@') ? `\0${path.slice(1)}` : `${path}\0`);
  if (name.length > SOCKET_PATH_BYTES_MAX) {
    throw new Error(`NOTIFY_SOCKET: expected at most ${SOCKET_PATH_BYTES_MAX} bytes`);
  }
  const family = Buffer.alloc(2);
  // sa_family_t is in the byte order of the machine; x64 and arm64 are little-endian.
  family.writeUInt16LE(AF_UNIX);
  return Buffer.concat([family, name]);
}

/**
 * Half of `WATCHDOG_USEC` in ms: how often the service manager is fed. Null where it does not watch,
 * or watches another process (`WATCHDOG_PID`, sd_watchdog_enabled(3)).
 */
export function watchdogIntervalMs(env: Env, pid: number): number | null {
  const microseconds = Number(env.WATCHDOG_USEC ?? '');
  const watched = env.WATCHDOG_PID ?? '';
  if (!(microseconds > 0) || (watched !== '' && Number(watched) !== pid)) return null;
  return Math.max(1, Math.floor(microseconds / 2_000));
}
