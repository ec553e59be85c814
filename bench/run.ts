/**
 * `npm run bench -- PART [--quick] [--ledger fabric]`: measures one part.
 *
 * Standard output holds JSON lines (`figures.ts`) and nothing else: whatever else is written there,
 * by us or by a library, goes to standard error. A part is a file of `bench/parts/`. SIGINT and SIGTERM
 * end it with everything that it started: what starts processes stops them when this one exits.
 */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { figureOf } from './figures.ts';
import type { BenchPart } from './part.ts';

const PARTS = join(import.meta.dirname, 'parts');

/** Names of all parts. */
export function partNames(): string[] {
  return readdirSync(PARTS)
    .filter((name) => name.endsWith('.ts'))
    .map((name) => name.slice(0, -'.ts'.length))
    .sort();
}

/** Exit codes as a shell's: 128 and the signal's number. */
const SIGNALS = { SIGINT: 130, SIGTERM: 143 } as const;

async function main(): Promise<number> {
  for (const [signal, code] of Object.entries(SIGNALS))
    process.once(signal, () => process.exit(code));
  const writeFigure = process.stdout.write.bind(process.stdout);
  process.stdout.write = process.stderr.write.bind(process.stderr);
  const options = argumentsOf(process.argv.slice(2));
  if (typeof options === 'string') {
    process.stderr.write(`${options}\n${await helpText()}`);
    return 2;
  }
  const { name, quick, ledger } = options;
  const part = await loadPart(name);
  const startedMs = performance.now();
  await part.run({
    quick,
    ledger,
    emit: (measured) => writeFigure(`${JSON.stringify(figureOf({ bench: name, ...measured }))}\n`),
    note: (text) => process.stderr.write(`${name}: ${text}\n`),
  });
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
  process.stderr.write(`${name}: done in ${seconds} s\n`);
  return 0;
}

type Options = { name: string; quick: boolean; ledger: 'dev' | 'fabric' };

function argumentsOf(argv: string[]): Options | string {
  try {
    const { values, positionals } = parseArgs({
      args: argv,
      allowPositionals: true,
      options: { quick: { type: 'boolean' }, ledger: { type: 'string' } },
    });
    const [name = '', ...more] = positionals;
    const { quick = false, ledger = 'dev' } = values;
    if (name === '' || more.length > 0) return 'expected the name of one part';
    if (!existsSync(join(PARTS, `${name}.ts`))) return `there is no part '${name}'`;
    if (ledger !== 'dev' && ledger !== 'fabric') {
      return `--ledger: expected dev or fabric, found '${ledger}'`;
    }
    return { name, quick, ledger };
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

async function loadPart(name: string): Promise<BenchPart> {
  const { part } = (await import(`./parts/${name}.ts`)) as { part: BenchPart };
  return part;
}

async function helpText(): Promise<string> {
  const lines = ['npm run bench -- PART [--quick] [--ledger fabric]', ''];
  for (const name of partNames()) {
    lines.push(`  ${name.padEnd(12)}  ${(await loadPart(name)).describe}`);
  }
  return `${lines.join('\n')}\n`;
}

if (import.meta.main) process.exitCode = await main();
