/**
 * One chaincode as an external service: the peers dial in, several may share one process.
 *
 * `node chaincode/src/serve.ts --chaincode ledger|keys --listen 127.0.0.1:0 --ccid ID
 *  [--tls-key FILE --tls-cert FILE --tls-client-ca FILE]`
 * Prints `{"ready":true,"address":"127.0.0.1:PORT"}` as the first line; ends on SIGTERM and SIGINT.
 * fabric-shim ends the process when a peer sends KEEPALIVE: leave `chaincode.keepalive` at 0.
 */
import { channel } from 'node:diagnostics_channel';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { parseArgs } from 'node:util';
import { CHAINCODE } from '@blocktorrent/protocol/ledger-api.ts';
import type shim from 'fabric-shim';
import type { ChaincodeInterface, ChaincodeServerOpts } from 'fabric-shim';

/** What the command line said, checked. */
interface Options {
  readonly chaincode: keyof typeof CHAINCODE;
  readonly host: string;
  readonly port: number;
  readonly ccid: string;
  readonly tls: { key: Buffer; cert: Buffer; clientCACerts: Buffer } | null;
}

type Shim = typeof shim;
type Wrap = (chaincode: ChaincodeInterface, shim: Shim) => ChaincodeInterface;

const LISTEN = /^(.+):(\d{1,5})$/;
const BIND_ATTEMPTS = 10;
const LOOPBACK = ['127.0.0.1', '[::1]', 'localhost'];
/** As fabric-shim's own launcher sets them: no cap on messages, pings that keep the stream up. */
const GRPC_OPTIONS = {
  'grpc.max_send_message_length': -1,
  'grpc.max_receive_message_length': -1,
  'grpc.keepalive_time_ms': 110_000,
  'grpc.http2.min_time_between_pings_ms': 110_000,
  'grpc.keepalive_timeout_ms': 20_000,
  'grpc.http2.max_pings_without_data': 0,
  'grpc.keepalive_permit_without_calls': 1,
};

/** The command line is wrong: starting again with the same one does not help. */
class UsageError extends Error {}

/** Options from the command line; throws an Error that names the one that is wrong. */
export function readOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      chaincode: { type: 'string' },
      listen: { type: 'string' },
      ccid: { type: 'string' },
      'tls-key': { type: 'string' },
      'tls-cert': { type: 'string' },
      'tls-client-ca': { type: 'string' },
    },
  });
  const { chaincode, ccid } = values;
  if (chaincode !== CHAINCODE.ledger && chaincode !== CHAINCODE.keys) {
    throw new UsageError(`--chaincode: expected ledger or keys, got ${chaincode ?? 'nothing'}`);
  }
  if (ccid === undefined || ccid === '') throw new UsageError('--ccid: expected the package id');
  const [, host = '', portText = ''] = LISTEN.exec(values.listen ?? '') ?? [];
  const port = Number(portText);
  if (host === '' || port > 65_535) {
    throw new UsageError(`--listen: expected HOST:PORT, got ${values.listen ?? 'nothing'}`);
  }
  const files = [values['tls-key'], values['tls-cert'], values['tls-client-ca']];
  const [key, cert, clientCa] = files;
  if (files.every((file) => file === undefined)) {
    if (!LOOPBACK.includes(host)) {
      throw new UsageError(`--listen: without TLS only loopback is served, got ${host}`);
    }
    return { chaincode, host, port, ccid, tls: null };
  }
  if (key === undefined || cert === undefined || clientCa === undefined) {
    throw new UsageError('expected --tls-key, --tls-cert and --tls-client-ca together');
  }
  const tls = {
    key: readFileSync(key),
    cert: readFileSync(cert),
    clientCACerts: readFileSync(clientCa),
  };
  return { chaincode, host, port, ccid, tls };
}

/** A port that nobody listens on: the shim's server does not tell which one it was given. */
async function freePort(host: string): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve, reject) => {
    probe.once('error', reject);
    probe.listen(0, host.replace(/^\[(.*)\]$/, '$1'), resolve);
  });
  const address = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  if (address === null || typeof address === 'string') throw new Error(`no port on ${host}`);
  return address.port;
}

/**
 * Starts the server; with port 0 takes another free port where one was lost meanwhile. `wrap` may
 * put something around the contracts, with the shim, which takes its log level when it is loaded.
 */
async function serve(options: Options, wrap: Wrap): Promise<string> {
  process.env.CORE_CHAINCODE_LOGGING_LEVEL ??= 'WARNING';
  const { default: shim } = await import('fabric-shim');
  const { muteUnwanted } = await import('./shim-log.ts');
  const { createChaincode } = await import('./contracts.ts');
  const { withinTimeWindow } = await import('./time-window.ts');
  muteUnwanted(shim);
  const chaincode = withinTimeWindow(wrap(createChaincode(options.chaincode), shim), Date.now);
  for (let attempt = 1; ; attempt++) {
    const port = options.port === 0 ? await freePort(options.host) : options.port;
    const address = `${options.host}:${port}`;
    // The shim's types ask for tlsProps; without it the server is insecure.
    const serverOptions = { ...GRPC_OPTIONS, ccid: options.ccid, address };
    const server = shim.Shim.server(chaincode, {
      ...serverOptions,
      ...(options.tls === null ? {} : { tlsProps: options.tls }),
    } as ChaincodeServerOpts);
    try {
      await server.start();
      return address;
    } catch (error) {
      if (options.port !== 0 || attempt >= BIND_ATTEMPTS) throw error;
    }
  }
}

/** The process: serves what `args` say until SIGTERM or SIGINT, and prints where. */
export async function runChaincode(
  args: readonly string[],
  wrap: Wrap = (chaincode) => chaincode,
): Promise<void> {
  const options = readOptions(args);
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => process.exit(0));
  const address = await serve(options, wrap);
  process.stdout.write(`${JSON.stringify({ ready: true, address })}\n`);
  // For systemd/ready.ts, where a unit starts us.
  channel('blocktorrent:ready').publish({ address });
  if (options.tls === null) {
    process.stderr.write(`${options.chaincode}: without TLS, for this machine only (${address})\n`);
  }
}

/** Wrong options, also those that `parseArgs` does not know, and TLS files that are not there. */
function isUsage(error: unknown): boolean {
  const { code } = Object(error) as { code?: unknown };
  return error instanceof UsageError || /^(ERR_PARSE_ARGS|ENOENT|EACCES)/.test(String(code));
}

if (import.meta.main) {
  runChaincode(process.argv.slice(2)).catch((error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(isUsage(error) ? 2 : 1);
  });
}
