/** The audit's one error class: `code` says what to do, the message says what was wrong. */
export type AuditErrorCode =
  | 'nothing-to-audit'
  | 'too-many-files'
  | 'unknown-request'
  | 'unknown-file'
  | 'denied'
  | 'expired'
  | 'too-few-shards'
  | 'wrong-key'
  | 'wrong-table'
  | 'not-shared'
  | 'timeout';

export class AuditError extends Error {
  override readonly name = 'AuditError';
  readonly code: AuditErrorCode;

  constructor(code: AuditErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
