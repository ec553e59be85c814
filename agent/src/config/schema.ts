/**
 * The one schema of the configuration: validation, sample and JSON Schema are made from it.
 *
 * Enters: what YAML held, after `${…}` was replaced. Leaves: `Config`, with every default filled in,
 * paths absolute and addresses split. Descriptions and examples are what people read. Units stand
 * last in names. Secrets are named by file, never given.
 */
import { isIP } from 'node:net';
import { matchesFilter } from '@blocktorrent/protocol/topic-filter.ts';
import { z } from 'zod';
import {
  ageRecipient,
  CERTIFICATE,
  endpoint,
  hostPort,
  IN_SAMPLE,
  KEY,
  LEDGER_KEY,
  ms,
  mspId,
  type PathFields,
  pathFields,
  peerName,
  type SchemaContext,
  SEED,
  text,
  whole,
} from './fields.ts';
import { mqttSection } from './mqtt-schema.ts';
import { folderProblems, sourcesSection } from './sources-schema.ts';

export type { HostPort } from './fields.ts';

/** The schema for one load; a function because paths depend on where the file is. */
export function configSchema(context: SchemaContext) {
  return sections(pathFields(context));
}

function sections(paths: PathFields) {
  return z.strictObject({
    organisation: z
      .strictObject({ mspId: mspId().describe('MSP id of the organisation.') })
      .describe('Whom this agent acts for.'),
    name: peerName().describe('Name of this agent, unique within its organisation.'),
    dataDir: paths
      .folder('data')
      .describe('Folder for everything that this agent keeps; made with mode 0700 if missing.'),
    roles: z
      .array(z.enum(['ingest', 'store', 'audit']))
      .min(1, { error: 'at least one of ingest, store, audit' })
      .describe(
        'ingest: gateway for readings; store: keeps chunks, holds key shards, votes; audit: asks for audits.',
      )
      .meta({ examples: [['ingest', 'store']] }),
    ledger: ledgerSection(paths),
    overlay: overlaySection(paths),
    mqtt: mqttSection(paths).exactOptional().meta(IN_SAMPLE),
    sources: sourcesSection(paths),
    batch: batchSection(),
    seal: sealSection(),
    distribute: z
      .strictObject({
        filesInFlight: whole(1, 256).default(4).describe('Files distributed at the same time.'),
        availableWithinMs: ms(1_000, 2_592_000_000)
          .default(3_600_000)
          .describe('A file that is not available so long after it came is an alarm in status.'),
      })
      .prefault({})
      .describe('How files reach their owners.'),
    upkeep: upkeepSection(),
    consortium: consortiumSection(),
    log: z
      .strictObject({
        level: z
          .enum(['debug', 'info', 'warn', 'error'])
          .default('info')
          .describe('Least severity that is written.'),
      })
      .prefault({})
      .describe('The log: JSON lines on standard error.'),
    metrics: z
      .strictObject({
        listen: hostPort('127.0.0.1:9464').describe('TCP address.'),
      })
      .exactOptional()
      .describe('/metrics for Prometheus, /healthz and /readyz over HTTP. Off if not given.'),
  });
}

