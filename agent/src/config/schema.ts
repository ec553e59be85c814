/**
 * The one schema of the configuration: validation, sample and JSON Schema are made from it.
 *
 * Enters: what YAML held, after `${…}` was replaced. Leaves: `Config`, with every default filled in,
 * paths absolute and addresses split. Descriptions and examples are what people read. Units stand
 * last in names. Secrets are named by file, never given.
 */
import { z } from 'zod';
import {
  ageRecipient,
  endpoint,
  hostPort,
  ms,
  mspId,
  type PathFields,
  pathFields,
  peerName,
  pointer,
  type SchemaContext,
  text,
  topicFilter,
  whole,
} from './fields.ts';

export type { HostPort } from './fields.ts';

/** Shown in the sample although it may be left out. */
const IN_SAMPLE = { inSample: true } as const;

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
    batch: batchSection(),
    seal: sealSection(),
    distribute: z
      .strictObject({
        filesInFlight: whole(1, 256).default(4).describe('Files distributed at the same time.'),
      })
      .prefault({})
      .describe('How files reach their owners.'),
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
      .file('ledger/tls-root.pem')
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
        .file('ledger/cert.pem')
        .describe("PEM certificate of this agent's Fabric identity."),
      keyFile: paths.file('ledger/key.pem').describe('PEM private key of that certificate.'),
      peers: z
        .array(peer)
        .min(1, { error: 'at least one peer' })
        .describe('Peers to go through, the first one preferred.'),
      chaincodes: chaincodes
        .prefault({})
        .describe('Names under which the two chaincodes are deployed.'),
      requestTimeoutMs: ms(100, 600_000)
        .default(30_000)
        .describe('Patience with one step of a transaction.'),
    })
    .describe('How the Fabric ledger is reached.');
}

function overlaySection(paths: PathFields) {
  const dht = z.strictObject({
    listen: hostPort('127.0.0.1:0').prefault('127.0.0.1:0').describe('UDP address.'),
    advertise: hostPort('gateway.example:6881')
      .exactOptional()
      .describe('Address that others are told, if another.'),
    bootstrap: z
      .array(hostPort('dht.example:6881'))
      .prefault([])
      .describe('Nodes of the consortium to enter by, besides those on the ledger.'),
  });
  return z
    .strictObject({
      listen: hostPort('127.0.0.1:0')
        .prefault('127.0.0.1:0')
        .describe('TCP address for BitTorrent over TLS; port 0 is any free one.'),
      advertise: hostPort('gateway.example:6880')
        .exactOptional()
        .describe('Address that others are told, if another.'),
      certFile: paths
        .file('overlay/cert.pem')
        .describe("PEM TLS certificate (client and server) issued by the organisation's root."),
      keyFile: paths.file('overlay/key.pem').describe('PEM private key of that certificate.'),
      signingKeyFile: paths
        .file('overlay/signing.key')
        .exactOptional()
        .describe('Overlay key: Ed25519 seed as 64 hex digits. Needed for ingest and store.')
        .meta(IN_SAMPLE),
      dht: dht.prefault({}).describe("The DHT that keeps peers' current addresses."),
      lateMs: ms(100, 3_600_000)
        .default(15_000)
        .describe("After this an owner's receipt is late: the source sends the chunks itself."),
      graceMs: ms(0, 3_600_000)
        .default(5_000)
        .describe('Further wait for the remaining receipts once there are enough.'),
    })
    .describe('The BitTorrent overlay.');
}

function mqttSection(paths: PathFields) {
  const broker = z.strictObject({
    url: z
      .string()
      .regex(/^(mqtts?|wss?):\/\/[^/@\s]+(\/\S*)?$/, {
        error: 'mqtt://, mqtts://, ws:// or wss://host:port, without user and password',
      })
      .describe('Address of the broker.')
      .meta({ examples: ['mqtt://127.0.0.1:1883'] }),
    clientId: text('a client id', 'gateway-1')
      .exactOptional()
      .describe('By this the broker keeps the session; blocktorrent-NAME if not given.'),
    username: text('a user name', 'gateway-1').exactOptional().describe('User name.'),
    passwordFile: paths
      .file('mqtt/password')
      .exactOptional()
      .describe('File whose first line is the password.'),
    caFile: paths
      .file('mqtt/ca.pem')
      .exactOptional()
      .describe("PEM certificates to trust for mqtts and wss, instead of the system's."),
    version: z
      .enum(['auto', '4', '5'])
      .default('auto')
      .describe('MQTT version: 5, 4 (that is 3.1.1), or auto (5, and 4 where that is refused).'),
  });
  return z
    .strictObject({
      brokers: z
        .array(broker)
        .min(1, { error: 'at least one broker' })
        .describe('Brokers to subscribe at.'),
      rules: z
        .array(ruleSection())
        .min(1, { error: 'at least one rule' })
        .describe('What is subscribed to, and how it is read; the first rule that fits decides.'),
    })
    .describe('Where readings come from. Needed for the role ingest.');
}

/** Formats whose values the rule must point to; the others describe themselves. */
const DOCUMENTS: readonly string[] = ['json', 'csv', 'cbor', 'msgpack'];
const POINTERS = ['sensor', 'sequence', 'time', 'historical', 'value', 'values'] as const;

