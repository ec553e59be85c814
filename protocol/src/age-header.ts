/**
 * The text of an age v1 header: the version line, stanzas, and the line with the MAC.
 *
 * Only text: no key is touched here. Parsing takes exactly the canonical form (single spaces,
 * unpadded base64 without spare bits, bodies in lines of 64 with a shorter last one) and keeps the
 * bytes that the MAC is over as they came. Source: age-encryption.org/v1, "Header".
 */
import { base64nopad } from '@scure/base';
import type { ByteReader } from './byte-reader.ts';
import { concatBytes, equalBytes, utf8 } from './bytes.ts';
import { ProtocolError } from './errors.ts';
import { LIMITS } from './limits.ts';

const VERSION_LINE = 'age-encryption.org/v1';
const MAC_PREFIX = '---';
const MAC_BYTES = 32;
const BODY_COLUMNS = 64;
const NEWLINE = 0x0a;
const EMPTY: Uint8Array = new Uint8Array(0);
/** `-> ` and arguments of visible ASCII, with single spaces between. */
const ARGUMENTS = /^-> ([\x21-\x7e]+(?: [\x21-\x7e]+)*)$/;

/** One recipient's wrapping of the file key, of a type that need not be known. */
export interface Stanza {
  /** Type of the stanza, e.g. `X25519`. */
  readonly type: string;
  /** Arguments after the type: visible ASCII. */
  readonly args: readonly string[];
  readonly body: Uint8Array;
}

/** A header as it was read. */
export interface AgeHeader {
  readonly stanzas: readonly Stanza[];
  /** HMAC-SHA-256, 32 bytes. */
  readonly mac: Uint8Array;
  /** The header's bytes up to and including `---`: what the MAC is over. */
  readonly macInput: Uint8Array;
}

/** Header text up to and including `---`: what the MAC is computed over. */
export function encodeMacInput(stanzas: readonly Stanza[]): Uint8Array {
  let text = `${VERSION_LINE}\n`;
  for (const { type, args, body } of stanzas) {
    text += `-> ${[type, ...args].join(' ')}\n${wrapped(base64nopad.encode(body))}`;
  }
  return utf8(`${text}${MAC_PREFIX}`);
}

/** The whole header: the MAC's input, and the MAC (32 bytes) behind it. */
export function encodeHeader(macInput: Uint8Array, mac: Uint8Array): Uint8Array {
  return concatBytes(macInput, utf8(` ${base64nopad.encode(mac)}\n`));
}

/**
 * Reads the bytes of one header, leaving the reader at the payload's first byte. Throws
 * ProtocolError `bad-version`, `truncated`, or `too-large` (over 64 KiB).
 */
export async function takeHeader(reader: ByteReader): Promise<Uint8Array> {
  const lines = [await reader.take(VERSION_LINE.length + 1)];
  requireVersion(concatBytes(...lines));
  let byteCount = VERSION_LINE.length + 1;
  for (let line = EMPTY; !isMacLine(line); ) {
    line = await reader.takeLine(LIMITS.ageHeaderBytesMax - byteCount, 'age header');
    lines.push(line);
    byteCount += line.length;
  }
  return concatBytes(...lines);
}

/** The bytes of the header at the start of `file`, as `takeHeader` would read them. */
export function headerBytesOf(file: Uint8Array): Uint8Array {
  requireVersion(file.subarray(0, VERSION_LINE.length + 1));
  let end = VERSION_LINE.length + 1;
  for (let line = EMPTY; !isMacLine(line); ) {
    const newline = file.indexOf(NEWLINE, end);
    if (newline === -1) throw new ProtocolError('truncated', 'age header: ended within a line');
    line = file.subarray(end, newline + 1);
    end = newline + 1;
    if (end > LIMITS.ageHeaderBytesMax) {
      throw new ProtocolError('too-large', `age header: over ${LIMITS.ageHeaderBytesMax} bytes`);
    }
  }
  return file.subarray(0, end);
}

/** The header in exactly these bytes. Throws ProtocolError `malformed` or `too-large`. */
export function parseHeader(bytes: Uint8Array): AgeHeader {
  const lines = asciiOf(bytes).split('\n');
  if (lines.shift() !== VERSION_LINE || lines.pop() !== '') throw malformed('expected whole lines');
  const macLine = lines.pop() ?? '';
  const stanzas: Stanza[] = [];
  while (lines.length > 0) stanzas.push(shiftStanza(lines));
  if (stanzas.length === 0) throw malformed('expected at least one stanza');
  if (stanzas.length > LIMITS.recipientsPerFileMax) {
    throw new ProtocolError(
      'too-large',
      `age header: expected at most ${LIMITS.recipientsPerFileMax} stanzas, got ${stanzas.length}`,
    );
  }
  if (stanzas.length > 1 && stanzas.some(({ type }) => type === 'scrypt')) {
    throw malformed('a scrypt stanza must be the only one');
  }
  const macInput = bytes.subarray(0, bytes.length - 1 - macLine.length + MAC_PREFIX.length);
  return { stanzas, mac: macOf(macLine), macInput };
}

function shiftStanza(lines: string[]): Stanza {
  const words = ARGUMENTS.exec(lines.shift() ?? '')?.[1]?.split(' ');
  const [type, ...args] = words ?? [];
  if (type === undefined) throw malformed('expected a stanza, "-> " and its arguments');
  let encoded = '';
  for (let columns = BODY_COLUMNS; columns === BODY_COLUMNS; ) {
    const line = lines.shift();
    if (line === undefined) throw malformed('expected the last, short line of a stanza');
    if (line.length > BODY_COLUMNS) throw malformed(`body line over ${BODY_COLUMNS} columns`);
    encoded += line;
    columns = line.length;
  }
  return { type, args, body: decodeBase64(encoded, 'stanza body') };
}

function requireVersion(line: Uint8Array): void {
  if (!equalBytes(line, utf8(`${VERSION_LINE}\n`))) {
    throw new ProtocolError('bad-version', `age header: expected the line ${VERSION_LINE}`);
  }
}

function isMacLine(line: Uint8Array): boolean {
  return equalBytes(line.subarray(0, MAC_PREFIX.length), utf8(MAC_PREFIX));
}

function macOf(line: string): Uint8Array {
  if (!line.startsWith(`${MAC_PREFIX} `)) throw malformed('expected "--- " and the MAC');
  const mac = decodeBase64(line.slice(MAC_PREFIX.length + 1), 'MAC');
  if (mac.length !== MAC_BYTES) throw malformed(`MAC of ${MAC_BYTES} bytes, got ${mac.length}`);
  return mac;
}

/** Bytes of unpadded canonical base64. Throws ProtocolError `malformed`, naming `what`. */
export function decodeBase64(text: string, what: string): Uint8Array {
  try {
    return base64nopad.decode(text);
  } catch (cause) {
    throw new ProtocolError('malformed', `age header: ${what}: not canonical base64`, { cause });
  }
}

function asciiOf(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) {
    if (byte !== NEWLINE && (byte < 0x20 || byte > 0x7e)) throw malformed('expected visible ASCII');
    text += String.fromCharCode(byte);
  }
  return text;
}

function wrapped(text: string): string {
  let lines = '';
  let start = 0;
  for (; text.length - start >= BODY_COLUMNS; start += BODY_COLUMNS) {
    lines += `${text.slice(start, start + BODY_COLUMNS)}\n`;
  }
  return `${lines}${text.slice(start)}\n`;
}

function malformed(what: string): ProtocolError {
  return new ProtocolError('malformed', `age header: ${what}`);
}
