/** The demo's command line. */
import { parseArgs } from 'node:util';

export interface DemoOptions {
  /** Participants, 4 to 10. */
  readonly organisations: number;
  readonly serve: boolean;
  readonly json: boolean;
  /** An attacker takes one organisation's place. */
  readonly corrupt: boolean;
  /** `fabric`: a real network of Fabric's own binaries, from PATH or FABRIC_BIN. */
  readonly ledger: 'dev' | 'fabric';
  /** How long sensors publish, seconds. */
  readonly seconds: number;
  /** Folder for the results. */
  readonly output: string;
}

/** @throws Error that says which option was wrong and what was expected */
export function demoOptions(args: readonly string[]): DemoOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      organisations: { type: 'string', default: '4' },
      serve: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      corrupt: { type: 'boolean', default: false },
      ledger: { type: 'string', default: 'dev' },
      seconds: { type: 'string', default: '12' },
      output: { type: 'string', default: 'demo-output' },
    },
  });
  return {
    organisations: wholeNumber('--organisations', values.organisations, 4, 10),
    serve: values.serve,
    json: values.json,
    corrupt: values.corrupt,
    ledger: ledgerName(values.ledger),
    seconds: wholeNumber('--seconds', values.seconds, 6, 600),
    output: values.output,
  };
}

function ledgerName(value: string): 'dev' | 'fabric' {
  if (value === 'dev' || value === 'fabric') return value;
  throw new Error(`--ledger takes dev or fabric, found "${value}"`);
}

function wholeNumber(name: string, value: string, min: number, max: number): number {
  const number = Number(value);
  if (Number.isInteger(number) && number >= min && number <= max) return number;
  throw new Error(`${name} takes a whole number from ${min} to ${max}, found "${value}"`);
}
