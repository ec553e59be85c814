/**
 * The overlay's public face: who takes part, links to other peers, addresses, accounts.
 *
 * Stages (`store`, `distribute`, `audit`) import these types only; `tls-overlay.ts` and `dht.ts`
 * implement them. Always holds: a link's `mspId` is what the other side's certificate says, checked
 * against the organisations' roots on the ledger (PROTOCOL §5).
 */
import type { ChunkDigests } from '@blocktorrent/protocol/digest.ts';
import type {
  Epoch,
  Hex,
  MspId,
  Peer,
  Policy,
  SignedReceipt,
} from '@blocktorrent/protocol/ledger-api.ts';
import type { SignedManifest } from '@blocktorrent/protocol/manifest.ts';
import type { ManifestMessage } from '@blocktorrent/protocol/overlay-messages.ts';
import type { OwnerMessage } from '@blocktorrent/protocol/owner-messages.ts';

/** A certificate that issues one organisation's overlay TLS certificates. */
export interface OverlayRoot {
  readonly mspId: MspId;
  readonly pem: string;
}

/** The consortium as the ledger has it now; what it returns may change from call to call. */
export interface Membership {
  readonly channel: string;
  /** Roots of all members and auditors. */
  rootsOf(): readonly OverlayRoot[];
  /** Whether an organisation has taken back the overlay certificate with this serial number. */
  isRevoked(mspId: MspId, serial: Hex): boolean;
  /** Ed25519 public key (32 bytes) that a member's peer signs with now, or null. */
  overlayKeyOf(mspId: MspId, peer: string): Uint8Array | null;
  /**
   * Keys (32 bytes, the present one first) under which a signature of that peer counts, also after
   * it changed its key or its organisation left; none for a stranger. `takenAtMs`: when the ledger
   * took what was signed; without it a revoked key does not count.
   */
  keysOf(mspId: MspId, peer: string, takenAtMs?: number): readonly Uint8Array[];
  peers(): readonly Peer[];
  /** Number of the epoch in force. @throws Error while the ledger has never been reached. */
  epoch(): number;
  /** A known epoch (at least the current and the previous one), or null. */
  epochOf(epoch: number): Epoch | null;
  policy(): Policy;
  /** Calls back after every change; returns what ends it. */
  onChange(listener: () => void): () => void;
}

/** Who this process is on the overlay. */
export interface OverlayIdentity {
  readonly mspId: MspId;
  readonly peer: string;
  /** PEM: the leaf, then intermediates if there are any. */
  readonly tlsCertificate: string;
  readonly tlsKey: string;
  /** Ed25519 seed, 32 bytes: signs receipts, manifests and DHT items. */
  readonly overlaySeed: Uint8Array;
}

/** Where a peer's overlay listener is reached (TCP). */
export interface Address {
  readonly host: string;
  readonly port: number;
}

/** What a peer's address item says of it. */
export interface PeerAddress extends Address {
  /** Plain listener for ordinary clients. */
  readonly plain?: Address;
  /** HTTP tracker for ordinary clients. */
  readonly tracker?: Address;
}

/** Finds peers by their overlay key (PROTOCOL §5: the DHT holds addresses, never content). */
export interface AddressBook {
  /** Publishes this peer's address now, and again from time to time until stopped. */
  announce(address: PeerAddress): Promise<void>;
  /**
   * The last address that the holder of `overlayKey` (32 bytes) signed, or null. `fresh` skips the
   * local cache: for after a failed dial.
   */
  lookup(
    overlayKey: Uint8Array,
    options?: { readonly fresh?: boolean },
  ): Promise<PeerAddress | null>;
}

/** Why a link, or one request on it, ended without a result; switch on `code`. */
export type LinkErrorCode =
  | 'unreachable'
  | 'untrusted'
  | 'wrong-peer'
  | 'handshake'
  | 'violation'
  | 'rejected'
  | 'stalled'
  | 'closed'
  | 'aborted';

export class LinkError extends Error {
  override readonly name = 'LinkError';
  readonly code: LinkErrorCode;

