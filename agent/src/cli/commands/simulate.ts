/**
 * `blocktorrent simulate`: seeded sensors for a trial, as a process of their own (`sensors-sim/`).
 * The agent imports nothing of it: a gateway's code and a simulator's stay apart.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { devNull } from 'node:os';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { CliError } from '../cli-error.ts';
import type { CliCommand } from '../command.ts';
import type { Context } from '../context.ts';
import { EXIT } from '../exit-codes.ts';
import { duration, wholeNumber } from '../options.ts';

interface SimulateOptions {
  readonly broker?: string;
  readonly sensors: number;
  readonly rate: number;
  readonly seed: number;
  readonly duration?: number;
  readonly count?: number;
  readonly formats: string;
  readonly log?: string;
}

const PROGRAM = fileURLToPath(new URL('../../../../sensors-sim/src/main.ts', import.meta.url));

export const simulateCommand: CliCommand = {
  name: 'simulate',
  describe: 'publish readings of simulated sensors, until Ctrl-C',
  group: 'Set-up:',
  register(command, contextOf) {
    command
      .option('--broker <url>', "where to publish (default: the configuration's first broker)")
      .option('--sensors <count>', 'sensors in the fleet', wholeNumber(1, 100_000), 12)
      .option('--rate <count>', 'readings a second, over the fleet', wholeNumber(1, 1_000_000), 20)
      .option('--seed <number>', 'same seed, same readings', wholeNumber(0, 4_294_967_295), 1)
      .option('--duration <duration>', 'end after so long', duration)
      .option('--count <count>', 'end after so many readings', wholeNumber(1, 1_000_000_000))
      .option('--formats <names>', 'formats that sensors take in turn, or all', 'json')
      .option('--log <file>', 'one line of JSON for each reading that was acknowledged')
      .action(async (options: SimulateOptions) => {
        const context = contextOf();
        if (!existsSync(PROGRAM)) {
          throw new CliError('the simulator is not part of this installation', {
            means: `It would be at ${PROGRAM}.`,
            todo: 'Run this command in a checkout of the sources.',
            exitCode: EXIT.usage,
          });
        }
        const broker = options.broker ?? (await firstBroker(context));
        const sent = await simulate(argumentsOf(options, broker), broker, context);
        context.output.result(sent, `${sent.sent} readings acknowledged by ${broker}`);
      });
  },
};

interface Sent {
  readonly sent: number;
  readonly bad: number;
  readonly outstanding: number;
}

async function firstBroker(context: Context): Promise<string> {
  const url = (await context.config()).mqtt?.brokers[0]?.url;
  if (url !== undefined) return url;
  throw new CliError('the configuration names no broker', {
    todo: 'Name one: --broker mqtt://127.0.0.1:1883',
    exitCode: EXIT.usage,
  });
}

function argumentsOf(options: SimulateOptions, broker: string): string[] {
  const { sensors, rate, seed, formats, log = devNull } = options;
  const numbers = { sensors, rate, seed };
  return [
    ...['--broker', broker, '--log', log, '--formats', formats],
    ...Object.entries(numbers).flatMap(([name, value]) => [`--${name}`, String(value)]),
    ...(options.count === undefined ? [] : ['--count', String(options.count)]),
    ...(options.duration === undefined ? [] : ['--duration-s', String(options.duration / 1_000)]),
  ];
}

/** Runs the simulator to its end; the first Ctrl-C lets it end in order. */
async function simulate(args: string[], broker: string, context: Context): Promise<Sent> {
  const { output, signal, env } = context;
  output.note(`looking for ${broker}`);
  const child = spawn(process.execPath, [PROGRAM, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    // Not the terminal's group: Ctrl-C reaches it through us, once.
    detached: true,
    env: { ...env, NODE_NO_WARNINGS: '1' },
  });
  const end = () => child.kill('SIGTERM');
  signal.addEventListener('abort', end, { once: true });
  let complaint = '';
  child.stderr.on('data', (data: Buffer) => {
    complaint = `${complaint}${data.toString()}`.slice(-2_000);
  });
  const gone = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve(code));
  });
  let sent: Sent | null = null;
  try {
    for await (const line of createInterface({ input: child.stdout })) {
      const said = JSON.parse(line) as Partial<Sent> & { ready?: boolean };
      if (said.ready === true) output.note(`publishing to ${broker}; Ctrl-C ends it`);
      if (typeof said.sent === 'number') sent = said as Sent;
    }
  } finally {
    signal.removeEventListener('abort', end);
  }
  const code = await gone;
  if (code === 0 && sent !== null) return sent;
  // Ended before it had a broker.
  if (signal.aborted) throw Object.assign(new Error('interrupted'), { name: 'AbortError' });
  throw new CliError(`the simulator ended with status ${code}: ${complaint.trim()}`, {
    todo: `Is a broker listening at ${broker}?`,
    exitCode: code === 2 ? EXIT.usage : EXIT.unavailable,
  });
}
