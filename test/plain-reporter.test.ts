/** The closing line of a test run. */
import { expect, it } from 'vitest';
import { countResults, plainLine } from './support/plain-reporter.ts';

it('names skipped tests only where there are some', () => {
  expect(plainLine(3, 0, 0)).toBe('3 passed, 0 failed');
  expect(plainLine(3, 1, 2)).toBe('3 passed, 1 failed, 2 skipped');
});

it('counts errors outside of tests, and tests that did not end, as failed', () => {
  const modules = [
    { tests: ['passed', 'failed', 'skipped', 'pending'], errors: 0 },
    { tests: [], errors: 1 },
  ];
  expect(countResults(modules, 1)).toEqual([1, 4, 1]);
});
