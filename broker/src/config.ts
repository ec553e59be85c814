/**
 * The broker's configuration file: listeners, store, users, limits.
 *
 * Enters: YAML. Leaves: `BrokerConfig`, complete, with absolute paths (relative ones start from the
 * file's folder), or a FileError with every problem. Always holds: nobody listens beyond the loopback
 * without a file of users.
 */
import { accessSync, constants } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import { parseYaml, readYamlFile } from './yaml-file.ts';

/** Every default of the broker, with units. */
export const DEFAULTS = {
  host: '127.0.0.1',
  port: 1883,
  /** Payload of one PUBLISH. */
  payloadBytesMax: 1024 * 1024,
  /** Messages queued for one persistent session. */
  sessionMessagesMax: 60_000,
  /** Payload bytes queued for all sessions together; the second half is for those of `publishersWaitFor` alone. */
  queuedBytesMax: 256 * 1024 * 1024,
  /**
   * Client ids for whose full queue publishers wait; `*` at the end stands for any rest. For all others
   * the newest message is dropped: nobody may stop the sensors by subscribing and going away.
   */
  publishersWaitFor: ['blocktorrent-*'],
  /** Persistent sessions, and how long one is kept without its client, in running time. */
  sessionsMax: 1_000,
  sessionExpirySeconds: 14 * 86_400,
  /** Topic filters of one client. */
  subscriptionsMax: 1_000,
  /** Topics with a retained message, and the bytes of their payloads together. */
  retainedMax: 10_000,
  retainedBytesMax: 64 * 1024 * 1024,
  /** Connections at once; and a second, for one address. */
  connectionsMax: 1_000,
  connectionsPerSecond: 20,
  /** How often `$SYS/broker/…` is said anew. */
  sysEverySeconds: 10,
  /** Nothing comes from a client that waits longer than this with its CONNECT. */
  connectTimeoutMs: 10_000,
  /** A client that takes nothing for so long is left. */
  drainTimeoutMs: 20_000,
  /** TCP asks a silent client after so long whether it is there, whatever its keepalive. */
  tcpKeepaliveMs: 30_000,
} as const;

/** Identifiers are 16 bits: above this, a session's messages could not all be in flight. */
export const SESSION_MESSAGES_LIMIT = 65_000;

const HOST_PORT = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+)):(\d{1,5})$/;

/** `host:port` or `[::1]:port`; null if it is neither. */
export function parseListen(text: string): { host: string; port: number } | null {
  const match = HOST_PORT.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  return host === undefined || !(port <= 65_535) ? null : { host, port };
}

function schemaOf(folder: string) {
  const whole = (min: number, max: number, value: number) => {
    const error = `a whole number from ${min} to ${max}`;
    return z.int({ error }).min(min, { error }).max(max, { error }).default(value);
  };
  const path = z
    .string({ error: 'a path' })
    .min(1, { error: 'a path' })
    .transform((value) => resolve(folder, value));
  const file = path.refine(isReadable, { error: 'a file that this user can read' });
  const listener = z.strictObject({
    listen: z
      .string({ error: 'host:port, e.g. 0.0.0.0:8883' })
      .refine((value) => parseListen(value) !== null, { error: 'host:port, e.g. 0.0.0.0:8883' })
      .transform((value) => parseListen(value) ?? { host: '', port: 0 }),
    tls: z
      .strictObject({ certFile: file, keyFile: file, clientCaFile: file.exactOptional() })
      .exactOptional(),
  });
  return z
    .strictObject({
      listeners: z
        .array(listener)
        .min(1, { error: 'at least one listener' })
        .default([{ listen: { host: DEFAULTS.host, port: DEFAULTS.port } }]),
      dataDir: path.exactOptional(),
      usersFile: file.exactOptional(),
      payloadBytesMax: whole(1, 256 * 1024 * 1024, DEFAULTS.payloadBytesMax),
      sessionMessagesMax: whole(0, SESSION_MESSAGES_LIMIT, DEFAULTS.sessionMessagesMax),
      queuedBytesMax: whole(0, 2 ** 40, DEFAULTS.queuedBytesMax),
      publishersWaitFor: z
        .array(z.string({ error: 'a client id, or the beginning of one and *' }).min(1))
        .readonly()
        .default([...DEFAULTS.publishersWaitFor]),
      sessionsMax: whole(1, 100_000, DEFAULTS.sessionsMax),
      sessionExpirySeconds: whole(60, 10 * 365 * 86_400, DEFAULTS.sessionExpirySeconds),
      subscriptionsMax: whole(1, 100_000, DEFAULTS.subscriptionsMax),
      retainedMax: whole(0, 1_000_000, DEFAULTS.retainedMax),
      retainedBytesMax: whole(0, 2 ** 40, DEFAULTS.retainedBytesMax),
      connectionsMax: whole(1, 100_000, DEFAULTS.connectionsMax),
      connectionsPerSecond: whole(1, 100_000, DEFAULTS.connectionsPerSecond),
      sysEverySeconds: whole(1, 3_600, DEFAULTS.sysEverySeconds),
    })
    .superRefine(({ listeners, usersFile }, context) => {
      for (const [index, { listen }] of listeners.entries()) {
        if (usersFile !== undefined || isLoopback(listen.host)) continue;
        const path = ['listeners', index, 'listen'];
        const message = 'an address of the loopback, or `usersFile`: everybody could do everything';
        context.addIssue({ code: 'custom', path, message });
      }
    });
}

/** A complete, checked configuration. */
export type BrokerConfig = z.output<ReturnType<typeof schemaOf>>;
/** Where to listen, and how. */
export type ListenerConfig = BrokerConfig['listeners'][number];

/** Reads a file. @throws FileError with every problem */
export function loadBrokerConfig(path: string): BrokerConfig {
  return readYamlFile(path, schemaOf(dirname(resolve(path))));
}

/** The same for text; `file` is its name in problems. @throws FileError */
export function parseBrokerConfig(text: string, file: string): BrokerConfig {
  return parseYaml(text, file, schemaOf(dirname(resolve(file))));
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\./.test(host);
}

function isReadable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}
