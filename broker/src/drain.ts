/**
 * How a connection gets what was queued for its session before anything new [MQTT-4.6.0-6].
 *
 * Enters: the begin of a connection, and what was queued then. Leaves: the moment from which new
 * messages may follow. Always holds: it comes once, also where the connection ends before.
 */

/**
 * From a connection's begin until what was queued before it is out. New messages of this connection
 * wait for it; those of an older one, which may go on for a while, do not.
 */
export interface Drain {
  /** Keys of the messages that were queued; empty until aedes asks for them. */
  keys: ReadonlySet<string>;
  /** How many of them have not gone yet. */
  left: number;
  /** All has gone, or the connection has; what waits follows in the next turn of the event loop. */
  isOver: boolean;
  isFinished: boolean;
  readonly finished: Promise<void>;
  readonly finish: () => void;
}

/** A connection begins. */
export function createDrain(): Drain {
  const { promise, resolve } = Promise.withResolvers<void>();
  const drain = { keys: new Set<string>(), left: 0, isOver: false, isFinished: false };
  return { ...drain, finished: promise, finish: resolve };
}

/**
 * After the last drained message has been written, what waited may follow; until it does, what is
 * newer waits, too.
 */
export function endDrain(drain: Drain): void {
  if (drain.isOver) return;
  drain.isOver = true;
  setImmediate(() => {
    drain.isFinished = true;
    drain.finish();
  });
}
