/**
 * The admin channel: JSON lines on a unix socket that only its owner may open. Each request gets
 * one line back: `{"ok":true}` or `{"error":"..."}`. For tests and the demo.
 */
import { chmod, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import type { DevLedger } from './dev-ledger.ts';

/** Listens on `path` until the server is closed. */
export async function serveAdmin(path: string, ledger: DevLedger): Promise<Server> {
  await rm(path, { force: true });
  const server = createServer((socket) => {
    serveSocket(socket, ledger).catch((error: unknown) => {
      socket.destroy(error instanceof Error ? error : new Error(String(error)));
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
  await chmod(path, 0o600);
  return server;
}

async function serveSocket(socket: Socket, ledger: DevLedger): Promise<void> {
  // A client that goes away without a word is no fault of the ledger.
  socket.on('error', () => socket.destroy());
  for await (const line of createInterface({ input: socket })) {
    socket.write(`${JSON.stringify(await answer(line, ledger))}\n`);
  }
}

async function answer(line: string, ledger: DevLedger): Promise<Record<string, unknown>> {
  try {
    const request: unknown = JSON.parse(line);
    if (typeof request !== 'object' || request === null) {
      return { error: 'expected an object' };
    }
    if ('stopPeer' in request) {
      ledger.stopPeer(String(request.stopPeer));
    } else if ('startPeer' in request) {
      await ledger.startPeer(String(request.startPeer));
      await ledger.peerReady(String(request.startPeer));
    } else if ('holdPeer' in request) {
      ledger.holdPeer(String(request.holdPeer), true);
    } else if ('catchUpPeer' in request) {
      ledger.holdPeer(String(request.catchUpPeer), false);
    } else if ('height' in request) {
      return { ok: true, height: ledger.height() };
    } else {
      return { error: 'expected stopPeer, startPeer, holdPeer, catchUpPeer or height' };
    }
    return { ok: true };
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) };
  }
}
