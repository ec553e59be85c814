/**
 * The control route of the role `store`: a scrub of everything that is kept, now. An agent without
 * the role says so.
 */
import { type ControlHandler, refusal } from './runtime/control.ts';
import type { Upkeep } from './store/upkeep.ts';

/** @param upkeep null for an agent without the role `store`. */
export function storeRoutes(upkeep: Upkeep | null): Record<string, ControlHandler> {
  return {
    scrub: async (_body, call) => {
      if (upkeep === null) {
        throw refusal('this agent keeps no chunks: it has no role `store`');
      }
      return upkeep.scrubNow(call.signal, (sofar) => call.progress(sofar));
    },
  };
}
