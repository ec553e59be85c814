/** A payload that is not of the format, or lacks what the rule names: the message is the reason. */
export class DecodeError extends Error {
  override readonly name = 'DecodeError';
}