function ledgerSection(paths: PathFields) {
  const peer = z.strictObject({
    endpoint: endpoint('localhost:7051').describe("host:port of a peer's gateway service."),
    mspId: mspId().describe('Organisation of this peer. Keys are deposited at our own only.'),
    tlsRootFile: paths
      .file('ledger/tls-root.pem', CERTIFICATE)
      .describe("PEM certificates that issue the peer's TLS certificate."),
    hostOverride: text('a host name', 'peer0.org1.example')
      .exactOptional()
      .describe("Name in the peer's certificate, where it is not the host of the endpoint."),
  });
  const chaincodes = z.strictObject({
    ledger: text('a chaincode name', 'ledger')
      .default('ledger')
      .describe('Chaincode with records, votes and members.'),
    keys: text('a chaincode name', 'keys')
      .default('keys')
      .describe('Chaincode that takes key deposits.'),
  });
  return z
    .strictObject({
      channel: text('the name of a channel', 'blocktorrent')
        .default('blocktorrent')
        .describe('Fabric channel.'),
      certFile: paths
        .file('ledger/cert.pem', CERTIFICATE)
        .describe("PEM certificate of this agent's Fabric identity."),
      keyFile: paths
        .file('ledger/key.pem', LEDGER_KEY)
        .optional()
        .meta(IN_SAMPLE)
        .describe('PEM private key of that certificate; with `ledger.pkcs11` it is not read.'),
      pkcs11: z
        .strictObject({
          module: paths.file('/usr/lib/softhsm/libsofthsm2.so').describe("The maker's library."),
          label: text('a token label', 'blocktorrent').describe('Label of the token.'),
          pinFile: paths.file('ledger/pin').describe('File with the user PIN.'),
          keyId: z
            .string()
            .regex(/^([0-9a-f]{2})+$/, { error: 'hex digits, lower case' })
            .meta({ examples: ['a1b2'] })
            .optional()
            .describe('CKA_ID of the key; by default SHA-256 of the public point.'),
        })
        .optional()
        .describe('That private key in a hardware module (npm package pkcs11js needed).'),
      peers: z
        .array(peer)
        .min(1, { error: 'at least one peer' })
        .describe('Peers to go through, the first one preferred.'),
      chaincodes: chaincodes
        .prefault({})
        .describe('Names under which the two chaincodes are deployed.'),
      submitWhenClock: z
        .enum(['synchronised', 'plausible'])
        .default('synchronised')
        .describe(
          'Transactions wait until systemd-timesyncd has set the clock; plausible: while it is obviously off.',
        ),
      requestTimeoutMs: ms(100, 600_000)
        .default(30_000)
        .describe('Patience with one step of a transaction.'),
    })
    .superRefine(paths.pair)
    .describe('How the Fabric ledger is reached.');
}

function limitException() {
  const time = () =>
    z
      .string()
      .regex(/^([01]\d|2[0-3]):[0-5]\d$/, { error: 'a local time of day, e.g. 08:30' })
      .meta({ examples: ['08:30'] })
      .exactOptional();
  return z.strictObject({
    from: time().describe('Local time of day from which it holds.'),
    until: time().describe('Local time of day until which it holds; may be after midnight.'),
    metered: z
      .boolean()
      .exactOptional()
      .describe('Holds only where the network is (not) metered.')
      .meta({ examples: [true] }),
    uploadBytesPerSecond: bytesPerSecond().describe('No limit if left out.'),
    downloadBytesPerSecond: bytesPerSecond().describe('No limit if left out.'),
  });
}

function bytesPerSecond() {
  return whole(16_384, 10_000_000_000)
    .exactOptional()
    .meta({ examples: [1_000_000] });
}

