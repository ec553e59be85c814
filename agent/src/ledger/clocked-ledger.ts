/**
 * The same ledger, which sends transactions only while the clock can be trusted (PROTOCOL: an agent
 * submits only when its clock is synchronised; it ingests always). Reading goes on whatever it says.
 */
import { type Ledger, LedgerError } from './ledger.ts';

/** `mistrust`: why nothing may be sent now, or null. Then `submit` throws LedgerError `clock`. */
export function clockedLedger(ledger: Ledger, mistrust: () => string | null): Ledger {
  return {
    mspId: ledger.mspId,
    evaluate: (name, argument) => ledger.evaluate(name, argument),
    async submit(name, argument, options) {
      const reason = mistrust();
      if (reason === null) return ledger.submit(name, argument, options);
      throw new LedgerError(
        'clock',
        `endorse: ${name} waits for the clock and was not sent: ${reason}; see ledger.submitWhenClock`,
        null,
        { step: 'endorse' },
      );
    },
    events: (options) => ledger.events(options),
    close: () => ledger.close(),
  };
}
