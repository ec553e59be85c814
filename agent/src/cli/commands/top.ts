/**
 * `blocktorrent top`: the running agent, again and again, until Ctrl-C.
 *
 * On a terminal the status is redrawn in place, with rates since the last look; elsewhere each look is one
 * plain line (with `--json` one line of JSON), so that a pipe or a log stays readable.
 */
import { setTimeout } from 'node:timers/promises';
import type { AgentStatus } from '../../controls.ts';
import { statusLine } from '../../status-line.ts';
import type { CliCommand } from '../command.ts';
import { duration, wholeNumber } from '../options.ts';
import { bytesText, timeText } from '../output.ts';
import { statusText } from '../status-text.ts';

interface TopOptions {
  readonly every: number;
  readonly count?: number;
}

export const topCommand: CliCommand = {
  name: 'top',
  describe: 'watch the running agent, until Ctrl-C',
  group: 'Agent:',
  register(command, contextOf) {
    command
      .option('--every <duration>', 'how often it is looked at', duration, 1_000)
      .option('--count <count>', 'end after so many looks', wholeNumber(1, 1_000_000_000))
      .action(async ({ every, count = Number.POSITIVE_INFINITY }: TopOptions) => {
        const { output, call, signal } = contextOf();
        let last: Look | null = null;
        if (output.live) output.clear();
        for (let looks = 1; !signal.aborted; looks += 1) {
          const status = await call('status', null).catch((error: unknown) => {
            // Ctrl-C is how one stops looking.
            if (signal.aborted) return null;
            throw error;
          });
          if (status === null) return;
          const now = { status, atMs: performance.now() };
          const rates = last === null ? '' : ratesText(last, now);
          if (output.live) {
            output.screen(`${timeText(Date.now())}  ${rates}\n${statusText(status)}`);
          } else {
            const line = statusLine(status);
            output.line(
              status,
              `${timeText(Date.now())}  ${line}${rates === '' ? '' : `; ${rates}`}`,
            );
          }
          last = now;
          if (looks >= count) return;
          await setTimeout(every, undefined, { signal }).catch(() => undefined);
        }
      });
  },
};

interface Look {
  readonly status: AgentStatus;
  readonly atMs: number;
}

/** `41.8 readings/s, uplink 1.2 MiB/s` between two looks. */
function ratesText(before: Look, now: Look): string {
  const seconds = Math.max(0.001, (now.atMs - before.atMs) / 1_000);
  const readings = Math.max(0, now.status.readings - before.status.readings) / seconds;
  const sent = Math.max(0, now.status.uplink.sentBytes - before.status.uplink.sentBytes) / seconds;
  return `${readings.toFixed(1)} readings/s, uplink ${bytesText(Math.round(sent))}/s`;
}
