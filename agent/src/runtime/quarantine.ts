/**
 * The quarantine: damaged files, out of the way and kept for whoever wants to look, up to a cap.
 *
 * Enters: paths of files that the agent cannot use any more. Leaves: the same files in one folder,
 * each beside a note of what was wrong. Always holds: a file is moved, never copied; when the folder
 * holds more than `maxBytes`, the oldest go; reading the list never throws for what is in there.
 */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';

export interface QuarantineOptions {
  /** Made when the first file comes. */
  readonly folder: string;
  readonly maxBytes: () => number;
  readonly nowMs: () => number;
}

/** What is known of a damaged file. */
export interface QuarantinedFile {
  /** Its name now, within the folder. */
  readonly file: string;
  /** Its name before. */
  readonly was: string;
  /** When it was found, milliseconds since the Unix epoch. */
  readonly foundMs: number;
  readonly reason: string;
  /** Readings that were saved from it; null for a file that holds none. */
  readonly salvaged: number | null;
  /** With its journals. */
  readonly bytes: number;
}

const NOTE = '.note.json';
const JOURNALS = ['', '-wal', '-shm', '-journal'];
const LISTED_MAX = 100;
/** A file's name here: when it was found, and what it was called. */
const MOVED = /^(\d{1,16})-(.*\.(?:sqlite|age)(?:\.\d+)?)$/;

export class Quarantine {
  readonly #options: QuarantineOptions;

  constructor(options: QuarantineOptions) {
    this.#options = options;
  }

  get folder(): string {
    return this.#options.folder;
  }

  /** Moves a file here, with its journals if it is SQLite's. Throws what the file system says. */
  take(path: string, found: Pick<QuarantinedFile, 'reason' | 'salvaged'>): QuarantinedFile {
    const { folder, nowMs } = this.#options;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const was = basename(path);
    const foundMs = nowMs();
    const file = this.#freeName(`${foundMs}-${was}`);
    let bytes = 0;
    // The file itself last: what is interrupted is found again.
    for (const suffix of [...JOURNALS].reverse()) {
      if (!existsSync(path + suffix)) continue;
      bytes += statSync(path + suffix).size;
      renameSync(path + suffix, join(folder, file + suffix));
    }
    const note: QuarantinedFile = { file, was, foundMs, bytes, ...found };
    writeFileSync(join(folder, file + NOTE), `${JSON.stringify(note)}\n`, { mode: 0o600 });
    this.#makeRoom();
    return note;
  }

  /** The newest first. */
  list(): readonly QuarantinedFile[] {
    return this.#notes().reverse().slice(0, LISTED_MAX);
  }

  #notes(): QuarantinedFile[] {
    const { folder } = this.#options;
    if (!existsSync(folder)) return [];
    const names = readdirSync(folder);
    const notes = names
      .filter((name) => name.endsWith(NOTE))
      .flatMap((name) => noteIn(join(folder, name)) ?? []);
    const noted = new Set(notes.map(({ file }) => file));
    // The power went before the note was there: it counts for the cap all the same.
    const bare = names.filter((name) => MOVED.test(name) && !noted.has(name));
    return [...notes, ...bare.map((file) => bareNote(folder, file))].sort(
      (a, b) => a.foundMs - b.foundMs || (a.file < b.file ? -1 : 1),
    );
  }

  #makeRoom(): void {
    const { folder, maxBytes } = this.#options;
    const notes = this.#notes();
    let total = notes.reduce((sum, { bytes }) => sum + bytes, 0);
    for (const { file, bytes } of notes) {
      if (total <= maxBytes()) return;
      for (const suffix of [...JOURNALS, NOTE])
        rmSync(join(folder, file + suffix), { force: true });
      total -= bytes;
    }
  }

  #freeName(wanted: string): string {
    let name = wanted;
    for (let n = 1; existsSync(join(this.#options.folder, name)); n += 1) name = `${wanted}.${n}`;
    return name;
  }
}

function bareNote(folder: string, file: string): QuarantinedFile {
  const [, foundMs = '0', was = file] = MOVED.exec(file) ?? [];
  const bytes = JOURNALS.reduce((sum, suffix) => {
    return sum + (statSync(join(folder, file + suffix), { throwIfNoEntry: false })?.size ?? 0);
  }, 0);
  const reason = 'not noted: the power went while it was put here';
  return { file, was, foundMs: Number(foundMs), reason, salvaged: null, bytes };
}

/** Null for a note that the same damage has met. */
function noteIn(path: string): QuarantinedFile | null {
  try {
    const note = JSON.parse(readFileSync(path, 'utf8')) as Partial<QuarantinedFile> | null;
    const { file, was, foundMs, reason, salvaged = null, bytes } = note ?? {};
    if (typeof file !== 'string' || basename(file) !== file || typeof was !== 'string') return null;
    if (typeof foundMs !== 'number' || typeof bytes !== 'number') return null;
    return { file, was, foundMs, reason: String(reason), salvaged, bytes };
  } catch {
    return null;
  }
}