function overlaySection(paths: PathFields) {
  const dht = z.strictObject({
    listen: hostPort('127.0.0.1:0')
      .refine(({ host }) => isIP(host) !== 6, { error: 'an IPv4 address: the DHT knows no IPv6' })
      .prefault('127.0.0.1:0')
      .describe('UDP address, IPv4.'),
    advertise: hostPort('gateway.example:6881')
      .exactOptional()
      .describe('Address that others are told, if another.'),
    bootstrap: z
      .array(hostPort('dht.example:6881'))
      .prefault([])
      .describe('Nodes of the consortium to enter by, besides those on the ledger.'),
  });
  const door = (what: string, example: string) => ({
    listen: hostPort('127.0.0.1:0')
      .prefault('127.0.0.1:0')
      .describe(`TCP address of the ${what}; loopback unless another is given.`),
    advertise: hostPort(example)
      .refine(({ host }) => isIP(host) > 0, { error: 'an IP address and a port' })
      .exactOptional()
      .describe('IP address and port that clients are told, if another.'),
  });
  const plain = z.strictObject({
    ...door('plain listener', '192.0.2.7:6882'),
    tracker: z
      .strictObject(door('tracker (HTTP)', '192.0.2.7:6969'))
      .prefault({})
      .describe('The tracker by which clients find the owners.'),
  });
  return z
    .strictObject({
      listen: hostPort('127.0.0.1:0')
        .prefault('127.0.0.1:0')
        .describe('TCP address for BitTorrent over TLS; port 0 is any free one.'),
      dialOutOnly: z
        .boolean()
        .default(false)
        .describe(
          'Nobody can dial this agent (NAT): it does not listen, and keeps links to the others.',
        ),
      advertise: hostPort('gateway.example:6880')
        .exactOptional()
        .describe('Address that others are told, if another.'),
      certFile: paths
        .file('overlay/cert.pem', CERTIFICATE)
        .describe("PEM TLS certificate (client and server) issued by the organisation's root."),
      keyFile: paths.file('overlay/key.pem', KEY).describe('PEM private key of that certificate.'),
      signingKeyFile: paths
        .file('overlay/signing.key', SEED)
        .exactOptional()
        .describe('Overlay key: Ed25519 seed as 64 hex digits. Needed for ingest and store.')
        .meta(IN_SAMPLE),
      plain: plain
        .exactOptional()
        .describe(
          'BitTorrent without TLS, for ordinary clients to read ciphertext. Off if absent.',
        ),
      dht: dht.prefault({}).describe("The DHT that keeps peers' current addresses."),
      uploadBytesPerSecond: bytesPerSecond()
        .describe('What all links together may send; no limit if left out.')
        .meta({ examples: [1_000_000] }),
      downloadBytesPerSecond: bytesPerSecond()
        .describe('What all links together may receive; no limit if left out.')
        .meta({ examples: [10_000_000] }),
      limits: z
        .array(limitException())
        .prefault([])
        .describe('Other limits at some times or networks; the first that fits holds, as a whole.'),
      meteredFile: paths
        .folder('/run/blocktorrent/metered')
        .exactOptional()
        .describe('While this file exists, the network is metered. Whoever knows makes it.'),
      lateMs: ms(100, 3_600_000)
        .default(15_000)
        .describe("After this an owner's receipt is late: the source sends the chunks itself."),
      graceMs: ms(0, 3_600_000)
        .default(5_000)
        .describe('Further wait for the remaining receipts once there are enough.'),
    })
    .superRefine(paths.pair)
    .describe('The BitTorrent overlay.');
}

/** Defaults of `batch.maxBytes` and of `batch.disk.maxBytes`. */
const BATCH_BYTES_MAX = 67_108_864;
const DISK_BYTES_MAX = 4_294_967_296;

function batchSection() {
  return z
    .strictObject({
      maxAgeMs: ms(100, 86_400_000).default(300_000).describe('A batch is closed at this age,'),
      maxReadings: whole(1, 10_000_000).default(100_000).describe('or with so many readings,'),
      maxBytes: whole(65_536, 4_294_967_296)
        .default(BATCH_BYTES_MAX)
        .describe('or at this size, uncompressed.'),
      commitMaxReadings: whole(1, 10_000).default(500).describe('Readings of one group commit.'),
      commitMaxDelayMs: ms(0, 10_000)
        .default(8)
        .describe('A reading waits at most so long for its commit to begin.'),
      anchorEveryMs: ms(0, 86_400_000)
        .default(10_000)
        .describe("The chain's head is anchored on the ledger so often, if it changed; 0: never."),
      disk: z
        .strictObject({
          maxBytes: whole(1_048_576, Number.MAX_SAFE_INTEGER)
            .default(DISK_BYTES_MAX)
            .describe('For batches and sealed files that are not yet available on the ledger.'),
          reserveBytes: whole(0, Number.MAX_SAFE_INTEGER)
            .default(134_217_728)
            .describe('Free space of the file system that sealing and deleting need.'),
          policy: z
            .enum(['keep-newest', 'keep-oldest'])
            .default('keep-newest')
            .describe(
              'keep-newest drops old batches when full; keep-oldest takes no new readings.',
            ),
          quarantineMaxBytes: whole(0, Number.MAX_SAFE_INTEGER)
            .default(268_435_456)
            .describe('Damaged files are kept for inspection up to this size, then the oldest go.'),
        })
        .prefault({})
        .describe('What the readings may take of the disk, and what is done when that is full.'),
    })
    .prefault({})
    .describe('When the open batch is closed and sealed.');
}

