/** `blocktorrent put FILE`: any file into the store, through the running agent. */
import { access, constants, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { decodeRecipient } from '@blocktorrent/protocol/age-keys.ts';
import type { FileStatus } from '../../controls.ts';
import { CliError } from '../cli-error.ts';
import type { CliCommand } from '../command.ts';
import type { Context } from '../context.ts';
import { EXIT } from '../exit-codes.ts';
import { bytesText } from '../output.ts';
import type { PutBody, PutProgress } from '../routes.ts';

interface PutOptions {
  readonly to: readonly string[];
  readonly wait: boolean;
}

export const putCommand: CliCommand = {
  name: 'put',
  describe: 'store a file: seal, spread, record',
  group: 'Files:',
  register(command, contextOf) {
    command
      .argument('<file>', 'file to store')
      .option('--to <recipient...>', 'age recipients (age1…) who may open it without a vote', [])
      .option('--no-wait', 'return once it is queued, not once it is available')
      .action(async (file: string, options: PutOptions) => {
        const context = contextOf();
        for (const recipient of options.to) checkRecipient(recipient);
        const body = { path: await readableFile(file), to: options.to };
        const status = await (options.wait ? follow : queue)(context, body);
        if (status.stage === 'void') throw givenUp(status);
        const size = status.bytes === null ? '' : `, ${bytesText(status.bytes)} sealed`;
        const text = `${status.fileId ?? `queued as ${status.id}`}  ${status.stage}${size}`;
        context.output.result(status, text);
      });
  },
};

/** Stays until the file is available or void. Whoever leaves before leaves the file in the queue. */
async function follow({ call, output, signal }: Context, body: PutBody): Promise<FileStatus> {
  let queued: number | null = null;
  const onProgress = (value: unknown) => {
    const { id, stage, distribute, error } = value as PutProgress;
    queued = id;
    if (error !== null) output.note(`${stage}: ${error} (it will be tried again)`);
    const done = stage === 'named' ? (distribute?.chunksCovered ?? 0) : 0;
    output.progress(stage, done, stage === 'named' ? (distribute?.chunkCount ?? 0) : 0);
  };
  try {
    return await call('put', body, { onProgress });
  } catch (error) {
    if (!signal.aborted || queued === null) throw error;
    throw new CliError(`interrupted; the agent goes on with the file, which is number ${queued}`, {
      todo: '`blocktorrent files` shows how far it is; `give-up` gives it up.',
      exitCode: EXIT.interrupted,
      cause: error,
    });
  }
}

/** Leaves as soon as the agent says that the file is in its queue. */
async function queue({ call }: Context, body: PutBody): Promise<FileStatus> {
  const leave = new AbortController();
  let queued: FileStatus | null = null;
  const onProgress = (value: unknown) => {
    const { distribute: _, ...status } = value as PutProgress;
    queued ??= status;
    leave.abort();
  };
  try {
    return await call('put', body, { onProgress, signal: leave.signal });
  } catch (error) {
    if (queued === null) throw error;
    return queued;
  }
}

async function readableFile(file: string): Promise<string> {
  const path = resolve(file);
  await access(path, constants.R_OK);
  if ((await stat(path)).isFile()) return path;
  throw new CliError(`${path} is not a file`, {
    todo: 'Name a file; a folder can be stored as an archive of it.',
    exitCode: EXIT.usage,
  });
}

function checkRecipient(recipient: string): void {
  try {
    decodeRecipient(recipient);
  } catch (cause) {
    throw new CliError(`--to: expected an age recipient (age1…), found '${recipient}'`, {
      todo: '`blocktorrent identity` shows a person’s own; ask them for it.',
      exitCode: EXIT.usage,
      cause,
    });
  }
}

function givenUp(status: FileStatus): CliError {
  return new CliError(`the file was given up: ${status.error ?? 'no reason was kept'}`, {
    means: 'It is recorded as void, and later files go on.',
    todo: 'Correct the cause, then put it again.',
  });
}
