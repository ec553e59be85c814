/**
 * A small chaincode for tests of the dev ledger: one function for each thing that the ledger has
 * to get right. Runs as its own process, as every chaincode does; prints its address when ready.
 */
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import shim, { type ChaincodeResponse, type ChaincodeStub } from 'fabric-shim';

interface Argument {
  readonly key: string;
  readonly keys: readonly string[];
  readonly value: string;
  /** Organisations that must all endorse later writes of the key. */
  readonly policy?: readonly string[];
  readonly collection: string;
  readonly collections: readonly string[];
  readonly start: string;
  readonly end: string;
  readonly pageSize: number;
  readonly bookmark: string;
  readonly name: string;
}
type Handler = (stub: ChaincodeStub, argument: Argument) => Promise<unknown>;

const HANDLERS: Readonly<Record<string, Handler>> = {
  async put(stub, { key, value, policy }) {
    await stub.putState(key, Buffer.from(value));
    if (policy !== undefined) {
      await stub.setStateValidationParameter(key, allOf(policy));
    }
    return stub.getTxID();
  },
  async get(stub, { key }) {
    return Buffer.from(await stub.getState(key)).toString();
  },
  async delete(stub, { key }) {
    await stub.deleteState(key);
  },
  async setPolicy(stub, { key, policy }) {
    await stub.setStateValidationParameter(key, allOf(policy ?? []));
  },
  async increment(stub, { key }) {
    const before = Number(Buffer.from(await stub.getState(key)).toString() || '0');
    await stub.putState(key, Buffer.from(String(before + 1)));
    return before + 1;
  },
  async readOwnWrite(stub, { key, value }) {
    await stub.putState(key, Buffer.from(value));
    return Buffer.from(await stub.getState(key)).toString();
  },
  async range(stub, { start, end }) {
    return await keysOf(await stub.getStateByRange(start, end));
  },
  async page(stub, { start, end, pageSize, bookmark }) {
    const page = await stub.getStateByRangeWithPagination(start, end, pageSize, bookmark);
    return { keys: await keysOf(page.iterator), bookmark: page.metadata.bookmark };
  },
  async composite(stub, { name, keys }) {
    for (const key of keys) {
      await stub.putState(stub.createCompositeKey(name, [key]), Buffer.from(key));
    }
  },
  async byComposite(stub, { name }) {
    const iterator = await stub.getStateByPartialCompositeKey(name, []);
    return (await keysOf(iterator)).map((key) => stub.splitCompositeKey(key).attributes[0]);
  },
  async countAndPut(stub, { start, end, key }) {
    const keys = await keysOf(await stub.getStateByRange(start, end));
    await stub.putState(key, Buffer.from(String(keys.length)));
    return keys.length;
  },
  async disagree(stub, { key }) {
    await stub.putState(key, Buffer.from(process.env.CORE_PEER_LOCALMSPID ?? ''));
  },
  async refuse(_stub, { value }) {
    throw new Error(value);
  },
  async hide(stub, { collections, key }) {
    for (const collection of collections) {
      const value = stub.getTransient().get('secret') ?? new Uint8Array();
      const own = Buffer.concat([value, Buffer.from(`:${collection}`)]);
      await stub.putPrivateData(collection, key, own);
      const holder = collection.replace('shards-', '');
      await stub.setPrivateDataValidationParameter(collection, key, allOf([holder]));
    }
    return stub.getTxID();
  },
  async hideOpenly(stub, { collection, key, value }) {
    await stub.putPrivateData(collection, key, Buffer.from(value));
  },
  async reveal(stub, { collection, key }) {
    return Buffer.from(await stub.getPrivateData(collection, key)).toString();
  },
  async hash(stub, { collection, key }) {
    return Buffer.from(await stub.getPrivateDataHash(collection, key)).toString('hex');
  },
  async purge(stub, { collection, key }) {
    await stub.purgePrivateData(collection, key);
  },
  async emit(stub, { name, value }) {
    stub.setEvent(name, Buffer.from(value));
    await stub.putState(`event/${stub.getTxID()}`, Buffer.from(value));
  },
  async query(stub) {
    return await keysOf(await stub.getQueryResult('{}'));
  },
};

function allOf(mspIds: readonly string[]): Uint8Array {
  const policy = new shim.KeyEndorsementPolicy();
  policy.addOrgs('PEER', ...mspIds);
  return policy.getPolicy();
}

async function keysOf(iterator: {
  next(): Promise<{ value?: { key: string }; done?: boolean }>;
  close(): Promise<void>;
}): Promise<string[]> {
  const keys: string[] = [];
  for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) {
    keys.push(next.value?.key ?? '');
  }
  await iterator.close();
  return keys;
}

const chaincode = {
  async Init(): Promise<ChaincodeResponse> {
    return shim.success();
  },
  async Invoke(stub: ChaincodeStub): Promise<ChaincodeResponse> {
    try {
      const { fcn, params } = stub.getFunctionAndParameters();
      const handler = HANDLERS[fcn.replace(/^.*:/, '')];
      if (handler === undefined) {
        throw new Error(`NOT_FOUND: there is no function ${fcn}`);
      }
      const result = await handler(stub, JSON.parse(params[0] ?? '{}'));
      return shim.success(Buffer.from(JSON.stringify(result ?? null)));
    } catch (error) {
      return shim.error(error instanceof Error ? error.message : String(error));
    }
  },
};

const path = join(await mkdtemp(join(tmpdir(), 'fixture-')), 'chaincode.sock');
const address = `unix:${path}`;
// The shim's types demand TLS; its code does not.
const options = { ccid: 'fixture', address };
await shim.Shim.server(chaincode, options as Parameters<typeof shim.Shim.server>[1]).start();
process.stdout.write(`${JSON.stringify({ address })}\n`);
await once(process, 'SIGTERM');
await rm(dirname(path), { recursive: true, force: true });
process.exit(0);
