/**
 * The kinds of values in a configuration: paths, addresses, ids, durations.
 *
 * Each says in `error` what is expected there, as a noun phrase; `problems.ts` puts it after
 * "expected". `examples` of the metadata fill the sample.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { accessSync, constants, readFileSync } from 'node:fs';
import { isIPv4, isIPv6 } from 'node:net';
import { resolve } from 'node:path';
import { decodeRecipient } from '@blocktorrent/protocol/age-keys.ts';
import { fromHex } from '@blocktorrent/protocol/bytes.ts';
import { filterFault, TOPIC_FILTER } from '@blocktorrent/protocol/topic-filter.ts';
import { z } from 'zod';

/** Metadata: shown in the sample although it may be left out. */
export const IN_SAMPLE = { inSample: true } as const;

/** What one load needs besides the values. */
export interface SchemaContext {
  /** Absolute folder that relative paths start from: the configuration file's. */
  readonly folder: string;
  /** Whether files that are named must exist and be readable. */
  readonly checkFiles: boolean;
  /** Whether keys must fit their certificates; not if not given. */
  readonly checkPairs?: boolean;
}

/** An address to listen on or to dial. IPv6 hosts are without brackets here. */
export interface HostPort {
  readonly host: string;
  /** 0..65535; 0 asks the system for a free one where it listens. */
  readonly port: number;
}

const HOST_PORT = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+)):(\d{1,5})$/;

/** `host:port` or `[::1]:port`; null if it is neither. What has digits and dots only is no name. */
export function parseHostPort(value: string): HostPort | null {
  const [, six, other, digits] = HOST_PORT.exec(value) ?? [];
  const host = six ?? other ?? '';
  const port = Number(digits);
  const good = six !== undefined ? isIPv6(six) : /[^\d.]/.test(host) || isIPv4(host);
  return good && port <= 65_535 ? { host, port } : null;
}

/** A whole number, both bounds inclusive. */
export function whole(min: number, max: number) {
  const error = `a whole number from ${min} to ${max}`;
  return z.int({ error }).min(min, { error }).max(max, { error });
}

/** Milliseconds, both bounds inclusive. */
export function ms(min: number, max: number) {
  const error = `milliseconds, a whole number from ${min} to ${max}`;
  return z.int({ error }).min(min, { error }).max(max, { error });
}

/** Text that is not empty. */
export function text(expected: string, example: string) {
  return z
    .string()
    .min(1, { error: expected })
    .meta({ examples: [example] });
}

/** A Fabric MSP id. */
export function mspId() {
  return z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9.-]{0,63}$/, { error: 'a Fabric MSP id, e.g. Org1MSP' })
    .meta({ examples: ['Org1MSP'] });
}

/** A peer's name, unique within its organisation. */
export function peerName() {
  return z
    .string()
    .regex(/^[a-z0-9][a-z0-9-]{0,63}$/, {
      error: 'a peer name: at most 64 lower-case letters, digits and -, e.g. gateway-1',
    })
    .meta({ examples: ['gateway-1'] });
}

