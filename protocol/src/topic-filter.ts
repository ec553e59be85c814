/**
 * MQTT topic filters [MQTT-4.7]: which topics a rule or a subscription means.
 *
 * `+` stands for one whole level, `#` for the rest, the level above it included. A filter that
 * begins with a wildcard does not mean topics that begin with `$` [MQTT-4.7.2-1].
 */
import { LIMITS } from './limits.ts';

/** What a topic filter is, for people who gave something else. */
export const TOPIC_FILTER = "an MQTT topic filter: '+' fills a whole level, '#' the last one";

/**
 * Why `filter` is no topic filter [MQTT-4.7.1-2, 4.7.1-3, 4.7.3-1 to -3], as a short sentence; null
 * where it is one.
 */
export function filterFault(filter: string): string | null {
  if (filter === '') return 'it is empty';
  // Text that is no UTF-8 [MQTT-1.5.3-1], and what cannot be part of it [MQTT-1.5.3-2].
  if (!filter.isWellFormed()) return 'it is no Unicode text';
  if (filter.includes('\0')) return 'it has a null character';
  if (new TextEncoder().encode(filter).length > LIMITS.topicBytesMax) {
    return `it has more than ${LIMITS.topicBytesMax} bytes`;
  }
  const levels = filter.split('/');
  if (levels.slice(0, -1).includes('#')) return "'#' is not the last level";
  const mixed = levels.find((level) => level.length > 1 && /[+#]/.test(level));
  if (mixed === undefined) return null;
  const shown = mixed.length > 60 ? `${mixed.slice(0, 60)}…` : mixed;
  return `'${mixed.includes('#') ? '#' : '+'}' is not alone in the level '${shown}'`;
}

/** Whether `topic` (a name, without wildcards) is meant by `filter`. */
export function matchesFilter(filter: string, topic: string): boolean {
  if (topic.startsWith('$') && (filter.startsWith('+') || filter.startsWith('#'))) return false;
  const wanted = filter.split('/');
  const levels = topic.split('/');
  for (const [index, level] of wanted.entries()) {
    if (level === '#') return true;
    if (index >= levels.length) return false;
    if (level !== '+' && level !== levels[index]) return false;
  }
  return wanted.length === levels.length;
}
