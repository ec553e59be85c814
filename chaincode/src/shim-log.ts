/**
 * fabric-shim's log, without what nobody wants to read. Its loggers lay out each line, with colours
 * and time, before they look whether anybody asked for it: for every message between peer and chaincode,
 * a fifth of what a query costs this process.
 *
 * Always holds: lines of a level that is on are written as before.
 */
import type shim from 'fabric-shim';

/** Loggers of the shim that write lines for each message, by the shim's names. */
const BUSY_LOGGERS = ['lib/handler.js', 'lib/stub.js', 'lib/iterators.js'] as const;
/** What they write in when nothing is wrong. */
const LEVELS = ['debug', 'info'] as const;

/**
 * Takes levels that are off by `CORE_CHAINCODE_LOGGING_LEVEL` out of the shim's loggers. Once, after
 * the shim was loaded.
 */
export function muteUnwanted({ newLogger }: Pick<typeof shim, 'newLogger'>): void {
  for (const name of BUSY_LOGGERS) {
    const logger = newLogger(name);
    for (const level of LEVELS) {
      if (!logger.isLevelEnabled(level)) logger[level] = () => logger;
    }
  }
}
