/**
 * How many requests and messages each organisation may send us in a second, over all its links: by
 * the policy on the ledger, or what is plenty (P Table 2, flooding). A request for a block is cheap,
 * a message of ours costs signatures and disk.
 *
 * Enters: each request, by who sent it. Leaves: how long its link reads no more. Always holds: an
 * organisation past its quota waits and is reported, the others do not notice.
 */
import type { MspId } from '@blocktorrent/protocol/ledger-api.ts';
import { RateLimit } from './rate-limit.ts';
import type { Membership } from './types.ts';

const REPORT_EVERY_MS = 60_000;
/** Where the policy names no quota: 320 MB/s of blocks. */
const REQUESTS_PER_SECOND = 20_000;
/** Whatever the policy names. */
const MESSAGES_PER_SECOND_MAX = 50;

/** What is counted: blocks that are asked for, and messages of ours (BEP 10). */
export type Counted = 'request' | 'message';

interface Account {
  readonly request: RateLimit;
  readonly message: RateLimit;
  reportedAtMs: number;
}

export class RequestQuotas {
  readonly #membership: Pick<Membership, 'policy'>;
  readonly #onThrottled: (mspId: MspId) => void;
  readonly #accounts = new Map<MspId, Account>();

  constructor(membership: Pick<Membership, 'policy'>, onThrottled: (mspId: MspId) => void) {
    this.#membership = membership;
    this.#onThrottled = onThrottled;
  }

  /** Counts one more of an organisation; ms until its next one is read, 0: at once. */
  waitMs(mspId: MspId, counted: Counted): number {
    const quota = this.#membership.policy().quotas?.[mspId];
    const account = this.#account(mspId);
    const perSecond = quota?.requestsPerSecond ?? REQUESTS_PER_SECOND;
    account.request.set(perSecond);
    account.message.set(Math.min(perSecond, MESSAGES_PER_SECOND_MAX));
    const waitMs = account[counted].charge(1);
    if (waitMs > 0 && performance.now() - account.reportedAtMs > REPORT_EVERY_MS) {
      account.reportedAtMs = performance.now();
      this.#onThrottled(mspId);
    }
    return waitMs;
  }

  #account(mspId: MspId): Account {
    const known = this.#accounts.get(mspId);
    if (known !== undefined) return known;
    const account = {
      request: new RateLimit(REQUESTS_PER_SECOND),
      message: new RateLimit(MESSAGES_PER_SECOND_MAX),
      reportedAtMs: Number.NEGATIVE_INFINITY,
    };
    this.#accounts.set(mspId, account);
    return account;
  }
}
