/**
 * bittorrent-protocol's wire with two changes: what its parser or a listener throws while bytes are
 * read becomes the event `violation` of this wire, and our BEP 10 extensions are announced.
 * This is the one file that imports the library.
 */
import { EXTENSION } from '@blocktorrent/protocol/overlay-messages.ts';
import Wire from 'bittorrent-protocol';

/** Emits what bittorrent-protocol emits, and `violation` with an Error. */
export class GuardedWire extends Wire {
  constructor(type: 'tcpIncoming' | 'tcpOutgoing') {
    super(type);
    this.use(ManifestExtension);
    this.use(ReceiptExtension);
    this.use(OwnerExtension);
    this.extendedHandshake.v = 'blocktorrent';
  }

  /** Reads whole messages at once, not in a later turn as `write` would. */
  accept(messages: Uint8Array): void {
    this._write(messages, () => undefined);
  }

  protected override _processBuffer(): void {
    try {
      super._processBuffer();
    } catch (error) {
      this.emit('violation', error instanceof Error ? error : new Error(String(error)));
    }
  }
}

/** Only the name matters to the library: messages arrive as its event `extended`. */
class ManifestExtension {}
Object.defineProperty(ManifestExtension.prototype, 'name', { value: EXTENSION.manifest });
class ReceiptExtension {}
Object.defineProperty(ReceiptExtension.prototype, 'name', { value: EXTENSION.receipt });
class OwnerExtension {}
Object.defineProperty(OwnerExtension.prototype, 'name', { value: EXTENSION.owner });
