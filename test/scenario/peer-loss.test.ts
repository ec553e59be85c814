/**
 * Peers that die while files are stored and audited, on the dev ledger: another organisation's at
 * each step, all of them with BLOCKTORRENT_LONG=1. On real Fabric: test/fabric/peer-loss.test.ts.
 */
import { describePeerLoss, peerVictim } from '../compliance/peer-loss.ts';

const PEERS = ['Org1MSP', 'Org2MSP', 'Org3MSP', 'Org4MSP'].map(peerVictim);

describePeerLoss('the dev ledger', {
  ledger: 'dev',
  victims: (step) =>
    process.env.BLOCKTORRENT_LONG === '1' ? PEERS : PEERS.filter((_, i) => i === step % 4),
});
