import { defineConfig } from 'vitest/config';
import { findBinaries, isVersion2, missingBinaries } from './fabric/src/binaries.ts';

const missing = missingBinaries();
if (missing !== null) {
  process.stderr.write(`test:fabric SKIPS every test that needs a real network: ${missing}\n`);
}
const isFabric2 = missing === null && (await isVersion2(findBinaries()));
if (isFabric2) {
  process.stderr.write(
    'test:fabric SKIPS SmartBFT: these programs are of Fabric 2, it needs 3.x\n',
  );
}

export default defineConfig({
  test: {
    include: ['test/fabric/**/*.test.ts'],
    // Tells test/fabric that it was asked for: `npm test` starts no network even with programs.
    env: {
      BLOCKTORRENT_FABRIC: missing === null ? '1' : '',
      BLOCKTORRENT_FABRIC_BFT: missing === null && !isFabric2 ? '1' : '',
    },
    testTimeout: 120_000,
    hookTimeout: 180_000,
    expect: { poll: { timeout: 20_000 } },
    setupFiles: ['test/support/patience.ts'],
    maxWorkers: 1,
    pool: 'forks',
  },
});
