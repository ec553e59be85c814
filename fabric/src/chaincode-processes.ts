/**
 * Chaincode as external services: one process for each organisation and chaincode, mutual TLS to
 * that organisation's own peer, certificates of a root that issues nothing else.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { waitUntilListening } from './channel.ts';
import { chaincodeTls } from './msp.ts';
import { connectionsDir } from './peer-config.ts';
import { type NetworkPlan, organisationsWithPeer } from './plan.ts';
import { startProcess, stopProcess } from './processes.ts';
import { chaincodeProcessName, chaincodeSpec } from './specs.ts';

/** Writes, for every peer, where its chaincodes listen (read by the builder's bin/release). */
export async function writeConnections(plan: NetworkPlan): Promise<void> {
  for (const { mspId, peer } of organisationsWithPeer(plan)) {
    const tls = chaincodeTls(plan.dir, mspId);
    const folder = connectionsDir(peer);
    await mkdir(folder, { recursive: true });
    for (const { name, ports } of plan.chaincodes) {
      const connection = {
        address: `127.0.0.1:${ports[mspId]}`,
        dial_timeout: '10s',
        tls_required: true,
        client_auth_required: true,
        root_cert: await readFile(tls.ca, 'utf8'),
        client_cert: await readFile(tls.clientCert, 'utf8'),
        client_key: await readFile(tls.clientKey, 'utf8'),
      };
      await writeFile(join(folder, `${name}.json`), JSON.stringify(connection), { mode: 0o600 });
    }
  }
}

/** Starts the chaincodes of all organisations and waits until they listen. */
export async function startChaincodes(plan: NetworkPlan): Promise<void> {
  await Promise.all(
    plan.chaincodes.flatMap((chaincode) =>
      Object.entries(chaincode.ports).map(async ([mspId, port]) => {
        const spec = chaincodeSpec(plan, chaincode, mspId);
        await startProcess(plan.dir, spec);
        await waitUntilListening(plan, spec.name, port);
      }),
    ),
  );
}

/** Ends the chaincodes of all organisations. */
export async function stopChaincodes(plan: NetworkPlan): Promise<void> {
  await Promise.all(
    plan.chaincodes.flatMap(({ name, ports }) =>
      Object.keys(ports).map((mspId) => stopProcess(plan.dir, chaincodeProcessName(name, mspId))),
    ),
  );
}
