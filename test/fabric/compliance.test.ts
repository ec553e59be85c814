/** The ledger's compliance suites on a real Fabric network: `npm run test:fabric`. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe } from 'vitest';
import { ownChaincodes, startFabricNetwork } from '../../fabric/src/network.ts';
import { ATTACKER } from '../compliance/attack-tools.ts';
import { describeLedger, ORGANISATIONS } from '../compliance/ledger.ts';
import { describeLedgerAttacks } from '../compliance/ledger-attacks.ts';
import { attackerCommand } from '../support/network.ts';

describe.runIf(process.env.BLOCKTORRENT_FABRIC === '1')('compliance', () => {
  const folders: string[] = [];
  const options = async () => {
    const parent = await mkdtemp(join(tmpdir(), 'fabric-'));
    folders.push(parent);
    return { dir: join(parent, 'network'), organisations: ORGANISATIONS };
  };
  afterAll(async () => {
    for (const folder of folders) await rm(folder, { recursive: true, force: true });
  });

  describeLedger('Fabric', async () => startFabricNetwork(await options()));
  describeLedgerAttacks('Fabric', async () =>
    startFabricNetwork({
      ...(await options()),
      chaincodes: (mspIds) =>
        ownChaincodes(mspIds).map(({ definition }) => ({
          definition,
          command: attackerCommand(ATTACKER, definition.name),
        })),
    }),
  );
});
