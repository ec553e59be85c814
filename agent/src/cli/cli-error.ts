/** The command line's own error: what happened, what it means, what to do, and the exit status. */
import { EXIT, type ExitCode } from './exit-codes.ts';

export interface CliErrorDetail {
  /** What it means for the person; '' if the message says it all. */
  readonly means?: string;
  /** What to do now; '' if nothing can be said. */
  readonly todo?: string;
  readonly exitCode?: ExitCode;
  readonly cause?: unknown;
}

export class CliError extends Error {
  override readonly name = 'CliError';
  readonly code = 'cli';
  readonly means: string;
  readonly todo: string;
  readonly exitCode: ExitCode;

  /** An empty message prints nothing: the command's result has said it all. */
  constructor(message: string, detail: CliErrorDetail = {}) {
    super(message, detail.cause === undefined ? {} : { cause: detail.cause });
    this.means = detail.means ?? '';
    this.todo = detail.todo ?? '';
    this.exitCode = detail.exitCode ?? EXIT.failure;
  }
}
