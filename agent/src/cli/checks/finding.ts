/** What one look of `blocktorrent check` found, and how a look that fails becomes a finding too. */

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

/** What `look` finds; what it throws is a failure of `name`. */
export async function looked(
  name: string,
  todo: string,
  look: () => Promise<readonly Finding[]> | readonly Finding[],
): Promise<readonly Finding[]> {
  try {
    return await look();
  } catch (error) {
    return [fail(name, error instanceof Error ? error.message : String(error), todo)];
  }
}