  constructor(code: LinkErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** One mutually authenticated connection to one peer about one torrent. */
export interface Link {
  /** The other side's organisation, by its certificate. */
  readonly mspId: MspId;
  /** BitTorrent v1 info-hash, 40 hex digits. */
  readonly infoHash: Hex;
  /** True when the other side dialled. */
  readonly incoming: boolean;
  readonly closed: boolean;
  /** Bytes asked for on this link and not here yet. */
  readonly queuedBytes: number;
  /** Whether the other side said that it has this chunk. */
  has(index: number): boolean;
  /**
   * Fetches one chunk of `bytes` length in pipelined 16 KiB blocks (BEP 3); nothing is verified
   * here. The bytes are put into `into`, if it is given and large enough.
   * @throws LinkError 'rejected' when the other side will not give it, 'stalled' when nothing came
   * for too long (the link is closed then), 'closed', 'aborted'
   */
  fetchChunk(
    index: number,
    bytes: number,
    signal?: AbortSignal,
    into?: Buffer,
  ): Promise<Uint8Array>;
  /** First announcement, once: a BEP 3 bitfield over `chunkCount` chunks. */
  announceAll(have: Uint8Array, chunkCount: number): void;
  /** One more chunk (BEP 3 `have`). */
  announceOne(index: number): void;
  /** The link ends as a 'violation' when the other side does not speak `bt_manifest`. */
  sendManifestMessage(message: ManifestMessage): void;
  sendReceipt(receipt: SignedReceipt): void;
  /** The link ends as a 'violation' when the other side does not speak `bt_owner`. */
  sendOwnerMessage(message: OwnerMessage): void;
  /** Asks the other side of a standing link to dial us; ends the link as above. */
  sendCall(infoHash: Hex): void;
  /** Ends the link; `reason` goes to the log of both sides' owners, not over the wire. */
  close(reason: string): void;
}

/** What the owner of a link does about it; an exception closes the link, never the process. */
export interface LinkHandler {
  /** One block for the other side. Rejecting refuses the request (BEP 6). */
  readonly read?: (index: number, offset: number, length: number) => Promise<Uint8Array>;
  readonly onManifestMessage?: (link: Link, message: ManifestMessage) => void;
  readonly onReceipt?: (link: Link, receipt: SignedReceipt) => void;
  readonly onOwnerMessage?: (link: Link, message: OwnerMessage) => void;
  /** The other side of a standing link asks to be dialled about a torrent. */
  readonly onCall?: (link: Link, infoHash: Hex) => void;
  /** The other side has more chunks than before. */
  readonly onHave?: (link: Link) => void;
  readonly onClose?: (link: Link, reason: string) => void;
}

export interface DialOptions {
  readonly address: Address;
  /** Refused with 'wrong-peer' when the certificate says otherwise. */
  readonly mspId: MspId;
  readonly infoHash: Hex;
  /** Or who makes it once the link is there; null from it refuses the link. */
  readonly handler: LinkHandler | ((link: Link) => LinkHandler | null);
  readonly signal?: AbortSignal;
}

/** Like `DialOptions`, for whichever store peer of an organisation can be reached. */
export interface DialMemberOptions extends Omit<DialOptions, 'address' | 'handler'> {
  readonly handler: LinkHandler;
  readonly addressBook: AddressBook;
}

/** Bytes at the TCP sockets, TLS and handshakes included. */
export interface Traffic {
  readonly sentBytes: number;
  readonly receivedBytes: number;
}

/** Sums over open and closed sockets. */
export interface Accounts {
  /** Since start. */
  total(): Traffic;
  /** One torrent's share, since start; of the last torrents only. */
  of(infoHash: Hex): Traffic;
}

/** Bytes a second over all links; absent: no limit. */
export interface TransferLimits {
  readonly uploadBytesPerSecond?: number | undefined;
  readonly downloadBytesPerSecond?: number | undefined;
}

export interface Overlay {
  readonly mspId: MspId;
  readonly peer: string;
  readonly accounts: Accounts;
  /** Where the listener is bound; null while there is none. */
  readonly address: Address | null;
  start(): Promise<void>;
  /** Closes every link and the listener. */
  stop(): Promise<void>;
  /** Who takes incoming links: one acceptor; null from it refuses the link. */
  onIncoming(acceptor: (link: Link) => LinkHandler | null): void;
  /** @throws LinkError 'unreachable', 'untrusted', 'wrong-peer', 'handshake', 'aborted'. */
  dial(options: DialOptions): Promise<Link>;
  /**
   * Dials an organisation's store peers in order of name; where none can be dialled, calls those
   * that hold a standing link to us, and takes the link that they dial. @throws LinkError as `dial`.
   */
  dialMember(options: DialMemberOptions): Promise<Link>;
  /** The three digests of a chunk, without holding up the links (P §3.2.1). */
  digestChunk(bytes: Uint8Array): Promise<ChunkDigests>;
  /**
   * Another certificate of our own for new links, without a restart; open ones go on.
   * @throws Error where certificate and key do not fit; then nothing has changed.
   */
  setIdentity(identity: OverlayIdentity): void;
}

export type { ManifestMessage, SignedManifest };
