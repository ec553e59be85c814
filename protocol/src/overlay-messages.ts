/**
 * Our own messages between peers: BEP 10 extensions, and the value of a peer's DHT item (BEP 44).
 *
 * All are canonical CBOR maps with exactly the named fields, bounded before anything is done with
 * them. A connection is about one infohash, so no message names its file. What a manifest or a
 * receipt says, and whether it was signed, is for their own modules to check.
 */
import { sha1 } from '@noble/hashes/legacy.js';
import { fromBase64, fromHex, toBase64, toHex, utf8 } from './bytes.ts';
import { decodeCanonical, encodeCanonical } from './cbor.ts';
import { ProtocolError } from './errors.ts';
import { Fields } from './fields.ts';
import type { MspId, SignedReceipt } from './ledger-api.ts';
import { LIMITS } from './limits.ts';
import { SIGNATURE_BYTES } from './signing.ts';

/** Names in the extension handshake's `m` (BEP 10). */
export const EXTENSION = {
  manifest: 'bt_manifest',
  receipt: 'bt_receipt',
  owner: 'bt_owner',
  call: 'bt_call',
} as const;

/** "Here is a file that you are an owner of." */
export interface ManifestOffer {
  readonly t: 'offer';
  /** Canonical CBOR of the manifest. */
  readonly manifest: Uint8Array;
  /** Ed25519 by the source's overlay key, 64 bytes. */
  readonly signature: Uint8Array;
  readonly mspId: MspId;
  /** Name of the peer whose key signed. */
  readonly peer: string;
}
/** "I will keep my chunks of it, and have these already." */
export interface ManifestAccept {
  readonly t: 'accept';
  /** BEP 3 bitfield of the file's chunks. */
  readonly have: Uint8Array;
}
/** "I will not, and this is why." */
export interface ManifestRefuse {
  readonly t: 'refuse';
  /** For machines: a ProtocolError's code, `quota`, `not-a-member`... */
  readonly code: string;
  /** For people. */
  readonly reason: string;
}
/** What goes over `bt_manifest`. */
export type ManifestMessage = ManifestOffer | ManifestAccept | ManifestRefuse;

/** Where a peer can be reached now (P §4.1); the DHT item's signature is by its overlay key. */
export interface AddressItem {
  /** Name of the peer within its organisation. */
  readonly name: string;
  readonly mspId: MspId;
  /** Host name or IP address, at most 253 characters. */
  readonly host: string;
  readonly port: number;
  /** When the peer said so, by its clock. */
  readonly timeMs: number;
  /** Its plain BitTorrent listener (TCP, no TLS), if it has one. */
  readonly plain?: Door;
  /** Its HTTP tracker for ordinary clients, if it has one. */
  readonly tracker?: Door;
}

/** One more place where a peer is reached. */
export interface Door {
  /** At most 100 characters. */
  readonly host: string;
  readonly port: number;
}

/**
 * "Dial me about this torrent": over a standing link, to a peer that only dials out. The standing
 * link's own info-hash is `standingHash`.
 */
export interface CallMessage {
  /** Info-hash, 20 bytes. */
  readonly infoHash: Uint8Array;
}

/** Largest value of a DHT item, bencoded (BEP 44), with its length prefix. */
const DHT_VALUE_BYTES_MAX = 1000 - 4;
const INFO_HASH_BYTES = 20;
const HOST = /^[0-9A-Za-z.:_-]{1,253}$/;
const HAVE_BYTES_MAX = LIMITS.chunksPerFileMax / 8;

/** The bytes of one `bt_manifest` message. */
export function encodeManifestMessage(message: ManifestMessage): Uint8Array {
  return encodeCanonical(manifestFields(message));
}

/** One `bt_manifest` message. Throws ProtocolError `too-large`, `malformed` or `not-canonical`. */
export function decodeManifestMessage(bytes: Uint8Array): ManifestMessage {
  requireBytesMax('bt_manifest', bytes, LIMITS.overlayMessageBytesMax);
  const value = decodeCanonical(bytes);
  switch (typeOf(value)) {
    case 'offer': {
      const fields = new Fields('offer', value, ['t', 'manifest', 'signature', 'mspId', 'peer']);
      return {
        t: 'offer',
        manifest: fields.bytesWithin('manifest', 1, LIMITS.manifestBytesMax),
        signature: fields.bytes('signature', SIGNATURE_BYTES),
        mspId: fields.text('mspId'),
        peer: fields.text('peer'),
      };
    }
    case 'accept': {
      const fields = new Fields('accept', value, ['t', 'have']);
      return { t: 'accept', have: fields.bytesWithin('have', 1, HAVE_BYTES_MAX) };
    }
    case 'refuse': {
      const fields = new Fields('refuse', value, ['t', 'code', 'reason']);
      return {
        t: 'refuse',
        code: fields.text('code'),
        reason: fields.text('reason', LIMITS.reasonCharsMax),
      };
    }
    default:
      throw new ProtocolError('malformed', 'bt_manifest: expected t of offer, accept or refuse');
  }
}

