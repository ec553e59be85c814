/**
 * The one error class of the protocol: `code` says what to do, the message says what was wrong,
 * what was expected and what was found.
 */

/** Which check failed; switch on this, never on the message. */
export type ProtocolErrorCode =
  | 'malformed'
  | 'too-large'
  | 'not-canonical'
  | 'bad-version'
  | 'bad-digest'
  | 'bad-signature'
  | 'bad-proof'
  | 'bad-shard'
  | 'bad-commitment'
  | 'bad-key'
  | 'bad-padding'
  | 'no-identity-matched'
  | 'truncated'
  | 'not-responsible'
  | 'bad-argument';

export class ProtocolError extends Error {
  override readonly name = 'ProtocolError';
  readonly code: ProtocolErrorCode;

  constructor(code: ProtocolErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
