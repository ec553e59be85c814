/**
 * MQTT topic filters [MQTT-4.7]: which topics a rule or a subscription means.
 *
 * `+` stands for one whole level, `#` for the rest, the level above it included. A filter that
 * begins with a wildcard does not mean topics that begin with `$` [MQTT-4.7.2-1].
 */

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
