/**
 * A gateway peer seen over a bad line: passes calls of Fabric's gateway service on, byte for byte, and
 * loses requests or answers as it is told. A gRPC server of its own, with a certificate of its own.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  Client,
  credentials,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js';
import type { GatewayPeerConfig } from '../../agent/src/ledger/fabric-config.ts';
import { createRoot, issueLeaf } from '../../devledger/src/certificates.ts';

/** Calls of the gateway service that are passed on. */
export type GatewayCall = 'Evaluate' | 'Endorse' | 'Submit' | 'CommitStatus';
const CALLS: readonly GatewayCall[] = ['Evaluate', 'Endorse', 'Submit', 'CommitStatus'];

/** What happens to one call: passed on; lost on its way there, or back; answered with a refusal. */
export type Fate = 'pass' | 'lose request' | 'lose answer' | 'refuse';

export class GatewayProxy {
  /** What happens to the next call; asked for each. */
  fate: (call: GatewayCall) => Fate = () => 'pass';
  /** Calls that came, in order. */
  readonly seen: GatewayCall[] = [];
  readonly #target: Client;
  readonly #server: Server;
  readonly #dir: string;
  #peer: GatewayPeerConfig;

  /** Listens before `peer`, which it reaches with the root in `tlsRoot` (PEM). */
  static async start(peer: GatewayPeerConfig, tlsRoot: Uint8Array): Promise<GatewayProxy> {
    const dir = await mkdtemp(join(tmpdir(), 'proxy-'));
    const root = await createRoot('proxy', 'proxy');
    const use = { commonName: 'proxy', organisation: 'proxy', use: 'tls' } as const;
    const leaf = await issueLeaf(root, use);
    const tlsRootFile = join(dir, 'root.pem');
    await writeFile(tlsRootFile, root.certificate);
    const target = new Client(peer.endpoint, credentials.createSsl(Buffer.from(tlsRoot)));
    const proxy = new GatewayProxy({ ...peer, tlsRootFile }, target, dir);
    const pair = { cert_chain: Buffer.from(leaf.certificate), private_key: Buffer.from(leaf.key) };
    const port = await new Promise<number>((resolve, reject) => {
      const secure = ServerCredentials.createSsl(null, [pair]);
      proxy.#server.bindAsync('127.0.0.1:0', secure, (error, found) =>
        error === null ? resolve(found) : reject(error),
      );
    });
    proxy.#peer = { ...proxy.#peer, endpoint: `127.0.0.1:${port}` };
    return proxy;
  }

  private constructor(peer: GatewayPeerConfig, target: Client, dir: string) {
    this.#peer = peer;
    this.#target = target;
    this.#dir = dir;
    this.#server = new Server();
    const methods = CALLS.map((call) => {
      const definition = {
        path: `/gateway.Gateway/${call}`,
        requestStream: false,
        responseStream: false,
        requestDeserialize: same,
        responseSerialize: same,
        requestSerialize: same,
        responseDeserialize: same,
      };
      return [call, definition] as const;
    });
    this.#server.addService(
      Object.fromEntries(methods),
      Object.fromEntries(CALLS.map((call) => [call, this.#passer(call)])),
    );
  }

  /** The peer as a client of the proxy is to be configured. */
  get peer(): GatewayPeerConfig {
    return this.#peer;
  }

  async stop(): Promise<void> {
    this.#server.forceShutdown();
    this.#target.close();
    await rm(this.#dir, { recursive: true, force: true });
  }

  #passer(name: GatewayCall) {
    return (call: ServerUnaryCall<Buffer, Buffer>, answer: sendUnaryData<Buffer>): void => {
      this.seen.push(name);
      const fate = this.fate(name);
      const lost = { code: status.UNAVAILABLE, details: 'the line broke' };
      if (fate === 'lose request' || fate === 'refuse') {
        const refused = { code: status.INTERNAL, details: 'not like this' };
        answer(fate === 'refuse' ? refused : lost);
        return;
      }
      const path = `/gateway.Gateway/${name}`;
      const passed = this.#target.makeUnaryRequest(
        path,
        same,
        same,
        call.request,
        (error, bytes) => (fate === 'lose answer' ? answer(lost) : answer(error, bytes)),
      );
      call.on('cancelled', () => passed.cancel());
    };
  }
}

function same(bytes: Buffer): Buffer {
  return bytes;
}