/** The bytes of one `bt_receipt` message: a signed receipt, its parts as bytes. */
export function encodeReceiptMessage(signed: SignedReceipt): Uint8Array {
  return encodeCanonical({
    receipt: fromBase64(signed.receipt),
    signature: fromHex(signed.signature, SIGNATURE_BYTES),
    mspId: signed.mspId,
    peer: signed.peer,
  });
}

/** One `bt_receipt` message. Throws ProtocolError `too-large`, `malformed` or `not-canonical`. */
export function decodeReceiptMessage(bytes: Uint8Array): SignedReceipt {
  requireBytesMax('bt_receipt', bytes, LIMITS.receiptBytesMax + 1024);
  const value = decodeCanonical(bytes);
  const fields = new Fields('bt_receipt', value, ['receipt', 'signature', 'mspId', 'peer']);
  return {
    receipt: toBase64(fields.bytesWithin('receipt', 1, LIMITS.receiptBytesMax)),
    signature: toHex(fields.bytes('signature', SIGNATURE_BYTES)),
    mspId: fields.text('mspId'),
    peer: fields.text('peer'),
  };
}

/** The value of a peer's DHT item. Throws ProtocolError `bad-argument` for a wrong host or port. */
export function encodeAddressItem(item: AddressItem): Uint8Array {
  const { name, mspId, host, port, timeMs, plain, tracker } = item;
  const doors = {
    ...(plain === undefined ? {} : { plain: { host: plain.host, port: plain.port } }),
    ...(tracker === undefined ? {} : { tracker: { host: tracker.host, port: tracker.port } }),
  };
  const bytes = encodeCanonical({ name, mspId, host, port, timeMs, ...doors });
  try {
    decodeAddressItem(bytes);
  } catch (cause) {
    throw new ProtocolError('bad-argument', 'address: not a valid item', { cause });
  }
  return bytes;
}

/** A peer's address from its DHT item. Throws `too-large`, `malformed` or `not-canonical`. */
export function decodeAddressItem(bytes: Uint8Array): AddressItem {
  requireBytesMax('address', bytes, DHT_VALUE_BYTES_MAX);
  const value = decodeCanonical(bytes);
  const doors = (['plain', 'tracker'] as const).filter(
    (name) => typeof value === 'object' && value !== null && name in value,
  );
  const fields = new Fields('address', value, [
    ...['name', 'mspId', 'host', 'port', 'timeMs'],
    ...doors,
  ]);
  return {
    name: fields.text('name'),
    mspId: fields.text('mspId'),
    ...doorOf('address', fields, 253),
    timeMs: fields.integer('timeMs', 0, Number.MAX_SAFE_INTEGER),
    ...Object.fromEntries(
      doors.map((name) => {
        const of = `address.${name}`;
        return [name, doorOf(of, new Fields(of, fields.raw(name), ['host', 'port']), 100)];
      }),
    ),
  };
}

function doorOf(of: string, fields: Fields, charsMax: number): Door {
  const host = fields.text('host', charsMax);
  if (!HOST.test(host)) {
    throw new ProtocolError('malformed', `${of}.host: expected a host name or an IP address`);
  }
  return { host, port: fields.integer('port', 1, 65_535) };
}

/** The bytes of one `bt_call` message. */
export function encodeCallMessage({ infoHash }: CallMessage): Uint8Array {
  return encodeCanonical({ infoHash });
}

/** One `bt_call` message. Throws ProtocolError `too-large`, `malformed` or `not-canonical`. */
export function decodeCallMessage(bytes: Uint8Array): CallMessage {
  requireBytesMax('bt_call', bytes, 64);
  const fields = new Fields('bt_call', decodeCanonical(bytes), ['infoHash']);
  return { infoHash: fields.bytes('infoHash', INFO_HASH_BYTES) };
}

/** Info-hash of the standing links of a channel, 20 bytes: about no file, only to be called by. */
export function standingHash(channel: string): Uint8Array {
  return sha1(utf8(`blocktorrent/standing/${channel}`));
}

/** Exactly the message's own fields: what else the object may carry stays here. */
function manifestFields(message: ManifestMessage): ManifestMessage {
  switch (message.t) {
    case 'offer': {
      const { t, manifest, signature, mspId, peer } = message;
      return { t, manifest, signature, mspId, peer };
    }
    case 'accept':
      return { t: 'accept', have: message.have };
    case 'refuse':
      return { t: 'refuse', code: message.code, reason: message.reason };
  }
}

function typeOf(value: unknown): unknown {
  return typeof value === 'object' && value !== null && 't' in value ? value.t : undefined;
}

function requireBytesMax(what: string, bytes: Uint8Array, bytesMax: number): void {
  if (bytes.length > bytesMax) {
    throw new ProtocolError(
      'too-large',
      `${what}: expected at most ${bytesMax} bytes, got ${bytes.length}`,
    );
  }
}
