import { EventEmitter } from 'node:events';
import { createRequire } from 'node:module';
import shim from 'fabric-shim';
import { beforeEach, describe, expect, it } from 'vitest';
import { muteUnwanted } from '../../chaincode/src/shim-log.ts';

const require = createRequire(import.meta.url);

interface Talk {
  chat(first: unknown): void;
}
interface Handlers {
  readonly ChaincodeMessageHandler: new (stream: EventEmitter, chaincode: unknown) => Talk;
}

/** Lines that the shim's handler of messages lays out from now on; they are not written. */
function countLines(): () => number {
  let lines = 0;
  const transform = () => {
    lines += 1;
    return false;
  };
  shim.newLogger('lib/handler.js').format = { transform };
  return () => lines;
}

/** A conversation with a peer that says one message and then breaks off. */
function talkWithPeer(): EventEmitter {
  const { ChaincodeMessageHandler } = require('fabric-shim/lib/handler.js') as Handlers;
  const stream = Object.assign(new EventEmitter(), { write: () => true, end: () => undefined });
  new ChaincodeMessageHandler(stream, {}).chat({});
  return stream;
}

describe("fabric-shim's log", () => {
  beforeEach(() => {
    process.env.CORE_CHAINCODE_LOGGING_LEVEL = 'WARNING';
  });

  it('lays out no line of a level that is off', () => {
    const lines = countLines();
    talkWithPeer();
    expect(lines(), 'without it the shim lays out what it does not write').toBe(1);
    muteUnwanted(shim);
    talkWithPeer();
    expect(lines()).toBe(1);
  });

  it('still writes what is wrong', () => {
    muteUnwanted(shim);
    const lines = countLines();
    talkWithPeer().emit('error', new Error('the peer is gone'));
    expect(lines()).toBe(1);
  });

  it('leaves a level that is on', () => {
    process.env.CORE_CHAINCODE_LOGGING_LEVEL = 'INFO';
    const logger = shim.newLogger('lib/iterators.js');
    const { info } = logger;
    const before = logger.debug;
    muteUnwanted(shim);
    expect(logger.info).toBe(info);
    expect(logger.debug).not.toBe(before);
  });
});
