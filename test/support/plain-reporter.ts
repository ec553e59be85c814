/**
 * Ends a vitest run with one plain line, alone: `N passed, N failed` (`, N skipped` if any).
 * A test file that does not load and an error outside of any test count as failed.
 */
import type { Reporter, TestModule } from 'vitest/node';

/** The closing line for these counts. */
export function plainLine(passed: number, failed: number, skipped: number): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}

/** What is looked at of one test module. */
export interface ModuleResult {
  /** State of each of its tests. */
  readonly tests: readonly string[];
  /** Errors outside of its tests: it does not load, a hook failed. */
  readonly errors: number;
}

/** Counts over all modules, as `[passed, failed, skipped]`. */
export function countResults(
  modules: readonly ModuleResult[],
  unhandled: number,
): [passed: number, failed: number, skipped: number] {
  const states = modules.flatMap(({ tests }) => tests);
  const count = (state: string) => states.filter((one) => one === state).length;
  const outside = modules.reduce((sum, { errors }) => sum + errors, unhandled);
  const unfinished = count('pending');
  return [count('passed'), count('failed') + unfinished + outside, count('skipped')];
}

export default class PlainReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[]): void {
    const results = modules.map((module) => ({
      tests: [...module.children.allTests()].map((test) => test.result().state),
      errors:
        module.errors().length +
        [...module.children.allSuites()].reduce((sum, suite) => sum + suite.errors().length, 0),
    }));
    process.stdout.write(`\n${plainLine(...countResults(results, unhandled.length))}\n`);
  }
}
