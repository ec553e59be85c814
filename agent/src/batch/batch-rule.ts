/**
 * How values are found in payloads, as a batch file tells its readers: one rule for a topic filter.
 *
 * Enters: rules with JSON pointers (RFC 6901), as they are configured. Leaves: rules with SQLite's
 * JSON paths, for the file's views.
 */

/** A rule as the batch file has it. */
export interface BatchRule {
  /** Unique: the topic filter. */
  readonly name: string;
  /** MQTT topic filter; the first rule that fits a topic holds. */
  readonly filter: string;
  /** Name of the format; the values of JSON are found by `fields`, those of others are stored. */
  readonly decoder: string;
  readonly fields: readonly {
    readonly name: string;
    /** SQLite JSON path. */
    readonly path: string;
    /** '' if not known. */
    readonly unit: string;
    /** SQLite JSON path of the unit, where payloads may say it; null otherwise. */
    readonly unitPath: string | null;
  }[];
}

/** The part of a configured rule that matters to the file. */
export interface ConfiguredRule {
  readonly topic: string;
  readonly decoder: string;
  /** JSON pointer to the one value; its field is named `value`. */
  readonly value?: string;
  /** JSON pointers to several values, by name. */
  readonly values?: Readonly<Record<string, string>>;
  readonly unit?: string;
  /** Units by the names of `values`. */
  readonly units?: Readonly<Record<string, string>>;
  /** JSON pointer to the unit of all values, before `units` and `unit`. */
  readonly unitAt?: string;
}

/** The file's rules from the configured ones; of two with the same filter the first holds. */
export function batchRulesOf(rules: readonly ConfiguredRule[]): BatchRule[] {
  const byName = new Map<string, BatchRule>();
  for (const { topic, decoder, value, values, unit = '', units, unitAt } of rules) {
    if (byName.has(topic)) continue;
    const pointers =
      decoder === 'json' ? { ...(value === undefined ? {} : { value }), ...values } : {};
    const fields = Object.entries(pointers).map(([name, pointer]) => ({
      name,
      path: jsonPathOf(pointer),
      unit: units?.[name] ?? unit,
      unitPath: unitAt === undefined ? null : jsonPathOf(unitAt),
    }));
    // A plain number is JSON by itself.
    if (decoder === 'number') fields.push({ name: 'value', path: '$', unit, unitPath: null });
    byName.set(topic, { name: topic, filter: topic, decoder, fields });
  }
  return [...byName.values()];
}

/**
 * SQLite's JSON path of a JSON pointer: `/fields/lat` is `$."fields"."lat"`; a whole number is an
 * index. Throws RangeError on what is no pointer, or has a `"` in a name, which SQLite cannot say.
 */
export function jsonPathOf(pointer: string): string {
  if (pointer !== '' && !pointer.startsWith('/')) {
    throw new RangeError(`JSON pointer: expected '/…', found '${pointer}'`);
  }
  const names = pointer.split('/').slice(1);
  return names.reduce((path, part) => {
    const name = part.replaceAll('~1', '/').replaceAll('~0', '~');
    if (/^(0|[1-9]\d*)$/.test(name)) return `${path}[${name}]`;
    // Within the quotes a backslash begins an escape.
    if (!name.includes('"')) return `${path}."${name.replaceAll('\\', '\\\\')}"`;
    throw new RangeError(`JSON pointer: a name with '"' has no JSON path: '${pointer}'`);
  }, '$');
}
