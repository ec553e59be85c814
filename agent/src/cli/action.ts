/** Runs a body of `actions.ts` for a command: configuration, progress, result, exit status. */
import type { ActionContext, ActionResult } from './actions.ts';
import { CliError } from './cli-error.ts';
import type { Context } from './context.ts';
import { EXIT } from './exit-codes.ts';

type Actions = typeof import('./actions.ts');

/**
 * Loads the configuration and the bodies, runs `body`, prints its result. Throws `CliError` with
 * exit status 4 where the result says that a check failed.
 */
export async function runAction(
  context: Context,
  body: (actions: Actions, action: ActionContext) => Promise<ActionResult>,
): Promise<void> {
  const { output, signal } = context;
  const config = await context.config({ checkFiles: true });
  const { createLog, silentLog } = await import('../runtime/log.ts');
  const actions = await import('./actions.ts');
  const { value, text, verified } = await body(actions, {
    config,
    signal,
    log: context.debug ? createLog({ level: 'debug' }) : silentLog,
    progress: (label, done, total) => output.progress(label, done, total),
  });
  output.result(value, text);
  if (verified) return;
  // With JSON, standard output holds one value: the result.
  const message = output.json ? '' : 'verification failed; the result above says where';
  throw new CliError(message, { exitCode: EXIT.verification });
}
