/**
 * `blocktorrent init`: from nothing to keys and a configuration that passes `config check`.
 *
 * What no option says is asked on a terminal; elsewhere it has its default, or is an error.
 */
import { hostname } from 'node:os';
import { resolve } from 'node:path';
import type { ConfigError } from '../../config/problems.ts';
import { CliError } from '../cli-error.ts';
import type { CliCommand } from '../command.ts';
import type { Context } from '../context.ts';
import { EXIT } from '../exit-codes.ts';
import { type Answers, makeHouse } from '../new-house.ts';
import { topicFilter } from '../options.ts';

interface InitOptions {
  readonly organisation?: string;
  readonly name?: string;
  readonly roles?: string;
  readonly ledgerPeer?: string;
  readonly ledgerPeerOrganisation?: string;
  readonly ledgerTlsRoot?: string;
  readonly broker?: string;
  readonly topic: string;
  readonly host?: readonly string[];
  readonly listen?: string;
  readonly trial?: boolean;
  readonly service?: boolean;
}

const SERVICE_FOLDER = '/etc/blocktorrent';
const NAME_CHARS_MAX = 64;

export const initCommand: CliCommand = {
  name: 'init',
  describe: 'make keys and a configuration to start from',
  group: 'Set-up:',
  register(command, contextOf) {
    command
      .argument('[folder]', `where (default: here; with --service ${SERVICE_FOLDER})`)
      .option('--organisation <msp>', 'MSP id of the organisation')
      .option('--name <name>', "this agent's name (default: the machine's)")
      .option('--roles <roles>', 'ingest,store or store or audit (default: ingest,store)')
      .option('--ledger-peer <address>', 'host:port of a ledger peer (default: localhost:7051)')
      .option('--ledger-peer-organisation <msp>', "organisation of that peer (default: one's own)")
      .option('--ledger-tls-root <file>', "roots of that peer's TLS certificate; copied")
      .option('--broker <url>', 'MQTT broker (default: mqtt://127.0.0.1:1883)')
      .option('--topic <filter>', 'MQTT topic filter of the readings', topicFilter, 'site/#')
      .option(
        '--host <host...>',
        "names and addresses for the TLS certificate (default: the machine's)",
      )
      .option('--listen <address>', 'host:port for other agents (default: any free port, loopback)')
      .option('--trial', 'a root of its own issues every certificate: for trials only')
      .option('--service', 'the places of the Debian package and its service')
      .action(async (folder: string | undefined, options: InitOptions) => {
        const context = contextOf();
        const answers = await answersOf(folder, options, context);
        const { ConfigError, parseConfig } = await import('../../config/load.ts');
        // A service's credentials are there only while it runs.
        const env = { CREDENTIALS_DIRECTORY: '/run/credentials', ...context.env };
        const made = await makeHouse(answers, (text, path) => {
          try {
            parseConfig(text, path, env);
          } catch (error) {
            throw error instanceof ConfigError ? wrongAnswers(error) : error;
          }
        });
        const steps = made.next.map((step, i) => `  ${i + 1}. ${step}`);
        const text = ['written:', ...made.written.map((path) => `  ${path}`), 'next:', ...steps];
        context.output.result(made, text.join('\n'));
      });
  },
};

/** There is no file yet whose lines could be corrected. */
function wrongAnswers(cause: ConfigError): CliError {
  const said = cause.problems.map(({ key, expected, found }) => {
    return `${key}: expected ${expected}, found ${found}`;
  });
  return new CliError([...new Set(said)].join('\n'), {
    means: 'Nothing was written.',
    todo: 'Give other answers; `blocktorrent init --help` has the options.',
    exitCode: EXIT.usage,
    cause,
  });
}

async function answersOf(
  folder: string | undefined,
  options: InitOptions,
  context: Context,
): Promise<Answers> {
  const ask = async (given: string | undefined, question: string, fallback: string) => {
    if (given !== undefined) return given;
    if (context.ask === null) return fallback;
    const hint = fallback === '' ? '' : ` [${fallback}]`;
    return (await context.ask(`${question}${hint}: `)).trim() || fallback;
  };
  const { service = false, topic } = options;
  const organisation = await ask(options.organisation, 'MSP id of your organisation', '');
  if (organisation === '') {
    throw new CliError('--organisation: expected the MSP id, e.g. Org1MSP', {
      means: 'There is no terminal to ask on, or no answer was given.',
      exitCode: EXIT.usage,
    });
  }
  const name = await ask(options.name, 'Name of this agent', machineName());
  const roles = (await ask(options.roles, 'Roles', 'ingest,store'))
    .split(',')
    .map((one) => one.trim())
    .filter((one) => one !== '');
  const ledgerPeer = await ask(options.ledgerPeer, 'Ledger peer', 'localhost:7051');
  const broker = roles.includes('ingest')
    ? await ask(options.broker, 'MQTT broker', 'mqtt://127.0.0.1:1883')
    : '';
  const wrong = options.host?.find((host) => !/^[A-Za-z0-9._:-]+$/.test(host));
  if (wrong !== undefined) {
    throw new CliError(`--host: expected a DNS name or an IP address, found '${wrong}'`, {
      todo: 'Names with other letters are written as in DNS: xn--….',
      exitCode: EXIT.usage,
    });
  }
  const trial = options.trial ?? (await yes(context));
  return {
    folder: resolve(folder ?? (service ? SERVICE_FOLDER : '.')),
    ...{ organisation, name, roles, ledgerPeer, broker, topic, trial, service },
    ledgerPeerOrganisation: options.ledgerPeerOrganisation ?? organisation,
    ledgerTlsRoot: options.ledgerTlsRoot === undefined ? null : resolve(options.ledgerTlsRoot),
    hosts: options.host ?? [...new Set([hostname(), 'localhost', '127.0.0.1'])],
    listen: options.listen ?? null,
  };
}

async function yes({ ask }: Context): Promise<boolean> {
  if (ask === null) return false;
  const question = 'Trial without a CA of your own: make a root here? [y/N]: ';
  return /^y(es)?$/i.test((await ask(question)).trim());
}

/** The machine's name as a peer's name may be. */
function machineName(): string {
  const short = hostname().toLowerCase().split('.')[0] ?? '';
  const name = short.replace(/[^a-z0-9-]/g, '-').replace(/^-+/, '');
  return name.slice(0, NAME_CHARS_MAX) || 'gateway-1';
}
