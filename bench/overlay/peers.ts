/**
 * The benchmark's peer processes, seen from outside: start, give orders, stop all of them.
 *
 * Always holds: every process started here is ended by its own id when `stop` resolves, and ends by
 * itself when this process does.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { MspId } from '@blocktorrent/protocol/ledger-api.ts';
import type { Address } from '../../agent/src/overlay/types.ts';
import { AUDITOR_MSP, createPki } from '../../devledger/src/pki.ts';
import { type Answer, type OrderName, type Orders, type PeerSettings, SETTINGS } from './work.ts';

/** As the launcher starts the agent (agent/bin/blocktorrent.js). */
const FLAGS = ['--max-semi-space-size=4', '--expose-gc', '--no-allocation-site-pretenuring'];
const STOP_MS = 10_000;

/** One process. */
export class PeerProcess {
  readonly mspId: MspId;
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  #orders = 0;
  #ended: Error | null = null;

  constructor(settings: PeerSettings) {
    this.mspId = settings.mspId;
    this.#child = fork(join(import.meta.dirname, 'peer.ts'), {
      execArgv: [...FLAGS, '--disable-warning=ExperimentalWarning'],
      serialization: 'advanced',
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      env: { ...process.env, [SETTINGS]: JSON.stringify(settings) },
    });
    this.#child.on('message', (answer: Answer) => this.#settle(answer));
    this.#child.on('error', (error) => this.#end(error));
    this.#child.on('exit', (code, signal) =>
      this.#end(new Error(`the process of ${this.mspId} ended (${code ?? signal})`)),
    );
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Where it listens, once it runs; null for one that only dials. */
  started(): Promise<Address | null> {
    return this.#expect(0) as Promise<Address | null>;
  }

  /** @throws Error that names the peer and the order when the work fails or the process ends. */
  tell<N extends OrderName>(name: N, input: Orders[N]['input']): Promise<Orders[N]['output']> {
    if (this.#ended !== null) return Promise.reject(this.#ended);
    this.#orders += 1;
    const answer = this.#expect(this.#orders);
    this.#child.send({ id: this.#orders, name, input });
    return answer as Promise<Orders[N]['output']>;
  }

  /** Ends it at once, as a crash would. */
  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exited;
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_MS);
    // It may have gone before it could answer, which is what was wanted.
    await this.tell('stop', null).catch(() => null);
    await exited;
    clearTimeout(timer);
  }

  #expect(id: number): Promise<unknown> {
    const waiting = Promise.withResolvers<unknown>();
    this.#waiting.set(id, waiting);
    return waiting.promise;
  }

  #settle(answer: Answer): void {
    const waiting = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    if (answer.error === undefined) waiting?.resolve(answer.output);
    else waiting?.reject(new Error(answer.error));
  }

  #end(error: Error): void {
    this.#ended = error;
    for (const waiting of this.#waiting.values()) waiting.reject(error);
    this.#waiting.clear();
  }
}

export interface CastOptions {
  /** An empty folder of the benchmark's own. */
  readonly dir: string;
  readonly organisations: number;
  /** The first organisation keeps nothing and has a process that is a source alone. */
  readonly bareSource: boolean;
  readonly uploadBytesPerSecond?: number;
}

/** A consortium's processes: owners, a source, an auditor. */
export class BenchCast {
  readonly owners: readonly PeerProcess[];
  /** The bare source, or null where every owner is a source as well. */
  readonly source: PeerProcess | null;
  readonly auditor: PeerProcess;
  readonly dir: string;
  readonly pkiDir: string;

  /** Certificates, then every process, all told where the others are. */
  static async start(options: CastOptions): Promise<BenchCast> {
    const pkiDir = join(options.dir, 'pki');
    await createPki(pkiDir, options.organisations);
    const cast = new BenchCast(options, pkiDir);
    try {
      await cast.#meet();
      return cast;
    } catch (error) {
      await cast.stop();
      throw error;
    }
  }

  private constructor(options: CastOptions, pkiDir: string) {
    const { dir, organisations, bareSource } = options;
    this.dir = dir;
    this.pkiDir = pkiDir;
    const common = { pkiDir, organisations, uploadBytesPerSecond: null };
    const names = Array.from({ length: organisations }, (_, at) => `Org${at + 1}MSP`);
    const owners = bareSource ? names.slice(1) : names;
    this.owners = owners.map(
      (mspId) => new PeerProcess({ ...common, mspId, storeDir: join(dir, mspId) }),
    );
    this.source = bareSource
      ? new PeerProcess({
          ...common,
          mspId: 'Org1MSP',
          storeDir: null,
          uploadBytesPerSecond: options.uploadBytesPerSecond ?? null,
        })
      : null;
    this.auditor = new PeerProcess({ ...common, mspId: AUDITOR_MSP, storeDir: null });
  }

  get processes(): PeerProcess[] {
    return [...this.owners, ...(this.source === null ? [] : [this.source]), this.auditor];
  }

  /** Deletes what the owners keep of a file. */
  async forget(fileId: string): Promise<void> {
    await Promise.all(this.owners.map((owner) => owner.tell('forget', { fileId })));
  }

  async stop(): Promise<void> {
    await Promise.all(this.processes.map((peer) => peer.stop()));
  }

  async #meet(): Promise<void> {
    const addresses: Record<MspId, Address> = {};
    await Promise.all(
      this.processes.map(async (peer) => {
        const address = await peer.started();
        if (address !== null) addresses[peer.mspId] = address;
      }),
    );
    await Promise.all(this.processes.map((peer) => peer.tell('meet', addresses)));
  }
}
