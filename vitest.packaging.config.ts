import { defineConfig } from 'vitest/config';

/** Packages, machines and images: minutes each, one at a time, as root on Debian. */
export default defineConfig({
  test: {
    include: ['test/packaging/**/*.system.ts'],
    testTimeout: 300_000,
    hookTimeout: 900_000,
    expect: { poll: { timeout: 20_000 } },
    setupFiles: ['test/support/patience.ts'],
    maxWorkers: 1,
    fileParallelism: false,
    pool: 'forks',
    reporters: ['default', './test/support/plain-reporter.ts'],
  },
});
