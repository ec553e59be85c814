/**
 * A small HTTP tracker beside the plain listener (BEP 3, 7, 23): tells ordinary clients where the
 * owners' plain listeners are, and of each other.
 *
 * Enters: announces of anybody who can reach the address. Leaves: compact lists of peers. Always
 * holds: only torrents that are kept here are known; owners come from the consortium's signed
 * addresses and need not announce themselves; nothing is ever announced anywhere from here; clients
 * are kept in memory, bounded, for a few intervals.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { isIP } from 'node:net';
import type { Hex } from '@blocktorrent/protocol/ledger-api.ts';
import type { Log } from '../runtime/log.ts';
import { boundTo, listenAt } from './listen.ts';
import type { Address } from './types.ts';

// Not by `import`, which reads every export and so loads fetch: 2 MiB of an idle agent.
const { createServer } = process.getBuiltinModule('node:http');

/** Clients are asked to come again after this, s. */
const INTERVAL_S = 30;
/** A client that has not come for this long is forgotten. */
const CLIENT_MS = 3 * INTERVAL_S * 1000;
const TORRENTS_MAX = 1_000;
const CLIENTS_MAX = 200;
const PEERS_MAX = 100;
const CONNECTIONS_MAX = 64;
const URL_CHARS_MAX = 2_048;
const REQUEST_MS = 5_000;

export interface TrackerOptions {
  readonly listen: Address;
  readonly log: Log;
  readonly monotonicMs: () => number;
}

/** Plain listeners of a torrent's owners, or null for a torrent that is not kept here. */
export type OwnersOf = (infoHash: Hex) => Promise<readonly Address[] | null>;

interface Client extends Address {
  readonly atMs: number;
  readonly seeds: boolean;
}

export class Tracker {
  readonly #options: TrackerOptions;
  readonly #server: Server;
  /** Clients by address, the one heard of last at the end; torrents likewise. */
  readonly #torrents = new Map<Hex, Map<string, Client>>();
  #ownersOf: OwnersOf = async () => null;

