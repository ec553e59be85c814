/** What one look of `blocktorrent check` found, and how a look that fails becomes a finding too. */

import { contractCode, explain } from '../explain.ts';

export type FindingState = 'ok' | 'warn' | 'fail';

/** One line of the doctor. */
export interface Finding {
  /** `clock`, `certificate ledger.certFile`, … */
  readonly name: string;
  readonly state: FindingState;
  readonly found: string;
  /** What to do; '' where all is well. */
  readonly todo: string;
}

export function ok(name: string, found: string): Finding {
  return { name, state: 'ok', found, todo: '' };
}
export function warn(name: string, found: string, todo: string): Finding {
  return { name, state: 'warn', found, todo };
}
export function fail(name: string, found: string, todo: string): Finding {
  return { name, state: 'fail', found, todo };
}

/** What `look` finds; what it throws is a failure of `name`, with `todo` unless a contract said no. */
export async function looked(
  name: string,
  todo: string,
  look: () => Promise<readonly Finding[]> | readonly Finding[],
): Promise<readonly Finding[]> {
  try {
    return await look();
  } catch (error) {
    const { message, todo: itsOwn } = explain(error);
    return [fail(name, message, contractCode(error) === null ? todo : itsOwn)];
  }
}
