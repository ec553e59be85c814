/**
 * Chaincode events of one client: from the block (and after the transaction) it asks for, first
 * from the database, then as blocks commit, each block's events in one message, in order, once.
 */
import type { ServerWritableStream } from '@grpc/grpc-js';
import { gateway, type orderer, peer } from '@hyperledger/fabric-protos';
import type { Orderer } from './orderer.ts';
import type { Store, StoredEvent } from './store.ts';

/** Blocks read from the database at once. */
const BLOCKS_PER_READ = 100;

/** What a client asked for. */
export interface EventRequest {
  readonly chaincode: string;
  /** First block. */
  readonly fromBlock: number;
  /** Within the first block: skip up to and including this transaction; '' = nothing. */
  readonly afterTxId: string;
}

type Call = ServerWritableStream<
  gateway.SignedChaincodeEventsRequest,
  gateway.ChaincodeEventsResponse
>;

/** Number of the block that a seek position means. */
export function startBlock(position: orderer.SeekPosition | undefined, height: number): number {
  if (position?.hasSpecified() === true) {
    return position.getSpecified()?.getNumber() ?? 0;
  }
  if (position?.hasOldest() === true) {
    return 0;
  }
  return position?.hasNewest() === true ? Math.max(0, height - 1) : height;
}

/** Streams until the client goes away. */
export function streamEvents(
  call: Call,
  request: EventRequest,
  store: Store,
  blocks: Orderer,
): void {
  let next = request.fromBlock;
  let draining = false;
  const push = () => {
    while (!draining && !call.cancelled) {
      const events = store.events(request.chaincode, next, BLOCKS_PER_READ);
      const last = events.at(-1);
      if (last === undefined) {
        return;
      }
      next = last.block + 1;
      for (const response of responses(skip(events, request))) {
        draining = !call.write(response);
      }
    }
  };
  const drained = () => {
    draining = false;
    push();
  };
  blocks.blocks.on('block', push);
  call.on('drain', drained);
  call.once('cancelled', () => {
    blocks.blocks.off('block', push);
    call.off('drain', drained);
    call.end();
  });
  push();
}

function skip(events: readonly StoredEvent[], request: EventRequest): readonly StoredEvent[] {
  const seen = events.findIndex(
    (each) => each.block === request.fromBlock && each.txId === request.afterTxId,
  );
  return events.slice(seen + 1);
}

function responses(events: readonly StoredEvent[]): gateway.ChaincodeEventsResponse[] {
  const byBlock = new Map<number, peer.ChaincodeEvent[]>();
  for (const { block, event } of events) {
    const list = byBlock.get(block) ?? [];
    list.push(peer.ChaincodeEvent.deserializeBinary(event));
    byBlock.set(block, list);
  }
  return [...byBlock].map(([block, list]) => {
    const response = new gateway.ChaincodeEventsResponse();
    response.setBlockNumber(block);
    response.setEventsList(list);
    return response;
  });
}
