/** What upkeep is doing, in a few lines for `blocktorrent status`. */
import type { UpkeepStatus } from '../store/upkeep.ts';
import { bytesText } from './output.ts';

/** Lines of `copies`, `repair`, `scrub` and `challenge`. */
export function upkeepLines(status: UpkeepStatus): string[] {
  const { copies, repair, scrub, challenges } = status;
  const rows = Object.entries(copies.chunksByHolders)
    .map(([holders, chunks]) => `${chunks} chunks at ${holders} organisations`)
    .toReversed();
  const open = repair.workingOut + repair.handovers + repair.unfinished;
  const left = [
    [repair.workingOut, 'to work out'],
    [repair.handovers, 'to hand over'],
    [repair.wanted, 'to ask for'],
    [repair.unfinished, 'to fetch'],
    [repair.unrecorded, 'to record'],
  ] as const;
  const waiting = left.filter(([count]) => count > 0).map(([count, what]) => `${count} ${what}`);
  const idle = open + repair.wanted + repair.unrecorded === 0;
  const share = scrub.totalBytes === 0 ? 1 : Math.min(1, scrub.checkedBytes / scrub.totalBytes);
  const { right, wrong, lost, silent, doubted } = challenges;
  const doubts = Object.keys(doubted);
  return [
    `copies    ${rows.length === 0 ? 'none counted yet' : rows.join(', ')} (wanted: ${copies.wanted})`,
    `repair    ${idle ? 'nothing to do' : `files: ${waiting.join(', ')}`}; ` +
      `${repair.chunks} chunks, ${bytesText(repair.bytes)} so far`,
    ...(repair.lastError === null ? [] : [`          ${repair.lastError}`]),
    `scrub     ${Math.floor(share * 100)}% of round ${scrub.rounds + 1}; ` +
      `${scrub.lost} chunks found rotten or gone, ${scrub.open} not yet replaced`,
    `challenge ${right} right, ${wrong} wrong, ${lost} lost, ${silent} silent` +
      (doubts.length === 0 ? '' : `; waiting for ${doubts.join(', ')}`),
  ];
}