function sealSection() {
  return z
    .strictObject({
      recipients: z
        .array(ageRecipient())
        .max(60)
        .default([])
        .describe('age recipients who may open every file of this gateway without a vote.'),
      chunksTarget: whole(1, 16_384)
        .default(200)
        .describe('Chunks of a file, at most; a chunk is a multiple of 16 KiB.'),
    })
    .prefault({})
    .describe('How batches and files are sealed.');
}

function upkeepSection() {
  return z
    .strictObject({
      scrubRoundMs: ms(60_000, 31_536_000_000)
        .default(2_592_000_000)
        .describe('Every kept chunk is read and compared with its digests once in so long.'),
      challengeEveryMs: ms(0, 86_400_000)
        .default(600_000)
        .describe('Another owner is challenged for a block that both keep so often; 0: never.'),
      silenceMs: ms(1_000, 31_536_000_000)
        .default(86_400_000)
        .describe('An owner without a right answer for so long is reported to the ledger.'),
    })
    .prefault({})
    .describe('What an agent with the role store does for the chunks that it keeps.');
}

function consortiumSection() {
  return z
    .strictObject({
      vote: z
        .enum(['manual', 'approve'])
        .default('manual')
        .describe('manual: people vote by `audit approve` and `audit deny`; approve: always yes.'),
      confirmMaxDelayMs: ms(0, 600_000)
        .default(1_000)
        .describe('Confirmations of key shards are gathered for so long into one transaction.'),
    })
    .prefault({})
    .describe('How this organisation takes part in votes.');
}

/** A complete, checked configuration. */
export type Config = z.output<ReturnType<typeof sections>>;

/** One thing that zod found; what `problems.ts` works on. */
export type SchemaIssue = z.core.$ZodIssue;

/**
 * What no single field can say, as further issues. Looks only at what is there, so that it can be
 * asked although other fields are wrong or missing. `folder` is where relative paths start from.
 */
export function crossIssues(config: unknown, folder: string): SchemaIssue[] {
  const value = Object(config) as {
    roles?: unknown;
    dataDir?: unknown;
    mqtt?: unknown;
    sources?: unknown;
    overlay?: unknown;
    ledger?: unknown;
    batch?: unknown;
  };
  const roles: unknown[] = Array.isArray(value.roles) ? value.roles : [];
  const issues: SchemaIssue[] = [];
  const report = (path: string[], message: string) =>
    issues.push({ code: 'custom', path, message, input: undefined });
  if (new Set(roles).size !== roles.length) report(['roles'], 'each role once');
  const { folders } = Object(value.sources) as { folders?: unknown };
  if (roles.includes('ingest') && value.mqtt === undefined && folders === undefined) {
    report(['mqtt'], 'a section, because `roles` has ingest');
  }
  issues.push(...sourceIssues(value.mqtt, value.sources));
  if (Array.isArray(folders)) {
    for (const { index, key, expected } of folderProblems(folders, value.dataDir, folder)) {
      const path = ['sources', 'folders', index, key];
      issues.push({ code: 'custom', path, message: expected, input: undefined });
    }
  }
  const batch = Object(value.batch) as { maxBytes?: unknown; disk?: { maxBytes?: unknown } };
  const [fileMax, diskMax] = [
    batch.maxBytes ?? BATCH_BYTES_MAX,
    batch.disk?.maxBytes ?? DISK_BYTES_MAX,
  ];
  if (typeof fileMax === 'number' && typeof diskMax === 'number' && diskMax < 2 * fileMax) {
    report(['batch', 'disk', 'maxBytes'], `at least twice \`batch.maxBytes\`, ${2 * fileMax}`);
  }
  const { ledger } = value;
  if (ledger instanceof Object && !('keyFile' in ledger) && !('pkcs11' in ledger)) {
    report(['ledger', 'keyFile'], 'a file, or the section `ledger.pkcs11`');
  }
  const signs = roles.includes('ingest') || roles.includes('store');
  if (signs && value.overlay instanceof Object && !('signingKeyFile' in value.overlay)) {
    report(['overlay', 'signingKeyFile'], 'a file with the overlay key');
  }
  return issues;
}

