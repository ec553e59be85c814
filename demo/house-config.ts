/** The configuration files of the demo's agents: short, as a user would write them. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';

export interface AgentConfigOptions {
  readonly mspId: string;
  /** Peer name; also the folder's name below `dir`. */
  readonly name: string;
  readonly dir: string;
  readonly roles: readonly ('ingest' | 'store' | 'audit')[];
  /** Section `ledger` as the network gives it. */
  readonly ledger: object;
  /** Folder with this organisation's certificates and keys. */
  readonly certificates: string;
  /** Broker to read from, for a gateway. */
  readonly broker?: string;
  readonly batch?: object;
  readonly vote?: 'manual' | 'approve';
  /** More of the section `overlay`. */
  readonly overlay?: object;
  /** Section `upkeep`. */
  readonly upkeep?: object;
  readonly logLevel?: 'debug' | 'info';
}

/** Writes one agent's YAML and returns its path and data directory. */
export async function writeAgentConfig(
  options: AgentConfigOptions,
): Promise<{ path: string; dataDir: string }> {
  const { mspId, name, dir, roles, ledger, certificates, broker, batch, vote, logLevel } = options;
  await mkdir(dir, { recursive: true });
  const dataDir = join(dir, 'data');
  const common = { decoder: 'json', sensor: '/sensor', sequence: '/seq', time: '/time' };
  const rules = [
    {
      topic: 'site/+/gps/+',
      ...common,
      values: { lat: '/fields/lat', lon: '/fields/lon', speed: '/fields/speed' },
    },
    {
      topic: 'site/+/shock/+',
      ...common,
      values: { x: '/fields/x', y: '/fields/y', z: '/fields/z' },
    },
    { topic: 'site/#', ...common, value: '/value' },
  ];
  const config = {
    organisation: { mspId },
    name,
    dataDir,
    roles,
    // A trial on one machine: nobody else's clock has to be met.
    ledger: { ...ledger, submitWhenClock: 'plausible' },
    overlay: {
      certFile: join(certificates, 'overlay.pem'),
      keyFile: join(certificates, 'overlay.key'),
      ...(roles.includes('audit')
        ? {}
        : { signingKeyFile: join(certificates, 'overlay-ed25519.key') }),
      lateMs: 3_000,
      graceMs: 3_000,
      ...options.overlay,
    },
    ...(broker === undefined ? {} : { mqtt: { brokers: [{ url: broker }], rules } }),
    ...(batch === undefined ? {} : { batch }),
    ...(logLevel === undefined ? {} : { log: { level: logLevel } }),
    ...(vote === undefined ? {} : { consortium: { vote } }),
    ...(options.upkeep === undefined ? {} : { upkeep: options.upkeep }),
  };
  const path = join(dir, 'blocktorrent.yaml');
  await writeFile(path, stringify(config));
  return { path, dataDir };
}
