/**
 * What `init` writes: keys, certificates or requests for them, and a configuration that names them.
 *
 * Enters: answers. Leaves: files, and what is left to do. Always holds: the configuration is checked
 * before anything is written; nothing that is there is overwritten; private keys are 0600.
 */
import { chownSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { toHex } from '@blocktorrent/protocol/bytes.ts';
import { systemRandom } from '../runtime/random.ts';
import type { Subject } from './certificates.ts';
import { CliError } from './cli-error.ts';
import { EXIT } from './exit-codes.ts';

/** What `init` was told, checked as far as single values go. */
export interface Answers {
  /** Absolute folder of the configuration. */
  readonly folder: string;
  readonly organisation: string;
  readonly name: string;
  readonly roles: readonly string[];
  readonly ledgerPeer: string;
  /** Organisation of the ledger peer. */
  readonly ledgerPeerOrganisation: string;
  /** File with the roots of the ledger peer's TLS certificate; null: put it there later. */
  readonly ledgerTlsRoot: string | null;
  readonly broker: string;
  readonly topic: string;
  /** Names and addresses of this machine, for its TLS certificate. */
  readonly hosts: readonly string[];
  /** `host:port` of the overlay; null for any free port of the loopback. */
  readonly listen: string | null;
  /** A root of one's own issues everything. */
  readonly trial: boolean;
  /** The places of the Debian package's service. */
  readonly service: boolean;
}

/** A file to write; a text that is null has to be brought by a person. */
interface Planned {
  readonly path: string;
  readonly text: string | null;
  readonly secret: boolean;
}
export interface NewHouse {
  /** Absolute path of the configuration. */
  readonly config: string;
  readonly written: readonly string[];
  /** What is left to do, in order. */
  readonly next: readonly string[];
}

type Part = keyof typeof PLACES;
/** Where everything goes: below the folder, and for the service with its keys handed over. */
const PLACES = {
  ledgerCert: ['ledger/cert.pem', 'ledger.pem'],
  ledgerKey: ['ledger/key.pem', 'keys/ledger.pem'],
  ledgerRequest: ['ledger/request.csr', 'ledger.csr'],
  ledgerTlsRoot: ['ledger/tls-root.pem', 'ledger-tls-root.pem'],
  overlayCert: ['overlay/cert.pem', 'overlay.pem'],
  overlayKey: ['overlay/key.pem', 'keys/overlay.pem'],
  overlayRequest: ['overlay/request.csr', 'overlay.csr'],
  signingKey: ['overlay/signing.key', 'keys/signing.key'],
  rootCert: ['root/cert.pem', 'root.pem'],
  rootKey: ['root/key.pem', 'root.key'],
  peerCert: ['peer/cert.pem', 'peer.pem'],
  peerKey: ['peer/key.pem', 'peer.key'],
} as const;

/** Plans, checks by `check` (throws where the configuration is wrong), then writes. */
export async function makeHouse(
  answers: Answers,
  check: (text: string, path: string) => void,
): Promise<NewHouse> {
  const { folder, service } = answers;
  const config = join(folder, 'blocktorrent.yaml');
  const text = configText(answers);
  check(text, config);
  const files: readonly Planned[] = [
    ...(await plan(answers)),
    { path: 'blocktorrent.yaml', text, secret: false },
  ];
  const there = files.map(({ path }) => join(folder, path)).filter((path) => existsSync(path));
  if (there.length > 0) {
    throw new CliError(`already there: ${there.join(', ')}`, {
      means: 'Nothing was written: keys and configurations are never overwritten.',
      todo: 'Choose another folder, or move these away.',
      exitCode: EXIT.usage,
    });
  }
  const made = files.flatMap(({ path, text: body, secret }) => {
    return body === null ? [] : [write(folder, path, body, secret)];
  });
  // systemd makes the service's own.
  if (!service) mkdirSync(join(folder, 'data'), { recursive: true, mode: 0o700 });
  const missing = files.filter((file) => file.text === null).map(({ path }) => join(folder, path));
  return { config, written: made, next: nextSteps(answers, config, missing) };
}

function write(folder: string, path: string, text: string, secret: boolean): string {
  const file = join(folder, path);
  mkdirSync(dirname(file), { recursive: true, mode: 0o755 });
  writeFileSync(file, text, { flag: 'wx', mode: secret ? 0o600 : 0o640 });
  // The service's user reads by its group, which is the folder's.
  if (!secret && process.getuid?.() === 0) chownSync(file, 0, statSync(folder).gid);
  return file;
}

function placeOf(part: Part, { service }: Answers): string {
  return PLACES[part][service ? 1 : 0];
}

async function plan(answers: Answers): Promise<Planned[]> {
  const { makeRoot, issue, request } = await import('./certificates.ts');
  const { organisation, name, hosts, roles, trial } = answers;
  const file = (part: Part, text: string | null, secret = false): Planned => {
    return { path: placeOf(part, answers), text, secret };
  };
  const role = roles.includes('audit') ? 'auditor' : 'agent';
  const common = { organisation, commonName: name };
  const ledger: Subject = { ...common, hosts: [], role };
  const overlay: Subject = { ...common, hosts, role: null };
  const signs = roles.some((one) => one !== 'audit');
  const seed = `${toHex(systemRandom(32))}\n`;
  const always = [
    ...(signs ? [file('signingKey', seed, true)] : []),
    ...tlsRoot(answers, (text) => file('ledgerTlsRoot', text)),
  ];
  if (!trial) {
    const [forLedger, forOverlay] = [await request(ledger), await request(overlay)];
    return [
      ...always,
      file('ledgerKey', forLedger.key, true),
      file('ledgerRequest', forLedger.request),
      file('ledgerCert', null),
      file('overlayKey', forOverlay.key, true),
      file('overlayRequest', forOverlay.request),
      file('overlayCert', null),
    ];
  }
  const root = await makeRoot(organisation);
  const identity = await issue(root, ledger);
  const tls = await issue(root, overlay);
  const peer = await issue(root, { ...overlay, commonName: 'peer' });
  return [
    ...always,
    file('rootCert', root.certificate),
    file('rootKey', root.key, true),
    file('ledgerKey', identity.key, true),
    file('ledgerCert', identity.certificate),
    file('overlayKey', tls.key, true),
    file('overlayCert', tls.certificate),
    file('peerKey', peer.key, true),
    file('peerCert', peer.certificate),
  ];
}

/** Of a trial with our own ledger peer it is our own root. */
function tlsRoot(answers: Answers, file: (text: string | null) => Planned): Planned[] {
  if (usesOwnRoot(answers)) return [];
  const { ledgerTlsRoot } = answers;
  return [file(ledgerTlsRoot === null ? null : readFileSync(ledgerTlsRoot, 'utf8'))];
}

function usesOwnRoot({ trial, ledgerTlsRoot, organisation, ledgerPeerOrganisation }: Answers) {
  return trial && ledgerTlsRoot === null && organisation === ledgerPeerOrganisation;
}

/** The configuration; text in double quotes is YAML as it is JSON. */
function configText(answers: Answers): string {
  const { organisation, name, roles, ledgerPeer, ledgerPeerOrganisation, listen } = answers;
  const { service, broker, topic } = answers;
  const place = (part: Part) => {
    const path = placeOf(part, answers);
    // The service's keys belong to root and are handed over by systemd.
    if (!service || !path.startsWith('keys/')) return JSON.stringify(path);
    return JSON.stringify(`\${CREDENTIALS_DIRECTORY}/${path.replace('/', '_')}`);
  };
  const signs = roles.some((one) => one !== 'audit');
  const addresses = listen === null ? [] : listenLines(listen);
  return [
    '# Made by `blocktorrent init`. `blocktorrent config sample` shows every other key.',
    `organisation: { mspId: ${JSON.stringify(organisation)} }`,
    `name: ${JSON.stringify(name)}`,
    `dataDir: ${service ? '/var/lib/blocktorrent' : 'data'}`,
    `roles: [${roles.join(', ')}]`,
    'ledger:',
    `  certFile: ${place('ledgerCert')}`,
    `  keyFile: ${place('ledgerKey')}`,
    '  peers:',
    `    - endpoint: ${JSON.stringify(ledgerPeer)}`,
    `      mspId: ${JSON.stringify(ledgerPeerOrganisation)}`,
    `      tlsRootFile: ${place(usesOwnRoot(answers) ? 'rootCert' : 'ledgerTlsRoot')}`,
    'overlay:',
    `  certFile: ${place('overlayCert')}`,
    `  keyFile: ${place('overlayKey')}`,
    ...(signs ? [`  signingKeyFile: ${place('signingKey')}`] : []),
    ...addresses,
    ...(roles.includes('ingest')
      ? [
          'mqtt:',
          '  brokers:',
          `    - url: ${JSON.stringify(broker)}`,
          '  rules:',
          `    - topic: ${JSON.stringify(topic)}`,
          '      sensor: /sensor',
          '      sequence: /seq',
          '      time: /time',
          '      value: /value',
        ]
      : []),
    '',
  ].join('\n');
}

/** TCP for chunks at the port, UDP for the DHT at the same one. */
function listenLines(listen: string): string[] {
  const at = JSON.stringify(listen);
  return [`  listen: ${at}`, '  dht:', `    listen: ${at}`];
}

function nextSteps(answers: Answers, config: string, missing: readonly string[]): string[] {
  const { trial, service, folder } = answers;
  const requests = [placeOf('ledgerRequest', answers), placeOf('overlayRequest', answers)];
  return [
    ...(trial
      ? [
          `Trial only: ${join(folder, placeOf('rootKey', answers))} can make any certificate of this organisation.`,
          `The others need ${join(folder, placeOf('rootCert', answers))} as this organisation's root.`,
        ]
      : [
          `Have your CA issue certificates for ${requests.map((path) => join(folder, path)).join(' and ')}; the first needs the attribute role=${answers.roles.includes('audit') ? 'auditor' : 'agent'}.`,
        ]),
    ...(missing.length === 0 ? [] : [`Put there what is missing: ${missing.join(', ')}`]),
    `Read ${config}: topics, formats, limits.`,
    `blocktorrent config check --config ${config}`,
    service ? 'systemctl enable --now blocktorrent-agent' : `blocktorrent run --config ${config}`,
    `blocktorrent check --config ${config}`,
  ];
}
