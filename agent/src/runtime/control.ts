/**
 * The local control API, server side: how the command line talks to a running agent.
 *
 * HTTP over the unix socket `DATADIR/control.sock`, mode 0600: whoever may open it is the agent's
 * own user. `POST /NAME` with a JSON body; the answer is lines of JSON: any number of
 * `{"progress":…}`, then one `{"result":…}` or `{"error":{"code","message"}}`.
 */
import { chmod, mkdir, rename, rm } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { ControlError, type ControlErrorCode } from './control-error.ts';
import type { Log } from './log.ts';

// Not by `import`, which reads every export and so loads fetch: 2 MiB of an idle agent.
const { createServer } = process.getBuiltinModule('node:http');

/** What a handler gets besides the body. */
export interface ControlCall {
  /** Aborted when the caller goes away or the agent stops. */
  readonly signal: AbortSignal;
  /** Sends one line of progress to the caller; false where it is left out: too much waits to be read. */
  progress(value: unknown): boolean;
}
/** Answers one route; what it returns (JSON) is the result, what it throws the error. */
export type ControlHandler = (body: unknown, call: ControlCall) => Promise<unknown>;

/** What a route throws at a caller whose request it cannot answer: the command ends as with a wrong argument. */
export function refusal(message: string): Error {
  return Object.assign(new Error(message), { code: 'bad-argument' });
}

export interface ControlOptions {
  readonly dataDir: string;
  readonly routes: Readonly<Record<string, ControlHandler>>;
  readonly log: Log;
}
export interface Control {
  readonly socketPath: string;
  /** Stops answering, aborts running calls, removes the socket. */
  stop(): Promise<void>;
}

/** A request's body at most; files go by path, never through the socket. */
const CONTROL_BODY_BYTES_MAX = 1024 * 1024;
/** Progress that waits for a caller which does not read, a stopped one or a pager. */
const WAITING_BYTES_MAX = 1024 * 1024;
/** `sun_path` of Linux (108) and macOS (104), less the NUL and `.` + process id. */
const SOCKET_PATH_BYTES_MAX = 103 - 9;

/** Path of an agent's control socket. */
export function controlSocketPath(dataDir: string): string {
  return join(dataDir, 'control.sock');
}

/**
 * Starts answering. Throws `ControlError`: 'path-too-long' where the system cannot name the
 * socket, 'already-running' where another agent answers on it. A socket that was left behind by a
 * killed agent is replaced.
 */
export async function startControl(options: ControlOptions): Promise<Control> {
  const { dataDir, routes, log } = options;
  const socketPath = controlSocketPath(dataDir);
  if (Buffer.byteLength(socketPath) > SOCKET_PATH_BYTES_MAX) {
    throw new ControlError(
      'path-too-long',
      `the control socket's path may have ${SOCKET_PATH_BYTES_MAX} bytes, found ${Buffer.byteLength(socketPath)}: ${socketPath}; choose a shorter dataDir`,
    );
  }
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  if (await answers(socketPath)) {
    throw new ControlError('already-running', `another agent is running with dataDir ${dataDir}`);
  }
  const stopping = new AbortController();
  const server = createServer((request, response) => {
    answer(request, response, routes, stopping.signal, log).catch((error: unknown) => {
      log.warn('control call broke off', { error });
      response.destroy();
    });
  });
  // Bound under another name and renamed, so that the socket never exists with wider permissions.
  const boundPath = `${socketPath}.${process.pid}`;
  await rm(boundPath, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(boundPath, resolve);
  });
  await chmod(boundPath, 0o600);
  await rename(boundPath, socketPath);
  return {
    socketPath,
    async stop() {
      stopping.abort();
      await rm(socketPath, { force: true });
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
    },
  };
}

function answers(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  routes: ControlOptions['routes'],
  stopping: AbortSignal,
  log: Log,
): Promise<void> {
  response.setHeader('content-type', 'application/x-ndjson');
  const route = (request.url ?? '/').slice(1);
  const handler = Object.hasOwn(routes, route) ? routes[route] : undefined;
  if (request.method !== 'POST' || handler === undefined) {
    return fail(response, 404, 'unknown-route', `this agent has no control route '${route}'`);
  }
  const body = await readBody(request);
  if (body === null) {
    return fail(
      response,
      413,
      'too-large',
      `a control request may have ${CONTROL_BODY_BYTES_MAX} bytes`,
    );
  }
  let value: unknown;
  try {
    value = body.length === 0 ? null : JSON.parse(body);
  } catch (error) {
    return fail(response, 400, 'malformed', `a control request is JSON: ${messageOf(error)}`);
  }
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  const call: ControlCall = {
    signal: AbortSignal.any([gone.signal, stopping]),
    progress: (progress) => {
      if (response.writableLength > WAITING_BYTES_MAX) return false;
      response.write(`${JSON.stringify({ progress })}\n`);
      return true;
    },
  };
  // At once, however long the work takes: by it the caller knows that the agent is not frozen.
  response.flushHeaders();
  try {
    const result = (await handler(value, call)) ?? null;
    response.end(`${JSON.stringify({ result })}\n`);
  } catch (error) {
    log.warn('control call failed', { route, error });
    answerError(response, codeOf(error), messageOf(error));
  }
}

function fail(
  response: ServerResponse,
  status: number,
  code: ControlErrorCode,
  message: string,
): void {
  response.statusCode = status;
  answerError(response, code, message);
}

function answerError(response: ServerResponse, code: string, message: string): void {
  response.end(`${JSON.stringify({ error: { code, message } })}\n`);
}

async function readBody(request: IncomingMessage): Promise<string | null> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > CONTROL_BODY_BYTES_MAX) return null;
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string'
    ? error.code
    : 'failed';
}
