/**
 * A lost disk: what an owner has signed for is on the ledger, so an empty store can find out what it
 * should hold, and has the manifests and chunks from its co-owners again.
 *
 * Enters: records on the ledger, all of them once, later ones at each start. Leaves: files in the
 * catalog. Always holds: a manifest that comes must hash to the file id that the ledger has.
 */
import type { FileRecord, MspId } from '@blocktorrent/protocol/ledger-api.ts';
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import { fileIdOf } from '@blocktorrent/protocol/manifest.ts';
import { Lane } from './lane.ts';
import { Refusal } from './offer.ts';
import { pauseMs, type Repairer } from './repair.ts';
import type { Wanted } from './upkeep-list.ts';
import type { UpkeepParts } from './upkeep-types.ts';

/** Manifests asked for at once. */
const AT_ONCE = 4;
/** 2286-11-20: the largest time that the ledger takes. */
const END_OF_TIME_MS = 9_999_999_999_999;
const PAGE = LIMITS.listLimitMax;

export class Recall {
  readonly #parts: UpkeepParts;
  readonly #repairer: Repairer;
  readonly #lane: Lane;
  #scanned = false;

  constructor(parts: UpkeepParts, repairer: Repairer) {
    this.#parts = parts;
    this.#repairer = repairer;
    this.#lane = new Lane('recalling', () => this.#round(), parts.log);
  }

  start(): void {
    this.#lane.start();
  }
  async stop(): Promise<void> {
    await this.#lane.stop();
  }
  get lastError(): string | null {
    return this.#lane.lastError;
  }

  async #round(): Promise<number> {
    const { list, monotonicMs, timing } = this.#parts;
    if (!this.#scanned) {
      await this.#scan();
      this.#scanned = true;
    }
    const due = list.dueWanted(monotonicMs(), AT_ONCE);
    await Promise.all(due.map((wanted) => this.#ask(wanted)));
    return due.length === AT_ONCE ? 0 : timing.tickMs;
  }

  /** Every source's records since the last scan, or since ever. @throws LedgerError */
  async #scan(): Promise<void> {
    const { membership } = this.#parts;
    const sources = new Set<MspId>();
    for (let number = 1; number <= membership.epoch(); number += 1) {
      for (const { mspId } of membership.epochOf(number)?.ranges ?? []) sources.add(mspId);
    }
    for (const source of sources) await this.#scanSource(source);
  }

  async #scanSource(source: MspId): Promise<void> {
    const { ledger, list, catalog, log, self } = this.#parts;
    const name = `recall/${source}`;
    const since = list.note(name);
    let newestMs = Number(since ?? 0);
    let found = 0;
    for (let bookmark = '', isLast = false; !isLast; isLast = bookmark === '') {
      const range = { fromMs: Number(since ?? 0), toMs: END_OF_TIME_MS, limit: PAGE };
      const page = await ledger.evaluate('ledger/records:ListRecords', {
        source,
        ...range,
        bookmark,
      });
      for (const record of page.files) {
        newestMs = Math.max(newestMs, record.timeMs);
        if (record.void !== null || catalog.get(record.fileId) !== null) continue;
        const owners = await this.#ownersOf(record, since === null);
        if (!owners.includes(self)) continue;
        list.addWanted(
          record.fileId,
          owners.filter((mspId) => mspId !== self),
        );
        found += 1;
      }
      bookmark = page.bookmark;
    }
    list.setNote(name, String(newestMs));
    if (found > 0) log.warn('files that we signed for are missing here', { source, files: found });
  }

  /** Who has signed for a file; late receipts and re-placements are not in the list. */
  async #ownersOf(record: FileRecord, thorough: boolean): Promise<MspId[]> {
    const { ledger, self } = this.#parts;
    const inList = record.receipts.map((receipt) => receipt.mspId);
    if (inList.includes(self) || !thorough) return inList;
    const { fileId } = record;
    const whole = await ledger.evaluate('ledger/records:GetRecord', { fileId });
    const receipts = [
      ...(whole?.receipts ?? []),
      ...(whole?.replacements ?? []).flatMap((replacement) => replacement.receipts),
    ];
    return [...new Set(receipts.map((receipt) => receipt.mspId))];
  }

  async #ask(wanted: Wanted): Promise<void> {
    const { list, monotonicMs, timing, links, log, membership } = this.#parts;
    const { fileId, askFrom, tries } = wanted;
    const present = membership.epochOf(membership.epoch())?.ranges.map(({ mspId }) => mspId) ?? [];
    const possible = askFrom.filter((mspId) => present.includes(mspId));
    const from = possible[tries % Math.max(1, possible.length)];
    try {
      if (from === undefined) throw new Error('nobody who signed for it is a member today');
      const answer = await links.ask(
        from,
        { t: 'want', fileId },
        (message) =>
          message.t === 'keep'
            ? fileIdOf(message.manifest) === fileId
            : message.t === 'decline' && message.fileId === fileId,
        timing.askMs,
      );
      if (answer.t !== 'keep') throw new Error(`${from} does not have it either`);
      await this.#repairer.take(answer);
      log.info('have the manifest of a missing file again', { fileId, from });
    } catch (error) {
      if (error instanceof Refusal && error.code === 'not-responsible') {
        return list.endWanted(fileId);
      }
      log.debug('a missing file cannot be had now', { fileId, from, error });
      list.retryWanted(wanted, monotonicMs() + pauseMs(timing, Math.floor(tries / 3)));
    }
  }
}
