import { defineConfig } from 'vitest/config';
import { missingBinaries } from './fabric/src/binaries.ts';

const missing = missingBinaries();
if (missing !== null) {
  process.stderr.write(`test:fabric SKIPS every test that needs a real network: ${missing}\n`);
}

export default defineConfig({
  test: {
    include: ['test/fabric/**/*.test.ts'],
    // Tells test/fabric that it was asked for: `npm test` starts no network even with programs.
    env: { BLOCKTORRENT_FABRIC: missing === null ? '1' : '' },
    testTimeout: 120_000,
    hookTimeout: 180_000,
    maxWorkers: 1,
    pool: 'forks',
  },
});
