/** The errors of the control API, on both sides of the socket. */

/** Switch on this. A handler's own error keeps its own code and arrives as `ControlError.remote`. */
export type ControlErrorCode =
  | 'no-agent'
  | 'not-permitted'
  | 'no-answer'
  | 'already-running'
  | 'path-too-long'
  | 'unknown-route'
  | 'too-large'
  | 'malformed'
  | 'broken-off'
  | 'failed';

export class ControlError extends Error {
  override readonly name = 'ControlError';
  readonly code: ControlErrorCode;
  /** The code that the agent's handler gave, e.g. `rejected`; '' for errors of the call itself. */
  readonly remote: string;

  constructor(
    code: ControlErrorCode,
    message: string,
    options?: ErrorOptions & { remote?: string },
  ) {
    super(message, options);
    this.code = code;
    this.remote = options?.remote ?? '';
  }
}
