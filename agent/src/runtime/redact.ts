/**
 * What may be written to a log: a copy of the fields in which nothing secret is left.
 *
 * Enters: any fields. Leaves: plain JSON values. Always holds: no bytes (only their count), no text
 * under a name that speaks of keys, shards, identities, payloads or passwords, and no age identity
 * or PEM private key inside any text, whatever its name.
 */

const SECRET_WORDS = new Set(
  'key keys shard shards share shares identity identities payload payloads secret secrets seed seeds password passphrase pin plaintext token entropy coefficient coefficients'.split(
    ' ',
  ),
);
/** `keyFile`, `shardHash`, `keyId` … name a thing without telling it. */
const HARMLESS_LAST_WORDS = new Set('file hash hashes id ids recipient name'.split(' '));
const SECRET_TEXT =
  /AGE-SECRET-KEY-1[0-9A-Z]*|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)/gi;
const DEPTH_MAX = 6;
const ITEMS_MAX = 50;
const TEXT_CHARS_MAX = 4000;
const REDACTED = '[redacted]';

/** Text of any length without identities and private keys. */
export function withoutSecrets(text: string): string {
  return text.replace(SECRET_TEXT, REDACTED);
}

/** Text without identities and private keys, cut at 4,000 characters. */
export function redactText(text: string): string {
  const clean = withoutSecrets(text);
  return clean.length > TEXT_CHARS_MAX ? `${clean.slice(0, TEXT_CHARS_MAX)}…` : clean;
}

/** A copy of `fields` that may be logged. `stacks` keeps the stack traces of errors. */
export function redactFields(
  fields: Readonly<Record<string, unknown>>,
  stacks = false,
): Record<string, unknown> {
  return redactObject(fields, 0, stacks);
}

function redactObject(
  value: Readonly<Record<string, unknown>>,
  depth: number,
  stacks: boolean,
): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const [name, item] of Object.entries(value).slice(0, ITEMS_MAX)) {
    out[name] = isSecret(name, item) ? REDACTED : redactValue(item, depth + 1, stacks);
  }
  return out;
}

function isSecret(name: string, value: unknown): boolean {
  if (value === null || value === undefined) return false;
  if (typeof value === 'number' || typeof value === 'boolean') return false;
  const words = name
    .replace(/([a-z0-9])([A-Z])/g, '$1 $2')
    .toLowerCase()
    .split(/[^a-z0-9]+/);
  if (typeof value === 'string' && HARMLESS_LAST_WORDS.has(words.at(-1) ?? '')) return false;
  return words.some((word) => SECRET_WORDS.has(word));
}

function redactValue(value: unknown, depth: number, stacks: boolean): unknown {
  if (typeof value === 'string') return redactText(value);
  if (typeof value === 'bigint') return value.toString();
  if (value === null || typeof value === 'number' || typeof value === 'boolean') return value;
  if (value === undefined || typeof value === 'function' || typeof value === 'symbol') {
    return undefined;
  }
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  if (value instanceof ArrayBuffer) return `[${value.byteLength} bytes]`;
  if (value instanceof Error) return redactError(value, depth, stacks);
  if (depth >= DEPTH_MAX) return '[deeper]';
  if (value instanceof Date) return value.toISOString();
  if (value instanceof Map || value instanceof Set) return `[${value.size} items]`;
  if (Array.isArray(value)) {
    return value.slice(0, ITEMS_MAX).map((item: unknown) => redactValue(item, depth + 1, stacks));
  }
  return redactObject(value as Record<string, unknown>, depth, stacks);
}

function redactError(error: Error, depth: number, stacks: boolean): Record<string, unknown> {
  const out: Record<string, unknown> = { name: error.name, message: redactText(error.message) };
  if ('code' in error && typeof error.code === 'string') out.code = error.code;
  if ('txId' in error && typeof error.txId === 'string') out.txId = error.txId;
  if (stacks && error.stack !== undefined) out.stack = redactText(error.stack);
  if (error.cause !== undefined && depth < DEPTH_MAX) {
    out.cause = redactValue(error.cause, depth + 1, stacks);
  }
  return out;
}
