/**
 * `node broker/src/main.ts --listen 127.0.0.1:1883`: the broker as a process of its own.
 *
 * Prints one JSON line on standard output when it listens, `{"ready":true,"address":"host:port"}`;
 * warnings are JSON lines on standard error. SIGTERM and SIGINT end it in order, with exit code 0.
 */
import { channel } from 'node:diagnostics_channel';
import { parseArgs } from 'node:util';
import { type Broker, DEFAULTS, startBroker } from './broker.ts';

const USAGE = `Usage: node broker/src/main.ts [options]
  --listen HOST:PORT         where to listen; port 0 takes a free one (default ${DEFAULTS.host}:${DEFAULTS.port})
  --max-payload-bytes N      largest payload (default ${DEFAULTS.payloadBytesMax})
  --max-session-messages N   queued for one persistent session (default ${DEFAULTS.sessionMessagesMax})
  --max-queued-bytes N       queued for all sessions together (default ${DEFAULTS.queuedBytesMax})`;

class UsageError extends Error {}

function wholeNumber(name: string, text: string | undefined, fallback: number): number {
  if (text === undefined) return fallback;
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new UsageError(`--${name}: expected a whole number, found "${text}"`);
}

function parseListen(text: string): { host: string; port: number } {
  const match = /^(.+):(\d{1,5})$/.exec(text);
  const [, host, port] = match ?? [];
  if (host === undefined || port === undefined || Number(port) > 65_535) {
    throw new UsageError(`--listen: expected HOST:PORT, found "${text}"`);
  }
  return { host: host.replace(/^\[(.*)\]$/, '$1'), port: Number(port) };
}

async function start(): Promise<Broker> {
  const { values } = parseArgs({
    options: {
      listen: { type: 'string', default: `${DEFAULTS.host}:${DEFAULTS.port}` },
      'max-payload-bytes': { type: 'string' },
      'max-session-messages': { type: 'string' },
      'max-queued-bytes': { type: 'string' },
    },
  });
  const number = (name: keyof typeof values, fallback: number): number =>
    wholeNumber(name, values[name], fallback);
  return await startBroker({
    ...parseListen(values.listen),
    payloadBytesMax: number('max-payload-bytes', DEFAULTS.payloadBytesMax),
    sessionMessagesMax: number('max-session-messages', DEFAULTS.sessionMessagesMax),
    queuedBytesMax: number('max-queued-bytes', DEFAULTS.queuedBytesMax),
    warn: (message, fields) => console.error(JSON.stringify({ level: 'warn', message, ...fields })),
  });
}

try {
  const broker = await start();
  let stopping = false;
  const stop = (): void => {
    if (stopping) return;
    stopping = true;
    void broker.stop().then(() => process.exit(0));
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  console.log(JSON.stringify({ ready: true, address: broker.address }));
  // For systemd/ready.ts, where a unit starts us.
  channel('blocktorrent:ready').publish({ address: broker.address });
} catch (error) {
  const message = error instanceof Error ? error.message : String(error);
  const usage = error instanceof UsageError || (error instanceof TypeError && 'code' in error);
  console.error(usage ? `${message}\n${USAGE}` : message);
  process.exit(usage ? 2 : 1);
}
