/** kill -9 at random moments: every reading is there exactly once, in order, and the chain holds. */
import { expect, it } from 'vitest';
import { endUnderLoad, expectAllInOrder } from '../support/ended-gateway.ts';
import { aFolder } from '../support/readings.ts';
import { seedOfRun } from '../support/seeded.ts';

const KILLS = process.env.BLOCKTORRENT_LONG ? 200 : 20;

it(
  'loses and repeats nothing when it is killed at random moments under load',
  async () => {
    const [folder, remove] = aFolder();
    try {
      const found = await endUnderLoad({
        seed: seedOfRun(),
        ends: KILLS,
        folder: () => folder,
        async end(gateway) {
          gateway.child.kill('SIGKILL');
          expect(await gateway.ended, gateway.stderr()).toBe('SIGKILL');
        },
      });
      expectAllInOrder(found, KILLS * 10);
      console.log(found.note);
    } finally {
      remove();
    }
  },
  120_000 + KILLS * 10_000,
);
