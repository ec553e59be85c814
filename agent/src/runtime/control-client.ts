/**
 * The local control API, client side (see `control.ts` for the wire).
 * One call, its progress lines as they come, and its result or one clear error.
 */
import type { IncomingMessage } from 'node:http';
import { createInterface } from 'node:readline';
import { controlSocketPath } from './control.ts';
import { ControlError, type ControlErrorCode } from './control-error.ts';

// Not by `import`, which reads every export and so loads fetch: 2 MiB of an idle agent.
const { request } = process.getBuiltinModule('node:http');

export interface CallOptions {
  readonly onProgress?: (value: unknown) => void;
  readonly signal?: AbortSignal;
}

const OWN_CODES: readonly string[] = ['unknown-route', 'too-large', 'malformed'];

/**
 * Calls `route` of the agent that runs with `dataDir` and returns its result (JSON, unchecked).
 * Throws `ControlError`: 'no-agent' if none runs, 'broken-off' if it went away in between, 'failed'
 * with `remote` = the handler's code if the handler threw.
 */
export async function callControl(
  dataDir: string,
  route: string,
  body: unknown,
  options: CallOptions = {},
): Promise<unknown> {
  const response = await send(dataDir, route, JSON.stringify(body ?? null), options.signal);
  try {
    for await (const line of createInterface({ input: response, crlfDelay: 1000 })) {
      const message = JSON.parse(line) as Record<string, unknown>;
      if ('progress' in message) options.onProgress?.(message.progress);
      else if ('result' in message) return message.result;
      else throw remoteError(message.error);
    }
  } catch (error) {
    if (error instanceof ControlError || options.signal?.aborted === true) throw error;
    throw new ControlError('broken-off', `the agent broke off the call '${route}'`, {
      cause: error,
    });
  } finally {
    response.destroy();
  }
  throw new ControlError('broken-off', `the agent stopped before it answered '${route}'`);
}

function send(
  dataDir: string,
  route: string,
  body: string,
  signal: AbortSignal | undefined,
): Promise<IncomingMessage> {
  const socketPath = controlSocketPath(dataDir);
  return new Promise((resolve, reject) => {
    const call = request(
      {
        socketPath,
        method: 'POST',
        path: `/${route}`,
        headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
        ...(signal === undefined ? {} : { signal }),
      },
      resolve,
    );
    call.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED') {
        reject(
          new ControlError('no-agent', `no agent is running with dataDir ${dataDir}`, {
            cause: error,
          }),
        );
      } else if (error.code === 'EACCES') {
        reject(
          new ControlError('no-agent', `this user may not open ${socketPath}`, { cause: error }),
        );
      } else reject(error);
    });
    call.end(body);
  });
}

function remoteError(value: unknown): ControlError {
  const { code, message } = {
    code: 'failed',
    message: 'the agent gave no reason',
    ...Object(value),
  };
  if (OWN_CODES.includes(code)) return new ControlError(code as ControlErrorCode, message);
  return new ControlError('failed', String(message), { remote: String(code) });
}
