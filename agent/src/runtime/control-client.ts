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
  /** Patience with the agent's first sign of life, ms; its work may take any time after that. */
  readonly patienceMs?: number;
}

/** An agent that hears nothing for so long is frozen, or nearly so. */
const PATIENCE_MS = 10_000;

const OWN_CODES: readonly string[] = ['unknown-route', 'too-large', 'malformed'];

/**
 * Calls `route` of the agent that runs with `dataDir` and returns its result (JSON, unchecked).
 * Throws `ControlError`: 'no-agent' if none runs, 'no-answer' if it is frozen, 'broken-off' if it
 * went away in between, 'failed' with `remote` = the handler's code if the handler threw.
 */
export async function callControl(
  dataDir: string,
  route: string,
  body: unknown,
  options: CallOptions = {},
): Promise<unknown> {
  const response = await send(dataDir, route, JSON.stringify(body ?? null), options);
  try {
    for await (const line of createInterface({ input: response, crlfDelay: 1000 })) {
      const message = JSON.parse(line) as Record<string, unknown>;
      if ('progress' in message) options.onProgress?.(message.progress);
      else if ('result' in message) return message.result;
      else throw remoteError(message.error);
    }
  } catch (error) {
    if (error instanceof ControlError) throw error;
    // A response that is cut off says 'aborted', whoever did it.
    if (options.signal?.aborted === true) {
      throw Object.assign(new Error('interrupted', { cause: error }), { name: 'AbortError' });
    }
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
  { signal, patienceMs = PATIENCE_MS }: CallOptions,
): Promise<IncomingMessage> {
  const socketPath = controlSocketPath(dataDir);
  return new Promise((resolve, reject) => {
    const call = request(
      {
        socketPath,
        // A connection of its own: one that is kept may be an agent's that has ended since.
        agent: false,
        method: 'POST',
        path: `/${route}`,
        headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
        ...(signal === undefined ? {} : { signal }),
      },
      (response) => {
        clearTimeout(patience);
        resolve(response);
      },
    );
    const patience = setTimeout(() => {
      const seconds = Math.round(patienceMs / 1_000);
      call.destroy(
        new ControlError('no-answer', `the agent at ${socketPath} was silent for ${seconds} s`),
      );
    }, patienceMs);
    call.once('error', (error: NodeJS.ErrnoException) => {
      clearTimeout(patience);
      if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED') {
        reject(
          new ControlError('no-agent', `no agent is running with dataDir ${dataDir}`, {
            cause: error,
          }),
        );
      } else if (error.code === 'EACCES') {
        reject(
          new ControlError('not-permitted', `this user may not open ${socketPath}`, {
            cause: error,
          }),
        );
      } else if (error.code === 'ECONNRESET' || error.code === 'EPIPE') {
        const message = `the agent stopped before it answered '${route}'`;
        reject(new ControlError('broken-off', message, { cause: error }));
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
