/** The part of bittorrent-protocol 5.0.9 that link.ts uses; the package ships no types. */
declare module 'bittorrent-protocol' {
  import { EventEmitter } from 'node:events';

  export interface WireExtensions {
    readonly dht?: boolean;
    readonly fast?: boolean;
    readonly extended?: boolean;
  }
  export type BlockCallback = (error: Error | null, block: Uint8Array | null) => void;

  export default class Wire extends EventEmitter {
    constructor(type?: string);
    peerChoking: boolean;
    hasFast: boolean;
    /** Requests of the other side that are not answered yet. */
    readonly peerRequests: readonly unknown[];
    readonly peerPieces: { get(index: number): boolean };
    peerExtensions: WireExtensions;
    peerExtendedMapping: Record<string, number>;
    extendedHandshake: Record<string, unknown>;
    use(extension: new (wire: Wire) => object): void;
    setKeepAlive(enable: boolean): void;
    handshake(infoHash: string, peerId: Uint8Array, extensions?: WireExtensions): void;
    interested(): void;
    unchoke(): void;
    have(index: number): void;
    haveAll(): void;
    haveNone(): void;
    bitfield(bits: Uint8Array): void;
    request(index: number, offset: number, length: number, done: BlockCallback): void;
    cancel(index: number, offset: number, length: number): void;
    extended(name: string, payload: Uint8Array): void;
    destroy(): void;
    protected _processBuffer(): void;
    protected _write(bytes: Uint8Array, done: (error: Error | null) => void): void;
  }
}
