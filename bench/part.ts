/** What a file of `bench/parts/` exports as `part`. */
import type { Measured } from './figures.ts';

export interface BenchOptions {
  /** Fewer runs, every case, done within 60 s (overlay and ledger: 600 s). */
  readonly quick: boolean;
  /** Against which ledger: the dev ledger, or a real Fabric network. */
  readonly ledger: 'dev' | 'fabric';
  /** Gives one figure: one line on standard output. */
  readonly emit: (measured: Omit<Measured, 'bench'>) => void;
  /** A remark on standard error. */
  readonly note: (text: string) => void;
}

export interface BenchPart {
  /** One line for `npm run bench -- --help`. */
  readonly describe: string;
  run(options: BenchOptions): Promise<void>;
}