/** A JSON pointer (RFC 6901) into a payload; SQLite's JSON paths cannot say a name with `"`. */
export function pointer(example: string) {
  return z
    .string()
    .regex(/^(\/([^~/"]|~[01])*)*$/, {
      error: "a JSON pointer (RFC 6901) without '\"', e.g. '/value'",
    })
    .meta({ examples: [example] });
}

/** An address, split. */
export function hostPort(example: string) {
  return z
    .string()
    .refine((value) => parseHostPort(value) !== null, { error: `host:port, e.g. ${example}` })
    .meta({ examples: [example] })
    .transform((value): HostPort => parseHostPort(value) ?? { host: '', port: 0 });
}

/** `host:port` that is dialled and kept as text. */
export function endpoint(example: string) {
  return z
    .string()
    .refine((value) => (parseHostPort(value)?.port ?? 0) > 0, {
      error: `host:port, e.g. ${example}`,
    })
    .meta({ examples: [example] });
}

/** An MQTT topic filter [MQTT-4.7]. */
export function topicFilter() {
  return z
    .string()
    .superRefine((value, context) => {
      const fault = filterFault(value);
      if (fault === null) return;
      context.addIssue({ code: 'custom', message: `${TOPIC_FILTER}; here ${fault}` });
    })
    .meta({ examples: ['site/#'] });
}

/** An MQTT topic without wildcards that is not reserved. */
export function topicName() {
  return z.string().regex(/^[^+#\0$][^+#\0]{0,999}$/, { error: "a topic without '+' and '#'" });
}

/** An age X25519 recipient, checksum included. */
export function ageRecipient() {
  return z
    .string()
    .refine(isRecipient, { error: 'an age X25519 recipient, age1… (62 characters)' });
}

/** What a file may have to hold. */
export const CERTIFICATE = 'a PEM certificate';
export const KEY = 'a PEM private key without a passphrase';
export const LEDGER_KEY = 'an ECDSA P-256 private key, PEM without a passphrase';
export const SEED = '64 hex digits, lower case';

/** Each throws where `text` is something else. */
const CONTENTS = {
  [CERTIFICATE]: (text: string) => new X509Certificate(text),
  [KEY]: (text: string) => createPrivateKey(text),
  [LEDGER_KEY]: (text: string) => {
    const { asymmetricKeyDetails } = createPrivateKey(text);
    if (asymmetricKeyDetails?.namedCurve !== 'prime256v1') throw new TypeError('another key');
  },
  [SEED]: (text: string) => fromHex(text.trim(), 32),
};
type Content = keyof typeof CONTENTS;

/** Path fields of one load: `folder` for what the agent makes, `file` for what must be there. */
export interface PathFields {
  folder(example: string): ReturnType<typeof absolutePath>;
  file(example: string, holding?: Content): ReturnType<typeof absolutePath>;
  /** For `superRefine`: a certificate and the key beside it belong together. */
  readonly pair: (
    files: { readonly certFile: string; readonly keyFile?: string | undefined },
    context: { addIssue(issue: { code: 'custom'; path: string[]; message: string }): void },
  ) => void;
}

/** Path fields that start from the configuration file's folder. */
export function pathFields({ folder, checkFiles, checkPairs }: SchemaContext): PathFields {
  return {
    folder: (example) => absolutePath(folder, example, null),
    file: (example, holding) => {
      return absolutePath(folder, example, checkFiles ? (holding ?? 'anything') : null);
    },
    pair({ certFile, keyFile }, context) {
      if (checkPairs !== true || keyFile === undefined) return;
      const [certificate, key] = [resolve(folder, certFile), resolve(folder, keyFile)];
      if (belongTogether(certificate, key)) return;
      const message = `the private key of the certificate in ${certificate}`;
      context.addIssue({ code: 'custom', path: ['keyFile'], message });
    },
  };
}

/** `mustHold`: null where nothing needs to be there yet. */
function absolutePath(from: string, example: string, mustHold: Content | 'anything' | null) {
  return z
    .string({ error: 'a path' })
    .min(1, { error: 'a path' })
    .superRefine((value, context) => {
      const path = resolve(from, value);
      const expected = mustHold === null ? null : missingAt(path, mustHold);
      if (expected === null) return;
      context.addIssue({ code: 'custom', message: `${expected}, at ${path}` });
    })
    .meta({ examples: [example] })
    .transform((value) => resolve(from, value));
}

/** What should be at `path` and is not; null where all is well. */
function missingAt(path: string, mustHold: Content | 'anything'): string | null {
  try {
    accessSync(path, constants.R_OK);
  } catch {
    return 'a file that this user can read';
  }
  if (mustHold === 'anything') return null;
  try {
    CONTENTS[mustHold](readFileSync(path, 'utf8'));
    return null;
  } catch {
    return `a file with ${mustHold}`;
  }
}

/** False where both are there, by themselves as they should be, and the key is another's. */
function belongTogether(certFile: string, keyFile: string): boolean {
  if (missingAt(certFile, CERTIFICATE) !== null || missingAt(keyFile, KEY) !== null) return true;
  const certificate = new X509Certificate(readFileSync(certFile));
  return certificate.checkPrivateKey(createPrivateKey(readFileSync(keyFile)));
}

function isRecipient(value: string): boolean {
  try {
    decodeRecipient(value);
    return true;
  } catch {
    return false;
  }
}
