/**
 * What keeps one bad client from filling the log: it may come back twenty times a second, day and night.
 *
 * Enters: warnings. Leaves: of those with the same message and reason ten in a minute, then one in each
 * minute while they go on, and how many were left out. Always holds: few kinds are told apart; what
 * clients can put into a reason makes no more of them.
 */

type Warn = (message: string, fields: Readonly<Record<string, unknown>>) => void;

const FIRST_MAX = 10;
const EVERY_MS = 60_000;
const KINDS_MAX = 200;

/** `warn`, with repetitions counted over `everyMs`. */
export function quiet(warn: Warn, everyMs = EVERY_MS): Warn {
  const kinds = new Map<string, { seen: number; max: number }>();
  const watch = (key: string, message: string, reason: unknown): void => {
    setTimeout(() => {
      const kind = kinds.get(key);
      const leftOut = kind === undefined ? 0 : kind.seen - kind.max;
      if (leftOut <= 0) {
        kinds.delete(key);
        return;
      }
      warn(message, { reason, leftOut });
      kinds.set(key, { seen: 0, max: 1 });
      watch(key, message, reason);
    }, everyMs).unref();
  };
  return (message, fields) => {
    const { reason } = fields;
    const own = `${message} ${String(reason)}`;
    const key = kinds.has(own) || kinds.size < KINDS_MAX ? own : '';
    const kind = kinds.get(key) ?? { seen: 0, max: FIRST_MAX };
    if (!kinds.has(key)) {
      kinds.set(key, kind);
      watch(key, message, reason);
    }
    kind.seen += 1;
    if (kind.seen <= kind.max) warn(message, fields);
  };
}
