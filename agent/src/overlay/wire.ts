/**
 * bittorrent-protocol's wire with two changes: what its parser or a listener throws while bytes are
 * read becomes the event `violation` of this wire, and our BEP 10 extensions are announced, but not
 * to ordinary clients.
 * This is the one file that imports the library.
 */
import { EXTENSION } from '@blocktorrent/protocol/overlay-messages.ts';
import Wire from 'bittorrent-protocol';

/** Emits what bittorrent-protocol emits, and `violation` with an Error. */
export class GuardedWire extends Wire {
  /** @param plain the other side is an ordinary client. */
  constructor(type: 'tcpIncoming' | 'tcpOutgoing', plain: boolean) {
    super(type);
    if (!plain) for (const extension of EXTENSIONS) this.use(extension);
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
const EXTENSIONS = Object.values(EXTENSION).map((name) => {
  class Extension {}
  Object.defineProperty(Extension.prototype, 'name', { value: name });
  return Extension;
});
