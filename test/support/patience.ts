/**
 * Loaded before each test file: `vi.waitFor` waits as long as `expect.poll` does by the configuration.
 *
 * By itself it gives up after 1 s, which a busy machine takes for one TLS handshake. A long limit costs
 * nothing where the state comes; a test that is to see that something comes soon measures it.
 */
import { vi } from 'vitest';

/** Shorter than the time of a test, so that what was waited for is in the error. */
const PATIENCE_MS = 20_000;

const { waitFor } = vi;
vi.waitFor = (callback, options) =>
  waitFor(callback, {
    timeout: PATIENCE_MS,
    ...(typeof options === 'number' ? { timeout: options } : options),
  });
