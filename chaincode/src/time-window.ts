/**
 * A chaincode that endorses only what is of now: a transaction's time is its client's word, and the
 * contracts go by it. Peers of Fabric 3 look with their filter TimeWindowCheck before they ask the
 * chaincode; peers of Fabric 2.5 have no such filter. Says yes or no, changes no result: the clock
 * never gets into the state.
 */
import shim, { type ChaincodeInterface, type ChaincodeStub } from 'fabric-shim';

/** As `peer.authentication.timewindow` in docs/FABRIC.md: 2 minutes to either side. */
export const TIME_WINDOW_MS = 120_000;

/** `chaincode`, but refusing transactions whose time is further from `nowMs()` than the window. */
export function withinTimeWindow(
  chaincode: ChaincodeInterface,
  nowMs: () => number,
): ChaincodeInterface {
  return {
    Init: (stub) => chaincode.Init(stub),
    Invoke: async (stub) => {
      const problem = outOfWindow(stub, nowMs());
      return problem === null ? await chaincode.Invoke(stub) : shim.error(problem);
    },
  };
}

/** Why it is refused, or null. Without a contract's code in front: it may pass a moment later. */
function outOfWindow(stub: ChaincodeStub, nowMs: number): string | null {
  const differenceMs = Math.abs(stub.getDateTimestamp().getTime() - nowMs);
  if (differenceMs <= TIME_WINDOW_MS) return null;
  return (
    `the transaction's timestamp is ${Math.round(differenceMs)} ms away from this organisation's ` +
    `clock, ${TIME_WINDOW_MS} ms are allowed: set the clock of the machine that sent it`
  );
}
