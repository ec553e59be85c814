import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    maxWorkers: 2,
    pool: 'forks',
    // The shim logs every refusal of a contract; its level is fixed at its first import.
    env: { CORE_CHAINCODE_LOGGING_LEVEL: 'CRITICAL' },
    reporters: ['default', './test/support/plain-reporter.ts'],
  },
});
