/** Open files, least recently used closed first; a file in use stays open until it is let go. */

const OPEN_MAX = 64;

interface Entry<T> {
  readonly opened: Promise<T>;
  users: number;
  dropped: boolean;
}

/** Bounded by `OPEN_MAX` idle entries; what is in use comes on top. */
export class HandleCache<T> {
  readonly #open: (path: string) => Promise<T>;
  readonly #close: (opened: T) => Promise<void>;
  readonly #entries = new Map<string, Entry<T>>();

  constructor(open: (path: string) => Promise<T>, close: (opened: T) => Promise<void>) {
    this.#open = open;
    this.#close = close;
  }

  /** Opens the file if it is not open, and keeps it open while `work` runs. */
  async use<R>(path: string, work: (opened: T) => Promise<R>): Promise<R> {
    const entry = this.#entries.get(path) ?? {
      opened: this.#open(path),
      users: 0,
      dropped: false,
    };
    this.#entries.delete(path);
    this.#entries.set(path, entry);
    entry.users += 1;
    try {
      return await work(await entry.opened);
    } catch (error) {
      // Never keep a file that could not be opened or read.
      await this.drop(path);
      throw error;
    } finally {
      entry.users -= 1;
      if (entry.dropped && entry.users === 0) await this.#end(entry);
      await this.#shrink();
    }
  }

  /** Forgets a file: the next use opens it anew. */
  async drop(path: string): Promise<void> {
    const entry = this.#entries.get(path);
    if (entry === undefined) return;
    this.#entries.delete(path);
    entry.dropped = true;
    if (entry.users === 0) await this.#end(entry);
  }

  async clear(): Promise<void> {
    await Promise.all([...this.#entries.keys()].map((path) => this.drop(path)));
  }

  async #shrink(): Promise<void> {
    for (const [path, entry] of this.#entries) {
      if (this.#entries.size <= OPEN_MAX) return;
      if (entry.users === 0) await this.drop(path);
    }
  }

  async #end(entry: Entry<T>): Promise<void> {
    const opened = await entry.opened.catch(() => null);
    if (opened !== null) await this.#close(opened);
  }
}
