/** The ledger's compliance suites on the dev ledger. */
import { startNetwork } from '../support/network.ts';
import { ATTACKER } from './attack-tools.ts';
import { describeLedger, ORGANISATIONS } from './ledger.ts';
import { describeLedgerAttacks } from './ledger-attacks.ts';

describeLedger('dev ledger', () => startNetwork({ organisations: ORGANISATIONS }));

describeLedgerAttacks('dev ledger', () =>
  startNetwork({ organisations: ORGANISATIONS, attacker: ATTACKER }),
);
