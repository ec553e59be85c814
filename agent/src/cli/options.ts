/** Parsers of command line values: each returns the value or says what was expected. */
import { filterFault, TOPIC_FILTER } from '@blocktorrent/protocol/topic-filter.ts';
import { InvalidArgumentError } from 'commander';

/** A whole number within bounds, both inclusive. */
export function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    throw wrong(`a whole number from ${min} to ${max}`, text);
  };
}

/** One of the given texts. */
export function oneOf<T extends string>(...allowed: readonly T[]): (text: string) => T {
  return (text) => {
    const found = allowed.find((one) => one === text);
    if (found !== undefined) return found;
    throw wrong(`one of ${allowed.join(', ')}`, text);
  };
}

/** 32 bytes as hex digits; lower case comes out. */
function hex64(what: string): (text: string) => string {
  return (text) => {
    if (/^[0-9a-fA-F]{64}$/.test(text)) return text.toLowerCase();
    throw wrong(`${what} of 64 hex digits`, text);
  };
}

/** A file id is a SHA-256; those of requests, proposals and inspections are Fabric's transaction ids. */
export const fileId = hex64('a file id');
export const requestId = hex64('a request id');
export const proposalId = hex64('a proposal id');
export const inspectionId = hex64('an inspection id');
/** An Ed25519 public key. */
export const overlayKey = hex64('an overlay key');

/** A fault's id: transaction id and place in it. */
export function faultId(text: string): string {
  if (/^[0-9a-fA-F]{64}\.\d{1,3}$/.test(text)) return text.toLowerCase();
  throw wrong('a fault id of 64 hex digits, a dot and a number', text);
}

/** `host:port`, an IPv6 host in brackets. */
export function address(text: string): { host: string; port: number } {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]+)):(\d{1,5})$/.exec(text);
  const [host, port] = [match?.[1] ?? match?.[2], Number(match?.[3])];
  if (host !== undefined && port >= 1 && port <= 65_535) return { host, port };
  throw wrong('host:port', text);
}

/** An MQTT topic filter [MQTT-4.7]. */
export function topicFilter(text: string): string {
  const fault = filterFault(text);
  if (fault === null) return text;
  throw wrong(`${TOPIC_FILTER}; here ${fault}`, text);
}

/** A topic as a message has it: no wildcard [MQTT-4.7.1-1]. */
export function topicName(text: string): string {
  if (filterFault(text) === null && !/[+#]/.test(text)) return text;
  throw wrong("the topic of a message, without '+' and '#'", text);
}

const UNIT_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** `90s`, `30m`, `12h`, `7d` in milliseconds. */
export function duration(text: string): number {
  const match = /^(\d+)(ms|s|m|h|d)$/.exec(text);
  const ms = Number(match?.[1]) * (UNIT_MS[match?.[2] ?? ''] ?? Number.NaN);
  if (ms > 0 && Number.isSafeInteger(ms)) return ms;
  throw wrong('a duration such as 90s, 30m, 12h or 7d', text);
}

/** ISO 8601 in milliseconds since 1970; without a zone it is UTC. */
export function instant(text: string): number {
  const zoned = /(Z|[+-]\d\d:?\d\d)$/.test(text) || !text.includes('T') ? text : `${text}Z`;
  const ms = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(zoned) : Number.NaN;
  if (Number.isFinite(ms)) return ms;
  throw wrong('a time such as 2026-11-22 or 2026-11-22T16:45:00Z', text);
}

/** commander puts the name of the option or argument in front. */
function wrong(expected: string, found: string): InvalidArgumentError {
  return new InvalidArgumentError(`expected ${expected}, found '${found}'`);
}
