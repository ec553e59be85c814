/** Parsers of command line values: each returns the value or says what was expected. */
import { filterFault, TOPIC_FILTER } from '@blocktorrent/protocol/topic-filter.ts';
import { CliError } from './cli-error.ts';
import { EXIT } from './exit-codes.ts';

/** A whole number within bounds, both inclusive. */
export function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    throw wrong(`a whole number from ${min} to ${max}`, text);
  };
}

/** A file id: SHA-256 as 64 hex digits; lower case comes out. */
export function fileId(text: string): string {
  if (/^[0-9a-fA-F]{64}$/.test(text)) return text.toLowerCase();
  throw wrong('a file id of 64 hex digits', text);
}

/** An audit request's id: a Fabric transaction id, 64 hex digits. */
export function requestId(text: string): string {
  if (/^[0-9a-fA-F]{64}$/.test(text)) return text.toLowerCase();
  throw wrong('a request id of 64 hex digits', text);
}

/** A proposal's id: as `requestId`. */
export function proposalId(text: string): string {
  if (/^[0-9a-fA-F]{64}$/.test(text)) return text.toLowerCase();
  throw wrong('a proposal id of 64 hex digits', text);
}

/** An inspection's id: as `requestId`. */
export function inspectionId(text: string): string {
  if (/^[0-9a-fA-F]{64}$/.test(text)) return text.toLowerCase();
  throw wrong('an inspection id of 64 hex digits', text);
}

/** A fault's id: transaction id and place in it. */
export function faultId(text: string): string {
  if (/^[0-9a-fA-F]{64}\.\d{1,3}$/.test(text)) return text.toLowerCase();
  throw wrong('a fault id of 64 hex digits, a dot and a number', text);
}

/** An Ed25519 public key, 32 bytes in hex. */
export function overlayKey(text: string): string {
  if (/^[0-9a-fA-F]{64}$/.test(text)) return text.toLowerCase();
  throw wrong('an overlay key of 64 hex digits', text);
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

function wrong(expected: string, found: string): CliError {
  return new CliError(`expected ${expected}, found '${found}'`, { exitCode: EXIT.usage });
}