/** Sources without a rule for them, and an ingest section from which nothing can come. */
function sourceIssues(mqtt: unknown, sources: unknown): SchemaIssue[] {
  const { brokers, rules } = Object(mqtt) as { brokers?: unknown; rules?: unknown };
  const { folders, tables } = Object(sources) as { folders?: unknown; tables?: unknown };
  const listOf = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);
  const issue = (path: PropertyKey[], message: string): SchemaIssue => {
    return { code: 'custom', path, message, input: undefined };
  };
  const unread = listOf(tables).flatMap((table, index) => {
    const { topic } = Object(table) as { topic?: unknown };
    if (typeof topic !== 'string') return [];
    const path = ['sources', 'tables', index, 'topic'];
    const first = listOf(tables).findIndex((other) => Object(other).topic === topic);
    if (first !== index) return [issue(path, 'a topic of its own')];
    const rule = listOf(rules).find((one) => {
      const filter: unknown = Object(one).topic;
      return typeof filter === 'string' && matchesFilter(filter, topic);
    });
    if (rule === undefined) return [issue(path, 'a topic that one of `mqtt.rules` fits')];
    if ((Object(rule).decoder ?? 'json') === 'json') return [];
    return [issue(path, 'a topic whose rule in `mqtt.rules` has the decoder json: rows are JSON')];
  });
  const none = listOf(folders).length + listOf(tables).length === 0;
  // A client id is one connection's: two of them would end each other for ever.
  const clients = listOf(brokers).map((broker) => {
    const { url, clientId } = Object(broker) as { url?: unknown; clientId?: unknown };
    return JSON.stringify([url, clientId]);
  });
  clients.forEach((client, index) => {
    if (clients.indexOf(client) === index) return;
    unread.push(issue(['mqtt', 'brokers', index, 'url'], 'another broker, or its own `clientId`'));
  });
  const idle = Array.isArray(brokers) && brokers.length === 0 && none;
  return idle ? [...unread, issue(['mqtt', 'brokers'], 'at least one broker')] : unread;
}

/** JSON Schema (draft 2020-12) of the file as it is written, for editors. */
export function jsonSchema(): Record<string, unknown> {
  const schema = annotatedJsonSchema();
  dropMarks(schema);
  return { title: 'BlockTorrent agent configuration', ...schema };
}

/** `jsonSchema` with the marks for the sample (`inSample`, `alternative`) still in it. */
export function annotatedJsonSchema(): Record<string, unknown> {
  const schema = configSchema({ folder: '/', checkFiles: false });
  return z.toJSONSchema(schema, { io: 'input' }) as Record<string, unknown>;
}

function dropMarks(node: unknown): void {
  if (typeof node !== 'object' || node === null) return;
  if ('inSample' in node && node.inSample === true) delete node.inSample;
  if ('alternative' in node && node.alternative === true) delete node.alternative;
  for (const child of Object.values(node)) dropMarks(child);
}
