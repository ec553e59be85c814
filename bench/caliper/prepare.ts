/**
 * Writes what Caliper has to know of a network that `fabric/network up` and `deploy` made:
 * `OUT/network.json` and a connection profile for each organisation.
 *
 *   node bench/caliper/prepare.ts --network DIR --out OUT
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { loadPlan, organisationsWithPeer } from '../../fabric/src/plan.ts';

const { values } = parseArgs({
  options: { network: { type: 'string', default: '' }, out: { type: 'string', default: '' } },
});
const plan = loadPlan(resolve(values.network));
if (plan === null || values.out === '') {
  throw new Error('expected --network DIR of `fabric/network up`, and --out FOLDER');
}
const out = resolve(values.out);
await mkdir(out, { recursive: true });
const organizations = [];
for (const { mspId, ledger } of organisationsWithPeer(plan)) {
  const peer = ledger.peers.find((each) => each.mspId === mspId);
  if (peer === undefined) throw new Error(`${mspId} has no peer of its own`);
  const profile = {
    name: mspId,
    version: '1.0.0',
    client: { organization: mspId },
    organizations: { [mspId]: { mspid: mspId, peers: [mspId] } },
    peers: {
      [mspId]: {
        url: `grpcs://${peer.endpoint}`,
        tlsCACerts: { path: peer.tlsRootFile },
        grpcOptions: { 'grpc.ssl_target_name_override': peer.hostOverride },
      },
    },
  };
  const path = join(out, `${mspId}.json`);
  await writeFile(path, JSON.stringify(profile, null, 2));
  organizations.push({
    mspid: mspId,
    identities: {
      certificates: [
        {
          name: 'agent',
          clientPrivateKey: { path: ledger.keyFile },
          clientSignedCert: { path: ledger.certFile },
        },
      ],
    },
    connectionProfile: { path, discover: false },
    peers: [{ endpoint: peer.endpoint, tlsCACerts: { path: peer.tlsRootFile } }],
  });
}
const network = {
  name: 'BlockTorrent',
  version: '2.0.0',
  caliper: { blockchain: join(import.meta.dirname, 'connector.cjs') },
  channels: [
    { channelName: plan.channel, contracts: plan.chaincodes.map(({ name }) => ({ id: name })) },
  ],
  organizations,
};
await writeFile(join(out, 'network.json'), JSON.stringify(network, null, 2));
process.stdout.write(`${join(out, 'network.json')}\n`);
