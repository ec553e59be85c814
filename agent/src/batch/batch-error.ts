/** The batch stage's one error class: `code` says what to do, the message says what was found. */

export type BatchErrorCode =
  /** Files in the folder that no crash can leave: a person must look. */
  | 'bad-folder'
  /** A batch whose meta is missing or contradicts itself. */
  | 'bad-batch'
  /** Readings out of order: a bug in the caller. */
  | 'out-of-order'
  /** Another process reads the open batch; try again later. */
  | 'busy'
  /** This closed batch is still needed. */
  | 'still-needed'
  | 'unknown-batch';

/** `batch` is the number of the batch at hand, or null. */
export class BatchError extends Error {
  override readonly name = 'BatchError';
  readonly code: BatchErrorCode;
  readonly batch: number | null;

  constructor(
    code: BatchErrorCode,
    message: string,
    batch: number | null = null,
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.code = code;
    this.batch = batch;
  }
}
