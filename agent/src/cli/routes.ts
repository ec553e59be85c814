/** The control routes that the command line calls, with their bodies and answers (`controls.ts`). */
import type { AgentStatus, FileStatus } from '../controls.ts';
import type { DistributeProgress } from '../distribute/types.ts';
import type { DeadLetterLine, DeadLettersBody, TapBody } from '../gateway-controls.ts';
import type { PeerLine } from '../peer-list.ts';
import type { ScrubResult } from '../store/scrub.ts';

/** Route -> [body, result]. */
export interface ControlRoutes {
  status: [null, AgentStatus];
  peers: [null, readonly PeerLine[]];
  put: [PutBody, FileStatus];
  files: [null, readonly FileStatus[]];
  'give-up': [GiveUpBody, FileStatus];
  'close-batch': [null, null];
  'export-torrent': [{ readonly fileId: string }, TorrentAnswer];
  /** Each line of progress is a `ScrubResult` so far. */
  scrub: [null, ScrubResult];
  'dead-letters': [DeadLettersBody, readonly DeadLetterLine[]];
  /** Each line of progress is a `TapLine`. */
  tap: [TapBody, null];
}
export interface TorrentAnswer {
  /** Base64. */
  readonly torrent: string;
  /** Announce addresses in it. */
  readonly trackers: readonly string[];
}
export interface GiveUpBody {
  /** Number of the file in the agent's queue. */
  readonly id: number;
  readonly reason: string;
  /** Also where the sealed copy is all that is left of a batch. */
  readonly lose?: true | undefined;
}
export interface PutBody {
  /** Absolute path; the agent reads it. */
  readonly path: string;
  /** age recipients who may open the file without a vote. */
  readonly to: readonly string[];
}
/** A line of progress of `put`. */
export interface PutProgress extends FileStatus {
  readonly distribute: DistributeProgress | null;
}
