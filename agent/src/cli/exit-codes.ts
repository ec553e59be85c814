/** Exit status of every command. Scripts rely on these numbers: they never change their meaning. */
export const EXIT = {
  ok: 0,
  /** It did not work; trying again may help. */
  failure: 1,
  /** Wrong arguments or a wrong configuration; trying again will not help. */
  usage: 2,
  /** The ledger, a vote or an owner said no. */
  refused: 3,
  /** Something was found to be altered, missing or wrongly signed. */
  verification: 4,
  /** The agent, the ledger or the broker could not be reached. */
  unavailable: 5,
  /** Ended by Ctrl-C. */
  interrupted: 130,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** One line a code, for `--help` and the manual. */
export const EXIT_HELP = `Exit status:
  0  done
  1  failed; trying again may help
  2  wrong arguments or configuration
  3  refused by the ledger, a vote or an owner
  4  verification failed: something is altered, missing or wrongly signed
  5  the agent, the ledger or the broker could not be reached
130  interrupted`;
