/** Challenges between owners on the grid: honest ones, liars, the silent, and who is blamed. */
import { randomBytes } from 'node:crypto';
import { fromBase64, fromHex } from '@blocktorrent/protocol/bytes.ts';
import { decodeCanonical } from '@blocktorrent/protocol/cbor.ts';
import { signingInput, verify } from '@blocktorrent/protocol/signing.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ChallengeOutcome } from '../../agent/src/store/challenger.ts';
import { Grid, type GridNode } from '../support/grid.ts';
import { CHANNEL } from '../support/membership.ts';
import { storeOn } from '../support/stored-files.ts';

const seed = randomBytes(4).toString('hex');
console.log(`grid seed ${seed}`);

let grid: Grid;
beforeEach(async () => {
  grid = await Grid.start({
    seed,
    organisations: 4,
    upkeep: { silenceMs: 600 },
    upkeepTiming: { askMs: 1_500 },
  });
  await storeOn(grid, 2, 400_000);
});
afterEach(() => grid.stop());

/** Challenges until one ends in `outcome`; bounded, as chance picks whom to ask. */
async function until(node: GridNode, outcome: ChallengeOutcome): Promise<void> {
  for (let round = 0; round < 60; round++) {
    await new Promise((resolve) => setTimeout(resolve, 120));
    if ((await node.upkeep.challenge()) === outcome) return;
  }
  throw new Error(`no challenge ended ${outcome}`);
}

/** Every block of every chunk that it keeps. */
async function rotAll(node: GridNode): Promise<void> {
  for (const { fileId } of grid.ledger.records.values()) {
    for (let index = 0; index < 25; index++) {
      for (let block = 0; block < 3; block++) {
        await node.rot(fileId, index, block * 16_384).catch((error: unknown) => {
          if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
        });
      }
    }
  }
}

describe('a challenge between owners', () => {
  it('is answered rightly by who has the chunk, and nobody is blamed', async () => {
    const node = grid.node('Org2MSP');
    for (let round = 0; round < 5; round++) {
      await new Promise((resolve) => setTimeout(resolve, 120));
      expect(await node.upkeep.challenge()).toBe('right');
    }
    expect(node.upkeep.status().challenges).toMatchObject({ right: 5, wrong: 0, doubted: {} });
    expect(grid.ledger.faults).toEqual([]);
  });

  it('answered wrongly is a fault on the ledger, which checks the answerer’s own signature', async () => {
    grid.node('Org3MSP').corruptNext();
    await until(grid.node('Org2MSP'), 'wrong');
    await expect.poll(() => grid.ledger.faults.length, { timeout: 30_000 }).toBe(1);
    const [fault] = grid.ledger.faults;
    expect(fault).toMatchObject({
      kind: 'challenge-failed',
      mspId: 'Org3MSP',
      reporter: 'Org2MSP',
      detail: 'wrong',
    });
  });

  it('answered wrongly is reported, though the challenger’s own chunk rots before that', async () => {
    const node = grid.node('Org2MSP');
    grid.ledger.readOnly = true;
    grid.node('Org3MSP').corruptNext();
    await until(node, 'wrong');
    grid.node('Org3MSP').corruptNext(0);
    await rotAll(node);
    grid.ledger.readOnly = false;
    await expect.poll(() => grid.ledger.faults.length, { timeout: 30_000 }).toBe(1);
    expect(grid.ledger.faults).toMatchObject([{ mspId: 'Org3MSP', detail: 'wrong' }]);
    expect(node.upkeep.status().challenges.unreported).toBe(0);
  });

  it('is not held against others by a challenger whose own chunk is rotten', async () => {
    const node = grid.node('Org2MSP');
    node.corruptNext();
    for (let round = 0; round < 8; round++) {
      await new Promise((resolve) => setTimeout(resolve, 120));
      expect(await node.upkeep.challenge()).toBe('skipped');
    }
    node.corruptNext(0);
    expect(grid.ledger.faults).toEqual([]);
  });

  it('met by silence becomes a fault only after its time, on nothing but the challenger’s word', async () => {
    const node = grid.node('Org2MSP');
    await grid.node('Org3MSP').kill();
    await until(node, 'silent');
    expect(grid.ledger.faults).toEqual([]);
    expect(node.upkeep.status().challenges.doubted).toHaveProperty('Org3MSP');
    await until(node, 'silent');
    await until(node, 'silent');
    await expect.poll(() => grid.ledger.faults.length, { timeout: 30_000 }).toBe(1);
    const [fault] = grid.ledger.faults;
    expect(fault).toMatchObject({ kind: 'unreachable', mspId: 'Org3MSP' });
    expect(fault?.detail).toContain('the word of Org2MSP alone');
    const { statement, signature } = decodeCanonical(fromBase64(fault?.evidence ?? '')) as {
      statement: Uint8Array;
      signature: Uint8Array;
    };
    const key = fromHex(grid.peer('Org2MSP').peer.overlayKey);
    const input = signingInput('blocktorrent/fault/v1', CHANNEL, statement);
    expect(verify(key, signature, input)).toBe(true);
    expect(decodeCanonical(statement)).toMatchObject({ kind: 'silence', answerer: 'Org3MSP' });
  });

  it('is reported once, though the ledger’s answer to the report is lost', async () => {
    const node = grid.node('Org2MSP');
    await grid.node('Org3MSP').kill();
    grid.ledger.answersToLose = 1;
    for (let i = 0; i < 3; i++) await until(node, 'silent');
    const lost = () => [grid.ledger.faults.length, grid.ledger.answersToLose];
    await expect.poll(lost, { timeout: 30_000 }).toEqual([1, 0]);
    await node.restart();
    const { doubted } = node.upkeep.status().challenges;
    expect(doubted).toHaveProperty('Org3MSP');
    const asked = () => grid.ledger.asked.filter((name) => name.endsWith(':ListFaults')).length;
    await expect.poll(asked, { timeout: 30_000 }).toBeGreaterThan(1);
    expect(grid.ledger.faults).toHaveLength(1);
  });

  it('answered rightly in time ends the doubt', async () => {
    const node = grid.node('Org2MSP');
    await grid.node('Org3MSP').kill();
    await until(node, 'silent');
    await grid.node('Org3MSP').start();
    await expect
      .poll(
        async () => {
          await node.upkeep.challenge();
          return node.upkeep.status().challenges.doubted;
        },
        { timeout: 30_000, interval: 150 },
      )
      .toEqual({});
    expect(grid.ledger.faults).toEqual([]);
  });

  it('of a rotten block is answered by admitting it, and the chunk is mended', async () => {
    const [node, other] = [grid.node('Org2MSP'), grid.node('Org3MSP')];
    await rotAll(other);
    await until(node, 'lost');
    expect(grid.ledger.faults).toEqual([]);
    expect(other.upkeep.status().scrub.lost).toBeGreaterThan(0);
    await expect.poll(() => other.upkeep.status().scrub.open, { timeout: 30_000 }).toBe(0);
  });

  it('goes on by itself when it is switched on', async () => {
    const lively = await Grid.start({ organisations: 4, seed, upkeep: { challengeEveryMs: 100 } });
    try {
      await storeOn(lively, 1, 200_000);
      const rights = () =>
        lively.nodes
          .filter(({ alive }) => alive)
          .map(({ upkeep }) => upkeep.status().challenges.right);
      await expect.poll(() => Math.min(...rights()), { timeout: 30_000 }).toBeGreaterThan(0);
    } finally {
      await lively.stop();
    }
  });
});
