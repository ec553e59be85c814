/** `blocktorrent tap TOPIC`: readings as the running agent commits them, until Ctrl-C. */
import type { TapLine } from '../../gateway-controls.ts';
import type { CliCommand } from '../command.ts';
import { topicFilter, wholeNumber } from '../options.ts';
import { timeText } from '../output.ts';
import { shortPayload } from '../payload-text.ts';

export const tapCommand: CliCommand = {
  name: 'tap',
  describe: 'show readings as they come in, until Ctrl-C',
  group: 'Agent:',
  register(command, contextOf) {
    command
      .argument('[topic]', 'MQTT topic filter', topicFilter, '#')
      .option('--count <count>', 'end after so many', wholeNumber(1, 1_000_000_000))
      .action(async (topic: string, { count }: { count?: number }) => {
        const { output, call, signal } = contextOf();
        const enough = new AbortController();
        let left = count ?? Number.POSITIVE_INFINITY;
        const onProgress = (value: unknown) => {
          if (left <= 0) return;
          left -= 1;
          const line = value as TapLine;
          if (line.skipped > 0) output.note(`${line.skipped} readings not shown`);
          output.line(line, lineText(line));
          if (left === 0) enough.abort();
        };
        try {
          await call('tap', { topic }, { onProgress, signal: enough.signal });
        } catch (error) {
          // Ctrl-C is how one stops looking.
          if (!enough.signal.aborted && !signal.aborted) throw error;
        }
      });
  },
};

function lineText(line: TapLine): string {
  const marks = [
    line.refusal === null ? '' : `  dead letter: ${line.refusal}`,
    line.duplicateOf === null ? '' : `  repeats ${line.duplicateOf}`,
    line.historical ? '  historical' : '',
  ];
  return `${timeText(line.receivedMs)}  ${line.topic}  ${shortPayload(line)}${marks.join('')}`;
}
