/**
 * The dev ledger's configuration: one JSON file, checked before anything starts. Every default
 * stands in `DEFAULTS`, with its unit.
 */
import type { OutOfPolicy } from './policy.ts';

export interface OrganisationConfig {
  readonly mspId: string;
  /** `host:port`; port 0 = any free one. Absent for an organisation without a peer. */
  readonly listen?: string;
  /** Files of the peer's TLS certificate and key; the same key signs its endorsements. */
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  /** Files of the certificates that issue its identities. */
  readonly rootCerts: readonly string[];
  readonly peerless?: boolean;
}

/** A private data collection, in the words of Fabric's collection definitions. */
export interface CollectionConfig {
  readonly name: string;
  readonly memberOrgs: readonly string[];
  readonly memberOnlyRead: boolean;
  readonly memberOnlyWrite: boolean;
  readonly requiredPeerCount: number;
  readonly maxPeerCount: number;
  /** Blocks after which values are forgotten; 0 = never. */
  readonly blockToLive: number;
}

/** Who must endorse a chaincode's transactions, and its collections. */
export interface ChaincodeDefinition {
  readonly name: string;
  readonly endorsementPolicy: OutOfPolicy;
  readonly collections: readonly CollectionConfig[];
}

export interface ChaincodeConfig extends ChaincodeDefinition {
  /** `host:port` or `unix:PATH` of its server: one for all organisations, or one each. */
  readonly addresses: string | Readonly<Record<string, string>>;
  /** TLS to the chaincode: files. */
  readonly tls?: { readonly rootCert: string; readonly cert?: string; readonly key?: string };
}

export interface Config {
  readonly channel: string;
  /** Folder of the database; created if absent. */
  readonly dataDir: string;
  readonly blockIntervalMs: number;
  readonly blockTransactionsMax: number;
  /** A proposal's time may differ from the ledger's by this much. */
  readonly timeWindowMs: number;
  /** Longest run of one transaction in the chaincode. */
  readonly executeTimeoutMs: number;
  /** Unix socket of the admin channel; null = none. */
  readonly adminSocket: string | null;
  readonly organisations: readonly OrganisationConfig[];
  readonly chaincodes: readonly ChaincodeConfig[];
}

export const DEFAULTS = {
  blockIntervalMs: 50,
  blockTransactionsMax: 500,
  timeWindowMs: 120_000,
  executeTimeoutMs: 30_000,
  adminSocket: null,
} as const;

/** The configuration is wrong; the message says where. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

/** Checks a parsed JSON value and fills in defaults; throws ConfigError. */
export function parseConfig(json: unknown): Config {
  const root = record(json, 'config');
  const config: Config = {
    channel: text(root.channel, 'channel'),
    dataDir: text(root.dataDir, 'dataDir'),
    blockIntervalMs: count(root.blockIntervalMs ?? DEFAULTS.blockIntervalMs, 'blockIntervalMs'),
    blockTransactionsMax: count(
      root.blockTransactionsMax ?? DEFAULTS.blockTransactionsMax,
      'blockTransactionsMax',
    ),
    timeWindowMs: count(root.timeWindowMs ?? DEFAULTS.timeWindowMs, 'timeWindowMs'),
    executeTimeoutMs: count(root.executeTimeoutMs ?? DEFAULTS.executeTimeoutMs, 'executeTimeoutMs'),
    adminSocket: root.adminSocket == null ? null : text(root.adminSocket, 'adminSocket'),
    organisations: list(root.organisations, 'organisations').map(organisation),
    chaincodes: list(root.chaincodes, 'chaincodes').map(chaincode),
  };
  const known = new Set(config.organisations.map((each) => each.mspId));
  if (known.size !== config.organisations.length) {
    throw new ConfigError('organisations: an mspId appears twice');
  }
  return config;
}

function organisation(value: unknown, index: number): OrganisationConfig {
  const at = `organisations[${index}]`;
  const each = record(value, at);
  const base = {
    mspId: text(each.mspId, `${at}.mspId`),
    rootCerts: list(each.rootCerts, `${at}.rootCerts`).map((file) => text(file, `${at}.rootCerts`)),
  };
  if (each.peerless === true) {
    return { ...base, peerless: true };
  }
  return {
    ...base,
    listen: text(each.listen, `${at}.listen`),
    tlsCert: text(each.tlsCert, `${at}.tlsCert`),
    tlsKey: text(each.tlsKey, `${at}.tlsKey`),
  };
}

function chaincode(value: unknown, index: number): ChaincodeConfig {
  const at = `chaincodes[${index}]`;
  const each = record(value, at);
  const policy = record(each.endorsementPolicy, `${at}.endorsementPolicy`);
  const base = {
    name: text(each.name, `${at}.name`),
    addresses:
      typeof each.addresses === 'string'
        ? each.addresses
        : texts(each.addresses, `${at}.addresses`),
    endorsementPolicy: {
      outOf: count(policy.outOf, `${at}.endorsementPolicy.outOf`),
      mspIds: list(policy.mspIds, `${at}.endorsementPolicy.mspIds`).map((id) => text(id, at)),
    },
    collections: list(each.collections ?? [], `${at}.collections`).map((c, i) =>
      collection(c, `${at}.collections[${i}]`),
    ),
  };
  if (each.tls === undefined) {
    return base;
  }
  const tls = texts(each.tls, `${at}.tls`);
  return { ...base, tls: { ...tls, rootCert: text(tls.rootCert, `${at}.tls.rootCert`) } };
}

function collection(value: unknown, at: string): CollectionConfig {
  const each = record(value, at);
  return {
    name: text(each.name, `${at}.name`),
    memberOrgs: list(each.memberOrgs, `${at}.memberOrgs`).map((id) => text(id, at)),
    memberOnlyRead: each.memberOnlyRead === true,
    memberOnlyWrite: each.memberOnlyWrite === true,
    requiredPeerCount: count(each.requiredPeerCount ?? 0, `${at}.requiredPeerCount`),
    maxPeerCount: count(each.maxPeerCount ?? 1, `${at}.maxPeerCount`),
    blockToLive: count(each.blockToLive ?? 0, `${at}.blockToLive`),
  };
}

function record(value: unknown, at: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new ConfigError(`${at}: expected an object`);
  }
  return Object.fromEntries(Object.entries(value));
}

function texts(value: unknown, at: string): Record<string, string> {
  const entries = Object.entries(record(value, at));
  return Object.fromEntries(entries.map(([name, each]) => [name, text(each, `${at}.${name}`)]));
}

function list(value: unknown, at: string): unknown[] {
  if (!Array.isArray(value)) {
    throw new ConfigError(`${at}: expected a list`);
  }
  return value;
}

function text(value: unknown, at: string): string {
  if (typeof value !== 'string' || value === '') {
    throw new ConfigError(`${at}: expected a non-empty string`);
  }
  return value;
}

function count(value: unknown, at: string): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
    throw new ConfigError(`${at}: expected a whole number, got ${String(value)}`);
  }
  return value;
}