  constructor(options: TrackerOptions) {
    this.#options = options;
    this.#server = createServer(
      { requestTimeout: REQUEST_MS, headersTimeout: REQUEST_MS, maxHeaderSize: 8 * 1024 },
      (request, response) => void this.#answer(request, response),
    );
    this.#server.maxConnections = CONNECTIONS_MAX;
  }

  /** Where it is bound; null before `start`. */
  get address(): Address | null {
    return boundTo(this.#server);
  }

  async start(): Promise<void> {
    const { listen, log } = this.#options;
    await listenAt(this.#server, listen);
    this.#server.on('error', (error) => log.error('tracker', { error }));
  }

  async stop(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }

  /** Who knows which torrents are kept here, and by whom else. */
  onAsked(ownersOf: OwnersOf): void {
    this.#ownersOf = ownersOf;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.setHeader('connection', 'close');
    response.setHeader('content-type', 'text/plain');
    let body: Buffer;
    try {
      body = await this.#announce(request);
    } catch (error) {
      // Trackers answer 200 with a reason (BEP 3).
      body = failure(error instanceof RangeError ? error.message : 'the tracker failed');
      if (!(error instanceof RangeError)) this.#options.log.warn('tracker', { error });
    }
    response.end(body);
  }

  /** @throws RangeError with what to tell the client */
  async #announce(request: IncomingMessage): Promise<Buffer> {
    const url = request.url ?? '';
    if (request.method !== 'GET' || url.length > URL_CHARS_MAX || !url.startsWith('/announce?')) {
      throw new RangeError('only GET /announce is answered');
    }
    const query = parseQuery(url.slice('/announce?'.length));
    const infoHash = requireHash(query);
    const owners = await this.#ownersOf(infoHash);
    if (owners === null) throw new RangeError('this torrent is not kept here');
    const host = plainHost(request.socket.remoteAddress ?? '');
    const port = whole(query.get('port'), 1, 65_535);
    if (port === null) throw new RangeError('port: expected 1 to 65535');
    const clients = this.#clients(infoHash);
    const own = `${host} ${port}`;
    clients.delete(own);
    if (query.get('event')?.toString() !== 'stopped') {
      const seeds = query.get('left')?.toString() === '0';
      clients.set(own, { host, port, seeds, atMs: this.#options.monotonicMs() });
    }
    const others = [...clients].filter(([name]) => name !== own).map(([, client]) => client);
    const wanted = whole(query.get('numwant'), 0, PEERS_MAX) ?? PEERS_MAX;
    const seeds = owners.length + [...clients.values()].filter((one) => one.seeds).length;
    const leeches = [...clients.values()].filter((one) => !one.seeds).length;
    return answer([...owners, ...others.reverse()].slice(0, wanted), seeds, leeches);
  }

  #clients(infoHash: Hex): Map<string, Client> {
    const known = this.#torrents.get(infoHash) ?? new Map<string, Client>();
    this.#torrents.delete(infoHash);
    this.#torrents.set(infoHash, known);
    for (const [oldest] of this.#torrents) {
      if (this.#torrents.size <= TORRENTS_MAX) break;
      this.#torrents.delete(oldest);
    }
    const nowMs = this.#options.monotonicMs();
    for (const [name, { atMs }] of known) {
      if (known.size < CLIENTS_MAX && nowMs - atMs < CLIENT_MS) break;
      known.delete(name);
    }
    return known;
  }
}

/** Names to raw bytes: `info_hash` is binary, percent-encoded. */
function parseQuery(text: string): Map<string, Buffer> {
  const query = new Map<string, Buffer>();
  for (const part of text.split('&')) {
    const at = part.indexOf('=');
    if (at > 0) query.set(part.slice(0, at), unescapeBytes(part.slice(at + 1)));
  }
  return query;
}

function unescapeBytes(text: string): Buffer {
  const decoded = text
    .replaceAll('+', ' ')
    .replace(/%([0-9a-fA-F]{2})/g, (_, hex: string) =>
      String.fromCharCode(Number.parseInt(hex, 16)),
    );
  return Buffer.from(decoded, 'latin1');
}

function requireHash(query: ReadonlyMap<string, Buffer>): Hex {
  const hash = query.get('info_hash');
  if (hash?.length !== 20) throw new RangeError('info_hash: expected 20 bytes');
  return hash.toString('hex');
}

function whole(bytes: Buffer | undefined, min: number, max: number): number | null {
  const text = bytes?.toString('latin1') ?? '';
  const value = /^\d{1,6}$/.test(text) ? Number(text) : Number.NaN;
  return value >= min && value <= max ? value : null;
}

/** An IPv4 address that came over IPv6 (`::ffff:1.2.3.4`) as what it is. */
function plainHost(host: string): string {
  return host.startsWith('::ffff:') && isIP(host.slice(7)) === 4 ? host.slice(7) : host;
}

/** Compact lists: 6 bytes a peer in `peers` (BEP 23), 18 in `peers6` (BEP 7). Names are left out. */
function answer(peers: readonly Address[], seeds: number, leeches: number): Buffer {
  const packed = (version: number) =>
    Buffer.concat(peers.filter(({ host }) => isIP(plainHost(host)) === version).map(pack));
  const [four, six] = [packed(4), packed(6)];
  const text = (value: string) => Buffer.from(value, 'latin1');
  return Buffer.concat([
    text(`d8:completei${seeds}e10:incompletei${leeches}e8:intervali${INTERVAL_S}e`),
    text(`12:min intervali5e5:peers${four.length}:`),
    four,
    ...(six.length === 0 ? [] : [text(`6:peers6${six.length}:`), six]),
    text('e'),
  ]);
}

function pack({ host, port }: Address): Buffer {
  const tail = Buffer.from([port >> 8, port & 0xff]);
  if (isIP(host) === 4) return Buffer.concat([Buffer.from(host.split('.').map(Number)), tail]);
  const [head = '', rest] = host.split('%')[0]?.split('::') ?? [];
  const groups = (part: string) => (part === '' ? [] : part.split(':'));
  const [before, after] = [groups(head), groups(rest ?? '')];
  const zeros = rest === undefined ? 0 : 8 - before.length - after.length;
  const all = [...before, ...Array.from({ length: zeros }, () => '0'), ...after];
  return Buffer.concat([Buffer.from(all.map((one) => one.padStart(4, '0')).join(''), 'hex'), tail]);
}

function failure(reason: string): Buffer {
  return Buffer.from(`d14:failure reason${Buffer.byteLength(reason)}:${reason}e`);
}
