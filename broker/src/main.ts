/**
 * `node broker/src/main.ts [--config FILE]`: the broker as a process of its own.
 *
 * Prints one JSON line on standard output when it listens, `{"ready":true,"address":"host:port"}`;
 * warnings are JSON lines on standard error. SIGHUP reads users and certificates again; SIGTERM and
 * SIGINT end it in order, with exit code 0. `hash-password` makes a hash of what is on standard input.
 */
import { channel } from 'node:diagnostics_channel';
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { readUsers } from './access.ts';
import { type Broker, type BrokerOptions, DEFAULTS, startBroker } from './broker.ts';
import { loadBrokerConfig, parseListen } from './config.ts';
import { checkListeners } from './listeners.ts';
import { hashPassword } from './password.ts';
import { quiet } from './quiet.ts';
import { FileError } from './yaml-file.ts';

const USAGE = `Usage: node broker/src/main.ts [options]
       node broker/src/main.ts hash-password < FILE   the hash of FILE's first line, for usersFile
  --config FILE              listeners, users, store and limits (docs/OPERATIONS.md, Broker)
  --check                    only read the configuration and its files
  --listen HOST:PORT         where to listen; port 0 takes a free one (default ${DEFAULTS.host}:${DEFAULTS.port})
  --data-dir FOLDER          keep sessions, queues and retained messages there over restarts
  --max-payload-bytes N      largest payload (default ${DEFAULTS.payloadBytesMax})
  --max-session-messages N   queued for one persistent session (default ${DEFAULTS.sessionMessagesMax})
  --max-queued-bytes N       queued for all sessions together (default ${DEFAULTS.queuedBytesMax})
  --help`;

class UsageError extends Error {}

function wholeNumber(name: string, text: string): number {
  const value = Number(text);
  if (text !== '' && Number.isSafeInteger(value) && value >= 0) return value;
  throw new UsageError(`--${name}: expected a whole number, found "${text}"`);
}

function parse() {
  return parseArgs({
    allowPositionals: true,
    options: {
      config: { type: 'string' },
      check: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
      listen: { type: 'string' },
      'data-dir': { type: 'string' },
      'max-payload-bytes': { type: 'string' },
      'max-session-messages': { type: 'string' },
      'max-queued-bytes': { type: 'string' },
    },
  });
}
type Values = ReturnType<typeof parse>['values'];

/** Options from the file, and over them those of the command line. */
function optionsOf(values: Values): BrokerOptions {
  const options: BrokerOptions = {
    ...(values.config === undefined ? {} : loadBrokerConfig(values.config)),
    warn: quiet((message, fields) =>
      console.error(JSON.stringify({ level: 'warn', message, ...fields })),
    ),
  };
  const { listen, 'data-dir': dataDir } = values;
  const given: { -readonly [K in keyof BrokerOptions]?: BrokerOptions[K] } = {};
  if (listen !== undefined) {
    const address = parseListen(listen);
    if (address === null) throw new UsageError(`--listen: expected HOST:PORT, found "${listen}"`);
    given.listeners = [{ listen: address }];
  }
  if (dataDir !== undefined) given.dataDir = dataDir;
  const caps = {
    'max-payload-bytes': 'payloadBytesMax',
    'max-session-messages': 'sessionMessagesMax',
    'max-queued-bytes': 'queuedBytesMax',
  } as const;
  for (const [flag, name] of Object.entries(caps)) {
    const text = values[flag as keyof typeof caps];
    if (text !== undefined) given[name] = wholeNumber(flag, text);
  }
  return { ...options, ...given };
}

function serve(broker: Broker): void {
  let stopping = false;
  const stop = (): void => {
    if (stopping) return;
    stopping = true;
    void broker.stop().then(() => process.exit(0));
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  process.on('SIGHUP', () => {
    try {
      broker.reload();
      console.error(
        JSON.stringify({ level: 'info', message: 'users and certificates read again' }),
      );
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      const message = 'not read again, the old users and certificates stay in force';
      console.error(JSON.stringify({ level: 'error', message, reason }));
    }
  });
  const { address, addresses } = broker;
  console.log(JSON.stringify({ ready: true, address, addresses }));
  // For systemd/ready.ts, where a unit starts us.
  channel('blocktorrent:ready').publish({ address });
}

async function run(): Promise<void> {
  const { values, positionals } = parse();
  if (values.help) console.log(USAGE);
  else if (positionals[0] === 'hash-password') {
    const [password = ''] = readFileSync(0, 'utf8').split(/\r?\n/, 1);
    if (password === '') throw new UsageError('hash-password: expected a password, found nothing');
    console.log(await hashPassword(password));
  } else if (positionals.length > 0) {
    throw new UsageError(`expected options, found "${positionals[0]}"`);
  } else {
    const options = optionsOf(values);
    if (!values.check) serve(await startBroker(options));
    else {
      checkListeners(options.listeners ?? []);
      if (options.usersFile !== undefined) readUsers(options.usersFile);
    }
  }
}

try {
  await run();
} catch (error) {
  const message = error instanceof Error ? error.message : String(error);
  const usage = error instanceof UsageError || (error instanceof TypeError && 'code' in error);
  console.error(usage ? `${message}\n${USAGE}` : message);
  process.exit(usage || error instanceof FileError ? 2 : 1);
}
