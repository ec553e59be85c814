/** The part of bittorrent-dht 11 that dht.ts uses; the package ships no types. */
declare module 'bittorrent-dht' {
  import { EventEmitter } from 'node:events';
  import type { AddressInfo } from 'node:net';

  export interface DhtNode {
    readonly host: string;
    readonly port: number;
  }
  export interface MutableItem {
    readonly v: Buffer;
    readonly k: Buffer;
    readonly seq: number;
    readonly sig: Buffer;
  }
  export interface PutOptions {
    readonly k: Buffer;
    readonly v: Buffer;
    readonly seq: number;
    readonly sign: (input: Buffer) => Buffer;
  }
  export interface DhtOptions {
    readonly bootstrap: readonly DhtNode[];
    readonly verify: (signature: Buffer, input: Buffer, publicKey: Buffer) => boolean;
    readonly socket?: EventEmitter;
    /** Of one query, ms (k-rpc-socket). */
    readonly timeout?: number;
  }
  export class Client extends EventEmitter {
    constructor(options: DhtOptions);
    readonly nodes: { toArray(): readonly DhtNode[] };
    /** Items kept for others; the option `maxAge` reaches only its table of peers. */
    readonly _values: { maxAge: number };
    listen(port: number, host: string, done: () => void): void;
    address(): AddressInfo;
    addNode(node: DhtNode): void;
    put(
      options: PutOptions,
      done: (error: Error | null, key: Buffer, stored: number) => void,
    ): void;
    get(
      key: Buffer,
      options: { readonly cache: boolean },
      done: (error: Error | null, item: MutableItem | null) => void,
    ): void;
    destroy(done: () => void): void;
  }
}
