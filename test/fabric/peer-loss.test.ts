/**
 * Each organisation's peer killed at each step of storing and of auditing a file, and the orderer
 * that leads at one step of each, on a real network: `npm run test:fabric`.
 */
import { describe, vi } from 'vitest';
import { FabricNetwork } from '../../fabric/src/network.ts';
import { describePeerLoss, peerVictim, type Victim } from '../compliance/peer-loss.ts';
import type { Stage } from '../support/cast.ts';

const PEERS = ['Org1MSP', 'Org2MSP', 'Org3MSP', 'Org4MSP'].map(peerVictim);
/** The steps at which the leader dies as well: a file is recorded, shards are released. */
const LEADER_AT = [2, 6];

describe.runIf(process.env.BLOCKTORRENT_FABRIC === '1')('a network of four organisations', () => {
  describePeerLoss('Fabric', {
    ledger: 'fabric',
    victims: (step) => (LEADER_AT.includes(step) ? [...PEERS, leader()] : PEERS),
  });
});

/** Whichever orderer leads when it is killed. */
function leader(): Victim {
  let name = '';
  return {
    title: 'the leader of the orderers',
    async kill(stage) {
      name = (await networkOf(stage).leader()) ?? '';
      await networkOf(stage).stopOrderer(name, 'SIGKILL');
    },
    async revive(stage) {
      await vi.waitFor(async () => {
        if ((await networkOf(stage).leader()) === null) throw new Error('there is no leader yet');
      }, 30_000);
      await networkOf(stage).startOrderer(name);
    },
  };
}

function networkOf({ network }: Stage): FabricNetwork {
  if (network instanceof FabricNetwork) return network;
  throw new Error('this test needs a real network');
}
