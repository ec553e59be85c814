/**
 * `blocktorrent diag collect`: what somebody who helps needs to know, in one archive, without secrets.
 *
 * Enters: configuration, the running agent's answers, the service's journal where it can be read. Always
 * holds: no key file is opened, and everything goes through the same redaction as the log.
 */
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { arch, cpus, platform, release, totalmem, uptime } from 'node:os';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import type { CliCommand } from '../command.ts';
import type { Context } from '../context.ts';
import { explain } from '../explain.ts';
import type { ControlRoutes } from '../routes.ts';
import { type TarEntry, tarOf } from '../tar.ts';

const JOURNAL_LINES = 2_000;
const JOURNAL_BYTES_MAX = 16 * 1024 * 1024;
const run = promisify(execFile);

export const diagCommand: CliCommand = {
  name: 'diag',
  describe: 'gather what is needed to find a fault',
  group: 'Set-up:',
  register(command, contextOf) {
    command
      .command('collect')
      .description('write an archive with versions, configuration, status and log; no secrets')
      .option('-o, --out <file>', 'archive to write (default: blocktorrent-diag-TIME.tar.gz)')
      .action(async ({ out }: { out?: string }) => {
        const context = contextOf();
        const time = new Date().toISOString().slice(0, 19).replace(/[:T]/g, '-');
        const file = resolve(out ?? `blocktorrent-diag-${time}.tar.gz`);
        const entries = await collect(context);
        const folder = `blocktorrent-diag-${time}`;
        const named = entries.map(({ name, text }) => ({ name: `${folder}/${name}`, text }));
        await writeFile(file, gzipSync(tarOf(named, Date.now())), { flag: 'wx', mode: 0o600 });
        const names = entries.map(({ name }) => name);
        const text = `${file}: ${names.join(', ')}; look through it before you hand it on`;
        context.output.result({ file, entries: names }, text);
      });
  },
};

/** Each part by itself: what cannot be had says why, and the others are there all the same. */
async function collect(context: Context): Promise<TarEntry[]> {
  const parts: readonly [name: string, make: () => Promise<unknown>][] = [
    ['versions.json', async () => versions(context.version)],
    ['config.json', () => context.config()],
    ['status.json', () => asked(context, 'status')],
    ['files.json', () => asked(context, 'files')],
    ['peers.json', () => asked(context, 'peers')],
    ['journal.txt', journal],
  ];
  const entries: TarEntry[] = [];
  for (const [index, [name, make]] of parts.entries()) {
    context.output.progress('collecting', index, parts.length);
    const value = await make().catch((error: unknown) => ({ missing: explain(error) }));
    entries.push({ name, text: await redacted(value) });
  }
  return entries;
}

/** Text without keys; anything else as JSON, with what its names say is secret left out. */
async function redacted(value: unknown): Promise<string> {
  const { redactFields, withoutSecrets } = await import('../../runtime/redact.ts');
  if (typeof value === 'string') return withoutSecrets(value);
  return `${JSON.stringify(redactFields({ value }).value, null, 2)}\n`;
}

function versions(version: string): object {
  return {
    blocktorrent: version,
    versions: process.versions,
    machine: { arch: arch(), platform: platform(), release: release(), cpus: cpus().length },
    memoryBytes: totalmem(),
    uptimeSeconds: Math.round(uptime()),
  };
}

function asked(context: Context, route: 'status' | 'files' | 'peers'): Promise<unknown> {
  return context.call<keyof ControlRoutes>(route, null);
}

/** The service's own lines, where this user may read them. */
async function journal(): Promise<string> {
  const args = ['--no-pager', '-o', 'short-iso', '-n', String(JOURNAL_LINES)];
  const { stdout } = await run('journalctl', [...args, '-u', 'blocktorrent-*'], {
    maxBuffer: JOURNAL_BYTES_MAX,
  });
  return stdout;
}
