import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Of a test that hangs: one that goes on needs a fraction of it, also beside other work.
    testTimeout: 120_000,
    hookTimeout: 180_000,
    expect: { poll: { timeout: 20_000 } },
    setupFiles: ['test/support/patience.ts'],
    maxWorkers: 2,
    pool: 'forks',
    // The shim logs every refusal of a contract; its level is fixed at its first import.
    env: { CORE_CHAINCODE_LOGGING_LEVEL: 'CRITICAL' },
    reporters: ['default', './test/support/plain-reporter.ts'],
  },
});
