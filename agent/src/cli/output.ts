/**
 * What a command prints: results to standard output, everything else to standard error.
 *
 * With `--json` standard output holds exactly one JSON value (`tap`: one a line); without it, text
 * for people. Progress is one line that redraws itself on a terminal, and a plain line now and then
 * elsewhere. Control characters, which topics, names and payloads of others may have, never reach a
 * terminal.
 */
import type { Explanation } from './explain.ts';

/** Where text goes; `process.stdout` and `process.stderr`, or a test's. */
export interface TextSink {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
  readonly rows?: number;
}
export interface OutputOptions {
  readonly json: boolean;
  readonly out: TextSink;
  readonly err: TextSink;
}

const BAR_CHARS = 24;
/** Plain lines of progress: at most one for each of so many parts of the whole. */
const PLAIN_STEPS = 5;

export class Output {
  readonly json: boolean;
  readonly #out: TextSink;
  readonly #err: TextSink;
  #bar = false;
  #plain = '';

  constructor(options: OutputOptions) {
    this.json = options.json;
    this.#out = options.out;
    this.#err = options.err;
  }

  /** The command's result: `value` with `--json`, otherwise `text`. */
  result(value: unknown, text: string): void {
    this.endProgress();
    const out = this.json ? JSON.stringify(value, null, 2) : harmless(text);
    this.#out.write(out.endsWith('\n') ? out : `${out}\n`);
  }

  /** Whether results go to a terminal that can be redrawn. */
  get live(): boolean {
    return !this.json && this.#out.isTTY === true;
  }

  /** Empties the terminal, before the first `screen`. */
  clear(): void {
    this.#out.write('\x1b[2J');
  }

  /** Redraws the terminal from its top with `text`; only where `live`. */
  screen(text: string): void {
    const lines = harmless(text)
      .split('\n')
      .slice(0, Math.max(1, (this.#out.rows ?? 24) - 1));
    const width = this.#out.columns ?? 80;
    const body = lines.map((line) => `${line.slice(0, width)}\x1b[K`).join('\n');
    this.#out.write(`\x1b[H${body}\n\x1b[J`);
  }

  /** One of many results, as it comes: with `--json` one line of JSON. */
  line(value: unknown, text: string): void {
    this.endProgress();
    this.#out.write(`${this.json ? JSON.stringify(value) : harmless(text)}\n`);
  }

  /** A remark for people; silent with `--json`. */
  note(text: string): void {
    this.endProgress();
    if (!this.json) this.#err.write(`${harmless(text)}\n`);
  }

  /** How far `what` is: `done` of `total` (0 if not known). Silent with `--json`. */
  progress(what: string, done: number, total: number): void {
    if (this.json) return;
    const label = harmless(what);
    const share = total > 0 ? Math.min(1, done / total) : 0;
    if (this.#err.isTTY === true) {
      const full = Math.round(share * BAR_CHARS);
      const bar = `${'█'.repeat(full)}${'░'.repeat(BAR_CHARS - full)}`;
      const line = `${label}  ${total > 0 ? `${bar} ${done}/${total}` : ''}`;
      this.#err.write(`\r\x1b[K${line.slice(0, (this.#err.columns ?? 80) - 1)}`);
      this.#bar = true;
      return;
    }
    const step = `${label} ${Math.floor(share * PLAIN_STEPS)}`;
    if (step === this.#plain) return;
    this.#plain = step;
    this.#err.write(total > 0 ? `${label}: ${done} of ${total}\n` : `${label}\n`);
  }

  /** Ends a redrawn line. */
  endProgress(): void {
    if (this.#bar) this.#err.write('\r\x1b[K');
    this.#bar = false;
  }

  /** Prints an error; `stack` ('' for none) only where `--debug` asked for it. */
  error(explanation: Explanation, stack: string): void {
    this.endProgress();
    // In one line, as it may come after `line`s.
    if (this.json) this.#out.write(`${JSON.stringify({ error: explanation })}\n`);
    else {
      const { message, means, todo } = explanation;
      const lines = [message, means, todo].filter((line) => line !== '');
      this.#err.write(`blocktorrent: ${harmless(lines.join('\n  '))}\n`);
    }
    if (stack !== '') this.#err.write(`${stack}\n`);
  }
}

/** Control characters but tab and line break, as JSON writes them. */
function harmless(text: string): string {
  return text.replaceAll(/(?![\t\n])\p{Cc}/gu, escaped);
}

function escaped(char: string): string {
  return `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

/** Rows in aligned columns under their titles; numbers to the right. */
export function table(
  titles: readonly string[],
  rows: readonly (readonly (string | number | null)[])[],
): string {
  const cells = rows.map((row) => row.map(cellOf));
  const widths = titles.map((title, i) =>
    Math.max(title.length, ...cells.map((row) => (row[i] ?? '').length)),
  );
  const line = (row: readonly string[], numbers: readonly boolean[]) =>
    row
      .map((cell, i) => (numbers[i] ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0)))
      .join('  ')
      .trimEnd();
  const numeric = titles.map(
    (_, i) => rows.length > 0 && rows.every((row) => typeof row[i] !== 'string'),
  );
  return [line(titles, numeric), ...cells.map((row) => line(row, numeric))].join('\n');
}

/** A row is one line. */
function cellOf(cell: string | number | null): string {
  return cell === null ? '-' : harmless(String(cell)).replaceAll(/[\n\t]/g, escaped);
}

/** `1.5 MiB`; '-' for null. */
export function bytesText(bytes: number | null): string {
  if (bytes === null) return '-';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

/** `2026-11-22 16:45:01` in UTC. */
export function timeText(ms: number): string {
  return new Date(ms).toISOString().slice(0, 19).replace('T', ' ');
}
