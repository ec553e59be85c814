/** A gateway's configuration with keys of its own, for a machine whose ledger is never there. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { nicely } from './packages.ts';

export interface AgentConfigOptions {
  readonly name?: string;
  readonly level?: 'debug' | 'info';
  /** What stands before the names of private keys: a folder with `/`, or credentials with a prefix. */
  readonly keys: string;
  /** Address of the broker; without it the agent is no gateway. */
  readonly broker?: string;
}

/** The text of `blocktorrent.yaml`. */
export function agentConfig({
  name = 'gateway-1',
  level = 'info',
  keys,
  broker,
}: AgentConfigOptions) {
  const rule = { topic: 'site/#', sensor: '/sensor', sequence: '/seq', value: '/value' };
  const peer = { endpoint: 'localhost:7051', mspId: 'Org1MSP', tlsRootFile: 'cert.pem' };
  return stringify({
    organisation: { mspId: 'Org1MSP' },
    name,
    dataDir: '/var/lib/blocktorrent',
    roles: broker === undefined ? ['store'] : ['ingest', 'store'],
    ledger: { certFile: 'cert.pem', keyFile: `${keys}ledger.pem`, peers: [peer] },
    overlay: {
      certFile: 'cert.pem',
      keyFile: `${keys}overlay.pem`,
      signingKeyFile: `${keys}signing.key`,
    },
    ...(broker === undefined ? {} : { mqtt: { brokers: [{ url: broker }], rules: [rule] } }),
    log: { level },
  });
}

/** Writes `cert.pem`, `ledger.pem`, `overlay.pem` and `signing.key` into `folder`. */
export async function makeKeys(folder: string): Promise<void> {
  await nicely('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'],
    ...['-keyout', join(folder, 'ledger.pem'), '-out', join(folder, 'cert.pem')],
    ...['-days', '30', '-subj', '/CN=gateway-1'],
  ]);
  await nicely('cp', [join(folder, 'ledger.pem'), join(folder, 'overlay.pem')]);
  await writeFile(join(folder, 'signing.key'), '42'.repeat(32));
}
