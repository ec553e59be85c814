/**
 * What a chaincode may ask while it runs: each shim message answered from its simulation. A
 * message that our chaincodes do not use is refused by an error, never by silence.
 */
import { ledger, peer } from '@hyperledger/fabric-protos';
import type { Metadata } from './rwset.ts';
import { type RangeBatch, SimulationError, type Simulator } from './simulator.ts';

const { Type } = peer.ChaincodeMessage;
const NAMES = new Map(Object.entries(Type).map(([name, value]) => [Number(value), name]));

/** Answers one request; throws SimulationError with the sentence that the chaincode gets. */
export function answerRequest(simulator: Simulator, message: peer.ChaincodeMessage): Uint8Array {
  const payload = message.getPayload_asU8();
  switch (message.getType()) {
    case Type.GET_STATE: {
      const { key, collection } = peer.GetState.deserializeBinary(payload).toObject();
      return collection === ''
        ? simulator.getState(key)
        : simulator.getPrivateData(collection, key);
    }
    case Type.GET_PRIVATE_DATA_HASH: {
      const { key, collection } = peer.GetState.deserializeBinary(payload).toObject();
      return simulator.getPrivateDataHash(collection, key);
    }
    case Type.PUT_STATE: {
      const request = peer.PutState.deserializeBinary(payload);
      put(simulator, request.getCollection(), request.getKey(), request.getValue_asU8());
      return new Uint8Array();
    }
    case Type.DEL_STATE: {
      const { key, collection } = peer.DelState.deserializeBinary(payload).toObject();
      put(simulator, collection, key, new Uint8Array());
      return new Uint8Array();
    }
    case Type.PURGE_PRIVATE_DATA: {
      const { key, collection } = peer.PurgePrivateState.deserializeBinary(payload).toObject();
      simulator.purgePrivateData(collection, key);
      return new Uint8Array();
    }
    case Type.GET_STATE_METADATA:
      return getMetadata(simulator, peer.GetStateMetadata.deserializeBinary(payload));
    case Type.PUT_STATE_METADATA:
      return putMetadata(simulator, peer.PutStateMetadata.deserializeBinary(payload));
    case Type.GET_STATE_BY_RANGE:
      return openRange(simulator, peer.GetStateByRange.deserializeBinary(payload));
    case Type.QUERY_STATE_NEXT: {
      const { id } = peer.QueryStateNext.deserializeBinary(payload).toObject();
      return queryResponse(simulator.nextRows(id)).serializeBinary();
    }
    case Type.QUERY_STATE_CLOSE: {
      const { id } = peer.QueryStateClose.deserializeBinary(payload).toObject();
      const closed = new peer.QueryResponse();
      closed.setId(id);
      return closed.serializeBinary();
    }
    default:
      throw new SimulationError(
        `the dev ledger does not answer ${NAMES.get(message.getType()) ?? message.getType()}`,
      );
  }
}

function put(simulator: Simulator, collection: string, key: string, value: Uint8Array): void {
  if (collection === '') {
    simulator.putState(key, value);
  } else {
    simulator.putPrivateData(collection, key, value);
  }
}

function getMetadata(simulator: Simulator, request: peer.GetStateMetadata): Uint8Array {
  const key = request.getKey();
  const collection = request.getCollection();
  const metadata: Metadata =
    collection === ''
      ? simulator.getStateMetadata(key)
      : simulator.getPrivateDataMetadata(collection, key);
  const result = new peer.StateMetadataResult();
  result.setEntriesList(
    Object.entries(metadata).map(([name, value]) => {
      const entry = new peer.StateMetadata();
      entry.setMetakey(name);
      entry.setValue(value);
      return entry;
    }),
  );
  return result.serializeBinary();
}

function putMetadata(simulator: Simulator, request: peer.PutStateMetadata): Uint8Array {
  const entry = request.getMetadata();
  const metadata: Metadata =
    entry === undefined ? {} : { [entry.getMetakey()]: entry.getValue_asU8() };
  const collection = request.getCollection();
  if (collection === '') {
    simulator.putStateMetadata(request.getKey(), metadata);
  } else {
    simulator.putPrivateDataMetadata(collection, request.getKey(), metadata);
  }
  return new Uint8Array();
}

function openRange(simulator: Simulator, request: peer.GetStateByRange): Uint8Array {
  if (request.getCollection() !== '') {
    throw new SimulationError('the dev ledger has no range queries on private data');
  }
  const page = request.getMetadata_asU8();
  if (page.length === 0) {
    const batch = simulator.openRange(request.getStartkey(), request.getEndkey(), 0);
    return queryResponse(batch).serializeBinary();
  }
  const wanted = peer.QueryMetadata.deserializeBinary(page);
  const start = wanted.getBookmark() === '' ? request.getStartkey() : wanted.getBookmark();
  const batch = simulator.openRange(start, request.getEndkey(), wanted.getPagesize());
  const metadata = new peer.QueryResponseMetadata();
  metadata.setFetchedRecordsCount(batch.rows.length);
  metadata.setBookmark(batch.bookmark);
  const response = queryResponse(batch);
  response.setMetadata(metadata.serializeBinary());
  return response.serializeBinary();
}

function queryResponse(batch: RangeBatch): peer.QueryResponse {
  const response = new peer.QueryResponse();
  response.setId(batch.id);
  response.setHasMore(batch.hasMore);
  response.setResultsList(
    batch.rows.map(({ key, value }) => {
      const row = new ledger.queryresult.KV();
      row.setKey(key);
      row.setValue(value);
      const bytes = new peer.QueryResultBytes();
      bytes.setResultbytes(row.serializeBinary());
      return bytes;
    }),
  );
  return response;
}
