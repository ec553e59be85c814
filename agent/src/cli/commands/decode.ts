/** `blocktorrent decode --topic TOPIC FILE`: what the configured rules make of a payload. */
import { readFile } from 'node:fs/promises';
import { buffer } from 'node:stream/consumers';
import type { DecodeTrial } from '../../ingest-trial.ts';
import { CliError } from '../cli-error.ts';
import type { CliCommand } from '../command.ts';
import { EXIT } from '../exit-codes.ts';
import { topicFilter, topicName } from '../options.ts';
import { table } from '../output.ts';

interface Options {
  readonly topic?: string;
  readonly rule?: string;
}

export const decodeCommand: CliCommand = {
  name: 'decode',
  describe: 'show what the rules make of a payload, without storing it',
  group: 'Set-up:',
  register(command, contextOf) {
    command
      .argument('<file>', 'file with one payload; - for standard input')
      .option(
        '--topic <topic>',
        'topic that it would come by; the first rule that fits decides',
        topicName,
      )
      .option('--rule <filter>', 'instead: the rule with this topic filter', topicFilter)
      .action(async (file: string, { topic, rule }: Options) => {
        const { config, output } = contextOf();
        if ((topic === undefined) === (rule === undefined)) {
          throw new CliError('expected either --topic or --rule', { exitCode: EXIT.usage });
        }
        const rules = (await config()).mqtt?.rules ?? [];
        const chosen = rule === undefined ? rules : rules.filter((one) => one.topic === rule);
        if (chosen.length === 0) {
          const known = rules.map((one) => `'${one.topic}'`).join(', ') || 'none';
          throw new CliError(`no such rule: '${rule ?? topic}'; the configuration has ${known}`, {
            exitCode: EXIT.usage,
          });
        }
        const payload = file === '-' ? await buffer(process.stdin) : await readFile(file);
        const { tryDecode } = await import('../../ingest-trial.ts');
        const trial = tryDecode(chosen, topic ?? topicOf(rule ?? ''), payload, Date.now());
        output.result(trial, trialText(trial));
        if (trial.refusal !== null) {
          // With JSON, standard output holds one value: the result.
          const message = output.json ? '' : `a dead letter: ${trial.refusal}`;
          throw new CliError(message, { exitCode: EXIT.failure });
        }
      });
  },
};

/** A topic that a filter means. */
function topicOf(filter: string): string {
  return filter.replaceAll('+', 'x').replace(/(^|\/)#$/, '$1x');
}

function trialText({ rule, sensor, deviceSeq, deviceMs, ...trial }: DecodeTrial): string {
  const { historical, refusal, values } = trial;
  const lines = [`rule      ${rule ?? 'none'}`];
  if (refusal !== null) return lines.join('\n');
  lines.push(`sensor    ${sensor ?? '-'}`);
  lines.push(`sequence  ${deviceSeq ?? '-'}`);
  lines.push(`time      ${deviceMs === null ? '-' : new Date(deviceMs).toISOString()}`);
  lines.push(`buffered  ${historical ? 'yes' : 'no'}`, '');
  const rows = values.map(({ sensor: of, name, value, unit, timeMs }) => {
    return [of, name, String(value), unit, new Date(timeMs).toISOString()];
  });
  lines.push(table(['sensor', 'name', 'value', 'unit', 'time'], rows));
  return lines.join('\n');
}
