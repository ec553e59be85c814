/**
 * What owners say to each other over `bt_owner` (BEP 10): who has to keep a file now, who has it,
 * and challenges. Canonical CBOR maps with exactly the named fields, bounded before use.
 *
 * These links are about no torrent: their info-hash is `ownersHash`, the same for a whole channel,
 * and every message names its file.
 */
import { sha256 } from '@noble/hashes/sha2.js';
import { fromHex, toHex } from './bytes.ts';
import { decodeCanonical, encodeCanonical } from './cbor.ts';
import { CHALLENGE_BYTES } from './challenge.ts';
import { ProtocolError } from './errors.ts';
import { Fields } from './fields.ts';
import type { Hex } from './ledger-api.ts';
import { LIMITS } from './limits.ts';
import type { SignedManifest } from './manifest.ts';
import { SIGNATURE_BYTES } from './signing.ts';

/** "You are an owner of this file now", or the answer to `want`. */
export interface KeepMessage extends SignedManifest {
  readonly t: 'keep';
}
/** "Send me this file's manifest." */
export interface WantMessage {
  readonly t: 'want';
  readonly fileId: Hex;
}
/** "I have noted the file, and have these chunks of it": BEP 3 bitfield. */
export interface HeldMessage {
  readonly t: 'held';
  readonly fileId: Hex;
  readonly have: Uint8Array;
}
/** "I will not, or cannot." */
export interface DeclineMessage {
  readonly t: 'decline';
  readonly fileId: Hex;
  /** For machines: `unknown-file`, `not-responsible`, `quota`, `busy`... */
  readonly code: string;
  readonly reason: string;
}
/** First step of a challenge, by the challenger. */
export interface ChallengeMessage {
  readonly t: 'challenge';
  readonly fileId: Hex;
  /** Chunks that may be asked for: BEP 3 bitfield. */
  readonly chunks: Uint8Array;
  /** SHA-256 of the challenger's nonce: the challenge's name, too. */
  readonly commitment: Uint8Array;
}
/** Second step, by the answerer; third, by the challenger. */
export interface NonceMessage {
  readonly t: 'nonce' | 'reveal';
  readonly commitment: Uint8Array;
  readonly nonce: Uint8Array;
}
/** Fourth step, by the answerer. */
export interface AnswerMessage {
  readonly t: 'answer';
  readonly commitment: Uint8Array;
  readonly answer: Uint8Array;
  readonly signature: Uint8Array;
}
export type OwnerMessage =
  | KeepMessage
  | WantMessage
  | HeldMessage
  | DeclineMessage
  | ChallengeMessage
  | NonceMessage
  | AnswerMessage;

const HAVE_BYTES_MAX = LIMITS.chunksPerFileMax / 8;

/** Info-hash (40 hex digits) of links between owners: 20 bytes of SHA-256 over the channel's name. */
export function ownersHash(channel: string): Hex {
  return toHex(sha256(encodeCanonical(['blocktorrent/owners/v1', channel])).subarray(0, 20));
}

/** The bytes of one `bt_owner` message. */
export function encodeOwnerMessage(message: OwnerMessage): Uint8Array {
  switch (message.t) {
    case 'keep': {
      const { t, manifest, signature, mspId, peer } = message;
      return encodeCanonical({ t, manifest, signature, mspId, peer });
    }
    case 'want':
      return encodeCanonical({ t: 'want', fileId: fromHex(message.fileId, 32) });
    case 'held': {
      const { t, fileId, have } = message;
      return encodeCanonical({ t, fileId: fromHex(fileId, 32), have });
    }
    case 'decline': {
      const { t, fileId, code, reason } = message;
      return encodeCanonical({ t, fileId: fromHex(fileId, 32), code, reason });
    }
    case 'challenge': {
      const { t, fileId, chunks, commitment } = message;
      return encodeCanonical({ t, fileId: fromHex(fileId, 32), chunks, commitment });
    }
    case 'nonce':
    case 'reveal': {
      const { t, commitment, nonce } = message;
      return encodeCanonical({ t, commitment, nonce });
    }
    case 'answer': {
      const { t, commitment, answer, signature } = message;
      return encodeCanonical({ t, commitment, answer, signature });
    }
  }
}

/** One `bt_owner` message. Throws ProtocolError `too-large`, `malformed` or `not-canonical`. */
export function decodeOwnerMessage(bytes: Uint8Array): OwnerMessage {
  if (bytes.length > LIMITS.overlayMessageBytesMax) {
    throw new ProtocolError('too-large', `bt_owner: ${bytes.length} bytes`);
  }
  const value = decodeCanonical(bytes);
  const t: unknown =
    typeof value === 'object' && value !== null && 't' in value ? value.t : undefined;
  switch (t) {
    case 'keep': {
      const fields = new Fields('keep', value, ['t', 'manifest', 'signature', 'mspId', 'peer']);
      return {
        t,
        manifest: fields.bytesWithin('manifest', 1, LIMITS.manifestBytesMax),
        signature: fields.bytes('signature', SIGNATURE_BYTES),
        mspId: fields.text('mspId'),
        peer: fields.text('peer'),
      };
    }
    case 'want':
      return { t, fileId: fileIdIn(new Fields('want', value, ['t', 'fileId'])) };
    case 'held': {
      const fields = new Fields('held', value, ['t', 'fileId', 'have']);
      return { t, fileId: fileIdIn(fields), have: fields.bytesWithin('have', 1, HAVE_BYTES_MAX) };
    }
    case 'decline': {
      const fields = new Fields('decline', value, ['t', 'fileId', 'code', 'reason']);
      const reason = fields.text('reason', LIMITS.reasonCharsMax);
      return { t, fileId: fileIdIn(fields), code: fields.text('code'), reason };
    }
    case 'challenge': {
      const fields = new Fields('challenge', value, ['t', 'fileId', 'chunks', 'commitment']);
      return {
        t,
        fileId: fileIdIn(fields),
        chunks: fields.bytesWithin('chunks', 1, HAVE_BYTES_MAX),
        commitment: fields.bytes('commitment', CHALLENGE_BYTES),
      };
    }
    case 'nonce':
    case 'reveal': {
      const fields = new Fields(t, value, ['t', 'commitment', 'nonce']);
      const commitment = fields.bytes('commitment', CHALLENGE_BYTES);
      return { t, commitment, nonce: fields.bytes('nonce', CHALLENGE_BYTES) };
    }
    case 'answer': {
      const fields = new Fields('answer', value, ['t', 'commitment', 'answer', 'signature']);
      return {
        t,
        commitment: fields.bytes('commitment', CHALLENGE_BYTES),
        answer: fields.bytesWithin('answer', 1, LIMITS.answerBytesMax),
        signature: fields.bytes('signature', SIGNATURE_BYTES),
      };
    }
    default:
      throw new ProtocolError('malformed', 'bt_owner: an unknown kind of message');
  }
}

function fileIdIn(fields: Fields): Hex {
  return toHex(fields.bytes('fileId', 32));
}
