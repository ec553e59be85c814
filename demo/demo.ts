/**
 * The demo: the paper's whole life of a file, in separate processes with real parts, in a minute.
 *
 * Enters: options. Leaves: `FILE.age`, the rebuilt identity, `readings.sqlite` and the simulator's log
 * in the output folder, and a verdict. Always holds: every process it started is ended, Ctrl-C
 * included; everything listens on loopback only.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { demoOptions } from './options.ts';
import { Processes } from './processes.ts';
import { Show } from './show.ts';
import { tellStory } from './story.ts';

async function main(): Promise<number> {
  let options: ReturnType<typeof demoOptions>;
  try {
    options = demoOptions(process.argv.slice(2));
  } catch (error) {
    process.stderr.write(`demo: ${error instanceof Error ? error.message : error}\n`);
    return 2;
  }
  const workDir = await mkdtemp(join(tmpdir(), 'bt-'));
  const processes = new Processes(join(resolve(options.output), 'logs'));
  const show = new Show(options.json);
  const stopping = new AbortController();
  const stop = () => stopping.abort();
  process.once('SIGINT', stop);
  process.once('SIGTERM', stop);
  process.once('exit', () => processes.killAllNow());
  const story = tellStory({ options, workDir, processes, show, signal: stopping.signal });
  try {
    const result = await Promise.race([story, aborted(stopping.signal)]);
    if (options.json) process.stdout.write(`${JSON.stringify(result)}\n`);
    return result.ok ? 0 : 1;
  } catch (error) {
    if (stopping.signal.aborted) {
      show.step('stopped; ending every process');
      return 130;
    }
    show.step(`failed: ${error instanceof Error ? error.message : String(error)}`);
    show.detail(`the processes' logs are in ${join(resolve(options.output), 'logs')}`);
    return 1;
  } finally {
    stopping.abort();
    await processes.endAll();
    // What was being started ends before its folder goes.
    await story.catch(() => undefined);
    await rm(workDir, { recursive: true, force: true });
  }
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) =>
    signal.addEventListener('abort', () => reject(new Error('stopped')), { once: true }),
  );
}

process.exitCode = await main();
