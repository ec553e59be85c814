/**
 * The UDP socket under the DHT, with a guard: only packets whose fields have the types that the
 * libraries take for granted reach them, and what they still throw is a warning, not a crash.
 *
 * Enters: datagrams. Leaves: the same datagrams, fewer. Shapes: BEP 5 and BEP 44.
 */
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import bencode from 'bencode';

/** BEP 44 values are under 1000 bytes, `nodes` holds 20 contacts; nothing of ours is larger. */
const PACKET_BYTES_MAX = 4096;

/** Byte lengths of what a message may carry; null: any length up to the packet's. */
const FIELD_BYTES: Readonly<Record<string, number | null>> = {
  id: 20,
  target: 20,
  info_hash: 20,
  token: null,
  v: null,
  k: 32,
  sig: 64,
  salt: null,
  nodes: null,
};
const NUMBER_FIELDS = ['seq', 'cas', 'port', 'implied_port'];

/** A UDP socket for k-rpc-socket's option `socket`. */
export function createGuardedSocket(onDropped: (reason: string) => void): Socket {
  const socket = createSocket('udp4');
  const emit = socket.emit.bind(socket) as (event: string, ...args: unknown[]) => boolean;
  const guarded = (event: string, ...args: unknown[]): boolean => {
    if (event !== 'message') return emit(event, ...args);
    const [packet, from] = args as [Buffer, RemoteInfo];
    const reason = whatIsWrong(packet);
    if (reason !== null) {
      onDropped(`${from.address}:${from.port}: ${reason}`);
      return true;
    }
    try {
      return emit(event, packet, from);
    } catch (error) {
      onDropped(`${from.address}:${from.port}: ${error instanceof Error ? error.message : error}`);
      return true;
    }
  };
  socket.emit = guarded as typeof socket.emit;
  return socket;
}

/** Why a packet is no KRPC message that we can take, or null when it is one. */
export function whatIsWrong(packet: Buffer): string | null {
  if (packet.length > PACKET_BYTES_MAX) return `packet of ${packet.length} bytes`;
  let message: unknown;
  try {
    message = bencode.decode(packet);
  } catch (error) {
    return `not bencode: ${error instanceof Error ? error.message : error}`;
  }
  if (!isDictionary(message)) return 'not a dictionary';
  const { t, y } = message;
  if (!(t instanceof Uint8Array) || t.length === 0 || t.length > 20) return 'no transaction id';
  if (!(y instanceof Uint8Array) || y.length !== 1) return 'no kind';
  const kind = String.fromCharCode(y[0] ?? 0);
  if (kind === 'q') {
    if (!(message.q instanceof Uint8Array)) return 'a query without a name';
    return wrongField(message.a) ?? unwanted(message.q, message.a as Dictionary);
  }
  if (kind === 'r') return wrongField(message.r);
  return kind === 'e' ? null : `unknown kind ${kind}`;
}

/** This DHT holds signed addresses and nothing else (PROTOCOL §5): it never says who has what. */
function unwanted(name: Uint8Array, fields: Dictionary): string | null {
  const query = Buffer.from(name).toString('latin1');
  if (query === 'announce_peer') return 'announce_peer is not taken';
  return query === 'put' && fields.k === undefined ? 'only signed items are taken' : null;
}

function wrongField(fields: unknown): string | null {
  if (!isDictionary(fields)) return 'no arguments';
  if (fields.id === undefined) return 'no node id';
  for (const [name, bytes] of Object.entries(FIELD_BYTES)) {
    const value = fields[name];
    if (value === undefined) continue;
    if (!(value instanceof Uint8Array)) return `${name} is not a string`;
    if (bytes !== null && value.length !== bytes) return `${name} has ${value.length} bytes`;
  }
  for (const name of NUMBER_FIELDS) {
    const value = fields[name];
    if (value !== undefined && !Number.isSafeInteger(value)) return `${name} is not an integer`;
  }
  const values = fields.values;
  if (values !== undefined && !Array.isArray(values)) return 'values is not a list';
  // A mutable item needs all of its parts (BEP 44).
  const mutable = [fields.k, fields.sig].filter((part) => part !== undefined).length;
  if (mutable === 1 || (mutable === 2 && fields.seq === undefined)) return 'half a mutable item';
  return null;
}

type Dictionary = Record<string, unknown>;

function isDictionary(value: unknown): value is Dictionary {
  return (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    !(value instanceof Uint8Array)
  );
}
