/** Who of those that take their messages slowly is ended. */
import { DEFAULTS } from '@blocktorrent/broker/config.ts';
import { SlowReaders, STUCK_CHECK_SECONDS } from '@blocktorrent/broker/slow-readers.ts';
import type { Client } from 'aedes';
import { describe, expect, it } from 'vitest';

/** The part of a client that is looked at. */
function aClient() {
  const conn = {
    bytesWritten: 1_000,
    writableLength: 600,
    ended: false,
    destroy: () => {
      conn.ended = true;
    },
  };
  return { conn, client: { id: 'c', conn } as unknown as Client };
}

describe('who has messages waiting', () => {
  const LAST_MS = DEFAULTS.drainTimeoutMs;

  it('is ended when it has taken nothing for the whole time, and no earlier', () => {
    const readers = new SlowReaders(() => false);
    const { conn, client } = aClient();
    readers.endStuck([client], 0);
    readers.endStuck([client], LAST_MS - 1);
    expect(conn.ended).toBe(false);
    readers.endStuck([client], LAST_MS);
    expect(conn.ended).toBe(true);
  });

  it('stays while it takes some, though more and more waits', () => {
    const readers = new SlowReaders(() => false);
    const { conn, client } = aClient();
    for (let n = 0; n < 10; n += 1) {
      readers.endStuck([client], n * LAST_MS);
      conn.bytesWritten += 101;
      conn.writableLength += 100;
    }
    expect(conn.ended).toBe(false);
  });

  it('stays when nothing waits for it, however long it was silent', () => {
    const readers = new SlowReaders(() => false);
    const { conn, client } = aClient();
    conn.writableLength = 0;
    for (const nowMs of [0, LAST_MS, 2 * LAST_MS]) readers.endStuck([client], nowMs);
    conn.bytesWritten += 1;
    conn.writableLength = 1;
    readers.endStuck([client], 2 * LAST_MS + 1000 * STUCK_CHECK_SECONDS);
    expect(conn.ended).toBe(false);
  });
});
