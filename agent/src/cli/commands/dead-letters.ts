/** `blocktorrent dead-letters`: payloads that no decoder took, and why, newest first. */
import type { CliCommand } from '../command.ts';
import { topicFilter, wholeNumber } from '../options.ts';
import { table, timeText } from '../output.ts';
import { shortPayload } from '../payload-text.ts';

interface Options {
  readonly limit: number;
  readonly topic?: string;
}

export const deadLettersCommand: CliCommand = {
  name: 'dead-letters',
  describe: 'list payloads that could not be read, and why',
  group: 'Agent:',
  register(command, contextOf) {
    command
      .option('--limit <count>', 'how many, newest first', wholeNumber(1, 1_000), 50)
      .option('--topic <filter>', 'only of these topics (MQTT topic filter)', topicFilter)
      .action(async ({ limit, topic }: Options) => {
        const { output, call } = contextOf();
        const letters = await call('dead-letters', { limit, topic: topic ?? null });
        const rows = letters.map((letter) => [
          letter.seq,
          timeText(letter.receivedMs),
          letter.topic,
          letter.refusal,
          shortPayload(letter),
        ]);
        const titles = ['reading', 'received (UTC)', 'topic', 'reason', 'payload'];
        output.result(letters, rows.length === 0 ? 'no dead letters' : table(titles, rows));
      });
  },
};
