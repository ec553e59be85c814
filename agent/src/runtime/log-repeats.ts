/**
 * What keeps one trouble from filling the log: of lines of one kind the first are written, then the
 * rest are counted.
 *
 * Enters: the kind of each line that is about to be written. Leaves: whether it is, and once a minute how
 * many were not. Always holds: a kind that was silent for a minute is new again; not more than
 * `KINDS_MAX` kinds are told apart.
 */

/** Lines of a kind in its first minute. */
const FIRST_MAX = 10;
/** Lines of a kind in each minute after one in which lines were left out. */
const NEXT_MAX = 1;
const EVERY_MS = 60_000;
/** What outsiders may put into a message could make kinds without end. */
const KINDS_MAX = 500;

interface Kind {
  lines: number;
  max: number;
}

/** See the header. */
export class LogRepeats {
  readonly #kinds = new Map<string, Kind>();
  readonly #everyMs: number;

  constructor(everyMs = EVERY_MS) {
    this.#everyMs = everyMs;
  }

  /** Whether a line of this kind is written now; `told` hears how many were not in the last minute. */
  admits(name: string, told: (leftOut: number) => void): boolean {
    const isNew = !this.#kinds.has(name);
    const key = isNew && this.#kinds.size >= KINDS_MAX ? '' : name;
    let kind = this.#kinds.get(key);
    if (kind === undefined) {
      kind = { lines: 0, max: FIRST_MAX };
      this.#kinds.set(key, kind);
      this.#watch(key, kind, told);
    }
    kind.lines += 1;
    return kind.lines <= kind.max;
  }

  #watch(name: string, kind: Kind, told: (leftOut: number) => void): void {
    setTimeout(() => {
      const leftOut = kind.lines - kind.max;
      if (leftOut <= 0) {
        this.#kinds.delete(name);
        return;
      }
      told(leftOut);
      kind.lines = 0;
      kind.max = NEXT_MAX;
      this.#watch(name, kind, told);
    }, this.#everyMs).unref();
  }
}