function ruleSection() {
  const columnName = z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,63}$/, {
    error: 'a column name: letters, digits and _',
  });
  return z
    .strictObject({
      topic: topicFilter().describe('MQTT topic filter.'),
      decoder: z
        .enum([
          'json',
          'number',
          'csv',
          'influx',
          'senml-json',
          'senml-cbor',
          'cbor',
          'msgpack',
          'sparkplug',
        ])
        .default('json')
        .describe(
          'How payloads are read (docs/FORMATS.md); what cannot be read goes to the dead letters.',
        ),
      sensor: pointer('/sensor')
        .exactOptional()
        .describe("JSON pointer to the sensor's name; the topic if not given.")
        .meta(IN_SAMPLE),
      sequence: pointer('/seq')
        .exactOptional()
        .describe("JSON pointer to the sensor's own count, by which repetitions are found.")
        .meta(IN_SAMPLE),
      time: pointer('/time')
        .exactOptional()
        .describe("JSON pointer to the sensor's time: a number since 1970, or ISO 8601.")
        .meta(IN_SAMPLE),
      timeUnit: z
        .enum(['ms', 's', 'us', 'ns'])
        .exactOptional()
        .describe('Unit of times that are numbers; ms if not given, ns for influx.'),
      historical: pointer('/buffered')
        .exactOptional()
        .describe('JSON pointer to true where the reading waited in the sensor’s buffer.'),
      historicalAfterMs: ms(0, 31_536_000_000)
        .default(60_000)
        .describe('A reading so much older than its arrival waited in a buffer; 0: never.'),
      value: pointer('/value')
        .exactOptional()
        .describe('JSON pointer to the one value; or use `values`.')
        .meta(IN_SAMPLE),
      values: z
        .record(columnName, pointer('/temperature'))
        .exactOptional()
        .describe('JSON pointers to several values, by name.')
        .meta({ examples: [{ temperature: '/t', humidity: '/h' }], alternative: true }),
      priority: whole(0, 9)
        .default(5)
        .describe('Where the disk is full: readings of the highest priority are kept longest.'),
      unit: text('a unit', 'Cel').exactOptional().describe('Unit of the value (UCUM).'),
      separator: z
        .string()
        .length(1, { error: 'one character' })
        .default(',')
        .describe('Between the columns of CSV.'),
    })
    .superRefine((rule, context) => {
      const report = (message: string) => context.addIssue({ code: 'custom', message });
      if (rule.topic.startsWith('$blocktorrent')) report('a topic that is not reserved');
      if (DOCUMENTS.includes(rule.decoder)) {
        if ((rule.value === undefined) === (rule.values === undefined)) {
          report('either `value` or `values`');
        }
        return;
      }
      const idle = POINTERS.find((key) => rule[key] !== undefined);
      if (idle !== undefined) report(`no \`${idle}\`: ${rule.decoder} describes itself`);
    });
}

function batchSection() {
  return z
    .strictObject({
      maxAgeMs: ms(100, 86_400_000).default(300_000).describe('A batch is closed at this age,'),
      maxReadings: whole(1, 10_000_000).default(100_000).describe('or with so many readings,'),
      maxBytes: whole(65_536, 4_294_967_296)
        .default(67_108_864)
        .describe('or at this size, uncompressed.'),
      commitMaxReadings: whole(1, 10_000).default(500).describe('Readings of one group commit.'),
      commitMaxDelayMs: ms(0, 10_000)
        .default(10)
        .describe('A reading waits at most so long for its commit to begin.'),
      anchorEveryMs: ms(0, 86_400_000)
        .default(10_000)
        .describe("The chain's head is anchored on the ledger so often, if it changed; 0: never."),
      disk: z
        .strictObject({
          maxBytes: whole(1_048_576, Number.MAX_SAFE_INTEGER)
            .default(4_294_967_296)
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
/** What an agent may do. */
export type Role = Config['roles'][number];
/** One thing that zod found; what `problems.ts` works on. */
export type SchemaIssue = z.core.$ZodIssue;

/**
 * What no single field can say, as further issues. Looks only at what is there, so that it can be
 * asked although other fields are wrong or missing.
 */
export function crossIssues(config: unknown): SchemaIssue[] {
  const value = Object(config) as {
    roles?: unknown;
    mqtt?: unknown;
    overlay?: unknown;
    batch?: unknown;
  };
  const roles: unknown[] = Array.isArray(value.roles) ? value.roles : [];
  const issues: SchemaIssue[] = [];
  const report = (path: string[], message: string) =>
    issues.push({ code: 'custom', path, message, input: undefined });
  if (new Set(roles).size !== roles.length) report(['roles'], 'each role once');
  if (roles.includes('ingest') && value.mqtt === undefined) {
    report(['mqtt'], 'a section, because `roles` has ingest');
  }
  const batch = Object(value.batch) as { maxBytes?: unknown; disk?: { maxBytes?: unknown } };
  const [fileMax, diskMax] = [batch.maxBytes ?? 67_108_864, batch.disk?.maxBytes];
  if (typeof fileMax === 'number' && typeof diskMax === 'number' && diskMax < 2 * fileMax) {
    report(['batch', 'disk', 'maxBytes'], `at least twice \`batch.maxBytes\`, ${2 * fileMax}`);
  }
  const signs = roles.includes('ingest') || roles.includes('store');
  if (signs && value.overlay instanceof Object && !('signingKeyFile' in value.overlay)) {
    report(['overlay', 'signingKeyFile'], 'a file with the overlay key');
  }
  return issues;
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
