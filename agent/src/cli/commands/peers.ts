/** `blocktorrent peers`: who takes part, and where the running agent finds them. */
import type { CliCommand } from '../command.ts';
import { table } from '../output.ts';

export const peersCommand: CliCommand = {
  name: 'peers',
  describe: 'list the agents of the consortium and their addresses',
  group: 'Agent:',
  register(command, contextOf) {
    command.action(async () => {
      const { output, call } = contextOf();
      const peers = await call('peers', null);
      const titles = ['organisation', 'agent', 'roles', 'address', 'dht entrance'];
      const rows = peers.map(({ mspId, name, roles, own, dhtAddress, address }) => {
        const shown = own ? `${name} (this one)` : name;
        return [mspId, shown, roles.join(', '), address ?? 'not found', dhtAddress || '-'];
      });
      const none = 'no agents are registered, or the ledger was never reached';
      output.result(peers, rows.length === 0 ? none : table(titles, rows));
    });
  },
};
